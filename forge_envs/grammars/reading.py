"""What the grammars read with: JSON in place, bounds on it, and the errors that tell the agent what to do."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from forge_envs.messages import Action, ToolCall

MOST_CALLS = 64
"""Calls in one action; more are malformed. Gold of no world makes more than a few."""
MOST_DIGITS = 100
"""Digits of an integer. What computes with it may turn it into a float, which ends at 308."""
DEEPEST = 32
"""Levels of lists and objects in arguments: what walks over them may recurse."""


class Malformed(ValueError):
    """A call that cannot be read. Its text goes to the agent; `at` is how far reading came."""

    def __init__(self, reason: str, at: int = 0) -> None:
        super().__init__(reason)
        self.at = at


def encodable(text: str) -> str:
    """The text without half surrogate pairs, which no tokenizer writes and none takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def without_end(text: str, ends: tuple[str, ...]) -> str:
    """The text without the end-of-turn tokens that an engine may leave after an action.

    >>> without_end("Good bye.<|im_end|>\\n", ("<|im_end|>",))
    'Good bye.'
    """
    text = text.rstrip()
    for _ in range(4):  # engines leave one or two; whoever writes a thousand means it
        text = next((text[: -len(end)] for end in ends if text.endswith(end)), text).rstrip()
    return text


# -- JSON in place -------------------------------------------------------------------------------------


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Malformed(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _integer(digits: str) -> int:
    if len(digits.removeprefix("-")) > MOST_DIGITS:
        raise Malformed(
            f"a number has {len(digits.removeprefix('-'))} digits, at most {MOST_DIGITS} are read"
        )
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise Malformed(f"the number {digits[:20]} is too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise Malformed(f"{name} is not JSON")


_QUICK = json.JSONDecoder(parse_constant=_no_constant)
_CAREFUL = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_no_constant
)
_SPACE = re.compile(r"[ \t\n\r]*")


def skip_space(text: str, at: int) -> int:
    """Where the next thing that is not JSON's white space stands."""
    if text[at : at + 1] not in " \t\n\r":
        return at
    if text[at + 1 : at + 2] not in " \t\n\r":  # a line break alone, most often
        return at + 1
    return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches anywhere


def read_json(text: str, at: int, levels: int = DEEPEST) -> tuple[Any, int]:
    """The JSON value that begins at `at` (after white space), and where it ends. Raises Malformed."""
    start = skip_space(text, at) if text[at : at + 1] <= " " else at
    try:
        value, end = _QUICK.raw_decode(text, start)
        # As many colons as keys: no string holds one, and no key stands twice.
        if text.count(":", start, end) == _keys(value, levels) and text.find("\\u", start, end) < 0:
            return value, end
    except ValueError:
        pass  # in other words below
    except RecursionError:
        raise Malformed("is not JSON (it is nested too deep)", start) from None
    try:
        value, end = _CAREFUL.raw_decode(text, start)
    except json.JSONDecodeError as error:
        raise Malformed(f"is not JSON ({_advice(error, text)})", max(error.pos, start)) from None
    except Malformed as error:
        raise Malformed(f"is not JSON ({error})", start) from None
    if text.find("\\u", start, end) >= 0:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise Malformed("has half a surrogate pair", end) from None
    if text.count("{", start, end) + text.count("[", start, end) > levels and _depth(value) > levels:
        raise Malformed(f"is nested more than {levels} deep", end)
    return value, end


_NEVER = -(10**12)
_LARGEST = 10**MOST_DIGITS


def _keys(value: Any, room: int) -> int:
    """How many keys the objects in a value have; less than none if something is out of bounds."""
    found, items = 0, value
    if type(value) is dict:
        found, items = len(value), value.values()
    elif type(value) is not list:
        return _NEVER
    if room == 0:
        return _NEVER
    for item in items:
        kind = type(item)
        if kind is str:
            continue
        if kind is dict or kind is list:
            found += _keys(item, room - 1)
        elif (kind is int and not -_LARGEST < item < _LARGEST) or (kind is float and math.isinf(item)):
            return _NEVER
    return found


def _advice(error: json.JSONDecodeError, text: str) -> str:
    """The decoder's words, and what models get wrong at such a place."""
    rest = text[error.pos : error.pos + 20]
    before = text[max(error.pos - 20, 0) : error.pos].rstrip()
    if rest.startswith("'"):
        return "JSON wants double quotes, not single ones"
    if rest.startswith("```"):
        return "no ``` here: write the JSON itself"
    if rest.startswith(("True", "False", "None")):
        return "JSON writes true, false and null"
    if (rest.startswith(("}", "]")) and before.endswith(",")) or "trailing comma" in error.msg:
        return "no comma before a closing bracket"
    if error.msg.startswith("Invalid control character"):
        return "write a line break inside a string as \\n, other control characters as \\u0000"
    return f"{error.msg} at {rest!r}" if rest else f"{error.msg}: it ends too early"


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, counted level by level."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, (dict, list))]:
        depth += 1
        level = [v for node in level for v in (node.values() if isinstance(node, dict) else node)]
    return depth


# -- calls ---------------------------------------------------------------------------------------------


def call_of(data: Any, key: str = "arguments", ignored: Collection[str] = ()) -> ToolCall:
    """The call that an object `{"name": …, key: {…}}` says, with no key that nobody reads."""
    if type(data) is dict and len(data) == 2:  # nearly all
        name, arguments = data.get("name"), data.get(key)
        if type(name) is str and type(arguments) is dict:
            return ToolCall(name, arguments)
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise Malformed('a tool call needs a "name"')
    surplus = data.keys() - {"name", key, *ignored}
    if surplus:
        names = ", ".join(repr(name[:60]) for name in sorted(surplus)[:5])
        raise Malformed(f'a tool call has "name" and "{key}" and nothing else, not {names}')
    return ToolCall(data["name"], arguments_of(data.get(key, {}), key))


def arguments_of(value: Any, key: str = "arguments") -> dict[str, Any]:
    """Arguments that are an object."""
    if isinstance(value, dict):
        return value
    quoted = ", and not a string that holds one: leave out the quotes around it"
    raise Malformed(f'"{key}" of a tool call must be an object{quoted if isinstance(value, str) else ""}')


def require_few(calls: Sequence[Any]) -> None:
    """Raise Malformed if an action has more calls than any has a use for."""
    if len(calls) > MOST_CALLS:
        raise Malformed(f"an action has at most {MOST_CALLS} calls; make the others in your next one")


def dump(value: Any) -> str:
    """A value as JSON, as chat templates write it. Raises ValueError for what is not JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def require_reversible(text: str, read: Action, prose: str, calls: Iterable[ToolCall], what: str) -> str:
    """`text`, which was written for prose and calls. Raises ValueError if it is read as something else."""
    # As JSON, because 1, 1.0 and True are equal and tuples are lists.
    meant = [(call.name, json.dumps(call.arguments)) for call in calls]
    got = [(call.name, json.dumps(call.arguments)) for call in read.calls]
    if read.error is not None or read.prose != prose.strip() or got != meant:
        raise ValueError(f"{what}; what it would be is not read back: {text[:300]!r}")
    return text
