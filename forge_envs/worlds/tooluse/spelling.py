"""How a domain spells things: ids, names of fields and tools, dates, and the answers of its tools."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forge_envs.tables import Row

_encode = json.JSONEncoder(ensure_ascii=False).encode


def cased(words: Sequence[str], style: str) -> str:
    """A name from its words.

    >>> [cased(["due", "date"], style) for style in ("snake", "camel", "pascal", "kebab")]
    ['due_date', 'dueDate', 'DueDate', 'due-date']
    """
    if style == "snake":
        return "_".join(words)
    if style == "kebab":
        return "-".join(words)
    capitals = [word[:1].upper() + word[1:] for word in words]
    return "".join(capitals if style == "pascal" else [words[0], *capitals[1:]])


@dataclass(frozen=True)
class Spelling:
    """What the names of one domain have in common."""

    case: str
    id_word: str
    tool_case: str
    tool_order: str
    prefix: str

    def name(self, *words: str) -> str:
        """A field or an argument."""
        return cased(
            [part for word in words for part in word.lower().replace("-", " ").replace(" ", "_").split("_")],
            self.case,
        )


@dataclass(frozen=True)
class IdStyle:
    """How the ids of one kind look: `before` a number of so many digits."""

    before: str
    digits: int

    def write(self, number: int) -> str:
        """The id of a number.

        >>> IdStyle("L-", 4).write(82)
        'L-0082'
        """
        return f"{self.before}{number % 10**self.digits:0{self.digits}d}"

    @functools.cached_property
    def _pattern(self) -> re.Pattern[str]:
        before = re.escape(self.before.lower().lstrip("#"))
        return re.compile(rf"(?<![\w.$-])#?({before}\d{{{self.digits}}})(?![\w]|[.,-]\d)")

    def find(self, text: str) -> set[str]:
        """All ids of this look in a lower-case text, without a leading "#"."""
        return set(self._pattern.findall(text))


MONTHS = tuple(
    [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ]
)
_MONTH = {name[:length].lower(): n for n, name in enumerate(MONTHS, 1) for length in (3, 4, len(name))}
_NAMED = r"(" + "|".join(sorted(_MONTH, key=len, reverse=True)) + r")\b\.?"
_DATES = (
    re.compile(r"\b(?:\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})\b"),
    re.compile(rf"\b(?P<d>\d{{1,2}})(?:st|nd|rd|th)?(?: of)?[ -]+(?P<n>{_NAMED})"),
    re.compile(rf"\b(?P<n>{_NAMED})[ -]+(?:the )?(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\b(?![.,]?\d)"),
    re.compile(r"(?<![\d.])(?P<d>\d{1,2})\.(?P<m>\d{1,2})\.(?:\d{4}|\d{2})?(?!\d)"),
)
_SLASHED = re.compile(r"(?<![\d/])(\d{1,2})/(\d{1,2})(?:/\d{2,4})?(?![\d/])")
DATE_STYLES = {
    "iso": ("YYYY-MM-DD", "{0:04d}-{1:02d}-{2:02d}"),
    "dotted": ("DD.MM.YYYY", "{2:02d}.{1:02d}.{0:04d}"),
    "slashed": ("MM/DD/YYYY", "{1:02d}/{2:02d}/{0:04d}"),
    "compact": ("YYYYMMDD", "{0:04d}{1:02d}{2:02d}"),
}


@dataclass(frozen=True)
class DateStyle:
    """How dates are written in rows and arguments."""

    name: str

    @property
    def like(self) -> str:
        """What the agent is told of it."""
        return DATE_STYLES[self.name][0]

    def write(self, day: dt.date) -> str:
        """A date as rows have it."""
        return DATE_STYLES[self.name][1].format(day.year, day.month, day.day)

    def read(self, text: str) -> dt.date | None:
        """The date that a text of exactly this style means; None if it is none.

        >>> DateStyle("dotted").read("03.06.2026"), DateStyle("dotted").read("2026-06-03")
        (datetime.date(2026, 6, 3), None)
        """
        like = self.like
        parts = [text[like.index(mark) : like.rindex(mark) + 1] for mark in "YMD"]
        if len(text) != len(like) or not all([part.isascii() and part.isdigit() for part in parts]):
            return None
        try:
            day = dt.date(*map(int, parts))
        except ValueError:
            return None
        return day if self.write(day) == text else None


def say_date(day: dt.date) -> str:
    """A date as people say it.

    >>> say_date(dt.date(2026, 6, 3))
    '3 June'
    """
    return f"{day.day} {MONTHS[day.month - 1]}"


def find_dates(text: str) -> set[str]:
    """Days in a lower-case text as "MM-DD", however they are written; the year is not listened to.

    >>> sorted(find_dates("on 3 june, june 4th, 2026-06-05, 06/06/2026, 7.6.2026 and 20260608"))
    ['06-03', '06-04', '06-05', '06-06', '06-07', '06-08']
    """
    found = set()
    for pattern in _DATES:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = _MONTH[parts["n"].rstrip(".")] if parts.get("n") else int(parts["m"])
            found.add(f"{month:02d}-{int(parts['d']):02d}")
    for first, second in _SLASHED.findall(text):
        month, day = (int(first), int(second)) if int(first) <= 12 else (int(second), int(first))
        found.add(f"{month:02d}-{day:02d}")
    found |= {f"{m}-{d}" for m, d in re.findall(r"(?<!\d)20\d\d(\d\d)(\d\d)(?!\d)", text)}
    return {day for day in found if "01" <= day[:2] <= "12" and "01" <= day[3:] <= "31"}


@dataclass(frozen=True)
class AnswerStyle:
    """What the answers of tools look like."""

    shape: str
    """"flat" (a JSON object), "nested" (under its noun), "wrapped" (with a status) or "lines"."""

    def row(self, noun: str, row: Mapping[str, Any]) -> str:
        """One row."""
        if self.shape == "nested":
            return _encode({noun: row})
        if self.shape == "wrapped":
            return _encode({"ok": True, "data": row})
        if self.shape == "lines":
            return "\n".join([f"{key}: {_line(value)}" for key, value in row.items()])
        return _encode(row)

    def rows(self, noun: str, rows: Sequence[Row]) -> str:
        """Several rows."""
        if self.shape == "nested":
            return _encode({noun: rows})
        if self.shape == "wrapped":
            return _encode({"ok": True, "count": len(rows), "data": rows})
        if self.shape == "lines":
            return (
                "\n".join([", ".join([f"{k}: {_line(v)}" for k, v in row.items()]) for row in rows])
                or "(none)"
            )
        return _encode(rows)


def _line(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value)


ERRORS = {
    "plain": "{text}",
    "coded": "{code}: {text}",
    "polite": "Sorry, {text}.",
    "json": '{{"error": "{code}", "message": "{text}"}}',
}
"""How tools refuse."""
