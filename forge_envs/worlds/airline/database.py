"""An airline's rows and their indexes, and what an airline of a size is like.

Rows have τ²-bench's format: a reservation always has a `status`, and balances are floats.
"""

from __future__ import annotations

import functools
import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from typing import Literal, TypeAlias

from forge_envs.tables import Base

Cabin: TypeAlias = Literal["basic_economy", "economy", "business"]
CABINS: tuple[Cabin, ...] = ("basic_economy", "economy", "business")
NOW = "2024-05-15T15:00:00"
"""The time at which every episode plays, as in τ-bench."""
TODAY = NOW[:10]
DATES = tuple(f"2024-05-{day:02d}" for day in range(1, 31))
"""The days flights are known for; those after TODAY can be booked."""


@dataclass(frozen=True)
class Size:
    """How large an airline is and how long its rows are."""

    users: int
    reservations: int
    airports: int
    routes: int
    """Pairs of airports with flights both ways."""
    departures: int
    """Flights a day on each way."""
    passengers: tuple[float, ...]
    """Chances of 1, 2, … passengers in a reservation."""
    legs: tuple[float, float, float]
    """Chances of a direct one-way trip, one with a stop, and a direct round trip."""
    second_line: float
    """Chance that an address has a second line."""
    own_ids: bool
    """Tasks write their reservations under the airline's own ids first, so that few ids ever occur."""
    facts: tuple[str, ...] = ("cabin", "total", "flight", "date", "status")
    """What customers ask about a reservation."""


SIZES = {
    "full": Size(500, 2000, 20, 75, 2, (0.45, 0.25, 0.2, 0.1), (0.35, 0.3, 0.35), 0.7, False),
    "small": Size(50, 200, 8, 15, 2, (0.6, 0.3, 0.1), (0.5, 0.2, 0.3), 0.5, False),
    "tiny": Size(20, 40, 4, 6, 1, (1.0,), (1.0, 0.0, 0.0), 0.0, True, ("cabin", "flight")),
}


@dataclass(frozen=True)
class Database:
    """An airline: the rows all episodes share, and the indexes the tools look things up in."""

    size: Size
    users: Base
    reservations: Base
    flights: Base
    by_origin: dict[str, list[str]]
    """Airport -> numbers of the flights that leave it, in the order of the flights."""
    airport_list: str
    """Codes and cities as JSON."""

    def __reduce__(self) -> tuple[Callable[..., Database], tuple[Base, Base, Base, Size]]:
        return make_database, (self.users, self.reservations, self.flights, self.size)


@functools.lru_cache(maxsize=8)
def make_database(users: Base, reservations: Base, flights: Base, size: Size = SIZES["full"]) -> Database:
    """An airline of these rows, with its indexes."""
    by_origin: dict[str, list[str]] = {}
    for number, flight in flights.rows.items():
        by_origin.setdefault(flight["origin"], []).append(number)
    listing = [{"iata": code, "city": city} for code, city in airports()[: size.airports]]
    return Database(size, users, reservations, flights, by_origin, json.dumps(listing))


@functools.cache
def airports() -> tuple[tuple[str, str], ...]:
    """Code and city of every airport."""
    text = resources.files(__package__).joinpath("airports.toml").read_text(encoding="utf-8")
    return tuple((code, city) for code, city in tomllib.loads(text)["airports"])
