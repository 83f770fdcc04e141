"""Tests in languages with braces, with one expected value changed.

Nothing here parses a language. Literals and comments are found and blanked, so that braces and parentheses
can be counted; a test is a block that begins with its language's own words; its claims are calls whose last
words are known; the value that a claim expects is a literal in them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from forge_envs.slips import CLAIMS, other_text
from forge_envs.worlds.polyglot.languages.base import Changed, Control

_TOKENS = re.compile(
    r"//[^\n]*"
    r"|/\*.*?\*/"
    r'|R"(?P<raw>[^(\s]*)\(.*?\)(?P=raw)"'
    r'|r(?P<hashes>#+)".*?"(?P=hashes)'
    r'|"""(?:\\.|[^\\])*?"""'
    r'|"(?:\\.|[^"\\])*"'
    r"|`[^`]*`"
    r"|'(?:\\.[^']*|[^'\\\n])'",
    re.DOTALL,
)
_JS_TEXT = re.compile(r"'(?:\\.|[^'\\\n])*'")
_NUMBER = re.compile(r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?![\w.]*x)")
_TRUTH = re.compile(r"\b(?:true|false)\b")
_CALL = re.compile(r"(?<![\w.!])(?!(?:if|for|while|switch|match|catch|return)\b)[a-z]\w*\(")
_ANY = re.compile("")
_NAMED = re.compile(r"\bexpected\w*\s*(?::[^=;{]+)?[={]\s*")
_WRAPPERS = frozenset(
    {"Some", "Ok", "Err", "vec", "from", "to_string", "into", "to_owned", "new", "Box", "String", "of"}
    | {"List", "Set", "Map", "Date", "BigInt", "Optional", "Arrays", "valueOf", "string", "vector"}
    | {"asList", "complex"}
)
"""Calls around a literal that keep values apart."""


@dataclass(frozen=True, slots=True)
class TestBlock:
    """A test in a file's text."""

    name: str
    start: int
    end: int


def blanked(text: str) -> str:
    """The text with blanks for comments and for what stands in quotes; the quotes stay.

    >>> blanked('f("a(", 1) // x')
    'f("  ", 1)     '
    """

    def blank(found: re.Match[str]) -> str:
        word = found[0]
        if word.startswith(("//", "/*")):
            return re.sub(r"[^\n]", " ", word)
        return word[0] + re.sub(r"[^\n]", " ", word[1:-1]) + word[-1]

    return _TOKENS.sub(blank, text)


def blanked_script(text: str) -> str:
    """The same for JavaScript, whose texts may stand between apostrophes."""
    return _JS_TEXT.sub(lambda found: "'" + " " * (len(found[0]) - 2) + "'", blanked(text))


def closing(mask: str, at: int) -> int:
    """Where the bracket that opens at `at` closes, or -1."""
    pairs = {"(": ")", "{": "}", "[": "]"}
    waiting: list[str] = []
    for place in range(at, len(mask)):
        letter = mask[place]
        if letter in pairs:
            waiting.append(pairs[letter])
        elif letter in ")}]":
            if not waiting or waiting.pop() != letter:
                return -1
            if not waiting:
                return place
    return -1


def blocks(text: str, mask: str, opening: re.Pattern[str]) -> Iterator[TestBlock]:
    """The tests that begin as `opening` says, whose group `name` is a name.

    Each ends with its braces, and the bracket and semicolon that close a call around them.
    """
    for found in opening.finditer(text):
        if mask[found.start()] in " \t\n" and text[found.start()] not in " \t\n":
            continue  # in a comment
        brace = mask.find("{", found.end())
        end = closing(mask, brace) if brace >= 0 else -1
        if end < 0 or re.search(r"[;}]", mask[found.end() : brace]):
            continue
        tail = re.match(r"[ \t]*\)?[ \t]*;?", mask[end + 1 :])
        yield TestBlock(found["name"], found.start(), end + 1 + (tail.end() if tail else 0))


def retold(
    text: str,
    mask: str,
    opening: re.Pattern[str],
    claims: re.Pattern[str],
    turns: Sequence[tuple[str, str]],
    control: Control,
) -> Changed | None:
    """The file with one of its tests changed where it stands; None where none can be."""
    rng = control.chance
    made: tuple[list[tuple[TestBlock, str]], ...] = ([], [], [], [])
    for block in blocks(text, mask, opening):
        part, hidden = text[block.start : block.end], mask[block.start : block.end]
        if found := changes(part, hidden, claims, rng):
            made[0].append((block, rng.choice(found)))
        elif found := turned(part, hidden, turns):
            made[1].append((block, rng.choice(found)))
        elif found := called(part, hidden, rng, CLAIMS):
            made[2].append((block, rng.choice(found)))
        elif found := called(part, hidden, rng):
            made[3].append((block, rng.choice(found)))
    if not (able := made[0] or made[1] or made[2] or made[3]):
        return None
    block, part = rng.choice(able)
    return Changed(text[: block.start] + part + text[block.end :], block.name)


def changed_rows(text: str, mask: str, keys: re.Pattern[str], rng: random.Random) -> list[str]:
    """The text with one cell changed, for each row of a table that says what is expected: what stands behind
    one of the `keys`, or, in a row on a line of its own, the last cell."""
    found = []
    for key in keys.finditer(mask):
        end = next((at for at in range(key.end(), len(mask)) if mask[at] in ",}\n"), len(mask))
        if (changed := _changed(text, mask, key.end(), end, rng)) is not None:
            found.append(changed)
    for row in [] if found else re.finditer(r"^[ \t]*\{([^{}\n:]*)\},?[ \t]*$", mask, re.MULTILINE):
        start, end = _parts(mask, *row.span(1))[0]
        if (changed := _changed(text, mask, start, end, rng)) is not None:
            found.append(changed)
    return found


def changes(text: str, mask: str, claims: re.Pattern[str], rng: random.Random) -> list[str]:
    """The text of a test with the value changed that a claim expects, for each claim that has one."""
    found = []
    for claim in claims.finditer(mask):
        opened = claim.end() - 1
        close = closing(mask, opened)
        if close < 0:
            continue
        for start, end in _parts(mask, opened + 1, close):
            changed = _changed(text, mask, start, end, rng)
            if changed is not None:
                found.append(changed)
                break
    for named in [] if found else _NAMED.finditer(mask):
        end = mask.find(";", named.end())
        if end >= 0 and (changed := _changed(text, mask, named.end(), end, rng)) is not None:
            found.append(changed)
    return found


def called(text: str, mask: str, rng: random.Random, names: re.Pattern[str] = _ANY) -> list[str]:
    """The text of a test with one literal changed that a helper is called with, for each call in its body
    whose name has one of the `names` in it."""
    found = []
    for call in _CALL.finditer(mask, mask.find("{")):
        close = closing(mask, call.end() - 1) if names.search(call[0]) else -1
        parts = _parts(mask, call.end(), close) if close >= 0 else []
        made = [_changed(text, mask, start, end, rng) for start, end in parts]
        if able := [one for one in made if one is not None]:
            found.append(rng.choice(able))
    return found


def _parts(mask: str, start: int, end: int) -> list[tuple[int, int]]:
    """The arguments of a call, or the sides of its comparison, the last one first."""
    cuts, depth, at = [start], 0, start
    while at < end:
        letter = mask[at]
        depth += (letter in "({[") - (letter in ")}]")
        if depth == 0 and letter == ",":
            cuts.append(at + 1)
        elif depth == 0 and mask.startswith("==", at) and mask[at - 1] not in "=!<>":
            cuts.append(at + 2)
            at += 1
        at += 1
    return [(a, b) for a, b in zip(cuts, [*cuts[1:], end], strict=True)][::-1]


def _changed(text: str, mask: str, start: int, end: int, rng: random.Random) -> str | None:
    """The text with one literal changed in a part of it that is nothing but literals and what wraps them."""
    part = mask[start:end]
    if any(call[1] not in _WRAPPERS for call in re.finditer(r"(\w+)!?\s*[({\[]", part)):
        return None
    spots = [(start + m.start(), start + m.end()) for m in _NUMBER.finditer(part)]
    spots += [(start + m.start(), start + m.end()) for m in _TRUTH.finditer(part)]
    spots += [(start + m.start() + 1, start + m.end() - 1) for m in re.finditer(r"([\"'`]) *\1", part)]
    if not spots:
        return None
    begin, stop = rng.choice(spots)
    return text[:begin] + other_literal(text[begin:stop], rng) + text[stop:]


def other_literal(word: str, rng: random.Random) -> str:
    """Another value: a truth turned round, one digit changed, never to a larger number of a kind, or
    another text.

    >>> other_literal("true", random.Random(0)), other_literal("0", random.Random(0)), other_literal("", None)
    ('false', '1', 'x')
    """
    if word in ("true", "false"):
        return "false" if word == "true" else "true"
    if re.fullmatch(r"[\d_.]*\d[\d_.]*", word):
        at = max(place for place, letter in enumerate(word) if letter.isdecimal())
        digit = int(word[at])
        return word[:at] + str(digit - 1 if digit else 1) + word[at + 1 :]
    return other_text(word, rng) or word + "x"


def turned(text: str, mask: str, turns: Sequence[tuple[str, str]]) -> list[str]:
    """The text with one claim turned round, by pairs of a pattern and what takes its place."""
    found = []
    for pattern, new in turns:
        for claim in re.finditer(pattern, mask):
            found.append(text[: claim.start()] + claim.expand(new) + text[claim.end() :])
    return found
