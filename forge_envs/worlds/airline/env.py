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

    ## Action Space

    `Utterance`: any text. Prose reaches the customer; calls are written in the world's `grammar` and run in
    order; prose beside calls reaches nobody.

    ## Observation Space

    `Messages`: what is new since the last action, as dicts in the OpenAI form. The first are the system's,
    with the policy and, under `tools`, the schemas of the tools, and the customer's first line.

    ## Rewards

    The outcome, 0 or 1, when the episode ends, plus `turn_weight` times each turn's reward. The outcome is 1
    if exactly the rows that gold changes were changed, to the same values, and the customer heard what they
    had to hear (a fact, or a clear no). A turn's reward is the change of progress, less named penalties.

    ## Starting State

    An airline of the `size` asked for, and a customer with a task of the `split` and `level`: the seed of
    `reset` draws it, or `options={"task": id}` names it. Everything else follows from the task.

    ## Episode End

    Terminated when the customer leaves or is handed over; truncated after `max_turns` actions, graded as it
    is; truncated without an outcome when a machine (the model behind `user`) fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, with `rows` and
    `told` among the parts; `error` if a machine failed.

    ## Arguments

    - `split`: "train" or "test"; no request occurs in both.
    - `level`: 1 one fact; 2 one cancellation; 3 one write with arguments; 4 two requests, a change of mind
      or an unknown reservation; 5 several writes and a forbidden request; 0 mixes them.
    - `size`: "full" (500 users), "small" (50) or "tiny" (20, direct flights only).
    - `prompt`: "full" (policy and tool schemas) or "compact" (one line, no schemas).
    - `source`: where tasks come from; "synthetic".
    - `user`: who plays the customer; "scripted", or a model as "openai:MODEL@URL"
      (`forge_envs.people.chat`). With a model, replies follow the seed of `reset`; gold proves only that the
      rows can be reached.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv; the grammar must be able
      to call tools.

    ## Version History

    - v0: the first.
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
