"""A chat model behind an OpenAI-compatible endpoint, asked for one line at a time: users and judges.

    openai:MODEL@URL                      openai:qwen3-8b@http://127.0.0.1:8000/v1
    openai:MODEL@URL#key=value&key=value  …#temperature=0.7&record=users.jsonl

One string holds all of it, so that a config reproduces the world. Needs httpx2 (`pip install
forge-envs[users]`), which is imported when the first request is sent.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from forge_envs.errors import MachineError, one_of
from forge_envs.people.recording import Recording, key_of, recording

if TYPE_CHECKING:
    import httpx2

_FORM = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://[^\s#]+?)/*(?:#(?P<settings>.*))?")
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_LARGEST = 4 << 20
"""Bytes of an answer: what is longer is no line of a conversation."""


@dataclass(frozen=True, slots=True)
class ChatSpec:
    """Which model, where, and how it is asked.

    >>> ChatSpec.parse("openai:qwen3@http://127.0.0.1:8000/v1#temperature=0.7&limit=8").temperature
    0.7
    """

    model: str
    url: str
    """Up to and without /chat/completions."""
    temperature: float = 0.0
    """τ²-bench's users have 0."""
    max_tokens: int = 512
    """Longest reply; one that is cut off there counts as failed."""
    deadline: float = 120.0
    """Seconds for one reply: waiting for a free place, attempts and the pauses between them."""
    attempt: float = 60.0
    """Seconds the endpoint may take for one attempt."""
    attempts: int = 4
    limit: int = 32
    """Requests at once, from all environments of a process together."""
    key: str = ""
    """Name of the environment variable that holds the API key; a config never holds the key itself."""
    record: str = ""
    """File in which replies are written down; a request it knows is answered from it."""
    replay: str = ""
    """File from which alone replies are taken; nothing is sent."""

    @classmethod
    def parse(cls, text: str) -> ChatSpec:
        """Read `openai:MODEL@URL#settings`. Raises ValueError with the value and the fix."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(f"{text!r}: write it as openai:MODEL@URL, e.g. openai:qwen3@http://host:8000/v1")
        found: dict[str, Any] = {}
        kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(cls)[2:]}
        for name, value in parse_qsl(match["settings"] or "", keep_blank_values=True):
            if name not in kinds:
                raise ValueError(f"{text!r}: no setting {name!r}; known are {', '.join(kinds)}")
            try:
                found[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"{text!r}: {name}={value!r} is no {kinds[name].__name__}") from None
        return cls(match["model"], match["url"], **found)

    def __post_init__(self) -> None:
        for name in ("deadline", "attempt", "attempts", "limit", "max_tokens"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name}={getattr(self, name)}: it must be more than 0")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: it must be 0 (greedy) or more")
        if self.record and self.replay:
            raise ValueError(f"record={self.record}, replay={self.replay}: choose one of them")


@functools.cache
def chat(text: str) -> Chat:
    """The model of a spec: one for all environments of this process, so that its limit holds for all."""
    return Chat(ChatSpec.parse(text), text)


def chat_of(user: str) -> Chat | None:
    """The model that a world's `user` argument names, None for the script. Raises ValueError."""
    if isinstance(user, str) and user.startswith("openai:"):
        return chat(user)
    one_of("user", user, ("scripted", "openai:MODEL@URL"))
    return None


class Chat:
    """Says the next line of a conversation. Threads may share it; it pickles as its spec.

    Raises ValueError when a recording cannot be used, or the API key or httpx2 is missing.
    """

    def __init__(self, spec: ChatSpec, text: str) -> None:
        if spec.key and not spec.replay and not os.environ.get(spec.key):
            raise ValueError(f"{text!r}: the environment variable {spec.key} is not set")
        if not spec.replay and find_spec("httpx2") is None:
            raise ValueError(f"{text!r} needs httpx2: pip install 'forge-envs[users]'")
        self.spec = spec
        self._text = text
        self._places = threading.BoundedSemaphore(spec.limit)
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._first: dict[str, str] = {}
        self._book: Recording | None = None
        if spec.record or spec.replay:
            self._book = recording(spec.record or spec.replay, bool(spec.replay))

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return chat, (self._text,)

    def say(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        seed: int,
        stage: str = "user",
        check: Callable[[str], object] | None = None,
    ) -> str:
        """The model's next line after `messages`, without its thoughts; never empty.

        A line for which `check` raises ValueError is rubbish: it is asked for again and never recorded.
        Raises MachineError (refused, timeout, rubbish, empty or recording) that names `stage`.
        """
        body = self._body(messages, seed)
        key = key_of(body)
        if self._book is not None and (known := self._book.find(key)) is not None:
            return self._known(known, stage, check)
        heard = messages[-1]["content"]
        if self.spec.replay:
            what = f"{self.spec.replay} holds no reply to {heard[:80]!r}, line {len(messages)}, seed {seed}"
            raise MachineError(what, kind="recording", stage=stage, retryable=False)
        line = self._ask(body, stage, check)
        return line if self._book is None else self._book.add(key, heard, line)

    def first(self, messages: Sequence[Mapping[str, str]], *, stage: str = "user") -> str:
        """As `say`, with seed 0 and asked once in a process: the same messages always get the same line."""
        key = key_of(self._body(messages, 0))
        if key not in self._first:
            self._first.setdefault(key, self.say(messages, seed=0, stage=stage))
        return self._first[key]

    def _body(self, messages: Sequence[Mapping[str, str]], seed: int) -> dict[str, Any]:
        return {
            "model": self.spec.model,
            "messages": [dict(message) for message in messages],
            "temperature": self.spec.temperature,
            "max_completion_tokens": self.spec.max_tokens,
            "seed": seed,
        }

    def _known(self, line: str, stage: str, check: Callable[[str], object] | None) -> str:
        """A recorded line; a file that somebody edited may hold one that is of no use."""
        try:
            return _checked(line, check)
        except _Failed as failed:
            what = f"{self.spec.record or self.spec.replay} holds a reply of no use: {failed}"
            raise MachineError(what, kind="recording", stage=stage, retryable=False) from None

    def _ask(self, body: dict[str, Any], stage: str, check: Callable[[str], object] | None) -> str:
        """Ask until there is an answer, or no time or no attempt is left."""
        ends = time.monotonic() + self.spec.deadline
        if not self._places.acquire(timeout=self.spec.deadline):
            what = f"{self.spec.url}: no free place within {self.spec.deadline:g} s (limit={self.spec.limit})"
            raise MachineError(what, kind="timeout", stage=stage, retryable=True)
        try:
            for attempt in range(self.spec.attempts):
                # The same seed would give the same useless line again.
                again = {**body, "seed": (body["seed"] + attempt) % 2**31}
                try:
                    left = max(ends - time.monotonic(), 0.001)  # waiting for a place may have taken all
                    return _checked(self._once(again, min(self.spec.attempt, left)), check)
                except _Failed as failed:
                    failure = failed
                pause = max(failure.retry_after, min(0.1 * 4**attempt, 8.0))
                if not failure.retryable or time.monotonic() + pause >= ends:
                    break
                if attempt + 1 < self.spec.attempts:
                    time.sleep(pause)
        finally:
            self._places.release()
        what = f"{self.spec.url}: {failure}, attempt {attempt + 1} of {self.spec.attempts}"
        raise MachineError(what, kind=failure.kind, stage=stage, retryable=failure.retryable)

    def _once(self, body: Mapping[str, Any], timeout: float) -> str:
        """One attempt; raises _Failed."""
        import httpx2

        ends = time.monotonic() + timeout
        data = bytearray()
        try:
            with self._http().stream("POST", "/chat/completions", json=body, timeout=timeout) as response:
                for piece in response.iter_bytes():
                    data += piece
                    if time.monotonic() > ends:  # every piece came in time, but all of them did not
                        raise _Failed("timeout", f"no whole answer within {timeout:.3g} s")
                    if len(data) > _LARGEST:
                        raise _Failed("rubbish", f"an answer of more than {_LARGEST} bytes")
        except httpx2.TimeoutException:
            raise _Failed("timeout", f"no answer within {timeout:.3g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _Failed("refused", f"{type(error).__name__}: {error}") from None
        if response.status_code != 200:
            raise _refusal(response.status_code, response.headers.get("retry-after", ""), bytes(data))
        return _line(bytes(data), self.spec.max_tokens)

    def _http(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                import httpx2

                headers = {"Authorization": f"Bearer {os.environ[self.spec.key]}"} if self.spec.key else {}
                self._client = httpx2.Client(
                    base_url=self.spec.url,
                    headers=headers,
                    # A model is on this machine, in this cluster, or named by its own address.
                    trust_env=False,
                    limits=httpx2.Limits(max_connections=self.spec.limit),
                )
                weakref.finalize(self, self._client.close)  # at the latest when the process ends
            return self._client


class _Failed(Exception):
    """One attempt failed."""

    def __init__(self, kind: str, what: str, *, retryable: bool = True, retry_after: float = 0.0) -> None:
        super().__init__(what)
        self.kind = kind
        self.retryable = retryable
        self.retry_after = retry_after


def _refusal(status: int, retry_after: str, data: bytes) -> _Failed:
    """A failure from an HTTP status; a request that is itself at fault is not sent again."""
    wait = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0
    again = status >= 500 or status in (408, 409, 425, 429)
    told = data[:200].decode("utf-8", "replace")
    return _Failed("refused", f"status {status}: {told!r}", retryable=again, retry_after=wait)


def _checked(line: str, check: Callable[[str], object] | None) -> str:
    """The line, if whoever asked for it can use it; raises _Failed."""
    try:
        if check is not None:
            check(line)
    except ValueError as error:
        raise _Failed("rubbish", str(error)) from None
    return line


def _line(data: bytes, max_tokens: int) -> str:
    """The text of an answer; raises _Failed."""
    try:
        choice = json.loads(data)["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError):
        raise _Failed("rubbish", f"no chat completion: {data[:80]!r}") from None
    if not isinstance(text, str | None):
        raise _Failed("rubbish", f"content is no text: {text!r:.80}")
    if finish == "length":
        raise _Failed("rubbish", f"a reply cut off at max_tokens={max_tokens}")
    spoken = _THOUGHT.sub("", text or "").rpartition("</think>")[2].strip()
    if not spoken:
        raise _Failed("empty", "an empty reply")
    return spoken.encode("utf-8", "replace").decode()
