"""What is added to an episode's reward after the verdict, each under a name of its own."""

from __future__ import annotations

from typing import Self

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from forge_train.config.section import Section


class ShapingConfig(Section):
    """Rewards for how an episode went, beside what it came to; the outcome itself is never changed."""

    overlong_limit: PositiveInt | None = None
    """Tokens of an episode's actions, all together, beyond which part "overlong" is -1; 20480 in DAPO (arXiv
    2503.14476, eq. 13). Unset: no such part."""
    overlong_buffer: PositiveInt | None = None
    """Tokens before the limit over which it falls from 0 to -1; 4096 in DAPO."""
    overlong_weight: PositiveFloat = 1.0
    """What part "overlong" is multiplied with."""
    length_weight: NonNegativeFloat = 0.0
    """Weight of part "length_reward": among the members of a group the shorter earn more, and failures
    never more than 0 (Kimi k1.5, arXiv 2501.12599, sec. 2.3.3; the weight is not disclosed). 0: none."""
    length_from: NonNegativeInt = 0
    """The first update with it: k1.5 begins without, for it slows the beginning."""
    length_warmup: NonNegativeInt = 0
    """Updates over which its weight then rises to what it is."""
    turn_penalty: NonNegativeFloat = 0.0
    """What a solved episode loses at most for many turns, as a share of its outcome: part "turn_penalty";
    0.1 where this was seen. Failures lose nothing: giving up early is no virtue. 0: none."""
    turns_free: NonNegativeInt | None = None
    """Turns that cost nothing; the loss then grows evenly. 80 of 200 where this was seen."""
    turns_most: PositiveInt | None = None
    """Turns at which all of `turn_penalty` is lost, usually the world's limit."""
    budget_penalty: NonNegativeFloat = 0.0
    """What an episode loses that was cut off at its world's budget of tokens (`worlds.N.budget`): part
    "budget_penalty" (Kimi K2, arXiv 2507.20534; the value is not disclosed). 0: nothing."""

    @property
    def used(self) -> bool:
        """Whether anything is added."""
        return bool(self.overlong_limit or self.length_weight or self.turn_penalty or self.budget_penalty)

    @model_validator(mode="after")
    def _overlong(self) -> Self:
        if (self.overlong_limit is None) != (self.overlong_buffer is None):
            raise ValueError(
                f"overlong_limit = {self.overlong_limit}, overlong_buffer = {self.overlong_buffer}: set both "
                "or neither; in DAPO they are 20480 and 4096"
            )
        if self.overlong_limit and self.overlong_buffer and self.overlong_buffer > self.overlong_limit:
            raise ValueError(
                f"overlong_buffer = {self.overlong_buffer}: it lies before overlong_limit "
                f"({self.overlong_limit}) and cannot be longer"
            )
        return self

    @model_validator(mode="after")
    def _turns(self) -> Self:
        if not self.turn_penalty:
            return self
        if self.turn_penalty > 1:
            raise ValueError(f"turn_penalty = {self.turn_penalty}: a share of the outcome, at most 1")
        if self.turns_free is None or self.turns_most is None or self.turns_free >= self.turns_most:
            raise ValueError(
                f"turn_penalty = {self.turn_penalty}: set turns_free and turns_most (they are "
                f"{self.turns_free} and {self.turns_most}), the turns at which it begins and is whole"
            )
        return self
