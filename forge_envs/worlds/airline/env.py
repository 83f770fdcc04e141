"""Forge/Airline-v0: a customer of an airline asks; the agent looks things up, books, changes, and answers."""

from __future__ import annotations

from dataclasses import dataclass

from forge_envs.tables import Table
from forge_envs.worlds.airline.customer import AirlineCustomer, AirlineListener
from forge_envs.worlds.airline.database import SIZES, database
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.tasks import find_task
from forge_envs.worlds.airline.tools import Airline
from forge_envs.worlds.desk.env import DeskEnv, DeskEpisode

COMPACT = (
    "You serve an airline's customers. Ask for the user id first. "
    "Before a change, ask for a yes. Then say what you did."
)


@dataclass(kw_only=True)
class AirlineEpisode(Airline, DeskEpisode[AirlineTask]):
    """An episode is an airline with a customer in it; the tools run on it."""


class AirlineEnv(DeskEnv[AirlineTask, AirlineEpisode]):
    """An airline's customer service, after τ-bench airline, with synthetic airlines and tasks without limit.

    The outcome is 1 if exactly the rows that gold changes were changed, to the same values, and the
    customer heard what they had to hear (a fact, or a clear no); else 0.

    Args:
        split: "train" or "test"; no request occurs in both.
        level: 1 one fact; 2 one cancellation; 3 one write with arguments; 4 two requests, a change of mind or
            an unknown reservation; 5 several writes and a forbidden request; 0 mixes them.
        size: "full" (500 users), "small" (50) or "tiny" (20, direct flights only).
        prompt: "full" (policy and tool schemas) or "compact" (one line, no schemas).
        source: where tasks come from; "synthetic".
        user: who plays the customer; "scripted", or a model as "openai:MODEL@URL" (`forge_envs.people.chat`).
            With a model, replies follow the seed of `reset`; gold proves only that the rows can be reached.
        max_turns, turn_weight, grammar, render_mode: see AgentEnv; the grammar must be able to call tools.
    """

    toolkit_type = Airline
    name, package, compact, sizes = "airline", "forge_envs.worlds.airline", COMPACT, SIZES
    customer_type, listener_type = AirlineCustomer, AirlineListener

    def open_desk(self, task: AirlineTask) -> AirlineEpisode:
        """A fresh airline."""
        (user, customer), airline = self.people(task), database(task.size)
        return AirlineEpisode(
            task=task,
            database=airline,
            users=Table(task.users),
            reservations=Table(task.reservations),
            flights=Table(airline.flights),
            user=user,
            customer=customer,
        )

    def find(self, task_id: str) -> AirlineTask:
        """The task of this id, of any size, split and level. Raises TaskError."""
        return find_task(task_id)
