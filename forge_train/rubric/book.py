"""Replies of a judge in a file, so that a run's judgements can be had again without asking.

One JSON object a line, as worlds record their models (`forge_envs.people.recording`): the key of a request,
what was asked, the reply. A key is a hash of all that decides the reply, so the order of lines does not
matter. One run appends at a time, and an append is one write.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_train.record.run_folder import read_lines, repair

HEARD = 200
"""Characters of a question that are written beside its reply, for people."""


def key_of(request: Mapping[str, Any]) -> str:
    """32 hex digits that are equal for equal requests, whatever the order of their keys.

    >>> key_of({"model": "m", "seed": 1}) == key_of({"seed": 1, "model": "m"}) != key_of({"model": "m"})
    True
    """
    text = json.dumps(request, sort_keys=True, ensure_ascii=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class JudgementBook:
    """Replies by key. Raises ValueError for a file that is no recording, or is not there where it
    `must_exist`."""

    def __init__(self, path: Path, *, must_exist: bool = False) -> None:
        self.path = path.expanduser()
        self._replies: dict[str, str] = {}
        if must_exist and not self.path.is_file():
            raise ValueError(f'rubric.replay = "{path}": no such file; make one with rubric.record')
        try:
            repair(self.path)
            for number, line in enumerate(read_lines(self.path), start=1):
                if not isinstance(line.get("key"), str) or not isinstance(line.get("reply"), str):
                    raise ValueError(f'{path}: line {number} is no {{"key", "heard", "reply"}}; delete it')
                self._replies.setdefault(line["key"], line["reply"])
        except OSError as error:
            raise ValueError(f"{path} cannot be read ({error.strerror or error})") from None

    def __len__(self) -> int:
        return len(self._replies)

    def find(self, key: str) -> str | None:
        """The reply to a request, None if there is none."""
        return self._replies.get(key)

    def add(self, key: str, heard: str, reply: str) -> str:
        """Write a reply down; returns the one that stands, the first for its key. Raises OSError."""
        if key not in self._replies:
            line = json.dumps({"key": key, "heard": heard[-HEARD:], "reply": reply}, ensure_ascii=False)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "ab", buffering=0) as file:
                file.write(line.encode() + b"\n")
                os.fsync(file.fileno())
            self._replies[key] = reply
        return self._replies[key]
