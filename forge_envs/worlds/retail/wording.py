"""Sentences of a shop's customers and of the exemplary agent, read from lines.toml."""

from __future__ import annotations

import functools

from forge_envs.worlds.desk import wording

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


choose = functools.partial(wording.choose, __package__)
lines = functools.partial(wording.lines, __package__)
