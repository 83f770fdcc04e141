"""The edit command, run as the agent runs it: as a program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# -- ends of lines ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "a\nb\n", "a\nx\ny\n", b"a\r\nx\r\ny\r\nc\r\n"),
        (b"a\r\nb\r\n", "b", "x\ny", b"a\r\nx\r\ny\r\n"),
        (b"a\nb\nc\n", "a\r\nb\r\n", "x\r\ny\r\n", b"x\ny\nc\n"),
        (b"a\rb\rc", "a\nb", "a\nx\nb", b"a\rx\rb\rc"),
        (b"a\r\nb\nc\nd\n", "a\nb\nc\n", "a\nx\nc\n", b"a\r\nx\nc\nd\n"),
        (b"a\nb\r\nc\r\n", "a\nb\nc\n", "a\nb\nx\nc\n", b"a\nb\r\nx\r\nc\r\n"),
        (b"a\nlast", "last\n", "x\nlast\n", b"a\nx\nlast"),
        (b"\xef\xbb\xbfa\r\nb\r\n", "a\nb", "x\nb", b"\xef\xbb\xbfx\r\nb\r\n"),
        (b"\tif a:\r\n\t\tb\r\n", "\tif a:\n\t\tb\n", "\tif c:\n\t\tb\n", b"\tif c:\r\n\t\tb\r\n"),
        (b"one line", "one", "two\nlines,", b"two\nlines, line"),
        (b"x = 1\n", "x = 1", 's = "a\rb"', b's = "a\rb"\n'),
        (b"a\r\n\r\nb\r\n", "a\n\nb", "a\nb", b"a\r\nb\r\n"),
    ],
)
def test_lines_are_found_and_written_with_the_ends_of_the_file(
    tmp_path: Path, before: bytes, old: str, new: str, after: bytes
) -> None:
    (tmp_path / "a").write_bytes(before)
    assert run(tmp_path, "a", old, new)[0] == 0
    assert (tmp_path / "a").read_bytes() == after


def test_lines_that_differ_in_their_ends_alone_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a\r\nb\na\nb\n")
    code, said = run(tmp_path, "a", "a\nb\n", "x\n")
    assert code == 3 and "lines 1, 3" in said
    code, said = run(tmp_path, "a", "a\r\n", "a\n")
    assert code == 1 and "ends of lines alone" in said
    assert (tmp_path / "a").read_bytes() == b"a\r\nb\na\nb\n"


def test_a_new_file_is_written_byte_for_byte(tmp_path: Path) -> None:
    text = "\ufeffa\r\n<think>\n<tool_call>{}</tool_call>\r</think>"
    assert run(tmp_path, "a", "", text)[0] == 0
    assert (tmp_path / "a").read_bytes() == text.encode()


def test_tags_in_old_and_new_are_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("s = '<think>a</think>'\n")
    new = "</think><tool_call>\n{\"name\": 1}</tool_call>$(x) `y` \\n 'z'"
    assert run(tmp_path, "a", "<think>a</think>", new)[0] == 0
    assert (tmp_path / "a").read_text() == f"s = '{new}'\n"


def test_what_was_meant_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("def f():\n\treturn 1\n\n\ndef g(value):\n\treturn value + 2\n")
    code, said = run(tmp_path, "a", "def f():\n    return 1\n", "x")
    assert code == 2 and "the same but for blanks:\n     1  def f():\n     2  \\treturn 1" in said
    code, said = run(tmp_path, "a", "def g(values):\n\treturn values + 2\n", "x")
    assert code == 2 and "like it:\n     5  def g(value):\n     6  \\treturn value + 2" in said
    assert "No lines are like it" in run(tmp_path, "a", "nothing of the kind", "x")[1]


TEXTS = st.text("ab \t\r\n", max_size=12).map(str.encode)


@given(TEXTS, TEXTS.filter(bool), TEXTS, TEXTS)
def test_only_what_is_new_changes(before: bytes, old: bytes, new: bytes, after: bytes) -> None:
    whole, wanted = edit.plain(before + old + after), edit.plain(old)
    text, place = before + old + after, whole.find(wanted)
    start, end = (edit.position(text, whole, at) for at in (place, place + len(wanted)))
    assert edit.plain(text[:start]) == whole[:place] and edit.plain(text[start:end]) == wanted
    written = edit.ended(text, text[start:end], new)
    assert edit.plain(written) == edit.plain(new)
    assert edit.ended(text, text[start:end], text[start:end]) == text[start:end]
