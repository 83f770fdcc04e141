"""An airline drawn from a seed: flights, customers, reservations; and what its policy allows for them.

The same size gives the same airline on every machine. It is drawn at first use and shared by all episodes.
Rows have τ²-bench's format: a reservation always has a `status`, and balances are floats.
"""

from __future__ import annotations

import functools
import itertools
import json
import string
import tomllib
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal, TypeAlias

import numpy as np

from forge_envs.tables import Base, Row
from forge_envs.worlds.desk.database import Dice, draw_address, people

Cabin: TypeAlias = Literal["basic_economy", "economy", "business"]
CABINS: tuple[Cabin, ...] = ("basic_economy", "economy", "business")
NOW = "2024-05-15T15:00:00"
"""The time at which every episode plays, as in τ-bench."""
TODAY = NOW[:10]
DATES = tuple(f"2024-05-{day:02d}" for day in range(1, 31))
"""The days flights are known for; those after TODAY can be booked."""


@dataclass(frozen=True)
class AirlineSize:
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
    "full": AirlineSize(500, 2000, 20, 75, 2, (0.45, 0.25, 0.2, 0.1), (0.35, 0.3, 0.35), 0.7, False),
    "small": AirlineSize(50, 200, 8, 15, 2, (0.6, 0.3, 0.1), (0.5, 0.2, 0.3), 0.5, False),
    "tiny": AirlineSize(20, 40, 4, 6, 1, (1.0,), (1.0, 0.0, 0.0), 0.0, True, ("cabin", "flight")),
}


@dataclass(frozen=True)
class AirlineDatabase:
    """An airline: the rows all episodes share, and the indexes the tools look things up in."""

    size: AirlineSize
    users: Base
    reservations: Base
    flights: Base
    by_origin: dict[str, list[str]]
    """Airport -> numbers of the flights that leave it, in the order of the flights."""
    airport_list: str
    """Codes and cities as JSON."""

    def __reduce__(self) -> tuple[Callable[..., AirlineDatabase], tuple[Base, Base, Base, AirlineSize]]:
        return make_database, (self.users, self.reservations, self.flights, self.size)


@functools.lru_cache(maxsize=8)
def make_database(
    users: Base, reservations: Base, flights: Base, size: AirlineSize = SIZES["full"]
) -> AirlineDatabase:
    """An airline of these rows, with its indexes."""
    by_origin: dict[str, list[str]] = {}
    for number, flight in flights.rows.items():
        by_origin.setdefault(flight["origin"], []).append(number)
    listing = [{"iata": code, "city": city} for code, city in airports()[: size.airports]]
    return AirlineDatabase(size, users, reservations, flights, by_origin, json.dumps(listing))


@functools.cache
def airports() -> tuple[tuple[str, str], ...]:
    """Code and city of every airport."""
    text = resources.files(__package__).joinpath("airports.toml").read_text(encoding="utf-8")
    return tuple((code, city) for code, city in tomllib.loads(text)["airports"])


# -- what policy.md allows: the generator draws by it, and tests hold golds against it -----------------

COVERED = ("illness", "weather")
"""Reasons to cancel that insurance covers."""
REASONS = ("change of plan", "airline cancelled", *COVERED)
_FREE = {"regular": 0, "silver": 1, "gold": 2, "basic_economy": 0, "economy": 1, "business": 2}


def free_bags(membership: str, cabin: str, heads: int) -> int:
    """Checked bags that cost nothing, for a whole party."""
    return heads * (_FREE[membership] + _FREE[cabin])


def nonfree_bags(membership: str, cabin: str, heads: int, bags: int) -> int:
    """How many of so many checked bags are paid for."""
    return max(0, bags - free_bags(membership, cabin, heads))


def statuses(reservation: Row, flights: Mapping[str, Row]) -> list[str]:
    """How each flight of a reservation stands on its day."""
    return [flights[leg["flight_number"]]["dates"][leg["date"]]["status"] for leg in reservation["flights"]]


def may_cancel(reservation: Row, flights: Mapping[str, Row], reason: str) -> bool:
    """Whether a reservation may be cancelled for one of REASONS."""
    known = statuses(reservation, flights)
    if "landed" in known or "flying" in known:
        return False
    recent = reservation["created_at"] >= f"2024-05-14{NOW[10:]}"
    insured = reservation["insurance"] == "yes" and reason in COVERED
    return recent or insured or "cancelled" in known or reservation["cabin"] == "business"


def compensation(user: Row, reservation: Row, flights: Mapping[str, Row]) -> int:
    """Dollars that a customer who complains of a cancelled flight may be sent; 0 if none."""
    loyal = user["membership"] != "regular" or reservation["insurance"] == "yes"
    entitled = loyal or reservation["cabin"] == "business"
    cancelled = "cancelled" in statuses(reservation, flights)
    return 100 * len(reservation["passengers"]) if entitled and cancelled else 0


# -- the airline of a size ---------------------------------------------------------------------------

PAST = tuple(date for date in DATES if date < TODAY)
FUTURE = tuple(date for date in DATES if date > TODAY)
MEMBERSHIPS = ("regular", "silver", "gold")
_FARES = {"basic_economy": (50, 100), "economy": (101, 200), "business": (201, 500)}
"""Cheapest and dearest seat in dollars."""


@functools.cache
def database(size: str) -> AirlineDatabase:
    """The airline of a size: "full", "small" or "tiny"."""
    spec = SIZES[size]
    dice = Dice(20_251_121, list(SIZES).index(size))
    flights = draw_flights(dice, spec)
    users = draw_users(dice, spec)
    routes = Routes(flights)
    ids = list(users)
    reservations: dict[str, Row] = {}
    for n in range(spec.reservations):
        user_id = ids[n % len(ids)] if spec.own_ids or n < len(ids) else dice.choice(ids)
        reservation_id = fresh_reservation_id(dice, reservations)
        legs = routes.trip(dice, spec.legs, DATES)
        trip = Wish(legs, dice.choice(CABINS), heads(dice, spec))
        reservations[reservation_id] = draw_reservation(dice, trip, users[user_id], user_id, reservation_id)
        users[user_id]["reservations"].append(reservation_id)
    return make_database(
        Base(users, (_base, size, "users")),
        Base(reservations, (_base, size, "reservations")),
        Base(flights, (_base, size, "flights")),
        spec,
    )


def _base(size: str, table: str) -> Base:
    base: Base = getattr(database(size), table)
    return base


# -- flights -----------------------------------------------------------------------------------------


def draw_flights(dice: Dice, spec: AirlineSize) -> dict[str, Row]:
    """All flights by number: on each route some a day, both ways, at different times."""
    codes = [code for code, _ in airports()[: spec.airports]]
    rows: dict[str, Row] = {}
    for one, other in dice.sample(list(itertools.combinations(codes, 2)), spec.routes):
        minutes = 60 + 30 * dice.below(9)
        for origin, destination in ((one, other), (other, one)):
            for hour in sorted(dice.sample(range(5, 23), spec.departures)):
                number = f"FG{len(rows) + 100}"
                arrival = hour * 60 + minutes
                late = "+1" if arrival >= 24 * 60 else ""
                row: Row = {
                    "flight_number": number,
                    "origin": origin,
                    "destination": destination,
                    "scheduled_departure_time_est": f"{hour:02d}:00:00",
                    "scheduled_arrival_time_est": f"{arrival // 60 % 24:02d}:{arrival % 60:02d}:00{late}",
                }
                row["dates"] = {date: _day(dice, date, hour * 60, arrival) for date in DATES}
                rows[number] = row
    return rows


def _day(dice: Dice, date: str, departure: int, arrival: int) -> Row:
    """How a flight stands on a day; times are minutes after midnight."""
    if dice.chance(0.08):
        return {"status": "cancelled"}
    now = int(NOW[11:13]) * 60
    if date < TODAY or (date == TODAY and arrival < now):
        return {"status": "landed"}
    if date == TODAY:
        return {"status": "flying" if departure < now else dice.choice(("on time", "delayed"))}
    seats = {cabin: dice.below(21) for cabin in CABINS}
    prices = {cabin: low + dice.below(high - low + 1) for cabin, (low, high) in _FARES.items()}
    return {"status": "available", "available_seats": seats, "prices": prices}


class Routes:
    """What flies where, and trips over it."""

    def __init__(self, flights: Mapping[str, Row]) -> None:
        self.flights = flights
        self.numbers = list(flights)
        self.between: dict[tuple[str, str], list[str]] = {}
        self.leaving: dict[str, list[str]] = {}
        for number, row in flights.items():
            self.between.setdefault((row["origin"], row["destination"]), []).append(number)
            self.leaving.setdefault(row["origin"], []).append(number)

    def trip(self, dice: Dice, chances: Sequence[float], dates: Sequence[str]) -> list[Row]:
        """Legs of a direct trip, one with a stop, or a direct round trip, by their chances."""
        first = dice.choice(self.numbers)
        out = self.flights[first]
        kind = int(np.searchsorted(np.cumsum(chances)[:-1], float(dice.rng.random()), side="right"))
        if kind == 1:
            onward = [
                number
                for number in self.leaving[out["destination"]]
                if self.flights[number]["destination"] != out["origin"]
                and self.flights[number]["scheduled_departure_time_est"] > out["scheduled_arrival_time_est"]
            ]
            date = dice.choice(dates)
            legs = [(first, date), (dice.choice(onward), date)] if onward else [(first, date)]
        elif kind == 2:
            days = sorted(dice.sample(dates, 2))
            back = dice.choice(self.between[out["destination"], out["origin"]])
            legs = [(first, days[0]), (back, days[1])]
        else:
            legs = [(first, dice.choice(dates))]
        return [self.leg(number, date) for number, date in legs]

    def leg(self, number: str, date: str) -> Row:
        """A flight as a reservation lists it, without its price."""
        flight = self.flights[number]
        ends = {"origin": flight["origin"], "destination": flight["destination"]}
        return {**ends, "flight_number": number, "date": date}

    def day(self, leg: Row) -> Row:
        """How a leg's flight stands on its day."""
        found: Row = self.flights[leg["flight_number"]]["dates"][leg["date"]]
        return found


# -- customers and reservations ------------------------------------------------------------------------


def draw_person(dice: Dice) -> Row:
    """Name and date of birth."""
    born = f"{1950 + dice.below(50)}-{1 + dice.below(12):02d}-{1 + dice.below(28):02d}"
    first, last = dice.choice(people().first_names), dice.choice(people().last_names)
    return {"first_name": first, "last_name": last, "dob": born}


def draw_users(dice: Dice, spec: AirlineSize) -> dict[str, Row]:
    """All customers by id."""
    rows: dict[str, Row] = {}
    seen: set[str] = set()
    while len(rows) < spec.users:
        person = draw_person(dice)
        first, last = person["first_name"], person["last_name"]
        if spec.own_ids and first in seen:
            continue
        seen.add(first)
        user_id = f"{first}_{last}_{dice.digits(4)}".lower()
        rows[user_id] = {
            "user_id": user_id,
            "name": {"first_name": first, "last_name": last},
            "address": draw_address(dice, spec.second_line),
            "email": f"{first}.{last}{dice.digits(4)}@example.com".lower(),
            "dob": person["dob"],
            "payment_methods": _payment_methods(dice, spec),
            "saved_passengers": [draw_person(dice) for _ in range(dice.below(1 if spec.own_ids else 3))],
            "membership": dice.choice(MEMBERSHIPS),
            "reservations": [],
        }
    return rows


def _payment_methods(dice: Dice, spec: AirlineSize) -> dict[str, Row]:
    """A credit card, perhaps one gift card and one certificate: "my gift card" names one of them."""
    methods: dict[str, Row] = {}
    for source, chance in (("credit_card", 1.0), ("gift_card", 0.6), ("certificate", 0.5)):
        if not dice.chance(chance) or (source == "certificate" and spec.own_ids):
            continue
        key = f"{source}_{dice.digits(7)}"
        methods[key] = {"source": source, "id": key}
        if source == "credit_card":
            methods[key] |= {"brand": dice.choice(("visa", "mastercard")), "last_four": dice.digits(4)}
        else:
            methods[key]["amount"] = float(50 + 50 * dice.below(10))
    return methods


def fresh_reservation_id(dice: Dice, taken: Container[str]) -> str:
    """A reservation id that is not taken: three letters and three digits."""
    while True:
        letters = "".join(dice.choice(string.ascii_uppercase) for _ in range(3))
        reservation_id = f"{letters}{dice.digits(3)}"
        if reservation_id not in taken:
            return reservation_id


def heads(dice: Dice, spec: AirlineSize) -> int:
    """How many fly together."""
    return 1 + int(np.searchsorted(np.cumsum(spec.passengers)[:-1], float(dice.rng.random()), side="right"))


@dataclass(frozen=True)
class Wish:
    """What a reservation is to be like."""

    legs: Sequence[Row]
    cabin: str
    heads: int
    insured: bool | None = None
    """None leaves it to the dice."""
    recent: bool = False
    """Made within the last 24 hours."""


def draw_reservation(dice: Dice, wish: Wish, user: Row, user_id: str, reservation_id: str) -> Row:
    """A reservation as wished, made by a user and paid for with one of their cards."""
    low, high = _FARES[wish.cabin]
    legs = [{**leg, "price": low + dice.below(high - low + 1)} for leg in wish.legs]
    own = {**user["name"], "dob": user["dob"]}
    insured = dice.chance(0.4) if wish.insured is None else wish.insured
    bags = dice.below(2 * wish.heads + 1)
    nonfree = nonfree_bags(user["membership"], wish.cabin, wish.heads, bags)
    price = wish.heads * (sum(leg["price"] for leg in legs) + 30 * insured) + 50 * nonfree
    cards = [key for key, method in user["payment_methods"].items() if method["source"] != "certificate"]
    back = len(legs) > 1 and legs[-1]["destination"] == legs[0]["origin"]
    day, hour = ("15", dice.below(15)) if wish.recent else (f"{1 + dice.below(13):02d}", dice.below(24))
    return {
        "reservation_id": reservation_id,
        "user_id": user_id,
        "origin": legs[0]["origin"],
        "destination": legs[0]["destination"] if back else legs[-1]["destination"],
        "flight_type": "round_trip" if back else "one_way",
        "cabin": wish.cabin,
        "flights": legs,
        "passengers": [own, *(draw_person(dice) for _ in range(wish.heads - 1))],
        "payment_history": [{"payment_id": dice.choice(cards), "amount": price}],
        "created_at": f"2024-05-{day}T{hour:02d}:{dice.below(60):02d}:{dice.below(60):02d}",
        "total_baggages": bags,
        "nonfree_baggages": nonfree,
        "insurance": "yes" if insured else "no",
        "status": None,
    }
