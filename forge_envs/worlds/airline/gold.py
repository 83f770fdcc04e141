"""The exemplary agent: what it says and does for a task, step by step, and proof that this works."""

from __future__ import annotations

from typing import Any

from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.tables import Row, Table
from forge_envs.tools import tools_of
from forge_envs.worlds.airline import wording
from forge_envs.worlds.airline.customer import Customer
from forge_envs.worlds.airline.database import Database
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.desk.goals import Goal, Key
from forge_envs.worlds.desk.wording import listing

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
_TOOLS = tools_of(Airline)


def gold_actions(task: AirlineTask, database: Database, voice: int) -> list[str | ToolCall]:
    """Prose and calls, one a turn, that meet all goals of the task."""
    return _Gold(task, database, voice).play()


class _Gold:
    def __init__(self, task: AirlineTask, database: Database, voice: int) -> None:
        self.task = task
        self.database = database
        self.voice = voice
        self.tiny = task.size == "tiny"
        self.actions: list[str | ToolCall] = []
        self.profile_read = False
        self.read: set[str] = set()

    def play(self) -> list[str | ToolCall]:
        for n, goal in enumerate(self.task.goals):
            self._ask(goal, first=n == 0)
            self._look_up(goal)
            if goal.forbidden:
                self._refuse(goal)
            elif goal.fact:
                self._say(f"tell_{goal.fact}", **self._words(goal))
            else:
                self._write(goal)
        return self.actions

    def _say(self, place: str, **words: str) -> None:
        self.actions.append(wording.choose(place, self.voice + 7 * len(self.actions), self.tiny, **words))

    def _call(self, name: str, **arguments: object) -> None:
        self.actions.append(ToolCall(name, arguments))

    def _ask(self, goal: Goal, first: bool) -> None:
        needs = ["identity"] if first else []
        if not goal.knows_subject:
            needs.append("reservation")
        # Whether a cancellation is allowed may depend on the reason; nothing else is asked to say no.
        if not goal.forbidden or goal.kind == "cancel":
            needs += _NEEDS[goal.kind]
        if needs:
            self._say("ask", needs=listing([wording.TOPICS[need] for need in needs]))

    # -- what must be known first -----------------------------------------------------------------

    def _look_up(self, goal: Goal) -> None:
        """Read all that the answer, or the call, follows from."""
        bought = goal.call is not None and goal.kind in ("bags", "cabin", "flights", "book")
        if not self.profile_read and (not goal.knows_subject or bought or goal.kind == "certificate"):
            self._call("get_user_details", user_id=self.task.customer_id)
            self.profile_read = True
        if goal.subject:
            self._read_reservation(goal)
        if (
            goal.kind == "certificate"
            or goal.fact == "status"
            or "You cancelled" in goal.details.get("reason", "")
        ):
            for leg in self.task.reservations.rows[goal.subject]["flights"]:
                self._call("get_flight_status", flight_number=leg["flight_number"], date=leg["date"])
        if goal.call is not None and "flights" in goal.call.arguments and not goal.forbidden:
            for leg in goal.call.arguments["flights"]:
                flight = self.database.flights.rows[leg["flight_number"]]
                ends = {"origin": flight["origin"], "destination": flight["destination"]}
                self._call("search_direct_flight", **ends, date=leg["date"])

    def _read_reservation(self, goal: Goal) -> None:
        """Read the goal's reservation; when its id is unknown, the customer's ones until it is found."""
        ids = [goal.subject]
        if not goal.knows_subject:
            ids = self.task.users.rows[self.task.customer_id]["reservations"]
            ids = ids[: ids.index(goal.subject) + 1]
        for key in ids:
            if key not in self.read:
                self._call("get_reservation_details", reservation_id=key)
                self.read.add(key)

    # -- what is said and done ----------------------------------------------------------------------

    def _refuse(self, goal: Goal) -> None:
        self._say(f"no_{goal.kind}", id=goal.subject)
        if goal.insists:
            self._say("still_no")

    def _write(self, goal: Goal) -> None:
        assert goal.call is not None
        words = self._words(goal)
        self._say(f"confirm_{goal.kind}", **words)
        if not goal.withdrawn:
            self.actions.append(goal.call)
            self._say(f"did_{goal.kind}", **words)

    def _words(self, goal: Goal) -> dict[str, str]:
        """All that sentences about a goal may mention."""
        words = {"id": goal.subject}
        if goal.fact:
            shown = {"flight": goal.truth.upper(), "date": f"2024-05-{goal.truth:0>2}"}
            words["truth"] = shown.get(goal.fact, goal.truth).replace("_", " ")
        row = self.task.reservations.rows[goal.subject] if goal.subject else {}
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


def _price(arguments: dict[str, Any], row: Row, database: Database) -> int:
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


def rehearse(task: AirlineTask, database: Database) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0."""
    airline = Airline(
        database=database,
        users=Table(task.users),
        reservations=Table(task.reservations),
        flights=Table(database.flights),
    )
    customer = Customer(task)
    for n, action in enumerate(task.gold):
        if isinstance(action, str):
            answer = customer.reply(action)
            then = task.gold[n + 1] if n + 1 < len(task.gold) else None
            if (answer is None) != (then is None):
                return None
            if isinstance(then, ToolCall) and _TOOLS[then.name].writes and answer != "Yes.":
                return None
            continue
        try:
            getattr(airline, action.name)(**action.arguments)
        except ToolError:
            return None
    return airline.changed_rows() if customer.told == task.to_tell else None
