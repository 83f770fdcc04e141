"""Sentences of an airline's customers and of the exemplary agent, read from lines.toml."""

from __future__ import annotations

import functools

from forge_envs.worlds.desk import wording

TOPICS = {
    "identity": "your user id",
    "reservation": "the reservation number",
    "reason": "the reason",
    "flights": "the date and the flight",
    "cabin": "the cabin",
    "passengers": "the passengers",
    "bags": "the number of bags",
    "insurance": "whether you want insurance",
    "payment": "the payment method",
}
"""What the agent asks for, in words."""

choose = functools.partial(wording.choose, __package__)
lines = functools.partial(wording.lines, __package__)
