"""The exemplary agent of an airline: what it says and does for a task, and proof that this works."""

from __future__ import annotations

from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.tables import Row, Table
from forge_envs.tools import tools_of
from forge_envs.worlds.airline.customer import AirlineCustomer
from forge_envs.worlds.airline.database import AirlineDatabase
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.desk import gold
from forge_envs.worlds.desk.customer import listing
from forge_envs.worlds.desk.goals import Goal, Key

_NEEDS = {
    "fact": (),
    "cancel": ("reason",),
    "bags": ("bags", "payment"),
    "cabin": ("cabin", "payment"),
    "flights": ("flights", "payment"),
    "passengers": ("passengers",),
    "book": ("flights", "cabin", "passengers", "bags", "insurance", "payment"),
    "certificate": (),
    "insurance": (),
}
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
_TOOLS = tools_of(Airline)


def gold_actions(task: AirlineTask, database: AirlineDatabase, voice: int) -> list[str | ToolCall]:
    """Prose and calls, one a turn, that meet all goals of the task."""
    return _Gold(task, database, voice).play()


class _Gold(gold.Exemplar[AirlineTask]):
    record = Airline.record
    reader = "get_reservation_details"
    package = __package__
    topics = TOPICS

    def __init__(self, task: AirlineTask, database: AirlineDatabase, voice: int) -> None:
        super().__init__(task, voice)
        self.database = database

    def needs(self, goal: Goal, *, first: bool) -> list[str]:
        """The customer's user id at first, the reservation, and what the kind of request takes."""
        needs = ["identity"] if first else []
        if not goal.knows_subject:
            needs.append("reservation")
        # Whether a cancellation is allowed may depend on the reason; nothing else is asked to say no.
        if not goal.forbidden or goal.kind == "cancel":
            needs += _NEEDS[goal.kind]
        return needs

    def look_up(self, goal: Goal, *, first: bool) -> None:
        """The profile, the reservation, how its flights stand and what others cost, as far as they matter."""
        bought = goal.call is not None and goal.kind in ("bags", "cabin", "flights", "book")
        if not goal.knows_subject or bought or goal.kind == "certificate":
            self.read_profile()
        self.read_subject(goal)
        if (
            goal.kind == "certificate"
            or goal.fact == "status"
            or "You cancelled" in goal.details.get("reason", "")
        ):
            for leg in self.subject(goal)["flights"]:
                self.call("get_flight_status", flight_number=leg["flight_number"], date=leg["date"])
        if goal.call is not None and "flights" in goal.call.arguments and not goal.forbidden:
            for leg in goal.call.arguments["flights"]:
                flight = self.database.flights.rows[leg["flight_number"]]
                ends = {"origin": flight["origin"], "destination": flight["destination"]}
                self.call("search_direct_flight", **ends, date=leg["date"])

    def words(self, goal: Goal) -> dict[str, str]:
        """All that sentences about a goal may mention."""
        words = {"id": goal.subject}
        if goal.fact:
            shown = {"flight": goal.truth.upper(), "date": f"2024-05-{goal.truth:0>2}"}
            words["truth"] = shown.get(goal.fact, goal.truth).replace("_", " ")
        row = self.subject(goal)
        arguments = goal.call.arguments if goal.call else {}
        if row:
            words["payments"] = listing([paid["payment_id"] for paid in row["payment_history"]])
        if "cabin" in arguments:
            words["cabin"] = arguments["cabin"].replace("_", " ")
        if "flights" in arguments:
            legs = [f"{leg['flight_number']} on {leg['date']}" for leg in arguments["flights"]]
            words["flights"] = listing(legs)
        if "passengers" in arguments:
            party = [f"{person['first_name']} {person['last_name']}" for person in arguments["passengers"]]
            words["people"] = listing(party)
        if "total_baggages" in arguments:
            words["bags"] = str(arguments["total_baggages"])
        if "amount" in arguments:
            words["amount"] = f"${arguments['amount']}"
        if "payment_id" in arguments:
            price = _price(arguments, row, self.database)
            words |= {"method": arguments["payment_id"], "amount": f"{'-' if price < 0 else ''}${abs(price)}"}
        if "payment_methods" in arguments:
            parts = [f"${part['amount']} by {part['payment_id']}" for part in arguments["payment_methods"]]
            words |= {"payments": listing(parts), "insurance": arguments["insurance"]}
        return words


def _price(arguments: dict[str, Any], row: Row, database: AirlineDatabase) -> int:
    """What a change of a reservation costs, as the agent works it out from what it looked up."""
    if "total_baggages" in arguments:
        return 50 * max(0, int(arguments["nonfree_baggages"]) - int(row["nonfree_baggages"]))
    cabin = arguments["cabin"]
    held = {(leg["flight_number"], leg["date"]): leg["price"] for leg in row["flights"]}
    price = -sum(held.values())
    for leg in arguments["flights"]:
        key = leg["flight_number"], leg["date"]
        day = database.flights.rows[key[0]]["dates"][key[1]]
        price += held[key] if key in held and cabin == row["cabin"] else day["prices"][cabin]
    return int(len(row["passengers"]) * price)


def rehearse(task: AirlineTask, database: AirlineDatabase) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0."""
    airline = Airline(
        database=database,
        users=Table(task.users),
        reservations=Table(task.reservations),
        flights=Table(database.flights),
    )
    return gold.rehearse(task, AirlineCustomer(task), airline, _TOOLS)
