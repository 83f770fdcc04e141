"""A player behind a chat endpoint: any served model or API acts through its native tool calling.

It has no tokens to train on, so its trajectories hold none; what it says and earns is recorded as anybody's.
Native calls become an action in the Hermes grammar, which is how every world reads calls; the history goes
back to the endpoint in the OpenAI form, each result under the id of its call.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from forge_train.engine import EngineFailed, Sampling
from forge_train.engines.vllm_http import Client, ServerError
from forge_train.play.episode import OutOfRoom
from forge_train.play.renderer import Message
from forge_train.seeds import derive_seed
from forge_train.trajectory import Segment

_FORM = re.compile(r"openai:(?P<model>.+?)@(?P<url>https?://[^\s#]+?)/*(?:#(?P<settings>.*))?")
_TOO_LONG = re.compile(r"context.length|maximum context|too many tokens|prompt is too long", re.IGNORECASE)
_BLOCK = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_TAG = re.compile(r"</?(?:tool_call|think)>")


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
    attempts: int = 4
    """Answers that may fail before an action is given up. A full server is waited for, not counted."""

    @classmethod
    def parse(cls, text: str) -> ChatEndpoint:
        """Read `openai:MODEL@URL#key=value&…`. Raises ValueError with the value and the fix."""
        match = _FORM.fullmatch(text)
        if match is None:
            raise ValueError(
                f"engine {text!r}: write it as openai:MODEL@URL, e.g. openai:qwen3@http://host:8000/v1"
            )
        kinds: dict[str, Any] = {field.name: type(field.default) for field in fields(cls)[2:]}
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
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"engine {self.url}: {name}={getattr(self, name)}, it must be more than 0")
        if self.key and not os.environ.get(self.key):
            raise ValueError(f"engine {self.url}: the environment variable {self.key} is not set")


@dataclass(frozen=True, slots=True)
class Reply:
    """What the endpoint answered."""

    text: str
    calls: tuple[Mapping[str, Any], ...]
    """Native calls: id, name, and arguments as the model wrote them."""
    cut: bool
    """The reply did not end within its tokens."""
    usage: dict[str, int]

    @property
    def action(self) -> str:
        """The same in the Hermes grammar; arguments that are no JSON object stay malformed, as they are."""
        blocks = [_hermes(call["name"], call["arguments"]) for call in self.calls]
        return "\n".join(filter(None, [self.text, *blocks]))


class ChatPlayer:
    """A `Player` whose actions an endpoint writes. Use it within one event loop; close it at the end."""

    def __init__(self, endpoint: ChatEndpoint, sampling: Sampling) -> None:
        if sampling.top_k or sampling.stop:
            raise ValueError(f"{sampling}: chat endpoints take temperature, top_p and max_tokens alone")
        self.endpoint = endpoint
        self.sampling = sampling
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
        if tools:
            body["tools"] = list(tools)
        ends, failed = time.monotonic() + self.endpoint.deadline, 0
        while True:
            left = ends - time.monotonic()
            try:
                answer = await self._client.post(
                    "/chat/completions", body, timeout=min(self.endpoint.attempt, max(left, 0.001))
                )
                return self._read(answer)
            except ServerError as error:
                if error.status in (400, 413, 422) and _TOO_LONG.search(str(error)):
                    raise OutOfRoom("context") from None
                failed += not error.busy
                pause = max(error.retry_after, min(0.1 * 4**failed, 8.0))
                hopeless = error.refused or failed >= self.endpoint.attempts
                if hopeless or time.monotonic() + pause >= ends:
                    raise EngineFailed(str(error), retryable=not error.refused) from None
            await asyncio.sleep(pause)

    def _read(self, answer: Any) -> Reply:
        try:
            choice = answer["choices"][0]
            message = choice["message"]
            text = message.get("content") or ""
            calls = tuple(_native(call, n) for n, call in enumerate(message.get("tool_calls") or ()))
            told = answer.get("usage") or {}
            usage = {name: int(told.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")}
            if not isinstance(text, str):
                raise TypeError(f"content is a {type(text).__name__}")
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            what = f"an answer that makes no sense ({error!r}): {answer!r:.200}"
            raise ServerError(self.endpoint.url, what) from None
        text = text.encode("utf-8", "replace").decode()
        return Reply(text, calls, choice.get("finish_reason") == "length", usage)


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
            raise OutOfRoom("tokens")
        self._say(reply.text, reply.calls)
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
                self._say(content, ())
            elif role == "tool":  # of calls that were written as text, or could not be read
                text = f"<tool_response>\n{content}\n</tool_response>"
                self._messages.append({"role": "user", "content": text})
            else:
                self._messages.append({"role": role, "content": content})
        self._answer_rest()

    def close(self) -> None:
        """Nothing is held."""

    def _say(self, text: str, calls: Sequence[Mapping[str, Any]]) -> None:
        """Append an assistant line; calls written as text (a gold prefix) become native ones."""
        if not calls:
            text, calls = _from_text(text, len(self._messages))
        line: dict[str, Any] = {"role": "assistant", "content": text}
        if calls:
            line["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    # Servers parse the arguments of the history: what is no object would be refused there.
                    "function": {
                        "name": call["name"],
                        "arguments": call["arguments"] if _object(call["arguments"]) is not None else "{}",
                    },
                }
                for call in calls
            ]
            self._open = [call["id"] for call in calls]
        self._messages.append(line)

    def _answer_rest(self) -> None:
        """Endpoints want a result for every call; where the world stopped early, there is none."""
        for id in self._open:
            self._messages.append({"role": "tool", "tool_call_id": id, "content": "Nothing was run."})
        self._open = []


def _native(call: Mapping[str, Any], index: int) -> dict[str, str]:
    """One of the answer's calls; raises one of the errors of wrong data."""
    function = call["function"]
    name, arguments = function["name"], function.get("arguments") or "{}"
    if not isinstance(name, str) or not isinstance(arguments, str):
        raise TypeError(f"call {call!r:.100} needs a name and arguments as text")
    return {"id": str(call.get("id") or f"call_{index}"), "name": name, "arguments": arguments}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _hermes(name: str, arguments: str) -> str:
    """A native call in the Hermes grammar.

    >>> print(_hermes("add", '{"a": 1}'))
    <tool_call>
    {"name": "add", "arguments": {"a": 1}}
    </tool_call>
    """
    found = _object(arguments)
    call = {"name": name, "arguments": arguments if found is None else found}
    text = json.dumps(call, ensure_ascii=False).encode("utf-8", "replace").decode()
    # A tag inside a value would end the call; in JSON, "<" occurs in strings only, where \u003c is the same.
    if _TAG.search(text):
        text = text.replace("<", "\\u003c")
    return f"<tool_call>\n{text}\n</tool_call>"


def _from_text(text: str, index: int) -> tuple[str, list[dict[str, str]]]:
    """Prose and calls of an action in the Hermes grammar; all of it is prose unless every call reads well."""
    calls = []
    for n, block in enumerate(_BLOCK.findall(text)):
        call = _object(block)
        if call is None or not isinstance(call.get("name"), str):
            return text, []
        arguments = call.get("arguments", {})
        if not isinstance(arguments, dict):
            return text, []
        written = json.dumps(arguments, ensure_ascii=False)
        calls.append({"id": f"call_{index}_{n}", "name": call["name"], "arguments": written})
    return (_BLOCK.sub("", text).strip() if calls else text), calls
