"""Numbers as they are written out, in digits: what is heard is compared in digits."""

from __future__ import annotations

import re

_SMALL = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"),
    *("twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: n for n, word in enumerate(_SMALL)} | {word: 10 * n for n, word in enumerate(_TENS, 2)}
_WORD = "|".join(sorted([*_VALUES, "hundred", "thousand"], key=len, reverse=True))
_WRITTEN = re.compile(rf"\b(?:{_WORD})(?:(?:[ -]| and |-and-)(?:{_WORD}))*\b")
_LARGEST = 10**9
_APART = re.compile(r"[ -]+")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ALONE = re.compile(
    r"\bone\b(?! (?:of|more|that|which|who|you|i|we|is|was|has|for|by|at|with|and)\b)(?= ?[a-z])"
)
_TIME = re.compile(r"\b(\d{1,3}|an?) hours?(?: and|,)? (\d{1,2}|a) minutes?\b")
_COINS = re.compile(r"(?<!\d)(\d{1,9}) dollars?(?: and|,)? (\d{1,2}) cents?\b")


def in_digits(text: str) -> str:
    """A lower-case text with its numbers in digits.

    "one" stays a word where it may stand for something else; hours and minutes are minutes, dollars and
    cents dollars.

    >>> in_digits("twenty-one days, two hundred and five, one of them; an hour and seven minutes; $1,971")
    '21 days, 205, one of them; 67 minutes; $1971'
    >>> in_digits("two hundred thirteen dollars and twenty cents for one bundle, two or three")
    '$213.20 for 1 bundle, 2 or 3'
    """
    text = _WRITTEN.sub(_digits, _GROUPED.sub("", text))
    text = _TIME.sub(_minutes, _ALONE.sub("1", text))
    return _COINS.sub(lambda found: f"${found[1]}.{found[2]:0>2}", text)


def _digits(found: re.Match[str]) -> str:
    """The number that words make, or those that stand beside each other."""
    if found[0] == "one":
        return "one"
    told: list[int] = []
    thousands, rest = 0, -1
    for word in _APART.split(found[0]):
        if word == "hundred":
            rest = 100 * max(rest, 1)
        elif word == "thousand":
            thousands, rest = thousands + 1000 * max(rest, 1), 0
        elif word != "and":
            number = _VALUES[word]
            room = 10 if rest % 100 >= 20 and rest % 10 == 0 else 100 if rest % 100 == 0 else 0
            if rest >= 0 and thousands + rest > 0 and 0 < number < room:
                rest += number
            else:
                told += [thousands + rest] if rest >= 0 else []
                thousands, rest = 0, number
        if rest > _LARGEST:
            break
    return " ".join(map(str, [*told, thousands + rest]))


def _minutes(found: re.Match[str]) -> str:
    hours, minutes = (1 if part.startswith("a") else int(part) for part in found.groups())
    return f"{60 * hours + minutes} minutes"
