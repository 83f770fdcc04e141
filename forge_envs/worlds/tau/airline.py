"""The airline domain of τ-bench and τ²-bench: the tools of our airline, as each benchmark's code has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter

from forge_envs.errors import ToolError
from forge_envs.tables import Base, Row, Table, copy_json
from forge_envs.tools import tool
from forge_envs.worlds.airline.database import Cabin, make_database
from forge_envs.worlds.airline.tools import NEW_CERTIFICATES, NEW_RESERVATIONS, Airline
from forge_envs.worlds.tau.airline_common import TauAirline
from forge_envs.worlds.tau.domain import Contract, Domain
from forge_envs.worlds.tau.tools import coerced, same_tool


@dataclass(kw_only=True)
class Tau1Airline(TauAirline):
    """The airline by τ-bench's contract.

    Whatever is given is stored, keys that nobody knows too; a booking takes no seats, and a fourth one
    overwrites the third; changed flights leave the cabin's name as it was.
    """

    get_flight_status = None  # type: ignore[assignment]  # takes the tool away

    @same_tool(Airline.search_onestop_flight)
    def search_onestop_flight(self, origin: str, destination: str, date: str) -> str:
        """As τ-bench does, with the second flight's seats of the first day."""
        pairs = []
        for first in self._leaving(origin):
            arrival = first["scheduled_arrival_time_est"]
            for second in self._leaving(first["destination"]):
                if second["destination"] != destination:
                    continue
                later = f"2024-05-{int(date[-2:]) + 1}" if "+1" in arrival else date
                if arrival > second["scheduled_departure_time_est"]:
                    continue
                if date in first["dates"] and later in second["dates"]:
                    days = first["dates"][date], second["dates"][later]
                    if all(day["status"] == "available" for day in days):
                        shown = self._shown(second, second["dates"][date])
                        pairs.append(
                            [{**self._shown(first, days[0]), "date": date}, {**shown, "date": later}]
                        )
        return json.dumps(pairs)

    @same_tool(Airline.send_certificate)
    def send_certificate(self, user_id: str, amount: Any) -> str:
        """A fourth one is neither sent nor refused."""
        methods = self._user(user_id)["payment_methods"]
        new_id = next((key for key in NEW_CERTIFICATES if key not in methods), None)
        if new_id is None:
            return "null"
        row = {"source": "certificate", "amount": copy_json(amount), "id": new_id}
        self.users.row(user_id)["payment_methods"][new_id] = row
        self.writes += 1
        return f"{user_id} received {new_id} of {amount} dollars."

    def _take(self, form: Literal["flights", "passengers", "payments"], values: Any) -> Any:
        return copy_json(values)

    def _new_reservation(self) -> str:
        free = (key for key in NEW_RESERVATIONS if key not in self.reservations)
        return next(free, NEW_RESERVATIONS[-1])

    def _reserve(self, row: Row) -> Row:
        return row

    def _book(self, leg: Row, cabin: Any, heads: int) -> Row:
        return {**leg, **self._bookable(leg, cabin, heads)}  # type: ignore[arg-type]  # of any shape

    def _keep(self, row: Row, leg: Row, cabin: Any) -> Row | None:
        kept = self._kept(row, leg, cabin)
        return kept and {**leg, **{key: kept[key] for key in ("price", "origin", "destination")}}

    def _seat(self, legs: Sequence[Row], cabin: str, heads: int) -> None:
        pass

    def _rename(self, row: Row, cabin: Any) -> None:
        pass


@dataclass(kw_only=True)
class Tau2Airline(TauAirline):
    """The airline by τ²-bench's contract: no thoughts; a handover does not end the conversation; objects are
    read by data models, which drop what they do not know and take "3" and 3.0 for 3.
    """

    think = None  # type: ignore[assignment]  # takes the tool away

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a human, when asked for one or when no tool can solve the case. Tell the
        customer afterwards.

        Args:
            summary: What the customer needs, in a sentence.
        """
        return "The customer is being handed over to a human agent."

    @same_tool(Airline.search_onestop_flight)
    def search_onestop_flight(self, origin: str, destination: str, date: str) -> str:
        """Days are counted without a leading zero, as τ²-bench does."""
        pairs = []
        for first in self._direct(origin, None, date):
            arrival = first["scheduled_arrival_time_est"]
            later = f"2024-05-{int(date[-2:]) + 1}" if "+1" in arrival else date
            for second in self._direct(first["destination"], destination, later):
                # Times are compared as text, "+1" and all.
                if second["scheduled_departure_time_est"] >= arrival:
                    pairs.append([{**first, "date": date}, {**second, "date": later}])
        return json.dumps(pairs)

    @same_tool(Airline.send_certificate)
    def send_certificate(self, user_id: str, amount: Any) -> str:
        """Whatever reads as a number."""
        methods = self._user(user_id)["payment_methods"]
        new_id = next((key for key in NEW_CERTIFICATES if key not in methods), None)
        if new_id is None:
            raise ToolError("no more certificates can be sent now")
        row = {"source": "certificate", "id": new_id, "amount": coerced(_FLOAT, amount)}
        self.users.row(user_id)["payment_methods"][new_id] = row
        self.writes += 1
        return f"{user_id} received {new_id} of {amount} dollars."

    def _take(self, form: Literal["flights", "passengers", "payments"], values: Any) -> Any:
        """Objects are read if all are objects; anything else is left as it is."""
        if not all(isinstance(value, dict) for value in values):
            return values
        model = _FORMS[form]
        return [coerced(model.model_validate, value).model_dump() for value in values]

    def _new_reservation(self) -> str:
        new_id = next((key for key in NEW_RESERVATIONS if key not in self.reservations), None)
        if new_id is None:
            raise ToolError("no more reservations can be made now")
        return new_id

    def _reserve(self, row: Row) -> Row:
        stored: Row = coerced(_NewReservation.model_validate, row).model_dump()
        return stored

    def _book(self, leg: Row, cabin: Any, heads: int) -> Row:
        return self._bookable(leg, cabin, heads)  # type: ignore[arg-type]  # of any shape

    def _keep(self, row: Row, leg: Row, cabin: Any) -> Row | None:
        return self._kept(row, leg, cabin)

    def _seat(self, legs: Sequence[Row], cabin: str, heads: int) -> None:
        for leg in legs:
            self.flights.row(leg["flight_number"])["dates"][leg["date"]]["available_seats"][cabin] -= heads

    def _rename(self, row: Row, cabin: Any) -> None:
        row["cabin"] = copy_json(cabin)

    def _fits(self, place: str, wanted: Any) -> bool:
        return wanted is None or place == wanted

    def _shown(self, flight: Row, day: Row) -> Row:
        return {**super()._shown(flight, day), "date": None}

    def _payment(self, payment_id: str, amount: Any) -> Row:
        return {"payment_id": payment_id, "amount": coerced(_INT, amount)}


class _Leg(BaseModel):
    flight_number: str
    date: str


class _Passenger(BaseModel):
    first_name: str
    last_name: str
    dob: str


class _Payment(BaseModel):
    payment_id: str
    amount: int


class _NewReservation(BaseModel):
    reservation_id: str
    user_id: str
    origin: str
    destination: str
    flight_type: Literal["one_way", "round_trip"]
    cabin: Cabin
    flights: list[_Leg]
    passengers: list[_Passenger]
    payment_history: list[_Payment]
    created_at: str
    total_baggages: int
    nonfree_baggages: int
    insurance: Literal["yes", "no"]
    status: None = None


_FORMS: dict[str, type[BaseModel]] = {"flights": _Leg, "passengers": _Passenger, "payments": _Payment}
_INT = TypeAdapter(int).validate_python
_FLOAT = TypeAdapter(float).validate_python


def _airline(kind: type[TauAirline]) -> Contract:
    def prepare(tables: Mapping[str, Base]) -> Callable[[], TauAirline]:
        database = make_database(tables["users"], tables["reservations"], tables["flights"])
        return lambda: kind(
            database=database,
            users=Table(database.users),
            reservations=Table(database.reservations),
            flights=Table(database.flights),
        )

    return Contract(tools=kind, prepare=prepare, changing=("users", "reservations", "flights"))


AIRLINE = Domain(
    name="airline",
    address=f"{__name__}:AIRLINE",
    fields={
        "users": ("name", "payment_methods", "reservations"),
        "reservations": ("user_id", "cabin", "flights", "passengers", "payment_history", "nonfree_baggages"),
        "flights": ("flight_number", "origin", "destination", "dates"),
    },
    nulls={"reservations": ("status",)},
    contracts={"tau1": _airline(Tau1Airline), "tau2": _airline(Tau2Airline)},
)
