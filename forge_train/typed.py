"""What the commands of `forge-train` take, read while the line is parsed: value and fix in one line."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least `least`; for argparse's `type`.

    >>> whole(0)("7")
    7
    """

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ArgumentTypeError(f"{text!r}: a whole number of at least {least} is needed")
        return value

    return read


count = whole(1)
"""Reads how many of something there are to be."""
