"""Names and places of people, read from people.toml."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources

from forge_envs.worlds.desk.dice import Dice


@dataclass(frozen=True)
class People:
    """All words people are drawn from."""

    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    streets: tuple[str, ...]
    places: tuple[tuple[str, str, str], ...]
    """City, state and the first three digits of its zip codes."""


@functools.cache
def people() -> People:
    """The words, read once."""
    text = resources.files(__package__).joinpath("people.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return People(
        tuple(data["first_names"]),
        tuple(data["last_names"]),
        tuple(data["streets"]),
        tuple((city, state, prefix) for city, state, prefix in data["places"]),
    )


def draw_address(dice: Dice, second_line: float) -> dict[str, str]:
    """A postal address, which has a second line with the chance `second_line`."""
    city, state, prefix = dice.choice(people().places)
    return {
        "address1": f"{1 + dice.below(999)} {dice.choice(people().streets)}",
        "address2": f"Unit {1 + dice.below(99)}" if dice.chance(second_line) else "",
        "city": city,
        "country": "USA",
        "state": state,
        "zip": f"{prefix}{dice.below(100):02d}",
    }
