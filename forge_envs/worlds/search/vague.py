"""Values said vaguely: a year becomes "the early nineties", a number of inhabitants a span."""

from __future__ import annotations

import random

DECADES = {
    1940: "forties",
    1950: "fifties",
    1960: "sixties",
    1970: "seventies",
    1980: "eighties",
    1990: "nineties",
}
THIRDS = {"early": (0, 3), "mid": (4, 6), "late": (7, 9)}
"""Which years of a decade are early, in the middle and late; the rules of the world tell it."""


def decade(year: int) -> str:
    """The decade of a year in words.

    >>> decade(1994), decade(2013), decade(1925)
    ('nineties', '2010s', '1920s')
    """
    first = year // 10 * 10
    return DECADES.get(first, f"{first}s")


def vague_year(year: int, rng: random.Random, width: int) -> tuple[str, int, int]:
    """Words for a time that holds a year, and its first and last year.

    `width` 0 says the year itself, 1 some three years, 2 a decade.
    """
    if not width:
        return str(year), year, year
    first = year // 10 * 10
    plain = first % 100 != 0  # "the 1900s" may be a century
    if width > 1 and plain:
        return f"the {decade(year)}", first, first + 9
    if not plain or rng.random() < 0.25:
        low = year - rng.randint(0, 3)
        return f"the years {low} to {low + 3}", low, low + 3
    part, (low, high) = next((p, t) for p, t in THIRDS.items() if t[0] <= year - first <= t[1])
    glue = "-" if part == "mid" else " "
    return f"the {part}{glue}{decade(year)}", first + low, first + high


def vague_number(number: int, rng: random.Random) -> tuple[str, int, int]:
    """Words for a span that holds a number, and its ends."""
    step = max(100, 10 ** (len(str(number)) - 1) // 2)
    low = number // step * step
    high = low + step * rng.randint(1, 2)
    return f"between {low:,} and {high:,}", low, high
