"""What the airlines of both benchmarks have in common: the order in which things are looked at and changed.

The airline of our own tasks refuses what fits no schema; here a value of any type is stored or refused as
the official code stores or refuses it, and a call that fails half way leaves what it had changed.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from forge_envs.errors import ToolError
from forge_envs.tables import Row, copy_json
from forge_envs.worlds.airline.database import NOW
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.desk.tools import ServiceDesk
from forge_envs.worlds.tau.tools import python_sum, same_tool


@dataclass(kw_only=True)
class TauAirline(Airline):
    """What the airlines of both benchmarks have in common."""

    @same_tool(ServiceDesk.calculate)
    def calculate(self, expression: str) -> str:
        """As Python counts."""
        return python_sum(expression)

    @same_tool(Airline.book_reservation)
    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: str,
        cabin: str,
        flights: Any,
        passengers: Any,
        payment_methods: Any,
        total_baggages: Any,
        nonfree_baggages: Any,
        insurance: str,
    ) -> str:
        """Who can pay is asked before anything is paid, but of a certificate given twice only once."""
        flights, passengers = self._take("flights", flights), self._take("passengers", passengers)
        paid = self._take("payments", payment_methods)
        user = self._user(user_id)
        new_id = self._new_reservation()
        row = self._reserve(
            {
                "reservation_id": new_id,
                "user_id": user_id,
                "origin": origin,
                "destination": destination,
                "flight_type": flight_type,
                "cabin": cabin,
                "flights": [],
                "passengers": passengers,
                "payment_history": paid,
                "created_at": NOW,
                "total_baggages": total_baggages,
                "nonfree_baggages": nonfree_baggages,
                "insurance": insurance,
            }
        )
        heads, price = len(passengers), 0
        legs: list[Row] = []
        for leg in flights:
            legs.append(self._book(leg, cabin, heads))
            price += legs[-1]["price"] * heads
        price += 30 * heads if insurance == "yes" else 0
        price += 50 * nonfree_baggages
        for part in paid:
            method = user["payment_methods"].get(part["payment_id"])
            if method is None:
                raise ToolError(f"the customer has no payment method {part['payment_id']}")
            if method["source"] != "credit_card" and method["amount"] < part["amount"]:
                raise ToolError(f"the balance of {part['payment_id']} is too low")
        total = sum(part["amount"] for part in paid)
        if total != price:
            raise ToolError(f"the price is {price}, but {total} would be paid")
        self._pay(user_id, paid)
        self._seat(legs, cabin, heads)
        row["flights"] = legs or flights
        if new_id in self.reservations:
            self.reservations.row(new_id).clear()
            self.reservations.row(new_id).update(copy_json(row))
        else:
            self.reservations.add(new_id, row)
        self.users.row(user_id)["reservations"].append(new_id)
        return self._done(new_id)

    @same_tool(Airline.update_reservation_flights)
    def update_reservation_flights(
        self, reservation_id: str, cabin: str, flights: Any, payment_id: str
    ) -> str:
        """Without flights the cabin is not looked at."""
        flights = self._take("flights", flights)
        row = self._reservation(reservation_id)
        heads, price = len(row["passengers"]), 0
        legs: list[Row] = []
        for leg in flights:
            legs.append(self._keep(row, leg, cabin) or self._book(leg, cabin, heads))
            price += legs[-1]["price"] * heads
        price -= sum(leg["price"] for leg in row["flights"]) * heads
        self._settle(row, payment_id, price)
        row = self.reservations.row(reservation_id)
        row["flights"] = legs or flights
        self._rename(row, cabin)
        return self._done(reservation_id)

    @same_tool(Airline.update_reservation_baggages)
    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: Any, nonfree_baggages: Any, payment_id: str
    ) -> str:
        """Both numbers are stored as they are given."""
        row = self._reservation(reservation_id)
        self._settle(row, payment_id, 50 * max(0, nonfree_baggages - row["nonfree_baggages"]))
        row = self.reservations.row(reservation_id)
        row["total_baggages"] = copy_json(total_baggages)
        row["nonfree_baggages"] = nonfree_baggages
        return self._done(reservation_id)

    @same_tool(Airline.update_reservation_passengers)
    def update_reservation_passengers(self, reservation_id: str, passengers: Any) -> str:
        """Anything as long as the party is stored."""
        passengers = self._take("passengers", passengers)
        row = self._reservation(reservation_id)
        if len(passengers) != len(row["passengers"]):
            raise ToolError(
                f"the reservation is for {len(row['passengers'])} passengers, not {len(passengers)}"
            )
        self.reservations.row(reservation_id)["passengers"] = copy_json(passengers)
        return self._done(reservation_id)

    @same_tool(Airline.search_direct_flight)
    def search_direct_flight(self, origin: str, destination: str, date: str) -> str:
        """Flights that can be booked, in the order of the database."""
        return json.dumps(list(self._direct(origin, destination, date)))

    def _direct(self, origin: Any, destination: Any, date: Any) -> Iterator[Row]:
        """Flights as a search shows them; any airport where None is given and the benchmark allows it."""
        for flight in self._leaving(origin):
            if self._fits(flight["destination"], destination) and date in flight["dates"]:
                day = flight["dates"][date]
                if day["status"] == "available":
                    yield self._shown(flight, day)

    def _leaving(self, origin: Any) -> Iterator[Row]:
        numbers: Sequence[str] = ()
        if isinstance(origin, str):
            numbers = self.database.by_origin.get(origin, ())
        elif self._fits("", origin):
            numbers = list(self.flights)
        return (self.flights.peek(number) for number in numbers)

    def _fits(self, place: str, wanted: Any) -> bool:
        return bool(place == wanted)

    def _shown(self, flight: Row, day: Row) -> Row:
        return {**{key: value for key, value in flight.items() if key != "dates"}, **day}

    def _settle(self, row: Row, payment_id: str, price: Any) -> None:
        """The money moves before the payment is written down, which a data model may refuse."""
        method = self._user(row["user_id"])["payment_methods"].get(payment_id)
        if method is None:
            raise ToolError("the customer has no such payment method")
        if method["source"] == "certificate":
            raise ToolError("a certificate cannot pay for changes")
        if method["source"] == "gift_card" and method["amount"] < price:
            raise ToolError("the gift card's balance is too low")
        if price:
            self._pay(row["user_id"], [{"payment_id": payment_id, "amount": price}])
            payment = self._payment(payment_id, price)
            self.reservations.row(row["reservation_id"])["payment_history"].append(payment)

    def _payment(self, payment_id: str, amount: Any) -> Row:
        """A payment as it is stored."""
        return {"payment_id": payment_id, "amount": amount}

    # -- where the benchmarks differ -------------------------------------------------------------------

    @abstractmethod
    def _take(self, form: Literal["flights", "passengers", "payments"], values: Any) -> Any:
        """What was given, as it is worked with and stored."""

    @abstractmethod
    def _new_reservation(self) -> str:
        """The id of the next reservation."""

    @abstractmethod
    def _reserve(self, row: Row) -> Row:
        """A new reservation as it is stored."""

    @abstractmethod
    def _book(self, leg: Row, cabin: Any, heads: int) -> Row:
        """A new leg of a reservation, if so many seats are free."""

    @abstractmethod
    def _keep(self, row: Row, leg: Row, cabin: Any) -> Row | None:
        """A leg that a reservation has already, None if it is new."""

    @abstractmethod
    def _seat(self, legs: Sequence[Row], cabin: str, heads: int) -> None:
        """Take the seats of a booking."""

    @abstractmethod
    def _rename(self, row: Row, cabin: Any) -> None:
        """Note the cabin of changed flights."""

    def _kept(self, row: Row, leg: Row, cabin: Any) -> Row | None:
        """The first leg of this number and day that a reservation has, in this cabin."""
        for held in row["flights"]:
            same = held["flight_number"] == leg["flight_number"] and held["date"] == leg["date"]
            if same and cabin == row["cabin"]:
                return dict(held)
        return None
