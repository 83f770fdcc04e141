"""Forge/ReasoningGym-v0: a dataset of reasoning-gym, one question an episode."""

from __future__ import annotations

import re
from typing import Any

from forge_envs.adopted.adopted import Adopted, Answered, number
from forge_envs.adopted.making import given, library, made
from forge_envs.arguments import Seconds
from forge_envs.env import MaxTurns

INSTALL = "forge-envs[reasoning-gym]"
ASKED = "Think first. Then give the final answer, and nothing else, as <answer>...</answer>."
TAG = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


class AdoptedReasoningGym(Adopted):
    """A dataset of reasoning-gym. The seed of `reset` is the index of its entry, beyond its size as well.

    The outcome is the dataset's own score, in [0, 1], of what stands in the last <answer> tag; without a tag
    nothing was answered. The tag is needed: most datasets pay in part for a text that merely contains the
    answer somewhere, so that a policy would learn to list candidates. The part `answered` says whether there
    was a tag.

    ## Arguments

    - `dataset`: its name, as "chain_sum".
    - `args`: its own arguments, as its difficulty.
    - `entries`: the seed that the dataset is generated from; another one gives other questions.
    - `system`, `max_turns`, `timeout`: see `Adopted`.
    """

    def __init__(
        self,
        *,
        dataset: str = "",
        args: dict[str, Any] | None = None,
        entries: int = 0,
        system: str = "",
        max_turns: MaxTurns = 2,
        timeout: Seconds = 60.0,
    ) -> None:
        super().__init__(system=system, max_turns=max_turns, timeout=timeout)
        gym = library("reasoning_gym", INSTALL)
        name = given("dataset", dataset, "chain_sum")
        self._dataset: Any = made(
            f"dataset={name!r} with args={args!r}",
            lambda: gym.create_dataset(name, seed=entries, **(args or {})),
        )
        self._entry: dict[str, Any] = {}

    def begin(self, seed: int) -> str:
        """The question."""
        self._entry = self._dataset[seed]
        return f"{self._entry['question']}\n\n{ASKED}"

    def answer(self, action: str) -> Answered:
        """The verdict."""
        found = TAG.findall(action, 0, action.rfind("</answer>") + len("</answer>"))  # linear in its length
        text = found[-1].strip() if found else None
        score = number(self._dataset.score_answer(text, self._entry)) if text is not None else 0.0
        return Answered("", score, True, parts={"answered": float(text is not None)}, turn_reward=0.0)

    def let_go(self) -> None:
        """A dataset holds nothing."""

    def abandon(self) -> None:
        """The same."""
