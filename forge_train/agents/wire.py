"""The OpenAI chat form: what a program asks, checked, and the answer as it wants to read it.

What a policy cannot honour is refused with the reason, never quietly done otherwise. The one exception is how
to sample: a run decides that, for what is trained must be what was sampled; programs are told so in a header.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from forge_train.play.chat_messages import as_object, text_of, with_native_calls
from forge_train.play.renderer import Message

SAMPLING = (
    "temperature", "top_p", "top_k", "min_p", "seed", "presence_penalty", "frequency_penalty",
    "repetition_penalty", "logit_bias", "reasoning_effort",
)  # fmt: skip
"""Parameters that the run decides, whatever is asked."""
IGNORED = "x-forge-ignored"
"""Header of an answer: the parameters of `SAMPLING` that were asked for, by comma."""


class Refused(Exception):
    """A request that gets no answer, with what OpenAI's clients make of it."""

    def __init__(
        self, message: str, *, status: int = 400, code: str = "invalid_value", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param

    def body(self) -> dict[str, Any]:
        """As OpenAI writes errors."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": str(self), "type": kind, "param": self.param, "code": self.code}}


@dataclass(frozen=True, slots=True)
class Asked:
    """One chat completion that a program wants."""

    model: str
    messages: tuple[Message, ...]
    """In one form, whoever wrote them; the tools ride on the first, as those of worlds do."""
    calls: bool
    """Whether calls in the answer are told apart from its text."""
    max_tokens: int | None
    stop: tuple[str, ...]
    logprobs: bool
    stream: bool
    usage: bool
    """Whether a stream ends with the usage."""
    ignored: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy said."""

    id: str
    message: Mapping[str, Any]
    """content, and tool_calls if there are any."""
    finish: Literal["stop", "length"]
    prompt_tokens: int
    pieces: Sequence[str]
    """The text of each sampled token."""
    logprobs: Sequence[float]

    @property
    def finish_reason(self) -> str:
        """OpenAI's word for how it ended."""
        return "tool_calls" if self.finish == "stop" and self.message.get("tool_calls") else self.finish

    @property
    def usage(self) -> dict[str, int]:
        """Tokens read and written."""
        said = len(self.pieces)
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": said}
        return {**counts, "total_tokens": self.prompt_tokens + said}


# ------------------------------------------------------------------------------------------- what is asked


class _Lenient(BaseModel):
    """Fields that nobody here knows are left alone: APIs grow."""

    model_config = ConfigDict(extra="allow", strict=True)


class _Message(_Lenient):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any] | str] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None


class _Call(_Lenient):
    id: str = ""
    function: _Function


class _Function(_Lenient):
    name: str
    arguments: str | dict[str, Any] | None = None


class _StreamOptions(_Lenient):
    include_usage: bool = False


class _Body(_Lenient):
    model: str
    messages: list[_Message] = Field(min_length=1)
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    max_tokens: PositiveInt | None = None
    max_completion_tokens: PositiveInt | None = None
    stop: str | list[str] | None = None
    n: PositiveInt | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: NonNegativeInt | None = None
    response_format: dict[str, Any] | None = None


def read_request(data: bytes) -> Asked:
    """Understand the body of a request. Raises Refused."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Refused(f"the body is no JSON: {error}", code="invalid_json") from None
    try:
        body = _Body.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"{where or 'the body'}: {first['msg']}", param=where or None) from None
    _refuse_what_no_policy_can(body)
    stop = [body.stop] if isinstance(body.stop, str) else body.stop or []
    limits = [n for n in (body.max_completion_tokens, body.max_tokens) if n is not None]
    return Asked(
        model=body.model,
        messages=tuple(_messages(body)),
        calls=bool(body.tools) and body.tool_choice != "none",
        max_tokens=min(limits, default=None),
        stop=tuple(filter(None, stop)),
        logprobs=bool(body.logprobs),
        stream=bool(body.stream),
        usage=body.stream_options is not None and body.stream_options.include_usage,
        ignored=tuple(name for name in SAMPLING if tree.get(name) not in (None, {})),
    )


def _refuse_what_no_policy_can(body: _Body) -> None:
    form = (body.response_format or {}).get("type", "text")
    extra = body.model_extra or {}
    for wrong, param, why in (
        (body.n not in (None, 1), "n", "the policy answers once: send n requests"),
        (form != "text", "response_format", "the policy writes text and nothing makes it write JSON"),
        (
            body.tool_choice not in (None, "auto", "none"),
            "tool_choice",
            'nothing makes the policy call a tool: use "auto" or "none"',
        ),
        (bool(body.top_logprobs), "top_logprobs", "the logprob of the sampled token alone is known: use 0"),
        (bool(extra.get("functions")), "functions", "use tools"),
        (
            body.messages[-1].role == "assistant",
            "messages",
            "the last message is the assistant's: the policy begins its answers itself",
        ),
    ):
        if wrong:
            raise Refused(f"{param}: {why}", code="unsupported_value", param=param)


def _messages(body: _Body) -> Iterator[dict[str, Any]]:
    names: dict[str, str] = {}
    for i, message in enumerate(body.messages):
        text = _text(message, f"messages.{i}.content")
        told: dict[str, Any] = {"role": message.role, "content": text}
        if message.role == "developer":
            told["role"] = "system"
        if message.role == "tool":
            told["name"] = names.get(message.tool_call_id or "", "tool")
        if message.role == "assistant" and message.tool_calls:
            told["tool_calls"] = [_call(call) for call in message.tool_calls]
            names |= {call.id: call.function.name for call in message.tool_calls}
        if i == 0 and body.tools:
            told["tools"] = body.tools
        yield told


def _text(message: _Message, where: str) -> str:
    for part in message.content if isinstance(message.content, list) else ():
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind in ("image_url", "input_image", "input_audio", "file"):
            raise Refused(f"{where}: {kind}: the policy reads text only", param=where)
    try:
        return text_of({"content": message.content})
    except TypeError as error:
        raise Refused(f"{where}: {error}", param=where) from None


def _call(call: _Call) -> dict[str, Any]:
    arguments = as_object(call.function.arguments)
    function = {
        "name": call.function.name,
        "arguments": call.function.arguments if arguments is None else arguments,
    }
    return {"type": "function", "id": call.id, "function": function}


def same(one: Message, other: Message) -> bool:
    """Whether a program sent the message it was given.

    White space around the policy's own words, ids, and how arguments are written as JSON may differ: what was
    said is the same, and its tokens are kept anyway.
    """
    return _key(one) == _key(other)


def _key(message: Message) -> tuple[Any, ...]:
    content = message["content"]
    if message["role"] == "assistant":
        content = content.strip()
    calls = [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or ()]
    return message["role"], content, calls, message.get("tools")


# --------------------------------------------------------------------------------------- how it is answered


class Grammar(Protocol):
    """How a family of models writes calls; those of forge_envs are such, and none is needed for Hermes."""

    def for_tools(self, tools: Sequence[Mapping[str, Any]]) -> Grammar:
        """The same for these tools."""
        ...

    def parse(self, text: str) -> Any:
        """What has prose and calls, each with name and arguments; no calls where they cannot be read."""
        ...


def with_calls(text: str, tools: Sequence[Any], turn: int, grammar: Grammar | None) -> dict[str, Any]:
    """The policy's message with its calls made native ones; all stays text unless every call reads well."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if grammar is None:
        return with_native_calls(message, turn)
    action = grammar.for_tools(tools).parse(text)
    if not action.calls:
        return message
    functions = [{"name": c.name, "arguments": json.dumps(c.arguments)} for c in action.calls]
    calls = [{"id": f"call_{turn}_{n}", "type": "function", "function": f} for n, f in enumerate(functions)]
    return {**message, "content": action.prose, "tool_calls": calls}


def completion_body(answer: Answer, asked: Asked) -> dict[str, Any]:
    """A chat completion."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "refusal": None, **_sent(answer.message)},
        "finish_reason": answer.finish_reason,
        "logprobs": _logprobs(answer) if asked.logprobs else None,
    }
    return {**_head(answer, asked, "chat.completion"), "choices": [choice], "usage": answer.usage}


def stream_of(answer: Answer, asked: Asked) -> Iterator[str]:
    """The same as server-sent events: the engine samples whole actions, so the pieces come at once."""
    head = _head(answer, asked, "chat.completion.chunk")

    def event(delta: Mapping[str, Any], **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": None, "logprobs": None, **more}
        return _event({**head, "choices": [choice]})

    message = _sent(answer.message)
    yield event({"role": "assistant", "content": ""})
    for piece in re.findall(r"\s*\S+\s*|\s+", message["content"] or ""):
        yield event({"content": piece})
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = {"name": call["function"]["name"], "arguments": ""}
        yield event({"tool_calls": [{**call, "index": index, "function": function}]})
        arguments = {"arguments": call["function"]["arguments"]}
        yield event({"tool_calls": [{"index": index, "function": arguments}]})
    logprobs = _logprobs(answer) if asked.logprobs else None
    yield event({}, finish_reason=answer.finish_reason, logprobs=logprobs)
    if asked.usage:
        yield _event({**head, "choices": [], "usage": answer.usage})
    yield "data: [DONE]\n\n"


def _event(body: Mapping[str, Any]) -> str:
    return f"data: {json.dumps(body)}\n\n"


def _head(answer: Answer, asked: Asked, kind: str) -> dict[str, Any]:
    return {"id": answer.id, "object": kind, "created": int(time.time()), "model": asked.model}


def _sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """content and tool_calls; OpenAI says null where there is nothing but calls."""
    calls = message.get("tool_calls")
    sent: dict[str, Any] = {"content": message["content"] or (None if calls else "")}
    return {**sent, "tool_calls": calls} if calls else sent


def _logprobs(answer: Answer) -> dict[str, Any]:
    content = [
        {"token": piece, "bytes": list(piece.encode("utf-8", "replace")), "logprob": p, "top_logprobs": []}
        for piece, p in zip(answer.pieces, answer.logprobs, strict=True)
    ]
    return {"content": content, "refusal": None}
