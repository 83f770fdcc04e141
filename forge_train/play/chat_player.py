"""A player behind a chat endpoint: any served model or API acts through its native tool calling.

It has no tokens to train on, so its trajectories hold none; what it says and earns is recorded as anybody's.
Native calls become an action in the Hermes grammar, which is how every world reads calls; the history goes
back to the endpoint in the OpenAI form, its own words as they came, each result under the id of its call.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

import httpx2

from forge_train.clock import in_line
from forge_train.engine import EngineFailed, Sampling
from forge_train.engines.vllm_http import Client, ServerError
from forge_train.play.chat_messages import Reply, in_grammar, read_reply, with_native_calls
from forge_train.play.chat_requests import NEEDED, backoff, hopeless, rejected, without
from forge_train.play.episode import OutOfRoom
from forge_train.play.renderer import Message
from forge_train.seeds import derive_seed
from forge_train.trajectory import Segment

_FORM = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://[^\s#]+?)/*(?:#(?P<settings>.*))?")
_TOO_LONG = re.compile(r"context.length|maximum context|too many tokens|prompt is too long", re.IGNORECASE)
_MOST_SENSELESS = 4
"""Answers without sense until an action is given up; without any answer, the deadline decides."""


@dataclass(frozen=True, slots=True)
class ChatEndpoint:
    """Which model, where, and how patient one is with it.

    >>> ChatEndpoint.parse("openai:qwen3@http://127.0.0.1:8000/v1#attempts=2").attempts
    2
    """

    model: str
    url: str
    """Up to and without /chat/completions."""
    key: str = ""
    """Name of the environment variable that holds the API key."""
    deadline: float = 300.0
    """Seconds until an action is given up, waiting and retries included."""
    attempt: float = 120.0
    """Seconds the endpoint may take for one attempt."""
    attempts: int | None = None
    """Most answers that may fail before an action is given up, None: as many as the deadline has room for. A
    full server is waited for, not counted."""
    special_tokens: int = 0
    """1 asks a server of vLLM or SGLang to leave special tokens in its text: calls that it does not hear
    itself may be spelled with them, as Mistral's."""
    without: str = ""
    """Parameters, and fields of messages, that are not sent, by comma, e.g. `temperature,reasoning_content`.
    Parameters that a model refuses by name are left out from then on anyway; without `max_completion_tokens`,
    its old name `max_tokens` is sent."""

    @classmethod
    def parse(cls, text: str) -> ChatEndpoint:
        """Read `openai:MODEL@URL#key=value&…`. Raises ValueError with the value and the fix."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"engine {text!r}: write it as openai:MODEL@URL, e.g. openai:qwen3@http://host:8000/v1"
            )
        kinds: dict[str, Any] = {
            field.name: int if field.default is None else type(field.default) for field in fields(cls)[2:]
        }
        found: dict[str, Any] = {}
        for name, value in parse_qsl(match["settings"] or "", keep_blank_values=True):
            if name not in kinds:
                raise ValueError(f"engine {text!r}: no setting {name!r}; known are {', '.join(kinds)}")
            try:
                found[name] = kinds[name](value)
            except ValueError:
                raise ValueError(f"engine {text!r}: {name}={value!r} is no {kinds[name].__name__}") from None
        return cls(match["model"], match["url"], **found)

    def __post_init__(self) -> None:
        for name in ("deadline", "attempt", "attempts"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"engine {self.url}: {name}={value}, it must be more than 0")
        if needed := self.left_out & set(NEEDED):
            raise ValueError(f"engine {self.url}: without={self.without}, but {min(needed)} is needed")
        try:
            httpx2.URL(self.url)
        except httpx2.InvalidURL as error:
            raise ValueError(f"engine {self.url}: {error}") from None
        key = os.environ.get(self.key, "") if self.key else "none"
        if not key:
            raise ValueError(f"engine {self.url}: the environment variable {self.key} is not set")
        if not (key.isascii() and key.isprintable()):
            told = f"the environment variable {self.key} holds no key: it is one line of ASCII"
            raise ValueError(f"engine {self.url}: {told}")

    @property
    def left_out(self) -> frozenset[str]:
        """The parameters and fields that are not sent."""
        return frozenset(filter(None, (name.strip() for name in self.without.split(","))))


class ChatPlayer:
    """A `Player` whose actions an endpoint writes. Use it within one event loop; close it at the end.

    `grammar` is that of the world, in which native calls are written for it; without one it is Hermes.
    """

    def __init__(self, endpoint: ChatEndpoint, sampling: Sampling, grammar: Any = None) -> None:
        if sampling.top_k or sampling.stop:
            raise ValueError(f"{sampling}: chat endpoints take temperature, top_p and max_tokens alone")
        self.endpoint = endpoint
        self.sampling = sampling
        self._grammar = grammar
        self._left_out = endpoint.left_out
        """Of requests: what the endpoint's settings name, and what the model has refused."""
        key = endpoint.key and os.environ[endpoint.key]
        self._client = Client(endpoint.url, headers={"Authorization": f"Bearer {key}"} if key else None)

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> ChatConversation:
        """Begin an episode."""
        return ChatConversation(self, messages, seed)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Any], seed: int, turn: int
    ) -> Reply:
        """The next action after `messages`. Raises OutOfRoom, and EngineFailed when no answer can be had."""
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": list(messages),
            "temperature": self.sampling.temperature,
            "top_p": self.sampling.top_p,
            "max_completion_tokens": self.sampling.max_tokens,
            "seed": derive_seed(seed, turn) % 2**31,
        }
        if self.endpoint.special_tokens:
            body["skip_special_tokens"] = False
        if tools:
            body["tools"] = list(tools)
        ends = time.monotonic() + self.endpoint.deadline
        tries = failed = senseless = 0
        last = False
        while True:
            left = ends - time.monotonic()
            sent = without(body, self._left_out)
            try:
                return await self._once(sent, turn, min(self.endpoint.attempt, max(left, 0.001)))
            except ServerError as error:
                failure = error
            if failure.status in (400, 413, 422) and _TOO_LONG.search(failure.told):
                raise OutOfRoom("context")
            if failure.status in (400, 422) and (name := rejected(failure.told, sent)):
                self._learn(name)
                continue
            tries += 1
            failed += not failure.busy
            senseless += failure.status == 200
            left = ends - time.monotonic()
            over = failed == self.endpoint.attempts or senseless == _MOST_SENSELESS or left <= 0
            pause = max(failure.retry_after, backoff(tries, f"{seed} {turn}"))
            if hopeless(failure) or over or failure.retry_after >= left:
                break
            if pause >= left:  # once more, with as much time for the answer as is waited for it
                if last or left < self.endpoint.deadline / 20:
                    break
                pause, last = left / 2, True
            with in_line() if failure.busy else nullcontext():  # which `deadline` ends, not the episode's
                await asyncio.sleep(pause)
        raise EngineFailed(f"{failure}, attempt {tries}", retryable=not hopeless(failure))

    async def _once(self, body: Mapping[str, Any], turn: int, timeout: float) -> Reply:
        """One attempt; raises ServerError."""
        answer = await self._client.post("/chat/completions", body, timeout=timeout)
        try:
            error = answer.get("error")
            if error and not answer.get("choices"):  # routers answer so when whoever is behind them fails
                code = error.get("code") if isinstance(error, dict) else None
                status = code if isinstance(code, int) and code >= 400 else 502
                what = f"status {status} in an answer: {error!r:.200}"
                raise ServerError(self.endpoint.url, what, status=status, told=str(error))
            return in_grammar(read_reply(answer, turn), self._grammar)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError, RecursionError) as error:
            what = f"an answer that makes no sense ({error!r:.200}): {answer!r:.200}"
            raise ServerError(self.endpoint.url, what, status=200) from None

    def _learn(self, name: str) -> None:
        """Leave out a parameter that the model does not take."""
        if name not in self._left_out:
            self._left_out |= {name}
            told = f"{self.endpoint.model} at {self.endpoint.url} does not take {name!r}: it is left out"
            warnings.warn(told, stacklevel=2)


class ChatConversation:
    """One episode in the OpenAI form: it only grows."""

    def __init__(self, player: ChatPlayer, messages: Sequence[Message], seed: int) -> None:
        self._player = player
        self._seed = seed
        self._messages: list[dict[str, Any]] = []
        self._tools: list[Any] = []
        self._open: list[str] = []
        """Ids of calls that have no result yet."""
        self.segments: list[Segment] = []
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self.usage = {"requests": 0, "prompt_tokens": 0, "completion_tokens": 0}
        """What the endpoint says it read and wrote."""
        self.hear(messages)

    async def act(self) -> str:
        """The endpoint's next action; raises OutOfRoom or EngineFailed."""
        turn = len(self.versions)
        self.versions.append(0)
        reply = await self._player.ask(self._messages, self._tools, self._seed, turn)
        self.usage["requests"] += 1
        for name, count in reply.usage.items():
            self.usage[name] += count
        if reply.cut:
            raise OutOfRoom("tokens", said=reply.action)
        self._say(reply.message)
        return reply.action

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in what the world said; a result goes to the oldest call that has none."""
        for message in messages:
            self._tools += message.get("tools") or ()
            role, content = message["role"], message.get("content") or ""
            if role == "tool" and self._open:
                result = {"role": "tool", "tool_call_id": self._open.pop(0), "content": content}
                self._messages.append(result)
                continue
            self._answer_rest()
            if role == "assistant":
                self._say({**message, "content": content})
            elif role == "tool":  # of calls that were written as text, or could not be read
                text = f"<tool_response>\n{content}\n</tool_response>"
                self._messages.append({"role": "user", "content": text})
            else:
                self._messages.append({"role": role, "content": content})
        self._answer_rest()

    def close(self) -> None:
        """Nothing is held."""

    def _say(self, message: Mapping[str, Any]) -> None:
        """Append an assistant message; calls that are written as text (a gold prefix) become native ones."""
        if not message.get("tool_calls"):
            message = with_native_calls(message, len(self._messages))
        self._messages.append(dict(message))
        self._open = [call["id"] for call in message.get("tool_calls") or ()]

    def _answer_rest(self) -> None:
        """Endpoints want a result for every call; where the world stopped early, there is none."""
        for id in self._open:
            self._messages.append({"role": "tool", "tool_call_id": id, "content": "Nothing was run."})
        self._open = []
