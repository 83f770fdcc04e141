"""The edit command, run as the agent runs it: as a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from forge_envs.worlds.swe import edit


def run(folder: Path, *arguments: str | bytes) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, edit.__file__, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert not done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "a.py"
    file.write_bytes(b"one\r\ntwo\nthree \xff\nfour\n")
    file.chmod(0o755)
    return file


def test_replaces_what_occurs_once(file: Path) -> None:
    code, said = run(file.parent, "a.py", "two\n", "2\n2b\n")
    assert code == 0
    assert file.read_bytes() == b"one\r\n2\n2b\nthree \xff\nfour\n"
    assert file.stat().st_mode & 0o777 == 0o755
    assert "     2  2\n     3  2b\n" in said
    assert sorted(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [("five", "5", 2), ("o", "0", 3), ("two", "two", 1), ("", "x", 1), ("Two", "2", 2)],
)
def test_says_why_it_did_not(file: Path, old: str, new: str, code: int) -> None:
    before = file.read_bytes()
    assert run(file.parent, "a.py", old, new)[0] == code
    assert file.read_bytes() == before


def test_overlapping_occurrences_are_two(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("aaa")
    assert run(tmp_path, "a", "aa", "b")[0] == 3


def test_makes_a_file(tmp_path: Path) -> None:
    assert run(tmp_path, "new/deep.py", "", "x = 1\n")[0] == 0
    assert (tmp_path / "new/deep.py").read_text() == "x = 1\n"


def test_links_stay_links(file: Path) -> None:
    (file.parent / "link").symlink_to("a.py")
    assert run(file.parent, "link", "two", "2")[0] == 0
    assert (file.parent / "link").is_symlink() and b"\n2\n" in file.read_bytes()


@pytest.mark.parametrize("arguments", [(), ("a.py",), ("a.py", "x"), ("a.py", "x", "y", "z")])
def test_usage(file: Path, arguments: tuple[str, ...]) -> None:
    code, said = run(file.parent, *arguments)
    assert code == 1 and said.startswith("usage")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert run(tmp_path, "none", "a", "b") == (1, "none: No such file or directory\n")
    assert run(tmp_path, ".", "a", "b") == (1, ".: Is a directory\n")
