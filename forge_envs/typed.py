"""What the commands of `forge-envs` take, read while the line is parsed: the value and the fix in one line.

A function here is a `type` of argparse: it gets what was typed and raises ArgumentTypeError.
"""

from __future__ import annotations

import math
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path


def whole(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least `least`.

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


def port(text: str) -> int:
    """Where a server listens.

    >>> port("8000")
    8000
    """
    value = int(text) if text.isdecimal() else -1
    if not 0 <= value <= 65535:
        raise ArgumentTypeError(f"{text!r}: a port is a number from 0 to 65535")
    return value


def seconds(text: str) -> float:
    """A time limit.

    >>> seconds("1.5")
    1.5
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise ArgumentTypeError(f"{text!r}: a number of seconds above 0 is needed")
    return value


def file_to_write(text: str) -> Path:
    """A file that a command writes when its work is done: asked for before, or the work is lost."""
    path = Path(text)
    if not path.absolute().parent.is_dir():
        raise ArgumentTypeError(f"{text!r}: there is no folder {path.absolute().parent}; make it first")
    if path.is_dir():
        raise ArgumentTypeError(f"{text!r}: that is a folder; name a file")
    return path


def folder_to_fill(text: str) -> Path:
    """A folder that a command makes, if it is not there, and writes into."""
    path = Path(text)
    taken = next((one for one in (path, *path.parents) if one.exists() and not one.is_dir()), None)
    if not text or taken is not None:
        raise ArgumentTypeError(f"{text!r}: {taken or 'it'} is no folder; name another")
    return path
