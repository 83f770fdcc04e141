"""One entry of the shelf at work in the tiny world of `shelf_world.py`: all rates and seeds side by side.

    Curriculum draws -> tables play -> shaped, charged -> ESTIMATORS, across -> Mixture -> PolicyLoss -> AdamW

All but the playing are the trainer's own classes and functions. Nothing here knows which entry is which.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from shelf_world import (
    EACH,
    HM,
    LONGEST,
    SIGNS,
    WORDS,
    Group,
    Tables,
    chance,
    chance_by_sign,
    logprobs,
    play,
    signs_of,
    tasks_of,
    word_for,
)
from torch import Tensor

from forge_train.config import AlgorithmConfig, CurriculumConfig, ShapingConfig, TemperatureConfig
from forge_train.learn.advantages import ESTIMATORS, across
from forge_train.learn.comparing import by_turn
from forge_train.learn.kl_reward import drifts
from forge_train.learn.losses import PolicyLoss, settled
from forge_train.learn.mixture import Mixture, Rows
from forge_train.learn.ratios import sum_by
from forge_train.learn.shaping import shaped
from forge_train.learn.step_loss import divergence
from forge_train.play.curriculum import Curriculum, Draw, Terms
from forge_train.play.difficulty import Plays
from forge_train.play.schedules import stands_still, warmest
from forge_train.trajectory import Trajectory

GROUPS = 4
"""Groups of an optimizer step."""
EVERY = 4
"""Optimizer steps between two points of a curve."""
LEARNED = 0.85
"""Chance from which on a run is not played any further: its curve stays where it is."""


@dataclass(frozen=True)
class Arm:
    """An entry of the shelf: sections of a config, and what the toy adds to it."""

    algorithm: Mapping[str, Any] = field(default_factory=dict)
    curriculum: Mapping[str, Any] = field(default_factory=dict)
    shaping: Mapping[str, Any] = field(default_factory=dict)
    temperature: Mapping[str, Any] = field(default_factory=dict)
    start: float = 1.0
    """The temperature to begin with."""
    lag: int = 0
    """Updates by which the weights that play are older than those that learn."""
    refill: bool = False
    """Whether groups without a lesson are replaced by up to as many others."""
    shared: bool = False
    """Whether rows share weights, and an old skill can be forgotten."""
    parts: bool = False
    """Whether the share of right words is a named part of the reward."""
    eager: bool = False
    """Whether the policy begins with a habit of saying "hm"."""
    flips: float = 0.1
    """Chance that a verdict is the wrong one."""


@dataclass
class Curve:
    """What was seen of the runs of an arm, a row a point; columns are runs."""

    tokens: list[list[int]] = field(default_factory=list)
    told: dict[str, list[list[float]]] = field(default_factory=dict)
    """`chance` to solve a task; what of an old skill is `kept`; `length` of a turn in tokens."""

    @property
    def chance(self) -> list[list[float]]:
        """The exact chance to solve a task."""
        return self.told["chance"]


class Runs:
    """The runs of an arm, one for each rate and seed."""

    def __init__(self, arm: Arm, rates: Sequence[float], seeds: int) -> None:
        self.arm = arm
        self.config = AlgorithmConfig(**{"advantage": "rloo", **arm.algorithm})
        self.tables = Tables(rates, seeds, shared=arm.shared)
        if arm.eager:
            for table in self.tables.rows:
                table.data[:, 0::2, HM] += 2.0
        self.first = self.tables.logits().detach().clone()
        self.loss = PolicyLoss(settled(self.config, late=arm.lag > 0 or "recall" in arm.curriculum))
        self.luck = [np.random.default_rng(seed) for _ in rates for seed in range(seeds)]
        self.curricula = [self._curriculum(seed) for _ in rates for seed in range(seeds)]
        mixing = CurriculumConfig(**arm.curriculum)
        self.mixtures = [Mixture(mixing, seed=seed) for _ in rates for seed in range(seeds)]
        self.worlds = ("a",) if arm.shared else ("a", "b")
        self.old = deque([self.first], maxlen=arm.lag + 1)
        self.drawn = [0] * self.tables.runs
        self.spent = np.zeros(self.tables.runs, dtype=int)
        self.returns: list[list[float]] = [[] for _ in range(self.tables.runs)]
        self.curve, self.update = Curve(), 0
        self.done = np.zeros(self.tables.runs, dtype=bool)
        self.tasks = [signs_of(world, task) for world in self.worlds for task in tasks_of(world)]
        self.lengths = [0.0] * self.tables.runs

    def _curriculum(self, seed: int) -> Curriculum:
        arm = self.arm
        worlds = ("a",) if arm.shared else ("a", "b")
        passes = {world: measured(world, self.first, seed) for world in worlds}
        terms = Terms(
            curriculum=CurriculumConfig(**arm.curriculum),
            temperature=TemperatureConfig(**arm.temperature),
            start=arm.start,
            passes=passes if "passes" in arm.curriculum else None,
        )
        return Curriculum(
            {w: tasks_of(w) for w in worlds}, dict.fromkeys(worlds, 1.0), seed=seed, terms=terms
        )

    def go(self, steps: int) -> Curve:
        """Take so many optimizer steps; returns the curve."""
        parts = self.config.minibatches
        self._look()
        for done in range(parts, steps + 1, parts):
            if not self.done.all():
                self._step(parts)
            if done % max(EVERY, parts) == 0:
                self._look()
        return self.curve

    def _look(self) -> None:
        """Note where all runs are."""
        logits = self.tables.logits()
        by_sign = chance_by_sign(logits)
        chances = chance(by_sign, self.tasks).round(4)
        self.curve.tokens.append(self.spent.tolist())
        told: dict[str, NDArray[np.float64]] = {}
        if self.arm.shared:
            told["kept"] = by_sign[:, SIGNS // 2 :].mean(axis=1)
        if self.arm.eager:
            told["length"] = np.array(self.lengths)
        for name, values in {"chance": chances, **told}.items():
            rows = self.curve.told.setdefault(name, [])
            rows.append(np.where(self.done, rows[-1], values.round(4)).tolist() if rows else values.tolist())
        self.done |= chances >= LEARNED

    def _step(self, parts: int) -> None:
        """One update: play, compare, mix, and `parts` optimizer steps."""
        warm = [c.temperature(self.update) or 1.0 for c in self.curricula]
        temperature_R = np.array(warm)
        with torch.no_grad():
            played_RKW = logprobs(self.old[0], temperature_R).numpy()
        groups = self._play(played_RKW, GROUPS * parts)
        batch = [self._mixed(run, row) for run, row in enumerate(groups)]
        flat = Flat.of(batch, parts)
        then_N = logprobs(self.tables.logits().detach(), temperature_R)[flat.at] if parts > 1 else None
        for part in range(parts):
            self._learn(flat, flat.part_N == part, then_N, temperature_R)
        self.old.append(self.tables.logits().detach().clone())
        self.update += 1
        if self.arm.temperature.get("grid") and self.update % 10 == 0:
            self._warm()

    def _play(self, log_RKW: NDArray[np.float32], count: int) -> list[list[list[Trajectory]]]:
        groups = self._groups(log_RKW, [0 if done else count for done in self.done])
        if self.arm.refill:
            empty = [sum(not spread_of(g) for g in row) for row in groups]
            for row, more in zip(groups, self._groups(log_RKW, empty), strict=True):
                fresh = iter(more)
                row[:] = [group if spread_of(group) else next(fresh) for group in row]
        for run, row in enumerate(groups):
            if self.arm.eager and row:
                self.lengths[run] = float(np.mean([t.sampled / len(t.rewards) for g in row for t in g]))
            if (self.arm.curriculum or self.arm.temperature) and row:
                self.returns[run].append(float(np.mean([t.outcome for group in row for t in group])))
                self.curricula[run].learned(self.update, row)
        return groups

    def _groups(self, log_RKW: NDArray[np.float32], counts: Sequence[int]) -> list[list[list[Trajectory]]]:
        draws: list[list[Draw]] = []
        for run, count in enumerate(counts):
            first = self.drawn[run]
            draws.append([self.curricula[run].draw(first + i, self.update) for i in range(count)])
            self.drawn[run] += count
        found: list[list[Group]] = play(draws, log_RKW, self.luck, self.arm.flips)
        for run, row in enumerate(found):
            self.spent[run] += sum(t.sampled for group in row for t in group.members)
        return [[self._shaped(run, group.members) for group in row] for run, row in enumerate(found)]

    def _shaped(self, run: int, group: list[Trajectory]) -> list[Trajectory]:
        """With what is added to rewards: named parts, lengths, and what leaving the reference costs."""
        if self.arm.shaping:
            shaped(group, ShapingConfig(**self.arm.shaping), update=self.update)
        if self.arm.parts:
            for t in group:
                t.info["parts"] = {"right": t.info["right"]}
                t.rewards[-1] += t.info["right"]
        if self.config.kl_weight and self.config.kl_in == "reward":
            held_KW = torch.log_softmax(self.first[run], -1).numpy()
            for t in group:
                tokens = t.segments[0].tokens
                cost = drifts(t, [[float(held_KW[divmod(token, WORDS + 1)]) for token in tokens]])
                pairs = zip(by_turn(t.rewards, t), cost, strict=True)
                t.rewards = [r - self.config.kl_weight * c for r, c in pairs]
        return group

    def _mixed(
        self, run: int, groups: list[list[Trajectory]]
    ) -> tuple[list[Trajectory], list[Any], list[float]]:
        """The trajectories that a run learns from, their advantages, and how often each counts."""
        credit: list[Rows] = [ESTIMATORS[self.config.advantage](group, self.config) for group in groups]
        mixed = self.mixtures[run].of(self.update, groups, across(credit, self.config))
        weights = mixed.weights or [1.0] * len(mixed.trajectories)
        return mixed.trajectories, mixed.advantages, weights

    def _learn(
        self, flat: Flat, chosen_N: Tensor, then_N: Tensor | None, temperature_R: NDArray[np.float64]
    ) -> None:
        """One optimizer step of all runs at once: each has a loss of its own, of its own tokens."""
        config, part = self.loss.config, flat.only(chosen_N)
        log_RKW = logprobs(self.tables.logits(), temperature_R)
        current_N = log_RKW[part.at]
        proximal_N = current_N.detach() if then_N is None else then_N[chosen_N]
        columns = (part.behaviour_N, part.advantage_N, part.trajectory_N, part.action_N)
        loss_N, _ = self.loss(current_N, proximal_N, *columns)
        weight_N = part.weights(config.denominator, config.constant or 1.0)
        total = (weight_N * loss_N).sum()
        if config.entropy_weight:
            row_NW = log_RKW[part.at[:2]]
            total = total + config.entropy_weight * (weight_N * (row_NW.exp() * row_NW).sum(-1)).sum()
        if config.kl_weight and config.kl_in == "loss":
            held_N = torch.log_softmax(self.first, -1)[part.at]
            kl_N = divergence(current_N, held_N, part.behaviour_N, config)
            total = total + config.kl_weight * (weight_N * kl_N).sum()
        if config.ptx_weight:
            gold = [(2 * s, word_for(s)) for s in range(SIGNS // 2, SIGNS)]
            gold_RN = log_RKW[:, [row for row, _ in gold], [word for _, word in gold]]
            total = total - config.ptx_weight * gold_RN.mean(dim=1).sum()
        self.tables.optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.tables.optimizer.step()

    def _warm(self) -> None:
        """Choose each run's temperature anew where its rewards stand still."""
        config = TemperatureConfig(**self.arm.temperature)
        assert config.plateau is not None and config.gain is not None, "the config sees to it"
        logits = self.tables.logits()
        scores = {t: chance(chance_by_sign(logits, t), self.tasks) for t in config.grid}
        for run, curriculum in enumerate(self.curricula):
            if stands_still(self.returns[run], config.plateau, config.gain):
                best = warmest({t: float(found[run]) for t, found in scores.items()}, config.tolerance)
                curriculum.warmed(self.update, best)


@dataclass(frozen=True, slots=True)
class Flat:
    """Trained tokens of all runs, one after the other; whose each is, and which optimizer step takes it."""

    at: tuple[Tensor, Tensor, Tensor]
    """Run, row and word."""
    behaviour_N: Tensor
    advantage_N: Tensor
    trajectory_N: Tensor
    action_N: Tensor
    times_N: Tensor
    """How often its trajectory counts."""
    part_N: Tensor

    @classmethod
    def of(cls, batch: Sequence[tuple[list[Trajectory], list[Any], list[float]]], parts: int) -> Flat:
        """Put the tokens of all runs in one row."""
        runs, tokens, behaviour, advantage, trajectory, action, times, part = ([] for _ in range(8))
        number = 0
        for run, (found, rows, weights) in enumerate(batch):
            for i, (t, row, weight) in enumerate(zip(found, rows, weights, strict=True)):
                (segment,) = t.segments
                size = len(segment.tokens)
                tokens += segment.tokens
                behaviour += segment.logprobs
                action += segment.action
                advantage += [row[a] for a in segment.action]
                runs += [run] * size
                trajectory += [number] * size
                times += [weight] * size
                part += [i * parts // len(found)] * size
                number += 1
        token_N = torch.tensor(tokens)
        return cls(
            (torch.tensor(runs), token_N // (WORDS + 1), token_N % (WORDS + 1)),
            torch.tensor(behaviour),
            torch.tensor(advantage, dtype=torch.float32),
            torch.tensor(trajectory),
            torch.tensor(action),
            torch.tensor(times),
            torch.tensor(part),
        )

    def only(self, chosen_N: Tensor) -> Flat:
        """Those of one optimizer step."""
        rest = (
            self.behaviour_N,
            self.advantage_N,
            self.trajectory_N,
            self.action_N,
            self.times_N,
            self.part_N,
        )
        at = self.at[0][chosen_N], self.at[1][chosen_N], self.at[2][chosen_N]
        return Flat(at, *(column_N[chosen_N] for column_N in rest))

    def weights(self, denominator: str, constant: float) -> Tensor:
        """`token_weights` and `counted` of each run, for the denominators that the shelf uses."""
        run_N, one_N = self.at[0], torch.ones_like(self.behaviour_N)
        share_N = self.times_N / sum_by(one_N, self.trajectory_N)
        """A trajectory's part of how many there are."""
        match denominator:
            case "token":
                return self.times_N / sum_by(self.times_N, run_N)
            case "trajectory":
                return share_N / sum_by(share_N, run_N)
            case "constant":
                return self.times_N / (constant * sum_by(share_N, run_N))
        raise ValueError(f"denominator = {denominator!r}: the shelf has token, trajectory and constant")


def spread_of(group: Sequence[Trajectory]) -> bool:
    """Whether outcomes differ."""
    return len({t.outcome for t in group}) > 1


def measured(world: str, first_RKW: Tensor, seed: int) -> dict[str, Plays]:
    """How often 512 plays of the policy that a run begins with solve each task, as `forge-train difficulty`
    would find."""
    by_sign_S = chance_by_sign(first_RKW[:1])[0]
    found = {}
    for task in tasks_of(world):
        p = float(by_sign_S[signs_of(world, task)].prod())
        lot = random.Random(f"{seed} {world} {task}")
        solved = [lot.random() < p for _ in range(512)]
        found[task] = Plays(512, sum(solved), solved.index(True) if any(solved) else None)
    return found


def describe() -> str:
    """What the world and an update are, in one sentence."""
    return (
        f"{2 * LONGEST * EACH} tasks of 1 to {LONGEST} signs, {GROUPS} groups of 8 episodes an optimizer step"
    )
