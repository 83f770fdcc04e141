"""What renderers share: a tokenizer that takes no text for control, and small things about messages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tokenizers import Tokenizer

Message = Mapping[str, Any]
"""One message in the OpenAI form; tool schemas ride on its "tools" key."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call, as grammars take and give them."""

    name: str
    arguments: Mapping[str, Any]


Encoder = Callable[[str], tuple[int, ...]]

to_json = json.JSONEncoder(ensure_ascii=False).encode


def backend_of(tokenizer: Any, *, data: bool) -> Tokenizer:
    """A copy of the Rust tokenizer; with `data` the spellings of special tokens are ordinary text.

    A copy, because Hugging Face tokenizers switch that flag (and truncation) of the shared one.
    """
    shared = getattr(tokenizer, "backend_tokenizer", None)
    if shared is None:
        raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer: load it with use_fast=True")
    backend = Tokenizer.from_str(shared.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = data
    return backend


def cached_encoder(tokenizer: Tokenizer) -> Encoder:
    """Encode, remembering what is said again and again: policies, tool schemas, role lines."""

    @lru_cache(maxsize=1024)
    def encode(text: str) -> tuple[int, ...]:
        try:
            text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, for example out of an agent's JSON escapes
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    return encode


def decode(tokenizer: Tokenizer, tokens: Sequence[int], stop: tuple[int, ...]) -> str:
    """Text of an action without its stop token; special tokens stay, for calls may be spelled with them."""
    body = tokens[:-1] if tokens and tokens[-1] in stop else tokens
    return str(tokenizer.decode(list(body), skip_special_tokens=False))


def content_of(message: Message) -> str:
    """The text of a message; null is no text. Raises ValueError for content of another form."""
    content = message.get("content")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"message content {content!r}: it must be text")
    return content


def arguments_of(call: Mapping[str, Any]) -> tuple[str, Any]:
    """Name and arguments of an OpenAI tool call, which may hold them as a JSON string or as an object.

    >>> arguments_of({"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}})
    ('add', {'a': 1})
    """
    function = call.get("function", call)
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments.strip() or "{}")
        except ValueError:
            return function["name"], arguments
    return function["name"], {} if arguments is None else arguments


def unused(text: str) -> str:
    """A character of the private use area that `text` does not contain."""
    return next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in text)


def mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every string in it changed, dictionary keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [mapped(item, change) for item in value]
    return value
