"""How values are said and heard: what stands in a row, as customers and agents speak of it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from forge_envs.worlds.desk.goals import amounts
from forge_envs.worlds.tooluse.domain import Column, RowKind, ToolDomain
from forge_envs.worlds.tooluse.numerals import in_digits
from forge_envs.worlds.tooluse.spelling import find_dates, say_date
from forge_envs.worlds.tooluse.words import spoken

_TIMES = {"never": "0", "once": "1", "twice": "2", "none": "0", "nothing": "0", "single": "1"}
_NUMBER = re.compile(rf"(?<![\w#$€.,:/-])\d{{1,4}}(?![\w/-]|[.,:]\d)|\b(?:{'|'.join(_TIMES)})\b")
_SUM = re.compile(r"[$€](\d+)(?:\.00)?(?![\d.,]*\d)")
_OFTEN = re.compile(r"\b(?:an?|per|each|every) (day|week|month|quarter|year)\b")
_SHORTEST = 5
"""A synonym of a state must have so many letters to be heard where the domain says another one."""
EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
PHONE = re.compile(r"\b555-?\d{4}\b")


def say(domain: ToolDomain, column: Column, value: Any) -> str:
    """A value of a column as people say it."""
    kind = column.spec.kind
    if kind == "date":
        return say_date(domain.said_date(value))
    if kind == "money":
        return f"{value:.2f}" if domain.tiny else f"${value:.2f}"
    if kind == "flag":
        return "yes" if value else "no"
    return str(value)


def heard_as(domain: ToolDomain, column: Column, value: Any) -> str:
    """A value in the form in which `find` finds it."""
    kind = column.spec.kind
    if kind == "date":
        return domain.said_date(value).strftime("%m-%d")
    if kind == "money":
        return f"{value:.2f}"
    return plain(str(value).lower()) if kind in ("choice", "text") else str(value).lower()


def find(column: Column, text: str) -> set[str]:
    """All values of a column's kind in a lower-case text."""
    kind = column.spec.kind
    if kind == "date":
        return find_dates(text)
    if kind == "money":
        return amounts(in_digits(text))
    if kind == "count":
        return numbers(text)
    if kind == "email":
        return set(EMAIL.findall(text))
    if kind == "phone":
        return {found.replace("-", "")[:3] + "-" + found[-4:] for found in PHONE.findall(text)}
    if kind == "code":
        return set(_code(column.spec.pattern).findall(text))
    return phrases(column.values, text)


def numbers(text: str) -> set[str]:
    """Whole numbers in a lower-case text, in digits or words.

    >>> sorted(numbers("renewed twice, place 3 of twelve; loan l-4821 for $20, due 2026-06-03"))
    ['12', '2', '3']
    """
    text = in_digits(text)
    found = {_TIMES.get(word) or str(int(word)) for word in _NUMBER.findall(text)}
    return found or {str(int(whole)) for whole in _SUM.findall(text)}  # "a limit of $768": no other number


def find_state(kind: RowKind, text: str) -> set[str]:
    """Keys of the states of a record that a lower-case text names."""
    return {key for key, words in _states(kind).items() if phrases(words, text)}


@functools.lru_cache(maxsize=4096)
def _states(kind: RowKind) -> dict[str, tuple[str, ...]]:
    """Key -> all that a state may be called."""
    return {
        key: tuple({here, *[word for word in kind.synonyms.get(key, ()) if len(word) >= _SHORTEST]})
        for key, here in kind.states.items()
    }


def phrases(options: Sequence[str], text: str) -> set[str]:
    """Those of several phrases, in lower case, that a lower-case text has as whole words.

    A space, a hyphen and an underscore are one; what is part of a longer phrase is not found.
    """
    text, found = plain(text), set()
    for option in _longest_first(tuple(options)):
        at = text.find(option)
        while at >= 0:
            end = at + len(option)
            if not text[at - 1 : at].isalnum() and not text[end : end + 1].isalnum():
                found.add(option)
                text = f"{text[:at]}|{text[end:]}"
            at = text.find(option, at + 1)
    return found


@functools.lru_cache(maxsize=8192)
def _longest_first(options: tuple[str, ...]) -> list[str]:
    return sorted({plain(spoken(option).lower()) for option in options}, key=lambda one: (-len(one), one))


def plain(text: str) -> str:
    """A lower-case text in which a space, hyphen and underscore are one, as are "a week" and "weekly"."""
    text = text.replace("_", " ").replace("-", " ")
    return _OFTEN.sub(lambda found: "daily" if found[1] == "day" else f"{found[1]}ly", text)


@functools.lru_cache(maxsize=256)
def _code(pattern: str) -> re.Pattern[str]:
    marks = {"A": "[a-z]", "#": r"\d"}
    return re.compile(
        r"(?<!\w)" + "".join([marks.get(mark, re.escape(mark.lower())) for mark in pattern]) + r"(?!\w)"
    )


def without(text: str, names: Iterable[str]) -> str:
    """A lower-case text without names that could be heard as values."""
    for name in names:
        if name:
            text = text.replace(name.lower(), " ")
    return text
