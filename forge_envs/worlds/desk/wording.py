"""Sentences of customers and of exemplary agents, by the place in a conversation where they may stand."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from importlib import resources


@functools.cache
def lines(package: str) -> dict[str, list[str]]:
    """Place -> sentences that may stand there, from a world's lines.toml."""
    text = resources.files(package).joinpath("lines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def choose(package: str, place: str, voice: int, tiny: bool, **words: str) -> str:
    """A world's sentence for a place; `voice`, a large number of the task, picks it."""
    options = lines(package)[place][:2] if tiny else lines(package)[place]
    return options[voice // (1 + len(place)) % len(options)].format(**words)


def listing(parts: Sequence[str]) -> str:
    """Parts in one phrase.

    >>> listing(["your email", "the reason", "the new address"])
    'your email, the reason and the new address'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
