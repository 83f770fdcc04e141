"""Replies of models in a file, so that an episode a model took part in can be played again to the byte.

One JSON object a line: the key of a request, what it was about in words, and the reply. A key is a hash of
all that decides the reply, so the file does not care in which order episodes were played. Lines, and not a
database, because recordings are read by people, compared by git, and shared over network file systems,
where a file lock works and SQLite's write-ahead log does not.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from forge_envs.errors import MachineError


def key_of(request: Mapping[str, Any]) -> str:
    """32 hex digits that are equal for equal requests, whatever the order of their keys.

    >>> key_of({"model": "m", "seed": 1}) == key_of({"seed": 1, "model": "m"}) != key_of({"model": "m"})
    True
    """
    text = json.dumps(request, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Recording:
    """Replies by key, read from a file and appended to it.

    Any number of threads and processes may read and append at once. An append holds the file's lock, reads
    what others appended meanwhile, and is on the disk when `add` returns: all agree on the first reply to a
    request, and no reply that `add` returned is lost. A line that a kill left torn was never
    returned; whoever appends next removes it.

    Raises ValueError for a file that is no recording or cannot be read.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        self._replies: dict[str, str] = {}
        self._read = 0
        """Bytes of the file that are known, up to the end of a line."""
        self._lines = 0
        if must_exist and not self.path.is_file():
            raise ValueError(f"recording {self.path}: no such file; make one with record={self.path}")
        try:
            self._catch_up()
        except OSError as error:
            raise ValueError(f"recording {self.path} cannot be read ({error.strerror or error})") from None

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, key: str) -> str | None:
        """The reply to a request, None if there is none in the file by now. Raises MachineError."""
        if key not in self._replies:
            with self._lock, self._failures("read"):
                self._catch_up()
        return self._replies.get(key)

    def add(self, key: str, heard: str, reply: str) -> str:
        """Write down a reply; returns the one that stands, the first for its key. Raises MachineError."""
        line = json.dumps({"key": key, "heard": heard, "reply": reply}, ensure_ascii=False) + "\n"
        with self._lock, self._failures("written"):
            if key not in self._replies:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with open(self.path, "a+b", buffering=0) as file, _locked(file):
                    self._settle(file)
                    if key not in self._replies:
                        _append(file, line.encode())
                        self._replies[key] = reply
                        self._read = file.tell()
                        self._lines += 1
            return self._replies[key]

    def _catch_up(self) -> None:
        """Learn what was appended since the last look, as far as it is whole."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                self._learn(file)

    def _settle(self, file: IO[bytes]) -> None:
        """The same under the lock, where a tail that is not whole is what a kill left: nobody is writing."""
        tail = self._learn(file)
        if tail:
            end = self._read
            if _entry(tail) is None:
                file.truncate(end)
            else:  # all of it but its end
                _append(file, b"\n")
                self._learn(file)

    def _learn(self, file: IO[bytes]) -> bytes:
        """Take in whole lines; returns what follows the last of them. Raises ValueError."""
        if os.fstat(file.fileno()).st_size < self._read:  # another file by now
            self._read = self._lines = 0
        file.seek(self._read)
        data = file.read()
        end = data.rfind(b"\n") + 1
        for line in data[:end].split(b"\n")[:-1]:
            entry = _entry(line)
            if entry is None:
                raise ValueError(
                    f"recording {self.path}: line {self._lines + 1} is no "
                    '{"key", "heard", "reply"} object; delete that line, or give the file of a recording'
                )
            self._replies.setdefault(*entry)
            self._lines += 1
            self._read += len(line) + 1
        return data[end:]

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        """A file that fails in the midst of an episode is a failed machine."""
        try:
            yield
        except OSError as error:
            told = f"recording {self.path} cannot be {what} ({error.strerror or error})"
            raise MachineError(told, kind="recording", stage="record", retryable=False) from None
        except ValueError as error:
            raise MachineError(str(error), kind="recording", stage="record", retryable=False) from None


def _entry(line: bytes) -> tuple[str, str] | None:
    """Key and reply of a line, None if it holds none."""
    try:
        entry = json.loads(line)
        key, reply = entry["key"], entry["reply"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (key, reply) if isinstance(key, str) and isinstance(reply, str) else None


def _append(file: IO[bytes], data: bytes) -> None:
    """All of it, down to the disk, or none of it."""
    before = file.seek(0, os.SEEK_END)
    try:
        if file.write(data) != len(data):
            raise OSError("the line was cut short; is the disk full?")
        os.fsync(file.fileno())
    except OSError:
        file.truncate(before)
        raise


@contextmanager
def _locked(file: IO[bytes]) -> Iterator[None]:
    """Hold the file's lock; it falls with the process that holds it."""
    import fcntl  # replaying needs none, also where there is none

    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


@functools.cache
def recording(path: str, must_exist: bool = False) -> Recording:
    """The recording of a path: one for all environments of this process."""
    return Recording(path, must_exist=must_exist)
