"""The airline domain of τ-bench and τ²-bench, and the one door to all airline worlds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from forge_envs.env import AgentEnv
from forge_envs.tables import Base, Table
from forge_envs.tools import tool
from forge_envs.worlds.airline.database import make_database
from forge_envs.worlds.airline.env import AirlineEnv
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.tau.domain import Contract, Domain
from forge_envs.worlds.tau.env import open_door


@dataclass(kw_only=True)
class Tau1Airline(Airline):
    """The airline by τ-bench's contract."""

    rules: Literal["tau1", "tau2"] = "tau1"
    get_flight_status = None  # type: ignore[assignment]  # takes the tool away


@dataclass(kw_only=True)
class Tau2Airline(Airline):
    """The airline by τ²-bench's contract: no thoughts, and a handover does not end the conversation."""

    think = None  # type: ignore[assignment]  # takes the tool away

    @tool()
    def transfer_to_human_agents(self, summary: str) -> str:
        """Hand the customer over to a human, when asked for one or when no tool can solve the case. Tell the
        customer afterwards.

        Args:
            summary: What the customer needs, in a sentence.
        """
        return "The customer is being handed over to a human agent."


def _airline(kind: type[Airline]) -> Contract:
    def prepare(tables: Mapping[str, Base]) -> Callable[[], Airline]:
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


def make_airline(source: str = "synthetic", **arguments: Any) -> AgentEnv[Any, Any]:
    """`AirlineEnv` for generated tasks, `OfficialEnv` for "tau1:PATH" and "tau2:PATH".

    Raises ValueError for a source that is neither, or an argument that the one chosen does not take.
    """
    return open_door(AIRLINE, AirlineEnv, source, arguments)
