"""Replies of models in a file, so that an episode a model took part in can be played again to the byte.

One JSON object a line: the key of a request, what it was about in words, and the reply. A key is a hash of
all that decides the reply, so the file does not care in which order episodes were played.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.errors import MachineError


def key_of(request: Mapping[str, Any]) -> str:
    """32 hex digits that are equal for equal requests, whatever the order of their keys.

    >>> key_of({"model": "m", "seed": 1}) == key_of({"seed": 1, "model": "m"}) != key_of({"model": "m"})
    True
    """
    text = json.dumps(request, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Recording:
    """Replies by key, read from a file once and appended to it.

    Any number of threads and processes may append: a line is written whole. A last line that a kill left
    torn is dropped. Raises ValueError for a file that is no recording or cannot be read.
    """

    def __init__(self, path: str | Path, *, must_exist: bool = False) -> None:
        self.path = Path(path).expanduser()
        self._lock = threading.Lock()
        if must_exist and not self.path.is_file():
            raise ValueError(f"recording {self.path}: no such file; make one with record={self.path}")
        try:
            data = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise ValueError(f"recording {self.path} cannot be read ({error.strerror or error})") from None
        whole = data.rfind(b"\n") + 1
        self._torn = whole if whole < len(data) else None
        self._replies = self._read(data[:whole])

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, key: str) -> str | None:
        """The reply to a request, None if there is none."""
        return self._replies.get(key)

    def add(self, key: str, heard: str, reply: str) -> str:
        """Write down a reply; returns the one that stands, the first for its key. Raises MachineError."""
        line = json.dumps({"key": key, "heard": heard, "reply": reply}, ensure_ascii=False) + "\n"
        with self._lock:
            if key in self._replies:
                return self._replies[key]
            try:
                self._append(line.encode())
            except OSError as error:
                what = f"recording {self.path} cannot be written ({error.strerror or error})"
                raise MachineError(what, kind="recording", stage="record", retryable=False) from None
            self._replies[key] = reply
        return reply

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._torn is not None:
            os.truncate(self.path, self._torn)
            self._torn = None
        with open(self.path, "ab", buffering=0) as file:
            if file.write(line) != len(line):
                raise OSError("the line was cut short; is the disk full?")

    def _read(self, data: bytes) -> dict[str, str]:
        replies: dict[str, str] = {}
        for number, line in enumerate(data.splitlines(), 1):
            try:
                entry = json.loads(line)
                key, reply = entry["key"], entry["reply"]
                sound = isinstance(key, str) and isinstance(reply, str)
            except (ValueError, KeyError, TypeError):
                sound = False
            if not sound:
                raise ValueError(
                    f'recording {self.path}: line {number} is no {{"key", "heard", "reply"}} object; '
                    "delete that line, or give the file of a recording"
                )
            replies.setdefault(key, reply)
        return replies


@functools.cache
def recording(path: str, must_exist: bool = False) -> Recording:
    """The recording of a path: one for all environments of this process."""
    return Recording(path, must_exist=must_exist)
