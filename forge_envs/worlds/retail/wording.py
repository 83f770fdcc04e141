"""Sentences of customers and of the exemplary agent, read from lines.toml."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Sequence
from importlib import resources

TOPICS = {
    "email": "your email",
    "identity": "your email (or name and zip code)",
    "order": "the order number",
    "reason": "the reason",
    "address": "the new address",
    "payment": "the payment method",
    "refund": "the payment method for the refund",
    "items": "the item",
    "options": "the item and the options you want",
}
"""What the agent asks for, in words."""


@functools.cache
def lines() -> dict[str, list[str]]:
    """Where it stands in a conversation -> sentences that may stand there."""
    text = resources.files(__package__).joinpath("lines.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def choose(place: str, voice: int, tiny: bool, **words: str) -> str:
    """A sentence for a place; `voice`, a large number of the task, picks it."""
    options = lines()[place][:2] if tiny else lines()[place]
    return options[voice // (1 + len(place)) % len(options)].format(**words)


def listing(parts: Sequence[str]) -> str:
    """Parts in one phrase.

    >>> listing(["your email", "the reason", "the new address"])
    'your email, the reason and the new address'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
