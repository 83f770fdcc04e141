"""Forge/ToolUse-v0: service desks by the thousand, each with tools, rules and a database of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from forge_envs.arguments import known
from forge_envs.env import GrammarName, MaxTurns
from forge_envs.errors import check_count, one_of
from forge_envs.tools import Toolbox
from forge_envs.worlds.desk.env import DeskEnv, DeskEpisode
from forge_envs.worlds.desk.tasks import SPLITS
from forge_envs.worlds.tooluse.customer import Visitor, VisitorListener
from forge_envs.worlds.tooluse.domains import SIZES, addresses
from forge_envs.worlds.tooluse.engine import Office
from forge_envs.worlds.tooluse.goals import ToolUseTask
from forge_envs.worlds.tooluse.gold import tables
from forge_envs.worlds.tooluse.policy import compact_of, policy_of
from forge_envs.worlds.tooluse.tasks import find_task, task_name
from forge_envs.worlds.tooluse.theme import theme_names
from forge_envs.worlds.tooluse.tools import toolbox_of


@dataclass(kw_only=True)
class ToolUseEpisode(Office, DeskEpisode[ToolUseTask]):
    """An episode is a domain's desk with a customer at it; the tools run on it."""


class ToolUseEnv(DeskEnv[ToolUseTask, ToolUseEpisode]):
    """Service desks that a seed draws from themes: other tools, tables, rules and words in every domain.

    Which domain is played changes from task to task, and with it the tools. The system's message tells them;
    `tools`, `schemas` and `action_space` follow at `reset`.

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

    One of the `domains`, its database, and a customer with a task of the `level`: the seed of `reset` draws
    it, or `options={"task": id}` names it. Everything else follows from the task.

    ## Episode End

    Terminated when the customer leaves or is handed over; truncated after `max_turns` actions, graded as it
    is; truncated without an outcome when a machine (the model behind `user`) fails.

    ## Information

    `task` and `turn`; after a step `turn_reward` and its `parts`; at the end `outcome`, with `rows` and
    `told` among the parts; `error` if a machine failed.

    ## Arguments

    - `split`: "train" or "test"; no domain of one shares its set of tool names or its schema with one of the
      other, and some themes are in "test" alone.
    - `level`: 1 one fact; 2 one simple write; 3 one write with arguments that must be asked for; 4 two
      requests, a change of mind, an unknown id or a tool that fails once; 5 several writes and a forbidden
      request; 0 mixes them.
    - `size`: "full" or "tiny" (3 to 7 tools, short rows).
    - `prompt`: "full" (policy and tool schemas) or "compact" (a line for each tool, no schemas).
    - `domains`: how many domains there are in the split: the first ones, the themes by turns.
    - `theme`: only domains of this theme; "" takes all.
    - `user`: who plays the customer; "scripted", or a model as "openai:MODEL@URL"
      (`forge_envs.people.chat`). With a model, replies follow the seed of `reset`; gold proves only that the
      rows can be reached.
    - `max_turns`, `turn_weight`, `strict`, `grammar`, `render_mode`: see AgentEnv; the grammar must be able
      to call tools.

    ## Version History

    - v0: the first.
    """

    toolkit_type = Office
    name, package, compact, sizes = "tooluse", "forge_envs.worlds.tooluse", "", SIZES
    customer_type, listener_type = Visitor, VisitorListener

    def __init__(
        self,
        *,
        split: Annotated[str, known(SPLITS)] = "train",
        level: Annotated[int, known(range(6))] = 0,
        size: Annotated[str, known(SIZES)] = "full",
        prompt: Annotated[str, known(("full", "compact"))] = "full",
        domains: Annotated[int, Field(ge=1)] = 1000,
        theme: Annotated[str, known(lambda: ("", *theme_names()))] = "",
        user: str = "scripted",
        max_turns: MaxTurns = 30,
        turn_weight: float = 0.0,
        strict: bool = False,
        grammar: GrammarName = "hermes",
        render_mode: str | None = None,
    ) -> None:
        super().__init__(
            split=split,
            level=level,
            size=size,
            prompt=prompt,
            user=user,
            max_turns=max_turns,
            turn_weight=turn_weight,
            strict=strict,
            grammar=grammar,
            render_mode=render_mode,
        )
        self.domains, self.theme = domains, theme
        addresses(size, split, 1, theme)
        self._equip_for(self.find(self.task_ids(n=1)[0]))

    def toolbox(self, task: ToolUseTask) -> Toolbox:
        """The tools of the task's domain."""
        return toolbox_of(task.domain)

    def system(self, task: ToolUseTask) -> tuple[str, Sequence[dict[str, Any]]]:
        """The domain's policy and tools."""
        if self.prompt == "compact":
            return compact_of(task.domain), ()
        return policy_of(task.domain), self._schemas.value

    def open_desk(self, task: ToolUseTask) -> ToolUseEpisode:
        """A fresh desk."""
        user, customer = self.people(task)
        return ToolUseEpisode(
            task=task,
            domain=task.domain,
            held=tables(task),
            stumbles=set(task.stumbles),
            user=user,
            customer=customer,
        )

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` (1,000) tasks of a split, domain by domain in turn."""
        check_count(n)
        split = self.split if split is None else split
        one_of("split", split, SPLITS)
        count = 1000 if n is None else n
        known_here = addresses(self.size, split, min(self.domains, count), self.theme)
        return [
            task_name(known_here[i % len(known_here)], self.level, i // len(known_here)) for i in range(count)
        ]

    def draw(self, rng: np.random.Generator) -> ToolUseTask:
        """A task of this world's split, size and level."""
        address = self._address(int(rng.integers(self.domains)))
        return self.find(task_name(address, self.level, int(rng.integers(2**31))))

    def _address(self, n: int) -> str:
        return addresses(self.size, self.split, n + 1, self.theme)[n]

    def find(self, task_id: str) -> ToolUseTask:
        """The task of this id, of any size, split, domain and level. Raises TaskError."""
        return find_task(task_id)
