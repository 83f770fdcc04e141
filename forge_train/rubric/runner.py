"""Groups are played as ever, then judged: each member's score becomes its reward part `rubric`.

    play_group -> verdict of the world          (outcome: never changed)
               -> judge, pair by pair           (part `rubric`, its weight is the config's)
               -> judge, pairs of known outcome (`agreed`; with `train` episodes of their own)

Self-critique rubric reward of Kimi K2 (arXiv 2507.20534, section 3.2): the policy compares its own answers,
and its judgement is kept honest on tasks whose outcome a rule knows. What the judge's machine does not give
is nobody's 0: the member leaves its group with an error that says so.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from forge_train.clock import Clock
from forge_train.config.rubric import PART, RubricConfig
from forge_train.engine import EngineFailed
from forge_train.learn.masks import OF_THE_POLICY
from forge_train.play.curriculum import Draw
from forge_train.play.episode import gather
from forge_train.play.local_runner import group_seed
from forge_train.rubric.judges import Answer, RubricJudge
from forge_train.rubric.scoring import (
    Pair,
    compared_with_all,
    consistent,
    of_both_orders,
    pairs_of,
    win_rates,
)
from forge_train.rubric.verdicts import Episode, Mark, comparison, marking, read_comparison, read_marks
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory

Group = list[Trajectory]
Question = list[dict[str, Any]]
Error = dict[str, Any]
"""kind, stage, retryable, message: as of a machine that failed."""


@dataclass(slots=True)
class Judged:
    """What came of one question: a mark, or the error because of which there is none."""

    mark: Mark | None = None
    error: Error | None = None
    answers: list[Answer] = field(default_factory=list)
    """All attempts."""

    @property
    def tokens(self) -> int:
        """Tokens sampled for it."""
        return sum(answer.tokens for answer in self.answers)


class RubricRunner:
    """Plays the group of a draw by `runner` and judges it."""

    def __init__(
        self,
        runner: Callable[[Draw], Awaitable[Group]],
        judge: RubricJudge,
        config: RubricConfig,
        *,
        worlds: Sequence[str],
        seed: int,
        group_size: int,
        in_flight: int,
    ) -> None:
        """`worlds` are those of the run, `seed` is its; at most `in_flight` questions at a time."""
        self.runner = runner
        self.judge = judge
        self.config = config
        self._rewarded = frozenset(config.worlds or worlds)
        self._seed = seed
        self._group_size = group_size
        self._limit = asyncio.Semaphore(in_flight)
        self._criteria = [one.text for one in config.criteria]
        self._weights = [one.weight for one in config.criteria]

    async def __call__(self, draw: Draw) -> Group:
        """The members, then the judgements that are trained, if any: see `Trajectory.is_judgement`."""
        group = await self.runner(draw)
        seed = derive_seed(group_seed(self._seed, draw), PART)
        lessons = await self._refresh(group, draw, seed) if draw.world in self.config.refresh else []
        if draw.world in self._rewarded:
            judge = self._compare if self.config.mode == "pairwise" else self._mark
            await judge(group, draw, seed)
        return [*group, *lessons]

    # -- scores ------------------------------------------------------------------------------------

    async def _compare(self, group: Group, draw: Draw, seed: int) -> None:
        """Score members by the comparisons they win."""
        members = [i for i, t in enumerate(group) if t.versions and t.ending in OF_THE_POLICY]
        pairs = pairs_of(members, self.config.opponents) if len(members) > 1 else []
        orders = [order for i, j in pairs for order in ((i, j), (j, i))]
        asked = await self._ask_pairs(group, orders, draw, seed, self.config.attempts)
        found = dict(zip(orders, asked, strict=True))
        preferences: dict[Pair, float] = {}
        missing: dict[Pair, Error] = {}
        turned: set[Pair] = set()
        for i, j in pairs:
            first, second = found[i, j], found[j, i]
            error = first.error or second.error
            if first.mark is None or second.mark is None:
                assert error is not None
                missing[i, j] = error
                continue
            preferences[i, j] = of_both_orders(first.mark.score, second.mark.score)
            if not consistent(first.mark.score, second.mark.score):
                turned.add((i, j))
        stay = compared_with_all(members, missing)
        rates = win_rates(stay, preferences)
        for i in members:
            own = [pair for pair in pairs if i in pair]
            error = next((missing[pair] for pair in own if pair in missing), None)
            notes = {
                "compared": sum(pair in preferences for pair in own),
                "turned": sum(pair in turned for pair in own),
                "reasons": [m.reason for (a, _), one in found.items() if a == i and (m := one.mark)][:2],
                "tokens": sum(one.tokens for (a, _), one in found.items() if a == i),
            }
            self._settle(group[i], rates.get(i), notes, error)

    async def _mark(self, group: Group, draw: Draw, seed: int) -> None:
        """Score members by the criteria they meet, each by itself."""
        members = [i for i, t in enumerate(group) if t.versions and t.ending in OF_THE_POLICY]
        read = partial(read_marks, weights=self._weights)
        found = await gather(
            self._ask(
                marking(self._criteria, episode_of(group[i]), self.config.max_message),
                read,
                name=f"{draw.group}/{PART}/{i}",
                seed=derive_seed(seed, i),
                attempts=self.config.attempts,
            )
            for i in members
        )
        for i, one in zip(members, found, strict=True):
            notes = {"reasons": [one.mark.reason] if one.mark else [], "tokens": one.tokens}
            self._settle(group[i], one.mark.score if one.mark else None, notes, one.error)

    def _settle(
        self, member: Trajectory, score: float | None, notes: dict[str, Any], error: Error | None
    ) -> None:
        """Give a member its part; one without a score leaves its group, and is nobody's 0."""
        told = member.info.setdefault(PART, {})
        told |= notes
        if score is not None:
            told["score"] = score
            member.info.setdefault("parts", {})[PART] = score
            assert self.config.weight is not None
            member.rewards[-1] += self.config.weight * score
        elif error is not None:
            member.ending = "failed"
            member.info["error"] = error

    # -- the judge is judged -------------------------------------------------------------------------

    async def _refresh(self, group: Group, draw: Draw, seed: int) -> Group:
        """Compare members of different outcome; returns what is trained of it."""
        pairs = [
            (i, j)
            for i, a in enumerate(group)
            for j, b in enumerate(group)
            if a.trainable and b.trainable and a.versions and b.versions
            and a.outcome is not None and b.outcome is not None and a.outcome > b.outcome
        ]  # fmt: skip
        drawn = random.Random(derive_seed(seed, "lessons")).sample(
            pairs, min(self.config.lessons, len(pairs))
        )
        lessons: Group = []
        for number, (better, worse) in enumerate(drawn):
            if self.config.train:  # one order a pair, for judgements of one question are compared
                order = (better, worse) if derive_seed(seed, number) % 2 else (worse, better)
                orders = [order] * self._group_size
            else:
                orders = [(better, worse), (worse, better)]
            own = derive_seed(seed, "lesson", number)
            once = 1 if self.config.train else self.config.attempts  # what was said first is what is trained
            found = await self._ask_pairs(group, orders, draw, own, once, tag=f"lesson{number}/")
            agreed = []
            for at, ((a, b), one) in enumerate(zip(orders, found, strict=True)):
                right = _agrees(one.mark, first_is_better=a == better)
                if one.answers:  # else its machine failed
                    agreed.append(right)
                if self.config.train:
                    lesson = self._lesson(group, (a, b), one, right, draw, number)
                    lesson.info["seed"] = derive_seed(own, at)
                    lessons.append(lesson)
            group[better].info.setdefault(PART, {}).setdefault("agreed", []).extend(agreed)
        return lessons

    def _lesson(
        self, group: Group, order: Pair, one: Judged, right: float, draw: Draw, number: int
    ) -> Trajectory:
        """A judgement as an episode of its own: one action, worth 1 if it prefers the better outcome.

        One that cannot be read is worth 0, as any malformed action.
        """
        said = one.answers[0] if one.answers else None
        question = self._question(group, order)
        lesson = Trajectory(
            group=f"{draw.group}/{PART}/{number}",
            outcome=right,
            info={
                "world": PART,
                "task": f"{draw.task}/{order[0]}-{order[1]}",
                "judges": draw.group,
                "opening": len(question),
                "messages": [*question, {"role": "assistant", "content": said.text if said else ""}],
                "parts": {},
            },
        )
        if said is None:
            lesson.ending, lesson.outcome = "failed", None
            lesson.info["error"] = one.error
            return lesson
        lesson.segments, lesson.versions, lesson.spans = said.segments, said.versions, said.spans
        lesson.ending = said.ending
        lesson.outcome = right if said.ending == "terminated" else None
        lesson.rewards = [right] * len(said.versions)
        lesson.turn_rewards = [0.0] * len(said.versions)
        return lesson

    # -- questions -----------------------------------------------------------------------------------

    def _question(self, group: Group, order: Pair) -> Question:
        a, b = (episode_of(group[i]) for i in order)
        return comparison(self._criteria, a, b, self.config.max_message)

    async def _ask_pairs(
        self, group: Group, orders: Sequence[Pair], draw: Draw, seed: int, attempts: int, tag: str = ""
    ) -> list[Judged]:
        """Which of two is better, for each (A, B) of `orders`; `tag` tells one such list from another."""
        read = partial(read_comparison, weights=self._weights)
        return await gather(
            self._ask(
                self._question(group, (a, b)),
                read,
                name=f"{draw.group}/{PART}/{tag}{at}/{a}-{b}",
                seed=derive_seed(seed, at),
                attempts=attempts,
            )
            for at, (a, b) in enumerate(orders)
        )

    async def _ask(
        self, question: Question, read: Callable[[str], Mark], *, name: str, seed: int, attempts: int
    ) -> Judged:
        """Ask until a verdict can be read, `attempts` times; each end without one has an error that says
        why."""
        judged = Judged()
        try:
            async with self._limit, Clock(self.config.deadline_s) as clock:
                for attempt in range(attempts):
                    own = derive_seed(seed, attempt)
                    answer = await self.judge.ask(
                        question, name=f"{name}/{attempt}", seed=own, attempt=attempt
                    )
                    judged.answers.append(answer)
                    try:
                        if answer.ending == "terminated":
                            judged.mark = read(answer.text)
                            return judged
                        why = f"the verdict ran out of {answer.ending}"
                    except ValueError as unreadable:
                        why = str(unreadable)
                judged.error = _error("rubbish", f"no verdict in {attempts} attempts: {why}")
        except EngineFailed as failed:
            judged.error = _error("refused", str(failed), retryable=failed.retryable)
        except TimeoutError:
            if not clock.expired():
                raise
            judged.error = _error("timeout", f"no verdict within {self.config.deadline_s:g} s")
        return judged


def episode_of(trajectory: Trajectory) -> Episode:
    """What a judge is shown: no outcome, no reward, no name of anything."""
    messages, opening = trajectory.info["messages"], trajectory.info["opening"]
    return Episode(messages[:opening], messages[opening:])


def _agrees(mark: Mark | None, *, first_is_better: bool) -> float:
    """1 where the one of the better outcome is preferred; a tie, or no verdict, is no agreement."""
    if mark is None:
        return 0.0
    return float(mark.score > 0.5 if first_is_better else mark.score < 0.5)


def _error(kind: str, message: str, *, retryable: bool = True) -> Error:
    return {"kind": kind, "stage": PART, "retryable": retryable, "message": message}
