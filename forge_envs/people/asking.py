"""Requests to a server of the user's, each until its answer is of use, written down and answered again.

What is off the protocol is asked for again until the deadline, and then is a failed machine: it never reaches
an agent as if it were right. Needs httpx2 (`pip install forge-envs[users]`), which is imported when the first
request is sent.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, TypeVar
from urllib.parse import parse_qsl

from forge_envs.errors import MachineError
from forge_envs.people.attempts import Failed, backoff, refusal
from forge_envs.people.posting import JsonPost
from forge_envs.people.recording import Recording, key_of, recording

_MOST_USELESS = 3
"""Answers off the protocol until a request is given up; a server that does not answer is asked longer."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PostSpec:
    """Where a server is, and how it is asked."""

    url: str
    """Up to and without the path of a request."""
    deadline: float = 60.0
    """Seconds for one answer: waiting for a free place, attempts and the pauses between them."""
    attempt: float = 20.0
    """Seconds the server may take for one attempt."""
    attempts: int = 5
    """Most requests for one answer."""
    limit: int = 16
    """Requests at once, from all environments of a process together."""
    largest: int = 4 << 20
    """Bytes of an answer."""
    key: str = ""
    """Name of the environment variable that holds the API key, which is sent as a bearer token."""
    record: str = ""
    """File in which answers are written down; a request it knows is answered from it."""
    replay: str = ""
    """File from which alone answers are taken; nothing is sent."""

    @classmethod
    def of(cls, text: str, settings: str, **given: Any) -> Self:
        """The spec of `given` and of `key=value&…`. Raises ValueError, which quotes `text`, with the fix."""
        known: dict[str, Callable[[str], Any]] = {
            one.name: type(one.default) for one in fields(cls) if one.name not in given
        }
        found: dict[str, Any] = {}
        for name, value in parse_qsl(settings, keep_blank_values=True):
            if name not in known:
                raise ValueError(f"{text!r}: no setting {name!r}; known are {', '.join(known)}")
            try:
                found[name] = known[name](value)
            except ValueError:
                raise ValueError(f"{text!r}: {name}={value!r} is no number") from None
        return cls(**given, **found)

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, int | float) and not 0 < value < float("inf"):
                raise ValueError(f"{one.name}={value}: it must be more than 0")
        if self.record and self.replay:
            raise ValueError(f"record={self.record}, replay={self.replay}: choose one of them")


class RecordedPost:
    """A server that is asked by a spec. Threads may share it.

    Raises ValueError, which quotes `text`, when a recording cannot be used, or the API key or httpx2 is
    missing.
    """

    def __init__(self, spec: PostSpec, text: str) -> None:
        self.spec = spec
        self._post = JsonPost(spec.url, key=spec.key, limit=spec.limit, text=text, sends=not spec.replay)
        self._book: Recording | None = None
        if spec.record or spec.replay:
            self._book = recording(spec.record or spec.replay, bool(spec.replay))

    def ask(self, path: str, body: Mapping[str, Any], read: Callable[[str], T], *, absent: bool = False) -> T:
        """What `read` makes of the answer's text, out of the recording where it is there.

        `read` raises ValueError for an answer off the protocol. With `absent`, a status of 404 is the answer
        "null". Raises MachineError (refused, timeout, rubbish or recording) whose stage is the path.
        """
        # The address of a server is no part of what was asked: a recording serves whoever has it.
        key, heard = key_of({"path": path, **body}), f"/{path} {json.dumps(body, ensure_ascii=False)[:200]}"
        if self._book is not None and (known := self._book.find(key)) is not None:
            return self._known(known, path, read)
        if self.spec.replay:
            what = f"{self.spec.replay} holds no answer to {heard[:120]}"
            raise MachineError(what, kind="recording", stage=path, retryable=False)
        ends = time.monotonic() + self.spec.deadline
        with self._post.place(self.spec.deadline, path):
            answer = self._answer(path, body, key, ends, read, absent)
        if self._book is None:
            return read(answer)
        return self._known(self._book.add(key, heard, answer), path, read)

    def _known(self, answer: str, path: str, read: Callable[[str], T]) -> T:
        """A recorded answer; a file that somebody edited may hold one of no use."""
        try:
            return read(answer)
        except ValueError as error:
            what = f"{self.spec.record or self.spec.replay} holds an answer of no use: {error}"
            raise MachineError(what, kind="recording", stage=path, retryable=False) from None

    def _answer(
        self,
        path: str,
        body: Mapping[str, Any],
        key: str,
        ends: float,
        read: Callable[[str], object],
        absent: bool,
    ) -> str:
        """Ask until there is an answer of the protocol, or no time or attempt is left."""
        useless = 0
        for attempt in range(1, self.spec.attempts + 1):
            left = max(ends - time.monotonic(), 0.001)
            try:
                answer = self._once(path, body, min(self.spec.attempt, left), absent)
                read(answer)
                return answer
            except Failed as failed:
                failure = failed
            except ValueError as error:
                failure = Failed("rubbish", f"an answer off the protocol: {error}", useless=True)
            useless += failure.useless
            pause = max(failure.retry_after, backoff(attempt, key))
            if not failure.retryable or useless >= _MOST_USELESS or pause >= ends - time.monotonic():
                break
            if attempt < self.spec.attempts:
                time.sleep(pause)
        what = f"{self.spec.url}/{path}: {failure}, attempt {attempt}"
        raise MachineError(what, kind=failure.kind, stage=path, retryable=failure.retryable)

    def _once(self, path: str, body: Mapping[str, Any], timeout: float, absent: bool) -> str:
        """One attempt: the answer's JSON as text. Raises Failed."""
        found = self._post.send(f"/{path}", body, timeout=timeout, largest=self.spec.largest, useless=True)
        if found.status == 404 and absent:
            return "null"
        if found.status != 200:
            raise refusal(found.status, found.headers, found.data, ())
        try:
            return found.data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failed("rubbish", f"an answer that is not UTF-8: {error}", useless=True) from None
