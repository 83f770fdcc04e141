"""Tasks of two releases: the statement does not name the change."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_envs.make_swe.choose import Trial
from forge_envs.make_swe.errors import MakeError, NoBugs
from forge_envs.make_swe.lab import Baseline
from forge_envs.make_swe.package import Package
from forge_envs.make_swe.release import Pair, _write
from forge_envs.make_swe.settings import Settings
from forge_envs.make_swe.statement import Issue

pytest.importorskip("swebench")

OLD = b"def fits(width, free):\n    return width < free\n"
TEST = b"from shelf import fits\n\n\ndef test_a():\n    assert fits(3, free=3)\n"
NAME = "tests/test_shelf.py::test_a"
PLACES = {NAME: ("tests/test_shelf.py", 4)}


def write(new: bytes, folder: Path, data: tuple[bytes, bytes] | None = None) -> str:
    """The statement of the task of a release whose only module is this; `data` is a file of its tests."""
    old = Package("shelf", "1.0", {"shelf.py": OLD, "tests/test_old.py": b""})
    later = Package("shelf", "2.0", {"shelf.py": new, "tests/test_shelf.py": TEST})
    before, after = ({"tests/data.bin": side} for side in data) if data else ({}, {})
    tests = (before, {"tests/test_shelf.py": TEST, **after})
    pair = Pair(old, later, ({"shelf.py": OLD}, {"shelf.py": new}), tests)
    shared = folder / "shared"
    shared.mkdir()
    for name in ("source.tar.gz", "requirements.txt"):
        (shared / name).write_bytes(b"")
    trial = Trial("", (NAME,), ("tests/test_old.py::test_b",), {})
    base = Baseline(["tests"], [], [*PLACES], 0, 0.1, PLACES, {})
    issue = Issue("from shelf import fits\n\nassert fits(3, free=3)\n", ())
    _write(pair, trial, base, issue, folder / "task", shared, Settings(folder))
    return (folder / "task" / "problem_statement.md").read_text()


def test_the_statement_shows_what_fails(tmp_path: Path) -> None:
    told = write(OLD.replace(b"<", b"<="), tmp_path)
    assert "assert fits(3, free=3)" in told and "shelf.py" not in told


def test_a_line_of_imports_tells_nothing(tmp_path: Path) -> None:
    assert "from shelf import fits" in write(OLD.replace(b"<", b"<=") + b"from shelf import fits\n", tmp_path)


def test_a_statement_that_names_the_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoBugs, match=r"leaks \['assert fits\(3, free=3\)'\] of shelf.py"):
        write(OLD.replace(b"<", b"<=") + b"\nassert fits(3, free=3)\n", tmp_path)


def test_a_release_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MakeError, match="its patch is not UTF-8"):
        write(OLD + b"# \xe9\n", tmp_path)


def test_a_release_whose_tests_read_what_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(MakeError, match=r"tests/data.bin is no text"):
        write(OLD.replace(b"<", b"<="), tmp_path, (b"\x00\x01", b"\x00\x02"))
