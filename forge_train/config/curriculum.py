"""Which tasks are played when, and what of the groups that were played an update trains."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from forge_train.config.section import Section

Horizon = Annotated[tuple[NonNegativeInt, PositiveInt], Field(strict=False)]
"""An update, and the turns that an episode may take from it on."""


class CurriculumConfig(Section):
    """The order of worlds and tasks, and the groups an update makes of them."""

    cycle: tuple[str, ...] = Field(default=(), strict=False)
    """Worlds by name, one an update, over and over: ["tools", "tools", "tools", "swe"] plays tool use for
    three updates and then coding for one (Klear-AgentForge, arXiv 2511.05951, sec. 3.4.3). Empty: every
    update mixes the worlds by their weights."""
    order: Literal["epochs", "prioritised"] = "epochs"
    """epochs: every task once, shuffled, then all again. prioritised: drawn in proportion to 1 - s, s being
    the share of a task's plays that solved it (Kimi k1.5, arXiv 2501.12599, sec. 2.3.4)."""
    passes: str = ""
    """File of measured tasks (`forge-train difficulty`): how often each was played and solved."""
    rates: tuple[float, float] | None = Field(default=None, strict=False)
    """Play only tasks that were solved in [low, high] of their plays, and neither always nor never:
    [0.25, 0.75] of 8 plays for code contests, [0, 1] for tool use (Klear-AgentForge, sec. 2.3.4). A task that
    was never played is kept."""
    online: bool = True
    """Shares of solved plays are those of this run, once it played a task; else those of `passes` alone."""
    window: PositiveInt = 16
    """Of this run's plays of a task the newest so many count: the policy moves on."""
    revisit: NonNegativeInt = 4
    """Every so many epochs tasks outside of `rates` are played all the same, since what was hard may not be
    any more; 0: never again."""
    hard_from: PositiveInt | None = None
    """From this update on play only the hard tasks of `passes`: GLM-4.5's second stage (arXiv 2508.06471)."""
    hard: tuple[PositiveInt, PositiveInt] = Field(default=(8, 512), strict=False)
    """A task is hard when its first 8 plays all failed and one of its first 512 did not (GLM-4.5)."""
    grow_by: NonNegativeInt = 0
    """Begin with tasks that `passes` saw solved, and add so many of the others every `grow_every` updates;
    500 in Kimi-Dev (arXiv 2509.23045, app. C.1), which begins with 1,200. 0: all from the beginning."""
    grow_every: PositiveInt = 100
    """Updates between two additions (Kimi-Dev)."""
    grow_from: PositiveInt = 16
    """A task is there from the beginning when one of its first so many plays solved it (Kimi-Dev)."""
    horizons: tuple[Horizon, ...] = Field(default=(), strict=False)
    """[update, turns], in order: from that update on an episode ends after so many turns, with the world's
    verdict. It begins with short ones: [[0, 5], [100, 10]]; past the last the world's own limit may be the
    lower (ScalingInter-RL, arXiv 2509.08755). Judging has no such limit."""
    top_spread: float = Field(default=1.0, gt=0, le=1)
    """Train only this share of an update's groups, those whose returns differ most; 0.25 in StarPO-S (arXiv
    2504.20073)."""
    duplicate: bool = False
    """A group whose members all earned the same teaches nothing: its place goes to another group of the
    update, which then counts twice (DUPO, WebSailor, arXiv 2507.02592). No more is played for it, as
    rollout.refill would."""
    recall: NonNegativeInt = 0
    """Solved episodes of earlier updates that are trained again beside those of each update (Kimi-Dev's
    positive examples). They are off-policy: the ratio to who sampled corrects for it. 0: none."""
    recall_from: NonNegativeInt = 0
    """The first update that does so; in Kimi-Dev late, when progress slows."""
    recall_steps: PositiveInt = 10
    """How many updates back they may come from."""

    @property
    def picks(self) -> bool:
        """Whether tasks come in another order than shuffled epochs of all of them."""
        return bool(self.order != "epochs" or self.rates or self.hard_from or self.grow_by)

    @property
    def measures(self) -> bool:
        """Whether what happens in the run decides what is played next."""
        return self.online and (self.order == "prioritised" or self.rates is not None)

    @property
    def recalls(self) -> int:
        """Updates back from which episodes are recalled; 0: none are."""
        return self.recall_steps if self.recall else 0

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.rates is not None and not 0 <= self.rates[0] < self.rates[1] <= 1:
            raise ValueError(
                f"rates = {list(self.rates)}: they are shares, low < high, both in [0, 1]; e.g. [0.25, 0.75]"
            )
        if self.hard[0] >= self.hard[1]:
            raise ValueError(
                f"hard = {list(self.hard)}: a task fails in the first plays and is solved in more of them; "
                "the second number must be the larger, e.g. [8, 512]"
            )
        steps, turns = ([pair[i] for pair in self.horizons] for i in (0, 1))
        if any(later <= sooner for row in (steps, turns) for sooner, later in pairwise(row)):
            raise ValueError(
                f"horizons = {[list(pair) for pair in self.horizons]}: updates and turns must both grow, "
                "e.g. [[0, 5], [100, 10]]"
            )
        if steps and steps[0]:
            raise ValueError(
                f"horizons = {[list(pair) for pair in self.horizons]}: say what holds from update 0 on; long "
                "episodes at first are what this is to avoid"
            )
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.grow_by and (self.rates is not None or self.hard_from is not None):
            other = "rates" if self.rates is not None else "hard_from"
            raise ValueError(
                f"grow_by = {self.grow_by} with {other}: it adds tasks that were never solved, which {other} "
                "chooses by other measures; drop one"
            )
        if self.order == "prioritised" and self.revisit != type(self).model_fields["revisit"].default:
            raise ValueError(
                f'revisit = {self.revisit}: order = "prioritised" has no epochs; leave it out, or set '
                'order = "epochs"'
            )
        if self.duplicate and self.top_spread < 1:
            raise ValueError(
                f"top_spread = {self.top_spread} with duplicate = true: one leaves groups out, the other "
                "fills the places of those left out; drop one"
            )
        return self

    @model_validator(mode="after")
    def _file(self) -> Self:
        for name in ("hard_from", "grow_by"):
            if getattr(self, name) and not self.passes:
                raise ValueError(
                    f"{name} = {getattr(self, name)}: it chooses by plays made before; measure them "
                    "with forge-train difficulty and set passes to its file"
                )
        needs_file = self.rates is not None or self.order == "prioritised"
        if needs_file and not self.online and not self.passes:
            raise ValueError(
                "online = false: nothing tells how hard a task is; set passes to the file of "
                "forge-train difficulty, or online = true"
            )
        return self
