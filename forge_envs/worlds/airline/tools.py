"""What the agent can do at the airline: fifteen tools with τ-bench's names, arguments and effects."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, with_config
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from forge_envs.errors import ToolError
from forge_envs.tables import Row, Table, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.airline.database import NOW, AirlineDatabase, Cabin
from forge_envs.worlds.desk.tools import ServiceDesk

_closed = with_config({"extra": "forbid", "strict": True, "allow_inf_nan": False})


@_closed
class Leg(TypedDict):
    """One flight of a trip."""

    flight_number: Annotated[str, Field(description="The flight's number, e.g. 'FG123'.")]
    date: Annotated[str, Field(description="The day it leaves, e.g. '2024-05-20'.")]


@_closed
class Passenger(TypedDict):
    """Someone who flies."""

    first_name: Annotated[str, Field(description="First name, e.g. 'Ann'.")]
    last_name: Annotated[str, Field(description="Last name, e.g. 'Smith'.")]
    dob: Annotated[str, Field(description="Date of birth, e.g. '1980-12-31'.")]


@_closed
class Payment(TypedDict):
    """A part of what is paid."""

    payment_id: Annotated[
        str, Field(description="A payment method of the profile, e.g. 'credit_card_0000000'.")
    ]
    amount: Annotated[float, Field(description="Dollars that it pays, a whole number.")]


NEW_RESERVATIONS = ("HATHAT", "HATHAU", "HATHAV")
"""Ids of the reservations an episode may book, in order."""
NEW_CERTIFICATES = ("certificate_3221322", "certificate_3221323", "certificate_3221324")
"""Ids of the certificates an episode may send, in order."""


@dataclass(kw_only=True)
class Airline(ServiceDesk):
    """One episode's airline; its methods are the tools.

    Source of every effect: τ²-bench 1.0, airline, for calls that fit the schemas. Its own code and that of
    τ-bench, with their slips, are retold in `worlds.tau.airline`.
    """

    database: AirlineDatabase
    users: Table
    reservations: Table
    flights: Table
    tables: ClassVar[tuple[str, ...]] = ("users", "reservations", "flights")
    record: ClassVar[tuple[str, str]] = ("reservation_id", "reservations")

    @tool()
    def get_user_details(self, user_id: str) -> str:
        """Read a customer's profile: name, address, email, date of birth, payment methods, saved passengers,
        membership, reservation ids.

        Args:
            user_id: The user id, e.g. 'ann_smith_1234'.
        """
        if user_id not in self.users:
            raise ToolError("there is no such user")
        return self.users.text(user_id)

    @tool()
    def get_reservation_details(self, reservation_id: str) -> str:
        """Read a reservation: its flights, cabin, passengers, payments, bags, insurance.

        Args:
            reservation_id: The reservation id, e.g. 'ABC123'.
        """
        self._reservation(reservation_id)
        return self.reservations.text(reservation_id)

    @tool()
    def get_flight_status(self, flight_number: str, date: str) -> str:
        """Look up how a flight stands on a day: available, on time, delayed, flying, landed or cancelled.

        Args:
            flight_number: The flight's number, e.g. 'FG123'.
            date: The day it leaves, e.g. '2024-05-20'.
        """
        return str(self._day(flight_number, date)["status"])

    @tool()
    def list_all_airports(self) -> str:
        """List the codes and cities of all airports."""
        return self.database.airport_list

    @tool()
    def search_direct_flight(self, origin: str, destination: str, date: str) -> str:
        """Find flights without a stop that can be booked for a day, with free seats and prices by cabin.

        Args:
            origin: Airport code where the trip begins, e.g. 'SEA'.
            destination: Airport code where it ends, e.g. 'BOS'.
            date: The day, e.g. '2024-05-20'.
        """
        return json.dumps(
            [row for row in self._departures(origin, date) if row["destination"] == destination]
        )

    @tool()
    def search_onestop_flight(self, origin: str, destination: str, date: str) -> str:
        """Find trips with one stop that can be booked for a day, as pairs of flights.

        Args:
            origin: Airport code where the trip begins, e.g. 'SEA'.
            destination: Airport code where it ends, e.g. 'BOS'.
            date: The day the first flight leaves, e.g. '2024-05-20'.
        """
        pairs = []
        for first in self._departures(origin, date):
            arrival = first["scheduled_arrival_time_est"]
            day = f"{date[:8]}{int(date[8:]) + 1:02d}" if "+1" in arrival else date
            for second in self._departures(first["destination"], day):
                # Times are compared as text, "+1" and all, as in τ-bench.
                if second["destination"] == destination and second["scheduled_departure_time_est"] >= arrival:
                    pairs.append([{**first, "date": date}, {**second, "date": day}])
        return json.dumps(pairs)

    @tool(writes=True)
    def book_reservation(
        self,
        user_id: str,
        origin: str,
        destination: str,
        flight_type: Literal["one_way", "round_trip"],
        cabin: Cabin,
        flights: list[Leg],
        passengers: list[Passenger],
        payment_methods: list[Payment],
        total_baggages: int,
        nonfree_baggages: int,
        insurance: Literal["yes", "no"],
    ) -> str:
        """Book a trip; list all of it to the customer and get a 'yes' first. What is paid must add up to the
        fares, 30 dollars a passenger for insurance and 50 for each bag that is not free.

        Args:
            user_id: Who books, e.g. 'ann_smith_1234'.
            origin: Airport code where the trip begins, e.g. 'SEA'.
            destination: Airport code of the place the trip is made to, e.g. 'BOS'.
            flight_type: There only, or there and back.
            cabin: The cabin, the same on all flights.
            flights: All flights in order, e.g. [{'flight_number': 'FG123', 'date': '2024-05-20'}].
            passengers: All who fly.
            payment_methods: What pays how much.
            total_baggages: Number of checked bags.
            nonfree_baggages: How many of them are not free.
            insurance: Whether the trip is insured.
        """
        user = self._user(user_id)
        new_id = next((key for key in NEW_RESERVATIONS if key not in self.reservations), None)
        if new_id is None:
            raise ToolError("no more reservations can be made now")
        legs = [self._bookable(leg, cabin, len(passengers)) for leg in flights]
        price = len(passengers) * (sum(leg["price"] for leg in legs) + 30 * (insurance == "yes"))
        payments = _check_payments(user, payment_methods, price + 50 * nonfree_baggages)
        self._pay(user_id, payments)
        for leg in legs:
            day = self.flights.row(leg["flight_number"])["dates"][leg["date"]]
            day["available_seats"][cabin] -= len(passengers)
        row: Row = {
            "reservation_id": new_id,
            "user_id": user_id,
            "origin": origin,
            "destination": destination,
            "flight_type": flight_type,
            "cabin": cabin,
            "flights": legs,
            "passengers": list(passengers),
            "payment_history": payments,
            "created_at": NOW,
            "total_baggages": total_baggages,
            "nonfree_baggages": nonfree_baggages,
            "insurance": insurance,
            "status": None,
        }
        self.reservations.add(new_id, row)
        self.users.row(user_id)["reservations"].append(new_id)
        return self._done(new_id)

    @tool(writes=True)
    def cancel_reservation(self, reservation_id: str) -> str:
        """Cancel a whole reservation and refund it; say so to the customer and get a 'yes' first. Whether the
        rules allow it is not checked here.

        Args:
            reservation_id: The reservation id, e.g. 'ABC123'.
        """
        self._reservation(reservation_id)
        row = self.reservations.row(reservation_id)
        # The refund is noted, but no gift card receives it, as in τ-bench.
        row["payment_history"] += [
            _payment(paid["payment_id"], -paid["amount"]) for paid in row["payment_history"]
        ]
        row["status"] = "cancelled"
        return self._done(reservation_id)

    @tool(writes=True)
    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> str:
        """Change how many bags a reservation has; list the change to the customer and get a 'yes' first.

        Args:
            reservation_id: The reservation id, e.g. 'ABC123'.
            total_baggages: Number of checked bags from now on.
            nonfree_baggages: How many of them are not free; each one more costs 50 dollars.
            payment_id: Pays for it: a credit card or gift card of the profile, e.g. 'gift_card_0000000'.
        """
        row = self._reservation(reservation_id)
        price = 50 * max(0, nonfree_baggages - row["nonfree_baggages"])
        self._settle(row, payment_id, price)
        row = self.reservations.row(reservation_id)
        row["total_baggages"] = total_baggages
        row["nonfree_baggages"] = nonfree_baggages
        return self._done(reservation_id)

    @tool(writes=True)
    def update_reservation_flights(
        self, reservation_id: str, cabin: Cabin, flights: list[Leg], payment_id: str
    ) -> str:
        """Change the flights or the cabin of a reservation; list the change to the customer and get a 'yes'
        first. Flights that stay keep their price. Whether the rules allow it is not checked here.

        Args:
            reservation_id: The reservation id, e.g. 'ABC123'.
            cabin: The cabin from now on, on all flights.
            flights: All flights from now on in order, those that stay too.
            payment_id: Pays or receives the difference: a credit card or gift card of the profile.
        """
        row = self._reservation(reservation_id)
        held = {(leg["flight_number"], leg["date"]): leg for leg in reversed(row["flights"])}
        keeps = cabin == row["cabin"]
        heads = len(row["passengers"])
        legs = []
        for leg in flights:
            kept = held.get((leg["flight_number"], leg["date"])) if keeps else None
            legs.append(copy_json(kept) if kept else self._bookable(leg, cabin, heads))
        before = sum(leg["price"] for leg in row["flights"])
        self._settle(row, payment_id, heads * (sum(leg["price"] for leg in legs) - before))
        row = self.reservations.row(reservation_id)
        row["flights"] = legs
        row["cabin"] = cabin
        return self._done(reservation_id)

    @tool(writes=True)
    def update_reservation_passengers(self, reservation_id: str, passengers: list[Passenger]) -> str:
        """Change who flies, not how many; list the change to the customer and get a 'yes' first.

        Args:
            reservation_id: The reservation id, e.g. 'ABC123'.
            passengers: All who fly from now on, those that stay too.
        """
        row = self._reservation(reservation_id)
        if len(passengers) != len(row["passengers"]):
            raise ToolError(
                f"the reservation is for {len(row['passengers'])} passengers, not {len(passengers)}"
            )
        self.reservations.row(reservation_id)["passengers"] = list(passengers)
        return self._done(reservation_id)

    @tool(writes=True)
    def send_certificate(self, user_id: str, amount: float) -> str:
        """Give a customer a travel certificate as compensation, where the rules allow it.

        Args:
            user_id: Who receives it, e.g. 'ann_smith_1234'.
            amount: Its value in dollars.
        """
        methods = self._user(user_id)["payment_methods"]
        new_id = next((key for key in NEW_CERTIFICATES if key not in methods), None)
        if new_id is None:
            raise ToolError("no more certificates can be sent now")
        methods = self.users.row(user_id)["payment_methods"]
        methods[new_id] = {"source": "certificate", "id": new_id, "amount": float(amount)}
        self.writes += 1
        return f"{user_id} received {new_id} of {amount:g} dollars."

    # -- what several tools share ----------------------------------------------------------------

    def _user(self, user_id: str) -> Row:
        """The user, to read only; nothing is copied for a refused call."""
        if user_id not in self.users:
            raise ToolError("there is no such user")
        return self.users.peek(user_id)

    def _reservation(self, reservation_id: str) -> Row:
        """The reservation, to read only."""
        if reservation_id not in self.reservations:
            raise ToolError("there is no such reservation")
        return self.reservations.peek(reservation_id)

    def _day(self, flight_number: str, date: str) -> Row:
        """How a flight stands on a day, to read only."""
        if flight_number not in self.flights:
            raise ToolError(f"there is no flight {flight_number}")
        day: Row | None = self.flights.peek(flight_number)["dates"].get(date)
        if day is None:
            raise ToolError(f"{flight_number} does not fly on {date}")
        return day

    def _departures(self, origin: str, date: str) -> Iterator[Row]:
        """All flights that leave an airport on a day and can be booked, as a search shows them."""
        for number in self.database.by_origin.get(origin, ()):
            flight = self.flights.peek(number)
            day = flight["dates"].get(date)
            if day is not None and day["status"] == "available":
                shown = {key: value for key, value in flight.items() if key != "dates"}
                yield {**shown, "status": "available", "date": None, **_offer(day)}

    def _bookable(self, leg: Leg, cabin: str, heads: int) -> Row:
        """The leg as a reservation lists it, if so many seats are free."""
        number, date = leg["flight_number"], leg["date"]
        day = self._day(number, date)
        if day["status"] != "available":
            raise ToolError(f"{number} cannot be booked for {date}: it is {day['status']}")
        if day["available_seats"][cabin] < heads:
            raise ToolError(f"{number} has only {day['available_seats'][cabin]} seats in {cabin} on {date}")
        flight = self.flights.peek(number)
        ends = {"origin": flight["origin"], "destination": flight["destination"]}
        return {**ends, "flight_number": number, "date": date, "price": day["prices"][cabin]}

    def _pay(self, user_id: str, payments: Sequence[Row]) -> None:
        """Take money from gift cards, and certificates away: what a certificate has left is lost."""
        for payment in payments:
            methods = self.users.peek(user_id)["payment_methods"]
            source = methods[payment["payment_id"]]["source"]
            if source == "credit_card":
                continue
            methods = self.users.row(user_id)["payment_methods"]
            if source == "certificate":
                del methods[payment["payment_id"]]
            else:
                methods[payment["payment_id"]]["amount"] -= payment["amount"]

    def _settle(self, row: Row, payment_id: str, price: int) -> None:
        """Pay, or be refunded, for a change of a reservation, and note it there."""
        user_id = row["user_id"]
        method = self._user(user_id)["payment_methods"].get(payment_id)
        if method is None:
            raise ToolError("the customer has no such payment method")
        if method["source"] == "certificate":
            raise ToolError("a certificate cannot pay for changes")
        if method["source"] == "gift_card" and method["amount"] < price:
            raise ToolError("the gift card's balance is too low")
        if price:
            payment = _payment(payment_id, price)
            self._pay(user_id, [payment])
            self.reservations.row(row["reservation_id"])["payment_history"].append(payment)

    def _done(self, reservation_id: str) -> str:
        self.writes += 1
        return self.reservations.text(reservation_id)


def _payment(payment_id: str, amount: int) -> Row:
    return {"payment_id": payment_id, "amount": amount}


def _offer(day: Row) -> Row:
    return {"available_seats": day["available_seats"], "prices": day["prices"]}


def _check_payments(user: Row, methods: Sequence[Payment], price: int) -> list[Row]:
    """What is paid with what, if each can pay its part and all of it is the price."""
    payments: list[Row] = []
    for part in methods:
        payment_id, amount = part["payment_id"], part["amount"]
        method = user["payment_methods"].get(payment_id)
        if method is None:
            raise ToolError(f"the customer has no payment method {payment_id}")
        if not float(amount).is_integer():
            raise ToolError(f"{payment_id}: {amount} is not a whole number of dollars")
        if method["source"] != "credit_card" and method["amount"] < amount:
            raise ToolError(f"the balance of {payment_id} is too low")
        if method["source"] == "certificate" and any(paid["payment_id"] == payment_id for paid in payments):
            raise ToolError(f"{payment_id} is listed twice")
        payments.append(_payment(payment_id, int(amount)))
    total = sum(payment["amount"] for payment in payments)
    if total != price:
        raise ToolError(f"the price is {price}, but {total} would be paid")
    return payments
