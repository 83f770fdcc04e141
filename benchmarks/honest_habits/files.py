"""Tests, documents, and files about files."""

from __future__ import annotations

import re
from pathlib import Path

from . import HABITS, Unfit, append, dotted, habit, insert, put


@habit
def new_test_file(source: Path, test: Path) -> None:
    """Tests in a file of their own."""
    put(
        test.with_name("test_added_here.py"),
        f"import {dotted(source)}\n\n\ndef test_added():\n    assert {dotted(source)}\n",
    )


@habit
def test_in_the_hidden_file(source: Path, test: Path) -> None:
    """A test in the very file that gold's tests come to."""
    append(test, "def test_added_by_the_author():\n    assert 1 + 1 == 2\n")


@habit
def test_before_the_others(source: Path, test: Path) -> None:
    """The same at its top."""
    insert(test, "def test_added_at_the_top():\n    assert True\n\n")


@habit
def tests_rewritten(source: Path, test: Path) -> None:
    """Old tests moved to another folder, and made new."""
    put("tests/unit/__init__.py", "")
    put("tests/unit/test_all.py", test.read_text())
    test.unlink()


@habit
def fixtures(source: Path, test: Path) -> None:
    """A conftest of the tests', one of the package's own."""
    text = "import pytest\n\n\n@pytest.fixture\ndef thing():\n    return 1\n"
    put(test.with_name("conftest.py"), text)
    put(source.parent / "conftest.py", text)


@habit
def tests_in_the_package(source: Path, test: Path) -> None:
    """Tests beside the code, with data."""
    put(source.parent / "tests" / "__init__.py", "")
    put(source.parent / "tests" / "test_it.py", "def test_it():\n    assert True\n")
    put(source.parent / "tests" / "data" / "x.json", "{}\n")


@habit
def changelog(source: Path, test: Path) -> None:
    """A line for users, in several customs."""
    put("CHANGELOG.md", "# Changes\n\n- Fixed. PASSED tests/test_x.py::test_y\n")
    put("NEWS.rst", "News\n====\n\n* Fixed\n")
    put("changes/123.bugfix.md", "Fixed.\n")
    put("AUTHORS", "ä\n")


@habit
def readme(source: Path, test: Path) -> None:
    """More to read."""
    place = Path("README.md")
    put(place, (place.read_text() if place.exists() else "") + "\n## More\n\n    >>> 1 + 1\n    2\n")


@habit
def documents(source: Path, test: Path) -> None:
    """A handbook with a program that builds it."""
    put("docs/conf.py", "project = 'x'\n")
    put("docs/index.rst", "Hello\n=====\n\n>>> 1 + 1\n2\n")
    put("docs/how to – für alle.md", "text\n")
    put("docs/[id].md", "text\n")
    put("docs/-x.md", "text\n")
    put("docs/a'b\"c.md", "text\n")
    put("docs/" + "long-" * 40 + ".md", "text\n")


@habit
def examples(source: Path, test: Path) -> None:
    """Programs beside the package."""
    put("examples/demo.py", "print('hello')\n")
    put("benchmarks/bench.py", "print('hello')\n")
    put("scripts/check.sh", "#!/bin/sh\nexit 0\n").chmod(0o755)
    put("tools/run.py", "#!/usr/bin/env python3\n").chmod(0o755)


@habit
def executable(source: Path, test: Path) -> None:
    """A module that can be called."""
    source.chmod(0o755)


@habit
def executable_all(source: Path, test: Path) -> None:
    """A copy from a disk that knows no such thing."""
    for path in Path().rglob("*.py"):
        path.chmod(0o755)


@habit
def links(source: Path, test: Path) -> None:
    """Links for readers."""
    Path("docs").mkdir(exist_ok=True)
    Path("docs/README.md").symlink_to("../README.md")
    Path("docs/code").symlink_to(f"../{source.parent}")
    Path("LICENSE.txt").symlink_to("README.md")


@habit
def link_of_a_moved_module(source: Path, test: Path) -> None:
    """A module moved, and a link where it was."""
    target = source.with_name(f"{source.stem}_new.py")
    source.rename(target)
    source.symlink_to(target.name)


@habit
def linked_data(source: Path, test: Path) -> None:
    """A data file that lies elsewhere."""
    put("data/table.txt", "1\n")
    (source.parent / "table.txt").symlink_to("../" * len(source.parent.parts) + "data/table.txt")
    insert(
        source,
        "import pathlib as _pathlib\n\nassert _pathlib.Path(__file__).with_name('table.txt').read_text()",
    )


@habit
def stubs(source: Path, test: Path) -> None:
    """Types for others."""
    put(source.with_suffix(".pyi"), "from typing import Any\n\ndef __getattr__(name: str) -> Any: ...\n")
    put(source.parent / "py.typed", "")


@habit
def settings(source: Path, test: Path) -> None:
    """Settings of tools that read code, and of the project."""
    place = Path("pyproject.toml")
    text = place.read_text() if place.exists() else ""
    if "[tool.ruff]" not in text:
        text += "\n[tool.ruff]\nline-length = 99\n"
    if "[tool.mypy]" not in text:
        text += "\n[tool.mypy]\nstrict = true\n"
    put(place, re.sub(r'^version = ".*"', 'version = "99.1"', text, flags=re.M))


@habit
def settings_of_tests(source: Path, test: Path) -> None:
    """Settings of tests that change nothing here."""
    put("ruff.toml", "line-length = 99\n")
    put("mypy.ini", "[mypy]\nstrict = True\n")
    put("tox.ini", "[tox]\nenvlist = py311\n\n[pytest]\naddopts = -v\n")
    put(".coveragerc", "[run]\nbranch = True\n")
    put(".pre-commit-config.yaml", "repos: []\n")
    put(".editorconfig", "root = true\n")
    put(".github/workflows/ci.yml", "on: push\n")
    put("requirements-dev.txt", "pytest\n")
    put("Makefile", "test:\n\tpytest\n")
    put("Dockerfile", "FROM scratch\n")
    put("MANIFEST.in", "include README.md\n")


@habit
def installer(source: Path, test: Path) -> None:
    """The project learns to be installed."""
    if not Path("setup.py").exists() and not Path("pyproject.toml").exists():
        put("setup.py", "from setuptools import setup\n\nsetup(name='x')\n")
        put("setup.cfg", "[metadata]\nname = x\nversion = 2\n\n[flake8]\nmax-line-length = 99\n")
        return
    raise Unfit("it can be")


@habit
def ignored(source: Path, test: Path) -> None:
    """What git need not see."""
    place = Path(".gitignore")
    put(place, (place.read_text() if place.exists() else "") + "*.log\n/build/\n.venv/\n")
    put("build/x.txt", "1\n")
    put("run.log", "1\n")


@habit
def large(source: Path, test: Path) -> None:
    """A long table."""
    put(
        source.parent / "long.py",
        "TABLE = [\n" + "".join(f"    ({i}, 'x{i}'),\n" for i in range(8000)) + "]\n",
    )
    insert(source, f"from {dotted(source)}.long import TABLE as _TABLE\n\nassert len(_TABLE) == 8000")


@habit
def files_deleted(source: Path, test: Path) -> None:
    """What nobody needs."""
    for name in ("README.md", ".gitignore"):
        Path(name).unlink(missing_ok=True)


@habit
def files_moved(source: Path, test: Path) -> None:
    """Another place for the same."""
    if not Path("README.md").exists():
        raise Unfit("nothing to move")
    Path("docs").mkdir(exist_ok=True)
    Path("README.md").rename("docs/README.rst")


@habit
def everything_at_once(source: Path, test: Path) -> None:
    """A long day's work."""
    for name in ("helpers_behind", "comments", "exports", "new_test_file", "changelog", "documents", "stubs"):
        try:
            HABITS[name](source, test)
        except Unfit:
            continue
