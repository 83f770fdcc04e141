"""A task in the making: a customer, the reservations written for it so far, and one goal of each kind."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

from forge_envs.messages import ToolCall
from forge_envs.tables import Row, copy_json
from forge_envs.worlds.airline.database import (
    CABINS,
    COVERED,
    FUTURE,
    PAST,
    REASONS,
    TODAY,
    Routes,
    Wish,
    compensation,
    database,
    draw_person,
    draw_reservation,
    fresh_reservation_id,
    heads,
    may_cancel,
    nonfree_bags,
)
from forge_envs.worlds.airline.goals import truth_of
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Draft, Redraw
from forge_envs.worlds.desk.goals import Goal

SAID = {
    "change of plan": "My plans have changed.",
    "airline cancelled": "You cancelled the flight.",
    "illness": "I am ill.",
    "weather": "The weather is bad.",
}
"""How customers put each of REASONS."""
_NUMBERS = ("No", "One", "Two", "Three")


class AirlineDraft(Draft):
    """A task in the making, with one goal of each kind."""

    package = __package__

    def __init__(self, size: str, dice: Dice) -> None:
        self.airline = database(size)
        self.spec = self.airline.size
        self.flight_rows = self.airline.flights.rows
        self.routes = _routes(size)
        super().__init__(
            size,
            dice,
            customers=_customers(size),
            users=self.airline.users.rows,
            held="reservations",
            own_ids=self.spec.own_ids,
        )

    # -- rows and words ------------------------------------------------------------------------------

    def reservation(
        self,
        cabin: str = "",
        *,
        direct: bool = False,
        dates: Sequence[str] = FUTURE,
        standing: Sequence[str] = ("available",),
        insured: bool | None = None,
        recent: bool = False,
    ) -> Row:
        """A new reservation of the customer whose flights all stand in one of these ways."""
        chances = (1.0, 0.0, 0.0) if direct else self.spec.legs
        for _ in range(20):
            legs = self.routes.trip(self.dice, chances, dates)
            if all(self.routes.day(leg)["status"] in standing for leg in legs):
                break
        else:
            raise Redraw
        wish = Wish(legs, cabin or self.dice.choice(CABINS), heads(self.dice, self.spec), insured, recent)
        if self.old_ids:
            key = self.old_ids.pop()
        else:
            key = fresh_reservation_id(self.dice, self.airline.reservations.rows)
            if key in self.rows:
                raise Redraw
            self.user["reservations"].append(key)
        row = draw_reservation(self.dice, wish, self.user, self.customer_id, key)
        self.rows[key] = row
        return row

    def goal(
        self, kind: str, row: Row, call: ToolCall | None, knows: bool = True, place: str = "", **details: str
    ) -> Goal:
        """A goal about a reservation, in the customer's words."""
        key = row["reservation_id"]
        found = f"reservation {key}" if knows else f"the one from {row['origin']} to {row['destination']}"
        name = f"reservation {key}" if knows else "one of my reservations"
        request = self.say(place or kind, reservation=name)
        told = {"reservation": f"It is {found}.", **details}
        return Goal(kind, request, key, told, call, knows_subject=knows)

    def payer(self, price: int) -> tuple[str, str]:
        """A card of the customer that can pay so much, and how they name it."""
        able = [
            method
            for method in self.user["payment_methods"].values()
            if method["source"] == "credit_card"
            or (method["source"] == "gift_card" and method["amount"] >= price)
        ]
        method = self.dice.choice(able)
        return method["id"], f"Use my {method['source'].replace('_', ' ')}."

    # -- one goal of each kind -------------------------------------------------------------------------

    def fact(self, knows: bool = True) -> Goal:
        """Asks for one fact of a reservation."""
        fact = self.dice.choice(self.spec.facts)
        if fact == "status":
            standing = ("on time", "delayed", "flying", "landed", "cancelled")
            row = self.reservation(direct=True, dates=(*PAST[-2:], TODAY), standing=standing)
        else:
            row = self.reservation(direct=fact in ("flight", "date"))
        goal = self.goal("fact", row, None, knows, place=f"fact_{fact}")
        return replace(goal, fact=fact, truth=truth_of(fact, row, self.flight_rows))

    def cancel(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Cancels a reservation for a reason that allows it."""
        reason = self.dice.choice(REASONS)
        if row is None:
            if reason == "airline cancelled":
                row = self.reservation(direct=True, standing=("cancelled",))
            elif reason in COVERED:
                row = self.reservation(insured=True)
            else:
                recent = self.dice.chance(0.5)
                row = self.reservation("" if recent else "business", recent=recent)
        elif reason == "airline cancelled":
            reason = REASONS[0]
        statuses = {self.routes.day(leg)["status"] for leg in row["flights"]}
        if (reason == "airline cancelled") != ("cancelled" in statuses):
            raise Redraw
        if not may_cancel(row, self.flight_rows, reason):
            raise Redraw
        return self._cancel(row, reason, knows)

    def _cancel(self, row: Row, reason: str, knows: bool = True) -> Goal:
        call = ToolCall("cancel_reservation", {"reservation_id": row["reservation_id"]})
        return self.goal("cancel", row, call, knows, reason=SAID[reason])

    def bags(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Adds one or two checked bags."""
        row = row or self.reservation()
        more = 1 + self.dice.below(2)
        total = row["total_baggages"] + more
        nonfree = nonfree_bags(self.user["membership"], row["cabin"], len(row["passengers"]), total)
        payment_id, said = self.payer(50 * (nonfree - row["nonfree_baggages"]))
        arguments = {
            "reservation_id": row["reservation_id"],
            "total_baggages": total,
            "nonfree_baggages": nonfree,
            "payment_id": payment_id,
        }
        call = ToolCall("update_reservation_baggages", arguments)
        bags = f"{_NUMBERS[more]} more {'bag' if more == 1 else 'bags'}."
        return self.goal("bags", row, call, knows, bags=bags, payment=said)

    def _reseat(self, row: Row, cabin: str, legs: Sequence[Row]) -> tuple[ToolCall, str]:
        """The call that gives a reservation these flights and this cabin, and how it is paid for."""
        party, price = len(row["passengers"]), 0
        held = {(leg["flight_number"], leg["date"]) for leg in row["flights"]}
        for leg in legs:
            if cabin == row["cabin"] and (leg["flight_number"], leg["date"]) in held:
                continue
            day = self.routes.day(leg)
            if day["status"] != "available" or day["available_seats"][cabin] < party:
                raise Redraw
            price += party * day["prices"][cabin]
        wanted = {(leg["flight_number"], leg["date"]) for leg in legs}
        stays = wanted if cabin == row["cabin"] else set()
        gone = [leg for leg in row["flights"] if (leg["flight_number"], leg["date"]) not in stays]
        payment_id, said = self.payer(price - party * sum(leg["price"] for leg in gone))
        arguments = {
            "reservation_id": row["reservation_id"],
            "cabin": cabin,
            "flights": [{"flight_number": leg["flight_number"], "date": leg["date"]} for leg in legs],
            "payment_id": payment_id,
        }
        return ToolCall("update_reservation_flights", arguments), said

    def cabin(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Changes the cabin of all flights."""
        row = row or self.reservation()
        cabin = self.dice.choice([cabin for cabin in CABINS if cabin != row["cabin"]])
        call, said = self._reseat(row, cabin, row["flights"])
        wanted = f"{cabin.capitalize().replace('_', ' ')}, please."
        return self.goal("cabin", row, call, knows, cabin=wanted, payment=said)

    def flights(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Moves a direct one-way trip to another day."""
        row = row or self.reservation(self.dice.choice(("economy", "business")), direct=True)
        old = row["flights"][0]
        date = self.dice.choice([date for date in FUTURE if date != old["date"]])
        number = self.dice.choice(self.routes.between[old["origin"], old["destination"]])
        call, said = self._reseat(row, row["cabin"], [self.routes.leg(number, date)])
        return self.goal("flights", row, call, knows, flights=self._departure(number, date), payment=said)

    def _departure(self, number: str, date: str) -> str:
        leaves = self.flight_rows[number]["scheduled_departure_time_est"][:5]
        return f"On {date}, the flight that leaves at {leaves}."

    def passengers(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Lets someone else fly in a passenger's place."""
        row = row or self.reservation()
        party = copy_json(row["passengers"])
        at = self.dice.below(len(party))
        old, party[at] = party[at], draw_person(self.dice)
        if any(person["last_name"] == party[at]["last_name"] for person in row["passengers"]):
            raise Redraw
        call = ToolCall(
            "update_reservation_passengers", {"reservation_id": row["reservation_id"], "passengers": party}
        )
        wish = f"{_name(party[at])}, born {party[at]['dob']}, flies instead of {_name(old)}."
        return self.goal("passengers", row, call, knows, passengers=wish)

    def book(self) -> Goal:
        """Books a direct one-way trip for the customer and perhaps someone they saved."""
        leg = self.routes.trip(self.dice, (1.0, 0.0, 0.0), FUTURE)[0]
        day, cabin = self.routes.day(leg), self.dice.choice(CABINS)
        saved = self.user["saved_passengers"]
        party = [{**self.user["name"], "dob": self.user["dob"]}]
        party += [self.dice.choice(saved)] if saved and self.dice.chance(0.5) else []
        if day["status"] != "available" or day["available_seats"][cabin] < len(party):
            raise Redraw
        bags, insured = self.dice.below(3), self.dice.chance(0.5)
        nonfree = nonfree_bags(self.user["membership"], cabin, len(party), bags)
        price = len(party) * (day["prices"][cabin] + 30 * insured) + 50 * nonfree
        payments, said = self._parts(price)
        arguments = {
            "user_id": self.customer_id,
            "origin": leg["origin"],
            "destination": leg["destination"],
            "flight_type": "one_way",
            "cabin": cabin,
            "flights": [{"flight_number": leg["flight_number"], "date": leg["date"]}],
            "passengers": copy_json(party),
            "payment_methods": payments,
            "total_baggages": bags,
            "nonfree_baggages": nonfree,
            "insurance": "yes" if insured else "no",
        }
        details = {
            "flights": self._departure(leg["flight_number"], leg["date"]),
            "cabin": f"{cabin.capitalize().replace('_', ' ')}, please.",
            "passengers": "Only I fly." if len(party) == 1 else f"I fly with {_name(party[1])}.",
            "bags": f"{_NUMBERS[bags]} checked {'bag' if bags == 1 else 'bags'}.",
            "insurance": "With insurance." if insured else "No insurance.",
            "payment": said,
        }
        request = self.say("book", reservation="", origin=leg["origin"], destination=leg["destination"])
        return Goal("book", request, "", details, ToolCall("book_reservation", arguments))

    def _parts(self, price: int) -> tuple[list[Row], str]:
        """What pays how much of a new trip: one card, or a certificate and the credit card for the rest."""
        methods = {method["source"]: method for method in self.user["payment_methods"].values()}
        certificate = methods.get("certificate")
        if certificate and certificate["amount"] < price and self.dice.chance(0.5):
            worth = int(certificate["amount"])
            rest = {"payment_id": methods["credit_card"]["id"], "amount": price - worth}
            said = "Use my certificate first, and my credit card for the rest."
            return [{"payment_id": certificate["id"], "amount": worth}, rest], said
        payment_id, said = self.payer(price)
        return [{"payment_id": payment_id, "amount": price}], said

    def certificate(self, row: Row | None = None, knows: bool = True) -> Goal:
        """Wants to be compensated for a cancelled flight, and is entitled to it."""
        row = row or self.reservation(direct=True, standing=("cancelled",))
        amount = compensation(self.user, row, self.flight_rows)
        if not amount:
            raise Redraw
        call = ToolCall("send_certificate", {"user_id": self.customer_id, "amount": amount})
        return self.goal("certificate", row, call, knows)

    def write(self, knows: bool = True) -> Goal:
        """Any write that takes arguments."""
        makers = [self.bags, self.cabin, self.flights, self.passengers, self.certificate]
        n = self.dice.below(len(makers) + knows)
        return self.book() if n == len(makers) else makers[n](None, knows)

    # -- what the policy forbids -------------------------------------------------------------------------

    def forbidden(self) -> Goal:
        """Something the policy forbids."""
        makers = (self._stranger, self._no_cancel, self._no_flights, self._no_certificate, self._no_insurance)
        return replace(self.dice.choice(makers)(), truth="refused", insists=self.dice.chance(0.5))

    def _stranger(self) -> Goal:
        key = self.dice.choice(_reservation_ids(self.size))
        row = self.airline.reservations.rows[key]
        if row["user_id"] == self.customer_id:
            raise Redraw
        return replace(self.goal("fact", row, None, place="stranger"), fact="cabin")

    def _no_cancel(self) -> Goal:
        reason = self.dice.choice(("change of plan", *COVERED))
        row = self.reservation(self.dice.choice(("basic_economy", "economy")), insured=False)
        return self._cancel(row, reason)

    def _no_flights(self) -> Goal:
        return self.flights(self.reservation("basic_economy", direct=True))

    def _no_certificate(self) -> Goal:
        standing = self.dice.choice(("available", "cancelled"))
        row = self.reservation("economy", direct=True, standing=(standing,), insured=False)
        if compensation(self.user, row, self.flight_rows):
            raise Redraw
        return self.goal("certificate", row, None)

    def _no_insurance(self) -> Goal:
        return self.goal("insurance", self.reservation(insured=False), None)


def _name(person: Row) -> str:
    return f"{person['first_name']} {person['last_name']}"


@functools.cache
def _routes(size: str) -> Routes:
    return Routes(database(size).flights.rows)


@functools.cache
def _customers(size: str) -> list[str]:
    return list(database(size).users.rows)


@functools.cache
def _reservation_ids(size: str) -> list[str]:
    return list(database(size).reservations.rows)
