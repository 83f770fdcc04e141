"""A task of a published benchmark, and what its evaluator asks of an episode."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from forge_envs.env import Task
from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.worlds.tau.domain import Side

Part: TypeAlias = Literal["DB", "COMMUNICATE", "ACTION", "ENV_ASSERTION", "NL_ASSERTION"]
"""What a verdict may be made of, by τ²-bench's names."""
GREETING = "Hi! How can I help you today?"
"""The line with which τ²-bench's agent begins; it counts among what the agent said."""
DEFAULT_BASIS: tuple[Part, ...] = ("DB", "COMMUNICATE")
"""What counts where a task does not say; also τ-bench's own rule."""


@dataclass(frozen=True, slots=True)
class GoldCall:
    """One call of the official solution.

    >>> GoldCall(ToolCall("think", {"thought": "hm"}), compare=()).matches(ToolCall("think", {}))
    True
    """

    call: ToolCall
    compare: tuple[str, ...] | None = None
    """Arguments that must agree; None: those that the agent gave."""

    def matches(self, made: ToolCall, *, guard: bool = False) -> bool:
        """Whether a call the agent made is this one.

        The official rule lets a call without arguments match any of its name, unless `compare` says
        otherwise; `guard` then asks for all arguments to be equal.
        """
        if made.name != self.call.name:
            return False
        if self.compare is None and guard:
            return made.arguments == self.call.arguments
        keys = made.arguments if self.compare is None else self.compare
        ours = {key: value for key, value in made.arguments.items() if key in keys}
        return ours == {key: value for key, value in self.call.arguments.items() if key in keys}


@dataclass(frozen=True, slots=True)
class FunctionCall:
    """A function of one side that a task calls: a tool, or what is none and breaks or asserts something."""

    side: Side
    name: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class TauTask(Task):
    """One published task. `id` is "<benchmark>/<domain>/<official id>"."""

    where: str
    """The benchmark it is of, "tau2:<folder>"."""
    brief: Brief
    """The customer's notes, for whoever plays them."""
    gold: tuple[GoldCall, ...] | None
    """None: the database is not looked at."""
    communicate: tuple[str, ...]
    """Texts that the agent must say."""
    assertions: tuple[str, ...]
    """Statements about the conversation that a judge model must agree to."""
    basis: tuple[Part, ...]
    """Whose product is the verdict; empty: any episode that was brought to its end earns 1."""
    says_basis: bool
    """False where the file has no basis and the default was used."""
    gap: str
    """Why the verdict cannot be told here, judge or not; "" if it can."""
    scenario: str = ""
    """The customer's notes in the official form, where the benchmark has one."""
    known: str = ""
    """What the customer can tell about themselves; it is in the brief, too."""
    ticket: str = ""
    """The case, written down for an agent that has no customer to talk to."""
    setup: tuple[FunctionCall, ...] = ()
    """What is done to both sides before the first line."""
    conditions: tuple[tuple[FunctionCall, bool], ...] = ()
    """What is asserted of both sides at the end, and the answer it must have."""

    @property
    def needs_judge(self) -> bool:
        """Whether its verdict hangs on statements that no rule can decide."""
        return "NL_ASSERTION" in self.basis and bool(self.assertions)


def heard(task: TauTask, text: str, *, guard: bool = False) -> set[int]:
    """Which of the texts the agent must say are in this line, by index.

    The official rule looks for them anywhere in the lower-case line without its commas, so that "10" is said
    by "2010"; `guard` wants no letter or digit on either side.
    """
    line = text.lower().replace(",", "")
    wanted = enumerate(text.lower() for text in task.communicate)
    if not guard:
        return {n for n, want in wanted if want in line}
    return {n for n, want in wanted if re.search(rf"(?<!\w)(?<!\d\.){re.escape(want)}(?!\w)(?!\.\d)", line)}
