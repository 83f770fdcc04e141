"""The algorithm, top to bottom.

    tasks -> admission -> play_group -> finished groups, oldest first -> advantages -> update
               ^                                                                          |
               +------------------ version <- engine <- weights <-------------------------+

There is one loop. Synchronous training is `max_lag = 0`: admission lets no group start before the weights
it will train are in place. With a larger lag groups are played while the learner works, and an engine that
has weights of its own goes on sampling through an update.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from forge_train.config import AlgorithmConfig, ShapingConfig
from forge_train.engine import Engine
from forge_train.engines.identity import IdentityError, check_gap, probe
from forge_train.engines.placement import Placement, Separate
from forge_train.learn.advantages import across
from forge_train.learn.critic import Critic
from forge_train.learn.gradient_signal import gradient_signal
from forge_train.learn.kept import temper
from forge_train.learn.kernels import in_thread
from forge_train.learn.kl_reward import charged, in_reward
from forge_train.learn.learner import Learner
from forge_train.learn.losses import holds
from forge_train.learn.masks import compare, masked_share, trained_endings
from forge_train.learn.mixture import Mixed, Mixture
from forge_train.learn.passes import Passes
from forge_train.learn.shaping import shaped
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum, Draw
from forge_train.play.waves import Waves
from forge_train.record.journal import Group, Journal
from forge_train.record.library import Library
from forge_train.record.step_metrics import Metrics, branches, lags, summary, time_to_groups
from forge_train.rubric.metrics import episodes_of, judged
from forge_train.trajectory import Ending, Trajectory

T = TypeVar("T")
Credit = list[list[float]]
"""Advantages of a group's members by action; empty for a member that is not trained on."""
Runner = Callable[[Draw], Awaitable[Group]]
"""Plays the group of a draw, here or on another machine."""


class BugError(RuntimeError):
    """Worlds raised more often than the run tolerates; the text carries the first traceback."""


@dataclass(slots=True)
class Trainer:
    """One policy learning in some worlds. `step()` is one turn of the loop above."""

    runner: Runner
    engine: Engine
    learner: Learner
    algorithm: AlgorithmConfig
    curriculum: Curriculum
    admission: Admission
    temperature: float
    """What the engine samples at, so that the learner scores the same distribution."""
    identity_tolerance: float
    """Largest mean |learner logprob - engine logprob| on tokens sampled by the learner's own weights."""
    patience: float
    """Seconds to wait for the groups of one update; each episode has a shorter deadline of its own."""
    min_members: int = 2
    """Fewest members with a verdict that a group can be trained on."""
    refill: int = 0
    """Groups of one update that may be played in place of ones whose members all earned the same."""
    max_bugs: int = 0
    journal: Journal | None = None
    waves: Waves | None = None
    """Keeps clocks out of what is trained, where the run asks for that."""
    critic: Critic | None = None
    """Judges instead of comparing members of a group, when the algorithm is PPO."""
    lessons: Callable[[int], Sequence[Trajectory]] | None = None
    """Episodes to be imitated beside, at each step: `algorithm.ptx_weight`."""
    passes: Passes | None = None
    """How an update goes over what was kept, where steps are rounds of expert iteration."""
    library: Library | None = None
    """What such a round learns beside what it played."""
    placement: Placement = field(default_factory=Separate)
    shaping: ShapingConfig = field(default_factory=ShapingConfig)
    """What is added to rewards after the verdict."""
    mixture: Mixture = field(default_factory=Mixture)
    """Which of the groups an update trains, and what beside them."""
    playing: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    finished: dict[int, Group] = field(default_factory=dict)
    rejected: dict[int, Group] = field(default_factory=dict)
    learning: bool = False
    """Whether the learner works, so that one waits for it and not for episodes."""
    sampled: int = 0
    """Tokens that this run's policy has sampled for its updates so far, what was left out included."""
    bugs: int = 0
    """Episodes of this run so far that failed by a bug in a world."""
    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _failure: BaseException | None = None

    async def step(self, step: int) -> tuple[Metrics, list[Group], list[Credit]]:
        """Take the groups of one update, learn from them, hand the new weights to the engine.

        Returns metrics, the groups that were taken, and their advantages.
        """
        began = time.perf_counter()
        groups, useless, group_lags = await self.collect(step)
        collected = time.perf_counter()
        self.sampled += sum(t.sampled for group in groups + useless for t in group)

        self.check_bugs(groups + useless)
        await self.prove(groups)  # servers that came back since the last update
        later = self.critic is not None or in_reward(self.algorithm)
        compared = None if later else [self.credit(group) for group in groups]
        if compared is not None and self.idles(compared):
            return self.idle(step, groups, useless, compared, group_lags, collected - began)
        self.learning = True
        await self.placement.learn()
        placed = time.perf_counter()
        credit, valuing = await self.beside(partial(self.assign_credit, groups, compared))
        valued = time.perf_counter()
        mixed = self.mixture.of(step, groups, credit)
        trajectories, version = mixed.trajectories, self.learner.version
        valuing |= await self.beside(partial(self.signal, step, trajectories, mixed.advantages))
        stats = await self.learn(step, groups, mixed)
        check_gap(stats, trajectories, version, self.identity_tolerance)
        updated = time.perf_counter()
        self.note("update", step=step, seconds=round(updated - placed, 4))

        await self.hand_over(step, groups)
        self.learning = False
        ended = time.perf_counter()
        self.note("weights", step=step + 1, seconds=round(ended - updated, 4))
        scoring = stats.pop("logprob_seconds")
        metrics = {
            **self.told(groups, useless, credit, lags(mixed.fresh, version, group_lags)),
            **stats,
            **valuing,
            **mixed.metrics,
            "version": version,
            "seconds": {
                **time_to_groups(collected - began, groups, overlapped=self.admission.latest > 0),
                "placement": placed - collected,
                "values": valued - placed,
                "logprobs": scoring,
                "update": updated - valued - scoring,
                "weights": ended - updated,
                "total": ended - began,
            },
        }
        return metrics, groups, mixed.credit

    async def learn(self, step: int, groups: Sequence[Group], mixed: Mixed) -> dict[str, float]:
        """The update itself, with what is learned beside what was played; returns its figures."""
        kept = [t for t, a in zip(mixed.trajectories, mixed.advantages, strict=True) if any(a)]
        played = [episodes_of(group) for group in groups]
        others = await self.library.beside(step, played, kept) if self.library else []
        stats = await self.beside(
            partial(
                self.learner.update,
                [*mixed.trajectories, *others],
                [*mixed.advantages, *([1.0] * len(t.versions) for t in others)],
                self.algorithm,
                self.lessons(step) if self.lessons else (),
                temperature=self.temperature,
                weights=mixed.weights and [*mixed.weights, *(1.0 for _ in others)],
                passes=self.passes,
            )
        )
        return {**stats, **({"kept": len(kept), "beside": len(others)} if self.passes else {})}

    def idle(
        self,
        step: int,
        groups: list[Group],
        useless: list[Group],
        credit: list[Credit],
        group_lags: list[int],
        seconds: float,
    ) -> tuple[Metrics, list[Group], list[Credit]]:
        """A step in which no group teaches: the weights stay as they are, so nothing is counted or sent.

        Nobody is put to sleep for it either. Returns what `step` does.
        """
        self.note("update", step=step, seconds=0.0)
        self.admission.updated()
        metrics = {
            **self.told(groups, useless, credit, lags([], self.learner.version, group_lags)),
            "idle": 1,
            "version": self.learner.version,
            "seconds": {
                **time_to_groups(seconds, groups, overlapped=self.admission.latest > 0),
                "total": seconds,
            },
        }
        return metrics, groups, credit

    def told(
        self, groups: list[Group], useless: list[Group], credit: list[Credit], lag: Mapping[str, float]
    ) -> Metrics:
        """What a step tells of its groups, whether they taught or not."""
        return {
            **summary([episodes_of(group) for group in groups + useless]),
            **branches(groups, credit),
            **judged(groups + useless),
            "lag": lag,
            "trained": sum(bool(rows) for group in credit for rows in group),
            "masked": masked_share(groups, self.trained_endings),
            "zero_groups": len(useless) + sum(not teaches(rows) for rows in credit),
            "refilled": len(useless),
            "bugs": self.bugs,
            "sampled_so_far": self.sampled,
        }

    # -- groups --------------------------------------------------------------------------------

    async def collect(self, step: int) -> tuple[list[Group], list[Group], list[int]]:
        """The groups that this update takes, the useless ones refilled meanwhile, and the lags of the former.

        An update that is repeated after a kill takes what it took before.
        """
        recorded = self.journal.recorded(step) if self.journal else None
        if recorded is not None:
            batch, left_out = recorded
            lags = [self.admission.lag(i) for i in batch]
            self.admission.take_these(batch)
        else:
            batch, lags = await self.next_batch(step)
            left_out = sorted(self.rejected)
            if self.journal:
                self.journal.consume(step, batch, left_out, lags)
        groups, useless = [self.finished.pop(i) for i in batch], [self.rejected.pop(i) for i in left_out]
        self.curriculum.learned(step, groups + useless)
        return groups, useless, lags

    async def next_batch(self, step: int) -> tuple[list[int], list[int]]:
        """Wait until admission has a batch: its groups, oldest first, and how late each is."""
        try:
            async with asyncio.timeout(self.patience):
                while not self._failure:
                    self.admit()
                    late = {i: self.admission.lag(i) for i in self.finished}
                    batch = self.admission.take()
                    if batch is not None:
                        return batch, [late[i] for i in batch]
                    self._arrived.clear()
                    if self.waves:
                        self.waves.go()
                    await self._arrived.wait()
        except TimeoutError:
            waiting = ", ".join(self.curriculum.draw(i).group for i in self.admission.playing[:3])
            raise TimeoutError(
                f"step {step}: no batch within {self.patience:.0f} s; still playing {waiting}. Is a world or "
                "an engine stuck? Each episode may take rollout.deadline_s"
            ) from None
        raise self._failure  # of a group, whatever its kind: after the clock of this wait

    def admit(self) -> None:
        """Start what may start; first what was under way when the run was killed."""
        for index in self.admission.playing:
            if index not in self.playing:
                self.begin(index)
        while self.admission.room:
            self.begin(self.admission.start())

    def begin(self, index: int) -> None:
        """Group `index` starts to play."""
        draw = self.curriculum.draw(index, self.admission.meant_for)
        if self.journal:
            self.journal.dispatch(index, self.admission.version, draw.update)
        if self.waves:
            self.waves.begin()
        self.playing[index] = asyncio.create_task(self.play(index, draw), name=draw.group)

    async def play(self, index: int, draw: Draw) -> None:
        """Play a group and put it where `collect` finds it; what it raises is raised there."""
        try:
            group = shaped(await self.runner(draw), self.shaping, update=draw.update, budget=draw.tokens)
            if self.waves:
                await self.waves.ended(index)
            if self.journal:
                self.journal.finish(index, self.admission.version, group)
            self.settle(index, group)
            self.admit()
        except Exception as error:
            self._failure = self._failure or error
        self._arrived.set()

    def settle(self, index: int, group: Group, *, useful: bool | None = None) -> None:
        """Group `index` has been played. One that teaches nothing makes room for another, up to `refill`."""
        self.playing.pop(index, None)
        if useful is None:
            spent = self.rejected.keys() - (self.journal.left_out if self.journal else set())
            useful = len(spent) >= self.refill or teaches(self.credit(group))
        (self.finished if useful else self.rejected)[index] = group
        self.admission.finish(index, useful=useful)

    # -- learning ------------------------------------------------------------------------------

    def assign_credit(
        self, groups: Sequence[Group], compared: list[Credit] | None
    ) -> tuple[list[Credit], Metrics]:
        """Advantages of each group, from what comparing its members gave, or by a critic, which also
        learns; once each has paid for leaving the reference, where it does so in its rewards."""
        figures: Metrics = {}
        if in_reward(self.algorithm):
            groups, told = charged(groups, self.learner, self.algorithm, self.temperature)
            figures |= told
        if self.critic is None:
            compared = compared or [self.credit(group) for group in groups]
            return temper(groups, across(compared, self.algorithm), self.algorithm), figures
        credit, metrics = self.critic.assign_credit(groups, self.algorithm)
        return temper(groups, credit, self.algorithm), {**figures, **metrics}

    def idles(self, compared: list[Credit]) -> bool:
        """Whether nothing would move: no group teaches, and nothing else is learned from its members."""
        if self.algorithm.ptx_weight:
            return False
        there = holds(self.algorithm) and any(row for rows in compared for row in rows)
        return not there and not any(map(teaches, compared))

    def signal(
        self, step: int, trajectories: Sequence[Trajectory], advantages: Sequence[Sequence[float]]
    ) -> Metrics:
        """How much of the gradient is signal, every `optim.signal_every` steps."""
        every = self.learner.optim.signal_every
        if not every or step % every or self.learner.processes:
            return {}
        return dict(
            gradient_signal(
                self.learner, trajectories, advantages, self.algorithm, temperature=self.temperature
            )
        )

    def credit(self, group: Sequence[Trajectory]) -> Credit:
        """Advantages of each member by action; empty for members that are not trained on."""
        return compare(group, self.algorithm, self.min_members)

    @property
    def trained_endings(self) -> frozenset[Ending]:
        """Endings whose episodes give a gradient."""
        return trained_endings(self.algorithm, self.critic.config if self.critic else None)

    async def beside(self, work: Callable[[], T]) -> T:
        """Do the learner's work: in a thread beside the rollouts, unless they read the same weights."""
        if self.engine.shares_weights:
            return work()
        return await in_thread(work)

    async def update_engine(self) -> None:
        """The engine gets the learner's weights as they are: to begin with, or to be judged."""
        await self.placement.play()
        await self.engine.weights_changed(self.learner.version)

    async def hand_over(self, step: int, groups: Sequence[Group]) -> None:
        """After `step` the engine gets the new weights, and shows that it has them."""
        repeated = self.journal is not None and self.journal.recorded(step + 1) is not None
        if not repeated:
            await self.update_engine()
            await self.prove(groups)
        self.admission.updated()

    async def prove(self, groups: Sequence[Group]) -> None:
        """Every copy of the weights that was loaded anew shows that it has them; raises IdentityError.

        While updates are repeated the engine is not given theirs, and there is nothing to compare.
        """
        if not self.engine.shares_weights and self.engine.version == self.learner.version:
            await probe(self.engine, self.learner, groups, self.temperature, self.identity_tolerance)

    @property
    def ready(self) -> int:
        """Episodes of groups that are whole and wait, to be trained or to be counted as left out."""
        return sum(len(group) for group in (*self.finished.values(), *self.rejected.values()))

    def compared(self, groups: Sequence[Group]) -> list[list[bool]]:
        """Of each group which members have a verdict that counts."""
        endings = self.trained_endings
        return [[t.ending in endings for t in group] for group in groups]

    def check_bugs(self, groups: Sequence[Group]) -> None:
        """Stop the run when worlds raised more often than `max_bugs`."""
        errors = [t.info["error"] for group in groups for t in group if "error" in t.info]
        bugs = [error for error in errors if error["kind"] == "bug"]
        self.bugs += len(bugs)
        if self.bugs > self.max_bugs and bugs:
            raise BugError(
                f"{self.bugs} episodes failed by a bug in a world, or in how an agent program is run, and "
                f"run.max_bugs = {self.max_bugs}; the first of this step:\n"
                f"{bugs[0].get('traceback', bugs[0])}"
            )

    def note(self, event: str, **fields: Any) -> None:
        """A line in the journal, where there is one."""
        if self.journal:
            self.journal.event(event, **fields)

    async def close(self) -> None:
        """Stop what is in flight."""
        for task in self.playing.values():
            task.cancel()
        await asyncio.gather(*self.playing.values(), return_exceptions=True)
        self.playing.clear()


def teaches(rows: Credit) -> bool:
    """Whether a group's advantages give any gradient."""
    return any(any(row) for row in rows)


__all__ = ["BugError", "Credit", "IdentityError", "Runner", "Trainer"]
