"""The tiny world of `shelf.py`: tasks of one to eight signs, and policies that are tables, many runs at once.

A turn shows a sign; eight words may be said to it, of which one is right, and a ninth, "hm", once: the turn
then takes a second token. An episode is solved where every word was right. So tasks differ in difficulty,
episodes in length, turns in tokens, and the chance to solve a task is known exactly:

    p(sign) = pi(right | sign) + pi(hm | sign) pi(right | sign, hm),    p(task) = product over its signs

Shapes: R runs (rates times seeds) side by side, K rows of a table (two a sign), W words, G groups of M
members.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forge_train.play.curriculum import Draw
from forge_train.trajectory import Segment, Trajectory

SIGNS, WORDS, LONGEST, MEMBERS = 16, 8, 8, 8
HM = WORDS
"""The word that says nothing and costs a token."""
KNOWN, HELD = 0.5, 0.9
"""Chance of the right word to begin with; and of an old skill that nobody trains."""
EACH = 4
"""Tasks of each length in a world."""


def word_for(sign: int) -> int:
    """The right word: signs of world "a" have other words than those of "b"."""
    return sign // 2 % WORDS


@cache
def signs_of(world: str, task: str) -> list[int]:
    """The signs of a task, whose name begins with how many there are."""
    first = 0 if world == "a" else SIGNS // 2
    draw = random.Random(f"{world} {task}")
    return [first + draw.randrange(SIGNS // 2) for _ in range(int(task.split("/")[0]))]


def tasks_of(world: str) -> list[str]:
    """Names of a world's tasks, of every length alike."""
    return [f"{length}/{i}" for length in range(1, LONGEST + 1) for i in range(EACH)]


class Tables(torch.nn.Module):
    """R policies, pi(word | sign, whether hm was said): a table each; with `shared` one row is added to all
    others, so that what is learned of one sign moves the others, as it does in a model."""

    def __init__(self, rates: Sequence[float], seeds: int, *, shared: bool) -> None:
        super().__init__()
        start_KW = torch.zeros(2 * SIGNS, WORDS + 1)
        for sign in range(SIGNS):
            known = HELD if shared and sign >= SIGNS // 2 else KNOWN
            start_KW[2 * sign : 2 * sign + 2, word_for(sign)] = math.log(known * WORDS / (1 - known))
        self.runs = len(rates) * seeds
        self.rows = torch.nn.ParameterList(start_KW.repeat(seeds, 1, 1) for _ in rates)
        self.common = torch.nn.ParameterList(torch.zeros(seeds, 1, WORDS + 1) for _ in rates)
        self.shared = shared
        groups = [
            {"params": [table, common] if shared else [table], "lr": rate}
            for table, common, rate in zip(self.rows, self.common, rates, strict=True)
        ]
        self.optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)

    def logits(self) -> Tensor:
        """[R, K, W], with gradient."""
        rows_RKW = torch.cat(list(self.rows))
        return rows_RKW + torch.cat(list(self.common)) if self.shared else rows_RKW


def logprobs(logits_RKW: Tensor, temperature_R: NDArray[np.float64]) -> Tensor:
    """Of every word, at each run's temperature."""
    return torch.log_softmax(logits_RKW / torch.tensor(temperature_R, dtype=torch.float32)[:, None, None], -1)


def chance_by_sign(logits_RKW: Tensor, temperature: float = 1.0) -> NDArray[np.float64]:
    """[R, signs]: the chance that a turn ends with the right word."""
    p = torch.softmax(logits_RKW.detach().double() / temperature, -1).numpy()
    right = np.array([word_for(s) for s in range(SIGNS)])
    first, second = p[:, 0::2], p[:, 1::2]
    at = np.arange(SIGNS)
    found: NDArray[np.float64] = first[:, at, right] + first[:, :, HM] * second[:, at, right]
    return found


def chance(by_sign_RS: NDArray[np.float64], tasks: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """[R]: the mean over tasks of the chance to solve one."""
    return np.asarray(np.mean([by_sign_RS[:, list(task)].prod(axis=1) for task in tasks], axis=0))


@dataclass(frozen=True, slots=True)
class Group:
    """What the members of a group said: row and word of each token, turn by turn."""

    draw: Draw
    members: list[Trajectory]


def play(
    draws: Sequence[Sequence[Draw]],
    log_RKW: NDArray[np.float32],
    luck: Sequence[np.random.Generator],
    flips: float,
) -> list[list[Group]]:
    """For each run its groups; `log_RKW` are the logprobs of who plays, `luck` a generator for each run, and
    `flips` the chance that a verdict is the wrong one."""
    found: list[list[Group]] = []
    for run, row in enumerate(draws):
        cumulative_KW = np.exp(log_RKW[run]).cumsum(axis=1)
        chances = luck[run].random((len(row), MEMBERS, LONGEST, 2))
        wrong = luck[run].random((len(row), MEMBERS)) < flips
        found.append([])
        for g, draw in enumerate(row):
            signs = np.array(signs_of(draw.world, draw.task)[: draw.turns or None])
            first_MT = _drawn(cumulative_KW[2 * signs], chances[g, :, : len(signs), 0])
            second_MT = _drawn(cumulative_KW[2 * signs + 1], chances[g, :, : len(signs), 1])
            whole = len(signs) == int(draw.task.split("/")[0])
            said = zip(first_MT.tolist(), second_MT.tolist(), strict=True)
            members = [episode(draw, signs.tolist(), *words, log_RKW[run], whole) for words in said]
            for t, flipped in zip(members, wrong[g].tolist(), strict=True):
                if flipped and whole:
                    t.outcome = 1.0 - (t.outcome or 0.0)
                    t.rewards[-1] = t.outcome
            found[-1].append(Group(draw, members))
    return found


def _drawn(cumulative_TW: NDArray[np.float32], chance_MT: NDArray[np.float64]) -> NDArray[np.int64]:
    """The words that uniform numbers stand for."""
    below = (chance_MT[:, :, None] > cumulative_TW[None]).sum(axis=2)
    return np.asarray(np.minimum(below, WORDS))


def episode(
    draw: Draw,
    signs: Sequence[int],
    first: Sequence[int],
    second: Sequence[int],
    log_KW: NDArray[np.float32],
    whole: bool,
) -> Trajectory:
    """A trajectory whose tokens are row * (words + 1) + word, so that a table finds its numbers again."""
    segment, right = Segment(), 0
    for turn, (sign, one, two) in enumerate(zip(signs, first, second, strict=True)):
        said = [(2 * sign, one), (2 * sign + 1, two)] if one == HM else [(2 * sign, one)]
        tokens = [row * (WORDS + 1) + word for row, word in said]
        segment.act(tokens, [float(log_KW[pair]) for pair in said], turn)
        right += said[-1][1] == word_for(sign)
    outcome = float(whole and right == len(signs))
    rewards = [0.0] * (len(signs) - 1) + [outcome]
    return Trajectory(
        group=draw.group,
        segments=[segment],
        rewards=rewards,
        turn_rewards=[0.0] * len(signs),
        outcome=outcome,
        ending="terminated" if whole else "max_turns",
        temperature=draw.temperature,
        info={"task": draw.task, "world": draw.world, "right": right / len(signs)},
    )
