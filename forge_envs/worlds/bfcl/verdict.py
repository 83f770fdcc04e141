"""The verdict on a turn of a dialogue, by the rule of the official multi-turn checker.

After each turn the systems must be as gold's are, in all that is public of them; and the results of gold's
calls in this turn must be among the results that the agent has had so far, each as often, in any order. A
turn in which gold calls something and the agent nothing is wrong. A turn in which gold calls nothing is not
looked at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from forge_envs.worlds.bfcl.backends.fillers import Fillers
from forge_envs.worlds.bfcl.systems import Systems
from forge_envs.worlds.bfcl.task import Dialogue

MODEL = "forge"
"""What the official runner would call the agent, and would write into some texts."""
State = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What gold comes to in one turn."""

    results: tuple[str, ...]
    state: State

    def found(self, results: Sequence[str]) -> int:
        """How many of gold's results are among these."""
        return (Counter(self.results) & Counter(results)).total()


def start(task: Dialogue, model: str, fillers: Fillers | None) -> Systems:
    """Fresh systems of a dialogue, filled up where its category says so, as a model of this name has them."""
    fillers = fillers if task.long_context else None
    return Systems.start(f"{model}_eval_{task.official}", task.version, task.systems, task.config, fillers)


def expectations(task: Dialogue, fillers: Fillers | None) -> tuple[Expected, ...]:
    """What gold comes to, turn by turn."""
    systems = start(task, f"{MODEL}_ground_truth", fillers)
    found = []
    for calls in task.gold:
        results = tuple(systems.call(call) for call in calls)
        found.append(Expected(results, systems.state()))
    return tuple(found)


def turn_fault(wanted: Expected, systems: Systems, results: Sequence[str], *, called: bool) -> str:
    """What is wrong with a turn that ends now; "" if nothing is. `results` are all so far, of every turn."""
    if not wanted.results:
        return ""
    if not called:
        return "nothing was called"
    state = systems.state()
    for name, attributes in wanted.state.items():
        for key, value in attributes.items():
            if key not in state[name] or state[name][key] != value:
                return f"{key} of {name} is not as it should be"
    lacking = len(wanted.results) - wanted.found(results)
    return f"{lacking} results are missing" if lacking else ""
