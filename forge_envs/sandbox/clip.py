"""Output that may be endless, kept as its two ends."""

from __future__ import annotations

import codecs
import signal
from collections import deque

from forge_envs.sandbox.base import Result


class Clip:
    """Decodes bytes as they come and keeps the first `head` and the last `tail` characters.

    Memory is bounded by what is kept, whatever comes in. A character cut in two by the pieces is put
    together again; bytes that are no UTF-8 become U+FFFD.

    >>> clip = Clip(head=3, tail=2)
    >>> for piece in (b"ab\\xc3", b"\\xa9 and so ", b"on"):
    ...     clip.feed(piece)
    >>> clip.end()
    ('abéon', 8)
    """

    def __init__(self, head: int, tail: int) -> None:
        if head < 0 or tail < 0:
            raise ValueError(f"head={head}, tail={tail}: both count characters, so neither is negative")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._head, self._tail = head, tail
        self._first: list[str] = []
        self._last: deque[str] = deque()
        self._kept = 0  # characters in _last
        self.seen = 0
        """Characters so far."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._take(self._decoder.decode(data))

    def end(self) -> tuple[str, int]:
        """What is kept, and how many characters were left out between the head and the tail."""
        self._take(self._decoder.decode(b"", final=True))
        last = "".join(self._last)
        last = last[max(0, len(last) - self._tail) :]
        first = "".join(self._first)
        return first + last, self.seen - len(first) - len(last)

    def result(self, code: int | None, *, filled: int | None = None) -> Result:
        """How a command ended that said this.

        `code` is None after its deadline; `filled` is the disk's limit, in MB, if it was ended because of it.
        """
        output, elided = self.end()
        if filled is not None:
            return Result(
                128 + signal.SIGKILL, f"{output}\n[killed: more than {filled} MB on disk]\n", elided
            )
        return Result(124 if code is None else code, output, elided, timed_out=code is None)

    def _take(self, text: str) -> None:
        room = self._head - min(self.seen, self._head)
        self.seen += len(text)
        if room:
            self._first.append(text[:room])
            text = text[room:]
        text = text[max(0, len(text) - self._tail) :]
        if not text:
            return
        self._last.append(text)
        self._kept += len(text)
        while self._kept - len(self._last[0]) >= self._tail:
            self._kept -= len(self._last.popleft())
