"""Forge/Retail-v0: a customer of a shop asks; the agent looks things up, changes orders, and answers."""

from __future__ import annotations

from dataclasses import dataclass

from forge_envs.tables import Table
from forge_envs.worlds.desk.env import DeskEnv, DeskEpisode
from forge_envs.worlds.retail.customer import ShopCustomer, ShopListener
from forge_envs.worlds.retail.database import SIZES, database
from forge_envs.worlds.retail.goals import RetailTask
from forge_envs.worlds.retail.tasks import find_task
from forge_envs.worlds.retail.tools import Shop

COMPACT = (
    "You serve a shop's customers. Find the customer first. "
    "Before a change, ask for a yes. Then say what you did."
)


@dataclass(kw_only=True)
class RetailEpisode(Shop, DeskEpisode[RetailTask]):
    """An episode is a shop with a customer in it; the tools run on it."""


class RetailEnv(DeskEnv[RetailTask, RetailEpisode]):
    """A shop's customer service, after τ-bench retail, with synthetic shops and tasks without limit.

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

    A shop of the `size` asked for, and a customer with a task of the `split` and `level`: the seed of
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
      or an unknown order id; 5 several writes and a forbidden request; 0 mixes them.
    - `size`: "full" (500 users), "small" (50) or "tiny" (20, short rows).
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

    toolkit_type = Shop
    name, package, compact, sizes = "retail", "forge_envs.worlds.retail", COMPACT, SIZES
    customer_type, listener_type = ShopCustomer, ShopListener

    def open_desk(self, task: RetailTask) -> RetailEpisode:
        """A fresh shop."""
        user, customer = self.people(task)
        return RetailEpisode(
            task=task,
            database=database(task.size),
            users=Table(task.users),
            orders=Table(task.orders),
            user=user,
            customer=customer,
        )

    def find(self, task_id: str) -> RetailTask:
        """The task of this id, of any size, split and level. Raises TaskError."""
        return find_task(task_id)
