"""How the temperature of rollouts moves in the course of a run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from forge_train.config.section import Section


class TemperatureConfig(Section):
    """From `rollout.temperature` on: down by a schedule, or wherever held-out tasks allow."""

    decay: Literal["none", "linear", "cosine"] = "none"
    """How it falls from rollout.temperature to `end`: explore first, exploit later (Kimi K2, arXiv
    2507.20534, which does not disclose its schedule)."""
    end: PositiveFloat | None = None
    """The temperature that it falls to."""
    steps: PositiveInt | None = None
    """Updates until it is there."""
    grid: tuple[PositiveFloat, ...] = Field(default=(), strict=False)
    """When rewards stand still (`plateau`), the policy is judged at each of these on tasks held out, and
    plays on at the highest that is as good as the best, but for `tolerance` (GLM-4.5, arXiv 2508.06471). It
    is looked at every run.eval_every updates. Empty: never."""
    tolerance: NonNegativeFloat = 0.01
    """By how much success may be below the best (GLM-4.5: 1%)."""
    plateau: PositiveInt | None = None
    """Rewards stand still when the mean of so many updates is not above that of so many before."""
    gain: NonNegativeFloat | None = None
    """By so much above, at least, it must be to count as progress."""
    split: str = ""
    """Tasks to judge on, a split of its own: a choice made on eval.split would flatter the score there.
    Empty: the tasks of the training split that come after those trained on."""
    tasks: PositiveInt = 50
    """How many of each world."""
    repeats: PositiveInt = 4
    """Episodes of each."""

    @property
    def moves(self) -> bool:
        """Whether it is ever another than rollout.temperature."""
        return self.decay != "none" or bool(self.grid)

    @model_validator(mode="after")
    def _falls(self) -> Self:
        if self.decay != "none" and (self.end is None or self.steps is None):
            raise ValueError(
                f'decay = "{self.decay}": set end and steps (they are {self.end} and {self.steps}), the '
                "temperature it falls to and the updates that takes"
            )
        if self.decay == "none" and (self.end is not None or self.steps is not None):
            raise ValueError(
                f'end = {self.end}, steps = {self.steps}: decay = "none" never falls; set decay = "linear" '
                'or "cosine", or leave them out'
            )
        return self

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not self.grid:
            return self
        if self.decay != "none":
            raise ValueError(
                f'grid = {list(self.grid)}: decay = "{self.decay}" moves the temperature, too; drop one'
            )
        unset = [name for name in ("plateau", "gain") if getattr(self, name) is None]
        if unset or len(set(self.grid)) < 2:
            raise ValueError(
                f"grid = {list(self.grid)}: give two or more temperatures, and set plateau (updates) and "
                f"gain (of mean reward); unset: {', '.join(unset) or 'none'}"
            )
        return self
