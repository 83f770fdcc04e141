"""Whether worlds hear the calls that a model's template writes: tried before anything is played.

A model calls tools as its template taught it. A world that reads another grammar takes such a call for
prose, and nobody is told. So calls of many kinds go through the template, and each world's grammar must read
them back.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from forge_train.play.encoding import Call, Message
from forge_train.play.format import Format, carries_format, settle
from forge_train.play.renderer import Renderer, renderer_for
from forge_train.play.world_pool import World


class Grammar(Protocol):
    """What is read here of a world's grammar."""

    name: str

    def parse(self, text: str) -> Any:
        """An action: `prose`, `calls`, `error`."""
        ...

    def write(self, prose: str = "", calls: Sequence[Any] = ()) -> str:
        """The text of an action; ValueError for what it has no words for."""
        ...

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Any:
        """The same for these tools."""
        ...


class Speaker(Protocol):
    """What is asked of a renderer here."""

    def written(self, message: Message) -> str:
        """The text of an assistant message."""
        ...


@dataclass(frozen=True, slots=True)
class Reader:
    """Whoever reads what a policy says."""

    who: str
    grammar: Grammar
    choice: str
    """What is to be said to choose the grammar {}."""
    others: Sequence[Grammar] = field(default=())
    """What could be chosen."""


TEXT = 'a "quoted" \\ back\\slash, it\'s\n  two lines\n\tÄ 数 🙂 <b>{1}</b>'
_KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "text": ({"type": "string"}, TEXT),
    "code": ({"type": "string"}, "17"),
    "count": ({"type": "integer"}, -3),
    "price": ({"type": "number"}, 2.5),
    "sure": ({"type": "boolean"}, True),
    "maybe": ({"type": ["string", "null"]}, None),
    "items": ({"type": "array"}, [1, "two", {"three": [True, None, 'vier "4"']}]),
    "nested": ({"type": "object"}, {"a": {"b": "c, d: {e}"}, "f": False}),
}
"""Arguments of every kind: their schema, and a value that is hard to write."""


def tools() -> list[dict[str, Any]]:
    """Schemas of the tools that are tried."""
    properties = {key: schema for key, (schema, _) in _KINDS.items()}
    named = {"probe": properties, "look_around": {}}
    return [
        {
            "type": "function",
            "function": {
                "name": name,
                "description": "Tried.",
                "parameters": {"type": "object", "properties": own},
            },
        }
        for name, own in named.items()
    ]


def probes() -> list[tuple[str, str, list[Call]]]:
    """Actions by what they try: prose, and calls."""
    plain, empty = Call("probe", {"text": "Probe."}), Call("look_around", {})
    several = Call("probe", {key: value for key, (_, value) in _KINDS.items()})
    each = [(f"a value of {key}", "", [Call("probe", {key: value})]) for key, (_, value) in _KINDS.items()]
    return [
        ("one call", "", [plain]),
        ("a call without arguments", "", [empty]),
        *each,
        ("many arguments", "", [several]),
        ("two calls", "", [plain, empty]),
        ("prose and a call", "One moment, please.", [plain]),
        ("prose", "It costs 5 dollars, I am afraid.", []),
    ]


def require_heard(speaker: Speaker, readers: Iterable[Reader]) -> None:
    """Raise ValueError for a reader that does not hear what the speaker's template writes: what to choose."""
    tried = spoken(speaker)
    for reader in readers:
        missed = unheard(tried, reader.grammar)
        if missed is None:
            continue
        what, text = missed
        fits = [grammar.name for grammar in reader.others if hears(tried, grammar)]
        fix = (
            f"set {reader.choice.format(fits[0])}" + (f" (or {', '.join(fits[1:])})" if fits[1:] else "")
            if fits
            else "no grammar that is known reads it; choose another by model.chat_template, or register "
            "a grammar (docs/grammars.md)"
        )
        raise ValueError(
            f"{reader.who} reads actions in the {reader.grammar.name} grammar, and this model's template "
            f"writes {what} as {_short(text)}, which is not read back: {fix}"
        )


def spoken(speaker: Speaker) -> list[tuple[str, str, list[Call], str]]:
    """The probes and their texts; those that the template has no words for are left out."""
    found: list[tuple[str, str, list[Call], str]] = []
    for what, prose, calls in probes():
        message: dict[str, Any] = {"role": "assistant", "content": prose}
        if calls:
            message["tool_calls"] = [
                {
                    "type": "function",
                    "id": f"call{n:05d}",
                    "function": {"name": c.name, "arguments": dict(c.arguments)},
                }
                for n, c in enumerate(calls)
            ]
        try:
            text = speaker.written(message)
        except ValueError:
            if what in ("one call", "prose"):
                raise
            continue
        if len(calls) < 2 or text != found[0][3]:  # gpt-oss's writes the first call alone, and no error
            found.append((what, prose, calls, text))
    return found


def unheard(tried: Sequence[tuple[str, str, list[Call], str]], grammar: Grammar) -> tuple[str, str] | None:
    """The first probe that the grammar does not read back, and its text."""
    own = grammar.for_tools(tools())
    for what, prose, calls, text in tried:
        if not _says(own, prose, calls):
            continue
        # A template may leave out prose beside a call; it may not turn one into the other.
        said = (own.parse(text).prose or "").strip()
        if not reads(own, text, calls) or said not in ((prose, "") if calls else (prose,)):
            return what, text
    return None


def reads(grammar: Any, text: str, calls: Sequence[Call]) -> bool:
    """Whether a grammar, made for the tools in question, reads just these calls in a text."""
    action = grammar.parse(text)
    read = [(call.name, _canonical(call.arguments)) for call in action.calls]
    return action.error is None and read == [(call.name, _canonical(call.arguments)) for call in calls]


def hears(tried: Sequence[tuple[str, str, list[Call], str]], grammar: Grammar) -> bool:
    """Whether a grammar says calls at all, and reads all that was tried."""
    return any(_says(grammar, prose, calls) for _, prose, calls, _ in tried if calls) and (
        unheard(tried, grammar) is None
    )


def _says(grammar: Grammar, prose: str, calls: Sequence[Call]) -> bool:
    """Whether a grammar has words for an action: one for bash alone has none for other tools."""
    try:
        grammar.write(prose, calls)
    except ValueError:
        return False
    return True


def _canonical(arguments: Mapping[str, Any]) -> str:
    return json.dumps(arguments, sort_keys=True)


def _short(text: str) -> str:
    return repr(text if len(text) <= 120 else f"{text[:117]}...")


def readers_of(worlds: Iterable[World], choice: str = 'worlds.{n}.args.grammar = "{{}}"') -> list[Reader]:
    """The grammars of worlds that tell theirs; `choice` says how to choose that of the n-th."""
    found = []
    for n, world in enumerate(worlds):
        grammar = world.grammar()
        if grammar is not None:
            found.append(Reader(f"world {world.name}", grammar, choice.format(n=n), world.grammars()))
    return found


def renderer_of(model: Any, tokenizer: Any, world: World) -> Renderer:
    """The renderer of a model that is to play a world: with the settings its tokenizer carries, if any.

    Raises ValueError for a world that would not hear its calls.
    """
    if not carries_format(tokenizer):
        settle(tokenizer, model, Format(began=time.time()))
    renderer = renderer_for(tokenizer)
    require_heard(renderer, readers_of([world], "--arg grammar={{}}"))
    return renderer
