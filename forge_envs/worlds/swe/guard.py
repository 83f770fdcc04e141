"""Which files a patch may not change: what runs the tests is not part of a solution.

A file that gold changes as well is always allowed. Everything else that decides how tests are found, run and
reported is left as it was: hidden tests, folders of tests and of what tests are written with, `conftest.py`,
modules that Python imports on its own, what tells pytest of plugins, settings of test runners, the installer
that runs before the tests, and modules at the top that would stand in for pytest or the standard library.
"""

from __future__ import annotations

import configparser
import shlex
import sys
import tomllib
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Any

from forge_envs.worlds.swe.patch import Part, paths_of
from forge_envs.worlds.swe.task import END, START, SweTask

NAMES = frozenset(
    {"conftest.py", "sitecustomize.py", "usercustomize.py", "setup.py"}  # Python that runs on its own
    | {"pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml", "tox.ini", ".coveragerc"}
    | {"entry_points.txt"}  # of an installed package: pytest loads what it names
    | {"runtests.py", "run_tests.py", "testing.py", "_testing.py", "pytest.py"}  # runners, and their words
)
SUFFIXES = frozenset({".pth", ".pyc", ".pyo"})
INSTALLED = (".dist-info", ".egg-info")
"""Ends of names, whatever their case, under which Python finds an installed package."""
FOLDERS = frozenset({"test", "tests", "testing", "_testing", "testutils"})
"""Of tests, and of what runs them or what they are written with."""
SETTINGS = frozenset({"setup.cfg", "pyproject.toml"})
"""Files of which only some sections decide about tests; see `decides`."""

_IMPORTABLE = (".py", ".so", ".pyd")
_SHADOWS = (
    sys.stdlib_module_names
    | {"pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "xdist", "execnet"}
    | {"attr", "attrs", "exceptiongroup", "tomli", "importlib_metadata", "typing_extensions", "pygments"}
)


class Guard:
    """The rule for one task."""

    def __init__(self, task: SweTask) -> None:
        self._gold = paths_of(task.patch)
        self._hidden = paths_of(task.test_patch)
        self._runners = set(_words(task.eval_script))
        self._free = _folders(self._gold) - _folders(self._hidden)
        self._own = {_module(path) for path in self._gold}

    def forbids(self, path: str) -> bool:
        """Whether a patch may not change this file."""
        if path in self._gold:
            return False
        pure = PurePosixPath(path)
        return (
            path in self._hidden
            or path in self._runners
            or pure.name in NAMES
            or pure.suffix in SUFFIXES
            or any(part.lower().endswith(INSTALLED) for part in pure.parts)
            or not _folders([path]) <= self._free
            or _module(path) in _SHADOWS - self._own
        )

    def split(self, found: Iterable[Part]) -> tuple[list[Part], list[str]]:
        """The parts that are judged, and the files that are not."""
        kept: list[Part] = []
        dropped: list[str] = []
        for part in found:
            if self.forbids(part.path) or (part.is_link and not self._may_link(part)):
                dropped.append(part.path)
            else:
                kept.append(part)
        return kept, dropped

    def _may_link(self, part: Part) -> bool:
        """A link is what it leads to: something in the repository that a patch may change."""
        if part.path in self._gold:
            return True
        target = part.target
        return target is not None and not self.forbids(target) and ".git" not in target.lower().split("/")

    def settings(self, kept: Iterable[Part]) -> list[str]:
        """Files among those kept whose sections about tests must be the same before and after."""
        paths = (part.path for part in kept if part.path not in self._gold)
        return [path for path in paths if PurePosixPath(path).name in SETTINGS]


def _folders(paths: Iterable[str]) -> set[PurePosixPath]:
    """The folders of tests that these files are in."""
    return {folder for path in paths for folder in PurePosixPath(path).parents if folder.name in FOLDERS}


def _module(path: str) -> str:
    """What `import` must say to get this file, or what it is in, from the top of the repository; or ""."""
    top = PurePosixPath(path).parts[0]
    return top.partition(".")[0] if top != path or top.endswith(_IMPORTABLE) else ""


def _words(script: str) -> list[str]:
    """Words of the command between the markers of an evaluation script, which may name its runner."""
    words: list[str] = []
    for line in script.partition(START)[2].partition(END)[0].splitlines():
        try:
            words += shlex.split(line, comments=True)
        except ValueError:  # a quote that goes on in the next line
            words += line.split()
    return [str(PurePosixPath(word)) for word in words if not word.startswith("-")]


def decides(path: str, text: str) -> Any:
    """What a settings file says about tests and about being installed, comparable; None if it is broken.

    >>> decides("setup.cfg", "[tool:pytest]\\naddopts = -x\\n[metadata]\\nname = a")
    {'tool:pytest': {'addopts': '-x'}}
    """
    try:
        if path.endswith(".toml"):
            data = tomllib.loads(text)
            project = data.get("project", {})
            tools = {key: value for key, value in data.get("tool", {}).items() if key not in _READERS}
            return {"build": data.get("build-system"), "plugins": project.get("entry-points"), "tool": tools}
        parser = configparser.RawConfigParser(strict=False)
        parser.read_string(text)
        return {name: dict(parser[name]) for name in parser.sections() if name not in _HARMLESS}
    except (tomllib.TOMLDecodeError, configparser.Error, AttributeError, RecursionError):
        return None


_READERS = frozenset(
    {"black", "ruff", "isort", "flake8", "pylint", "pydocstyle", "codespell", "mypy", "pyright", "towncrier"}
)
"""Tools that read or format code, and take no part in installing or testing it."""
_HARMLESS = _READERS | {"metadata", "options.extras_require", "options.package_data"}
