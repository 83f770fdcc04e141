"""Recordings that several processes write to, are killed over, and are read from by others."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_envs.errors import MachineError
from forge_envs.people.recording import Recording

WRITER = """
import sys
from forge_envs.people.recording import Recording
path, name, count, shared = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "shared"
book = Recording(path)
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    key = f"k{n}" if shared else f"{name}{n}"
    stands = book.add(key, "hi", f"{name} says {n} " + "é" * 3000)
    sys.stdout.write(f"{key} {stands.split()[0]}\\n")  # at once, also where Python does not buffer
    sys.stdout.flush()
"""


def writers(path: Path, names: str, count: int, mode: str = "own") -> list[subprocess.Popen[str]]:
    """Processes that have read the recording and begin to write at the same time."""
    found = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), name, str(count), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in names
    ]
    for one in found:
        assert one.stdout is not None and one.stdout.readline() == "ready\n"
    for one in found:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    return found


def told(writer: subprocess.Popen[str]) -> Iterator[tuple[str, str]]:
    """The keys that a process was told are written, and whose reply stands."""
    for line in writer.communicate(timeout=600)[0].splitlines():
        key, who = line.split()
        yield key, who


def entries(path: Path) -> list[str]:
    """The keys of a file, every line of which is whole."""
    return [json.loads(line)["key"] for line in path.read_text(encoding="utf-8").splitlines()]


def test_processes_that_meet_a_torn_tail_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    Recording(path).add("old", "hi", "old 0")
    with path.open("ab") as file:
        file.write(b'{"key": "torn", "heard": "h')
    acknowledged = [key for one in writers(path, "abc", 40) for key, _ in told(one)]
    assert len(acknowledged) == 120
    assert sorted(entries(path)) == sorted(["old", *acknowledged])
    assert len(Recording(path)) == 121


def test_the_second_to_write_does_not_cut_off_what_the_first_wrote(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    path.write_bytes(b'{"key": "torn"')
    first, second = Recording(path), Recording(path)  # both have seen the torn tail
    first.add("a", "hi", "one")
    second.add("b", "hi", "two")
    assert entries(path) == ["a", "b"]


def test_processes_agree_on_the_reply_that_stands(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    found = [dict(told(one)) for one in writers(path, "abc", 40, "shared")]
    assert found[0] == found[1] == found[2] and len(found[0]) == 40
    again = Recording(path)
    assert sorted(entries(path)) == sorted(found[0]), "one line a key"
    assert all(str(again.find(key)).startswith(f"{who} says") for key, who in found[0].items())


def test_a_kill_in_the_middle_of_writing_costs_no_reply_that_was_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    acknowledged: set[str] = set()
    for round in range(3):
        spared, *killed = writers(path, "abc"[round] + "xyz", 30)
        time.sleep(0.02 * round)
        for one in killed:
            one.send_signal(signal.SIGKILL)
        acknowledged |= {key for one in (spared, *killed) for key, _ in told(one)}
    again = Recording(path)
    assert len(acknowledged) >= 90 and all(again.find(key) for key in acknowledged)
    again.add("after", "hi", "all of it")
    assert acknowledged | {"after"} <= set(entries(path)), "every line is whole"


def test_a_last_line_that_lacks_only_its_end_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    Recording(path).add("a", "hi", "one")
    path.write_bytes(path.read_bytes() + b'{"key": "b", "heard": "hi", "reply": "two"}')
    again = Recording(path)
    assert again.add("b", "hi", "other") == "two" and again.add("c", "hi", "three") == "three"
    assert entries(path) == ["a", "b", "c"]


def test_what_another_process_recorded_is_found_without_asking_again(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    here, there = Recording(path), Recording(path)
    there.add("a", "hi", "one")
    assert here.find("a") == "one" and here.add("a", "hi", "two") == "one" and len(here) == 1
    with path.open("ab") as file:
        file.write(b'{"key": "b", "he')  # somebody is writing
    assert here.find("b") is None and here.find("a") == "one"


def test_a_line_that_somebody_spoils_meanwhile_is_a_failed_machine(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    book = Recording(path)
    book.add("a", "hi", "one")
    path.write_bytes(path.read_bytes() + b"rubbish\n")
    for use in (lambda: book.find("b"), lambda: book.add("b", "hi", "two")):
        with pytest.raises(MachineError, match="line 2 is no") as caught:
            use()
        assert (caught.value.kind, caught.value.retryable) == ("recording", False)
    assert book.find("a") == "one" and path.read_bytes().endswith(b"rubbish\n")


def test_a_recording_that_is_removed_meanwhile_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "users.jsonl"
    book = Recording(path)
    book.add("a", "hi", "a long line that was there")
    path.unlink()
    assert book.find("a") and book.add("b", "hi", "two") == "two" and entries(path) == ["b"]


def test_separators_of_lines_inside_a_reply_do_not_end_it(tmp_path: Path) -> None:
    book, reply = Recording(tmp_path / "users.jsonl"), "a\u2028b\x85c\x0cd\re\nf"
    book.add("a", reply, reply)
    assert Recording(book.path).find("a") == reply
