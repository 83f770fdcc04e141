"""What a package and its tests need, as flit, hatch, pdm, poetry and setuptools projects declare it."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from typing import Any

EXTRAS = ("test", "tests", "testing", "dev-test", "pytest", "unittest")
WIDE = ("dev", "develop", "development")
"""Groups with more than tests need: asked for where there is none of EXTRAS."""
FILES = (
    *("requirements-test.txt", "requirements-tests.txt", "test-requirements.txt", "test_requirements.txt"),
    *("requirements/test.txt", "requirements/tests.txt", "tests/requirements.txt", "test/requirements.txt"),
)
NOT_FOR_TESTS = re.compile(
    r"^(sphinx|furo|mkdocs|black|ruff|flake8|mypy|pylint|isort|pre-commit|tox|nox|twine|build|bump|commitizen|"
    r"types-|pyright|codecov|coveralls|bandit|pip-tools|wheel|python$|python\b)",
    re.I,
)
"""Tools that a development group has for other work."""
CARET = re.compile(r"^[\^~]\s*(\d[\w.]*)$")


def needs(files: Mapping[str, bytes], project: Mapping[str, Any], installs: bool) -> list[str]:
    """What pip is asked for so that a package and its tests run, empty if they need nothing."""
    head = HeaderParser().parsestr(files.get("PKG-INFO", b"").decode("utf-8", "replace"))
    declared = head.get_all("Requires-Dist", [])
    table = project.get("project", {})
    provided = {*head.get_all("Provides-Extra", []), *table.get("optional-dependencies", {})}
    extras = [extra for extra in EXTRAS if extra in provided]
    own = [line for line in declared if "extra ==" not in line] or table.get("dependencies", [])
    if not declared:
        own = [*own, *(line for line in _egg_info(files) if line not in own)]
    unknown = installs and "PKG-INFO" not in files and "dependencies" not in table
    wanted = [*own, *dict.fromkeys(_tests(files, project))]
    if extras:
        wanted.append(f"/testbed[{','.join(extras)}]")
    elif unknown:
        wanted.append("/testbed")
    return wanted


def _egg_info(files: Mapping[str, bytes]) -> Iterator[str]:
    """What setuptools wrote beside metadata without requirements: a package's own, and its tests'."""
    path = next((path for path in sorted(files) if path.endswith(".egg-info/requires.txt")), "")
    extra, marker = "", ""
    for line in files.get(path, b"").decode("utf-8", "replace").splitlines():
        if line.startswith("["):
            extra, _, marker = line.strip("[]").partition(":")
        elif line and extra in ("", *EXTRAS):
            yield f"{line}; {marker}" if marker else line


def _tests(files: Mapping[str, bytes], project: Mapping[str, Any]) -> Iterator[str]:
    """The requirements of the tests, of whatever tool."""
    tool = project.get("tool", {})
    groups = project.get("dependency-groups", {})
    poetry = tool.get("poetry", {})
    pdm = tool.get("pdm", {}).get("dev-dependencies", {})
    hatch = tool.get("hatch", {}).get("envs", {})
    found = list[str]()
    for names in (EXTRAS, WIDE):
        for name in names:
            found += _group(groups, name)
            found += pdm.get(name, [])
            found += _poetry(poetry.get("group", {}).get(name, {}).get("dependencies", {}))
            for env in (name, f"hatch-{name}"):
                found += [
                    *hatch.get(env, {}).get("dependencies", []),
                    *hatch.get(env, {}).get("extra-dependencies", []),
                ]
        if found:
            break
    else:
        found += [
            *_poetry(poetry.get("dev-dependencies", {})),
            *hatch.get("default", {}).get("dependencies", []),
        ]
    yield from (line for line in found if not NOT_FOR_TESTS.match(line))
    for path in FILES:
        lines = files.get(path, b"").decode("utf-8", "replace").splitlines()
        plain = (line.partition(" #")[0].strip() for line in lines)
        yield from (line for line in plain if line and line[0] not in "#-." and not NOT_FOR_TESTS.match(line))
    yield from _setup_cfg(files.get("setup.cfg", b"").decode("utf-8", "replace"))


def _group(groups: Mapping[str, Any], name: str, seen: frozenset[str] = frozenset()) -> list[str]:
    """A dependency group with those that it includes (PEP 735)."""
    found = list[str]()
    for line in groups.get(name, []) if name not in seen else ():
        if isinstance(line, str):
            found.append(line)
        elif isinstance(line, dict) and "include-group" in line:
            found += _group(groups, str(line["include-group"]), seen | {name})
    return found


def _poetry(table: Mapping[str, Any]) -> list[str]:
    """Poetry's dependencies as pip writes them; `^1.2` as `>=1.2`, for the tests only have to run."""
    found = []
    for name, wanted in table.items():
        version = wanted.get("version", "*") if isinstance(wanted, dict) else wanted
        if name.lower() == "python" or not isinstance(version, str):
            continue
        low = CARET.match(version)
        spec = (
            ""
            if version == "*"
            else f">={low[1]}"
            if low
            else version
            if version[:1] in "<>=!"
            else f"=={version}"
        )
        found.append(f"{name}{spec}")
    return found


def _setup_cfg(text: str) -> Iterator[str]:
    """What setuptools' own file says of tests, where no metadata repeat it."""
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(text)
    except configparser.Error:
        return
    lines = parser.get("options", "tests_require", fallback="").splitlines()
    yield from (line.strip() for line in lines if line.strip())
