"""A chat model behind an OpenAI-compatible endpoint, asked for one line at a time: users and judges.

    openai:MODEL@URL                      openai:qwen3-8b@http://127.0.0.1:8000/v1
    openai:MODEL@URL#key=value&key=value  …#temperature=0.7&record=users.jsonl
    openai:MODEL@URL#without=temperature  for a model that takes none

One string holds all of it, so that a config reproduces the world. Needs httpx2 (`pip install
forge-envs[users]`), which is imported when the first request is sent.
"""

from __future__ import annotations

import functools
import re
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from forge_envs.errors import MachineError, one_of
from forge_envs.people.attempts import OPTIONAL, Failed, backoff, refusal, trimmed
from forge_envs.people.posting import JsonPost
from forge_envs.people.recording import Recording, key_of, recording
from forge_envs.people.replies import read_reply

_FORM = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://[^\s#]+?)/*(?:#(?P<settings>.*))?")
_LARGEST = 4 << 20
"""Bytes of an answer: what is longer is no line of a conversation."""
_MOST_USELESS = 4
"""Answers of no use until a reply is given up; what has no answer at all is asked until the deadline."""


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
    attempts: int | None = None
    """Most requests for one reply; None: as many as the deadline has room for."""
    without: str = ""
    """Parameters that are not sent, by comma, e.g. `temperature,seed`; without `max_completion_tokens` its
    old name `max_tokens` is sent. What a model refuses by name is left out from then on anyway."""
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
        kinds: dict[str, Any] = {
            field.name: int if field.default is None else type(field.default) for field in fields(cls)[2:]
        }
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
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"{name}={value}: it must be more than 0")
        if not 0 <= self.temperature < float("inf"):
            raise ValueError(f"temperature={self.temperature}: it must be 0 (greedy) or more")
        if self.record and self.replay:
            raise ValueError(f"record={self.record}, replay={self.replay}: choose one of them")
        for name in self.left_out:
            if name not in OPTIONAL:
                raise ValueError(f"without={self.without}: {name!r} is none of {', '.join(OPTIONAL)}")

    @property
    def left_out(self) -> frozenset[str]:
        """The parameters that are not sent."""
        return frozenset(filter(None, (name.strip() for name in self.without.split(","))))


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
        self.spec = spec
        self._text = text
        self._post = JsonPost(spec.url, key=spec.key, limit=spec.limit, text=text, sends=not spec.replay)
        self._lock = threading.Lock()
        self._first: dict[str, str] = {}
        self._rejected: frozenset[str] = frozenset()
        """Parameters that the model has refused by name."""
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
        may_be_empty: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
        form: Mapping[str, Any] | None = None,
    ) -> str:
        """The model's next line after `messages`, without its thoughts; native calls in the Hermes grammar.

        `form` is a JSON schema that the endpoint is asked to hold the line to; not all do.

        A line that is empty, unless it may be, and one for which `check` raises ValueError is rubbish: it is
        asked for again and never recorded. Raises MachineError (refused, timeout, rubbish, empty or
        recording) that names `stage`.
        """
        use = functools.partial(_checked, check=check, may_be_empty=may_be_empty)
        body = self._body(messages, seed, tools, form)
        key = key_of(body)
        if self._book is not None and (known := self._book.find(key)) is not None:
            return self._known(known, stage, use)
        heard = messages[-1]["content"]
        if self.spec.replay:
            what = f"{self.spec.replay} holds no reply to {heard[:80]!r}, line {len(messages)}, seed {seed}"
            raise MachineError(what, kind="recording", stage=stage, retryable=False)
        ends = time.monotonic() + self.spec.deadline
        with self._post.place(self.spec.deadline, stage):
            line = self._ask(body, key, ends, stage, use)
        return line if self._book is None else self._book.add(key, heard, line)

    def first(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        stage: str = "user",
        may_be_empty: bool = False,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """As `say`, with seed 0 and asked once in a process: the same messages always get the same line."""
        key = key_of(self._body(messages, 0, tools))
        if key not in self._first:
            line = self.say(messages, seed=0, stage=stage, may_be_empty=may_be_empty, tools=tools)
            self._first.setdefault(key, line)
        return self._first[key]

    def _body(
        self,
        messages: Sequence[Mapping[str, str]],
        seed: int,
        tools: Sequence[Mapping[str, Any]],
        form: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body = {
            "model": self.spec.model,
            "messages": [dict(message) for message in messages],
            "temperature": self.spec.temperature,
            "max_completion_tokens": self.spec.max_tokens,
            "seed": seed,
            **({"tools": [dict(tool) for tool in tools]} if tools else {}),
        }
        if form is not None:
            named = {"name": "answer", "schema": dict(form)}
            body["response_format"] = {"type": "json_schema", "json_schema": named}
        return trimmed(body, self.spec.left_out)

    def _known(self, line: str, stage: str, use: Callable[[str], str]) -> str:
        """A recorded line; a file that somebody edited may hold one that is of no use."""
        try:
            return use(line)
        except Failed as failed:
            what = f"{self.spec.record or self.spec.replay} holds a reply of no use: {failed}"
            raise MachineError(what, kind="recording", stage=stage, retryable=False) from None

    def _ask(
        self, body: Mapping[str, Any], key: str, ends: float, stage: str, use: Callable[[str], str]
    ) -> str:
        """Ask until there is an answer of use, or no time or attempt is left.

        Every attempt is the same request, so that a server that falters does not change an episode; only a
        line of no use is asked for with the next seed, since the same one would give it again.
        """
        attempts = useless = answered = 0
        last = False
        while True:
            request = self._request(body, useless)
            left = max(ends - time.monotonic(), 0.001)  # waiting for a place may have taken all
            try:
                return use(self._once(request, min(self.spec.attempt, left)))
            except Failed as failed:
                failure = failed
            if self._learn(failure.rejected):
                continue
            attempts += 1
            useless += failure.useless
            answered += failure.kind in ("rubbish", "empty")
            left = ends - time.monotonic()
            over = answered >= _MOST_USELESS or attempts == self.spec.attempts or left <= 0
            if not failure.retryable or over or failure.retry_after >= left:
                break
            if failure.useless:
                continue
            pause = max(failure.retry_after, backoff(attempts, key))
            if pause >= left:  # once more, with as much time for the answer as is waited for it
                if last or left < self.spec.deadline / 20:
                    break
                pause, last = left / 2, True
            time.sleep(pause)
        what = f"{self.spec.url}: {failure}, attempt {attempts}"
        if failure.retry_after:
            what += f"; it asks to wait {failure.retry_after:g} s"
        raise MachineError(what, kind=failure.kind, stage=stage, retryable=failure.retryable)

    def _request(self, body: Mapping[str, Any], useless: int) -> dict[str, Any]:
        """What is sent, after so many lines of no use."""
        request = trimmed(body, self._rejected)
        if "seed" in request:
            request["seed"] = (request["seed"] + useless) % 2**31
        return request

    def _learn(self, parameter: str) -> bool:
        """Leave out a parameter from now on; whether there was one."""
        if not parameter:
            return False
        with self._lock:
            if parameter not in self._rejected:
                self._rejected |= {parameter}
                told = f"{self.spec.model} at {self.spec.url} does not take {parameter!r}: it is left out"
                warnings.warn(told, stacklevel=2)
        return True

    def _once(self, body: Mapping[str, Any], timeout: float) -> str:
        """One attempt; raises Failed."""
        found = self._post.send("/chat/completions", body, timeout=timeout, largest=_LARGEST)
        if found.status != 200:
            raise refusal(found.status, found.headers, found.data, body)
        return read_reply(found.data, self.spec.max_tokens)


def _checked(line: str, check: Callable[[str], object] | None, may_be_empty: bool) -> str:
    """The line, if whoever asked for it can use it; raises Failed."""
    if not line and not may_be_empty:
        raise Failed("empty", "an empty reply", useless=True)
    try:
        if check is not None:
            check(line)
    except ValueError as error:
        raise Failed("rubbish", str(error), useless=True) from None
    return line
