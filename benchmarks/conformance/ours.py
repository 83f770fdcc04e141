"""forge_train in the tiny world: `Trainer.credit` and `Learner.update`, on a real transformers model."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
import world
from models import at_table, gradient_at_table, gradient_of_all, qwen
from torch import Tensor
from world import GREEN, RED, Cell, Episode, Group, Library

from forge_train.config import AlgorithmConfig, LossConfig, OptimConfig
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.gae import targets_of
from forge_train.learn.learner import Learner
from forge_train.trainer import Trainer
from forge_train.trajectory import Segment, Trajectory

UNITS = {"token": "token", "episode": "trajectory", "constant": "constant"}

UNBIASED = ("dr_grpo", "rloo", "turn_rloo")
"""Estimators whose expected gradient points where the expected return grows; the others divide, or want the
best of several, or compare turns as their papers do."""


def trajectory(e: Episode, name: str, logprobs: Tensor) -> Trajectory:
    segments = []
    for row in e.rows:
        segment = Segment()
        for i, (token, turn) in enumerate(row):
            if turn < 0:
                segment.hear([token])
            else:
                segment.act([token], [float(logprobs[row[i - 1][0], token])], turn)
        segments.append(segment)
    ending: Any = "terminated" if e.graded else "failed"
    return Trajectory(name, segments, list(e.rewards), ending=ending, versions=[0] * len(e.rewards))


class Ours:
    """The update of one step; packing "tree" unless another is asked for."""

    units = ("token", "episode", "constant")
    rows = True

    def __init__(self, advantage: str = "dr_grpo", packing: str = "tree") -> None:
        self.advantage, self.packing = advantage, packing

    def learn(
        self, model: Any, groups: list[Group], unit: str, logprobs: Tensor, micro: int | None = None
    ) -> None:
        algorithm = AlgorithmConfig(advantage=self.advantage, across="none", turn_gamma=1.0, turn_lambda=1.0)
        optim = OptimConfig(
            micro_tokens=4096 if micro is None else micro, packing=self.packing, grad_clip=1e9, lr=1e-12
        )
        asked: Any = SimpleNamespace(algorithm=algorithm, min_members=2)
        found: list[Trajectory] = []
        credit: list[Any] = []
        for i, group in enumerate(groups):
            members = [trajectory(e, f"g{i}", logprobs) for e in group]
            if self.advantage == "turn_gae":
                members = [t for t in members if t.trainable]
                values = [[0.0] * (t.sampled + 1) for t in members]
                rows = [t.advantages for t in targets_of(members, values, algorithm)]
            else:
                rows = Trainer.credit(asked, members)
            kept = [(t, a) for t, a in zip(members, rows, strict=True) if a]
            found += [t for t, _ in kept]
            credit += [a for _, a in kept]
        constant = world.CONSTANT if unit == "constant" else None
        loss = LossConfig(denominator=UNITS[unit], constant=constant)
        Learner(model, optim).update(found, credit, loss)

    def gradient(self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None) -> Tensor:
        model = at_table(table)
        return gradient_at_table(model, lambda: self.learn(model, groups, unit, table.log_softmax(-1), micro))


def one_member() -> Cell:
    asked = AlgorithmConfig()
    found = {name: ESTIMATORS[name]([Trajectory("g", rewards=[1.0])], asked) for name in UNBIASED}
    good = all(row == [[0.0]] for row in found.values())
    return (GREEN if good else RED), f"advantages {found}"


def padding() -> Cell:
    """A model with real attention: rows of a batch padded or as one tree, against a row each."""
    grads, guess = {}, torch.full((world.VOCAB, world.VOCAB), -2.0)
    for packing, micro in (("padded", 4096), ("tree", 4096), ("padded", 1)):
        model = qwen()
        learn = partial(Ours(packing=packing).learn, model, world.groups(), "token", guess, micro)
        grads[packing, micro] = gradient_of_all(model, learn)
    alone = grads.pop(("padded", 1))
    worst = max(world.apart(g, alone) for g in grads.values())
    return (GREEN if worst <= world.CLOSE else RED), f"padded and tree against a row each: {worst:.1e} apart"


def later_turns() -> Cell:
    """`turn_gae`: what the first turn earns is not credited to the second; and its expectation is right."""
    e = world.episode("2 | 3 | 5 7 | 4 1", earns=[5.0, 1.0])
    algorithm = AlgorithmConfig(advantage="turn_gae", across="none", turn_gamma=1.0, turn_lambda=1.0)
    t = trajectory(e, "g", torch.zeros(world.VOCAB, world.VOCAB))
    credit = targets_of([t], [[0.0] * (t.sampled + 1)], algorithm)[0].advantages
    return (GREEN if list(credit) == [6.0, 1.0] else RED), f"turn_gae after rewards 5 and 1: {list(credit)}"


def all_estimators() -> Cell:
    """Every estimator that is meant to be unbiased, `grpo`, and turns by themselves, in expectation."""
    names = ["grpo", *UNBIASED, "turn_gae"]
    found = {n: world.direction(Ours(n).gradient(world.toy()[0], world.toy_groups(), "token")) for n in names}
    seen = "cosine of expected and true gradient: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items())
    unbiased = min(v for name, v in found.items() if name != "grpo")  # its own deviation divides each group
    return (GREEN if unbiased > 1 - world.CLOSE else RED), seen


if __name__ == "__main__":
    torch.manual_seed(0)
    own = {
        "a group of one": one_member,
        "padding changes nothing": padding,
        "a turn's reward moves no later turn": later_turns,
        "stop or continue": all_estimators,
    }
    world.answer(Library(Ours(), "this checkout", own))
