"""Credit for turns beside credit for episodes, where outcomes are sparse: with turn rewards, and with none.

    python benchmarks/turn_credit.py [--seeds 0 1 2 3 4] [--settings rewards late outcomes]

The world is `choices_world.py`: independent choices of which one in four is counted the other way, and an
outcome of 1 where all count as right. The policy is a table of one logit for each sign and word, behind the
engine's interface, so that nothing but the credit differs: groups are played by `play_group` and
`play_branched`, advantages are those of `ESTIMATORS`, and the table takes plain steps of REINFORCE. Three
settings:

    rewards    sixteen choices, turn rewards that say of each whether it counted, a policy that knows nothing
    late       the same, but the reward of a turn comes two turns later
    outcomes   five choices, the outcome alone, a policy that is right in 70% of turns, as after a warm start

Every estimator has the best of the same rates, by the tokens that it took in the mean over the seeds. With
the first seed they are tried upwards and downwards for as long as it gets better, with the others those that
took at most twice what the best did.
Beside `rloo` stands the ratio of geometric means, with an interval of 95% over the seeds. Counted are all
sampled tokens, those of branches too, until the policy's exact chance to be right in all turns is 50%
(without luck).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from choices_world import ID, SIGNS, WORDS, word_for

from forge_train.config import AlgorithmConfig, BranchingConfig
from forge_train.engine import Completion, Sampling
from forge_train.learn.advantages import ESTIMATORS
from forge_train.play.branching import Forking, play_branched
from forge_train.play.encoding import Message
from forge_train.play.episode import TokenPlayer, play_group
from forge_train.play.thoughts import Thoughts
from forge_train.play.world_pool import World
from forge_train.record.intervals import student
from forge_train.trajectory import Trajectory

RESULTS = Path(__file__).resolve().parent / "results" / "turn_credit.json"
GROUPS, SIZE = 4, 4
"""Groups of an update, episodes of a group."""
REACHED = 0.5
MOST = 150_000
"""Tokens after which an estimator gives up; on the first seed, twice what another rate of it needed."""
RATES = (128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0)
START = 512.0
LUCK = 0.25


@dataclass(frozen=True)
class Setting:
    """A world and a policy to begin with."""

    length: int
    turn_weight: float
    known: float
    """Probability of the right word."""
    arms: Mapping[str, Mapping[str, Any]]
    late: int = 0


BY_TURN: dict[str, dict[str, Any]] = {"rloo": {"advantage": "rloo"}} | {
    "turn_rloo" + ("" if gamma == 0.99 else f", turn_gamma = {gamma:g}"): {
        "advantage": "turn_rloo",
        "turn_gamma": gamma,
    }
    for gamma in (0.99, 0.9, 0.5, 0.0)
}
BRANCH = {"advantage": "branch", "turn_gamma": 1.0, "size": 2, "continuations": 2}
SETTINGS = {
    "rewards": Setting(
        16,
        1.0,
        1 / len(WORDS),
        BY_TURN | {"mt_grpo": {"advantage": "mt_grpo"}},
    ),
    "late": Setting(16, 1.0, 1 / len(WORDS), BY_TURN, late=2),
    "outcomes": Setting(
        5,
        0.0,
        0.7,
        {
            "rloo": {"advantage": "rloo"},
            "branch": BRANCH,
            "branch, of the best": BRANCH | {"at": "best", "size": SIZE, "continuations": 3},
            "branch, values": BRANCH | {"branch_form": "values"},
        },
    ),
}
END, SAYS = 0, 1
"""Tokens: the end of an action; from 1 on, words; from 1 + len(WORDS) on, signs."""


class Table:
    """A renderer, an engine and a policy: pi(word | sign), a softmax of one logit each."""

    stop = (END,)
    thoughts = Thoughts()
    max_context = 1_000
    reproducible = shares_weights = True
    version = 0

    def __init__(self, known: float) -> None:
        self.logits = np.zeros((SIGNS, len(WORDS)))
        for sign in range(SIGNS):
            self.logits[sign, WORDS.index(word_for(sign))] = math.log(known * (len(WORDS) - 1) / (1 - known))

    # -- as a renderer: a sign is one token, and so is a word

    def open(self, messages: Sequence[Message]) -> list[int]:
        return self.extend(messages[-1:])

    def extend(self, messages: Sequence[Message]) -> list[int]:
        return [SAYS + len(WORDS) + int(m["content"].split()[1]) for m in messages if m["role"] == "user"]

    def text(self, tokens: Sequence[int]) -> str:
        return WORDS[tokens[0] - SAYS]

    # -- as an engine

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        chances = self.chances()[tokens[-1] - SAYS - len(WORDS)]
        word = random.Random(seed).choices(range(len(WORDS)), chances)[0]
        return Completion([SAYS + word, END], [math.log(chances[word]), 0.0], "stop", self.version)

    def forget(self, conversation: str) -> None:
        pass

    # -- as a policy

    def chances(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        grown = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        return np.asarray(grown / grown.sum(axis=1, keepdims=True))

    def solves(self, length: int) -> float:
        """The chance to be right in all turns of a chain of random signs."""
        right = [self.chances()[sign, WORDS.index(word_for(sign))] for sign in range(SIGNS)]
        return float(np.mean(right)) ** length

    def learn(
        self, groups: Sequence[Sequence[Trajectory]], rows: Sequence[Sequence[list[float]]], rate: float
    ) -> None:
        """One step of REINFORCE: the mean over all trained actions of advantage times d log pi."""
        slope, count, chances = np.zeros_like(self.logits), 0, self.chances()
        for group, credit in zip(groups, rows, strict=True):
            for trajectory, row in zip(group, credit, strict=True):
                tokens, action = trajectory.segments[0].tokens, trajectory.segments[0].action
                said = [at for at, a in enumerate(action) if a >= 0 and tokens[at] != END]
                for at, advantage in zip(said, row, strict=True):
                    sign, word = tokens[at - 1] - SAYS - len(WORDS), tokens[at] - SAYS
                    slope[sign] -= advantage * chances[sign]
                    slope[sign, word] += advantage
                    count += 1
        self.logits += rate * slope / count


def run(setting: Setting, arm: str, rate: float, seed: int, most: int) -> int | None:
    """Tokens until the table is good enough; None if it is not within `most`."""
    keys = dict(setting.arms[arm])
    size = keys.pop("size", SIZE)
    branching = {key: keys.pop(key) for key in ("continuations", "at") if key in keys}
    forking = Forking("branch", BranchingConfig(**branching))
    config = AlgorithmConfig(**keys)
    table, tokens, number = Table(setting.known), 0, 0
    args = {"length": setting.length, "luck": LUCK, "late": setting.late, "turn_weight": setting.turn_weight}
    world = World(f"choices_world:{ID}", args)
    player = TokenPlayer(table, table, Sampling(max_tokens=2))  # type: ignore[arg-type]

    async def play(index: int) -> list[Trajectory]:
        how: dict[str, Any] = {
            "group": f"{index}",
            "size": size,
            "seed": index * 1_000 + seed,
            "deadline": 60.0,
        }
        if config.advantage == "branch":
            return await play_branched(world, player, f"train/{index}", forking=forking, **how)
        return await play_group(world, player, f"train/{index}", **how)

    async def learn() -> int | None:
        nonlocal tokens, number
        while tokens < most and table.solves(setting.length) < REACHED:
            groups = [await play(number + i) for i in range(GROUPS)]
            number += GROUPS
            tokens += sum(t.sampled for group in groups for t in group)
            table.learn(groups, [ESTIMATORS[config.advantage](group, config) for group in groups], rate)
        return tokens if table.solves(setting.length) >= REACHED else None

    return asyncio.run(learn())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {(r["setting"], r["arm"], r["rate"], r["seed"]): r["tokens"] for r in found}
    first, *others = args.seeds
    for name in args.settings:
        for arm in SETTINGS[name].arms:

            def needed(rate: float, seed: int, most: int = MOST, name: str = name, arm: str = arm) -> float:
                """Tokens, from what is known or by playing; infinite where it never arrives."""
                if (key := (name, arm, rate, seed)) not in known:
                    known[key] = tokens = run(SETTINGS[name], arm, rate, seed, most)
                    found.append({"setting": name, "arm": arm, "rate": rate, "seed": seed, "tokens": tokens})
                    RESULTS.write_text(json.dumps(found, indent=1))
                return known[key] or math.inf

            best = climb(lambda rate, most: needed(rate, first, most))
            for seed, rate in itertools.product(others, RATES):
                if known.get((name, arm, rate, first)) and needed(rate, first) <= 2 * best:
                    needed(rate, seed)
        best_of = {
            arm: best_rate({k[2:]: n for k, n in known.items() if k[:2] == (name, arm)}, args.seeds)
            for arm in SETTINGS[name].arms
        }
        print(f"\n{name}\n\n| estimator | best rate | tokens to 50%, by seed | mean | of `rloo` |")
        print("|---|---|---|---|---|")
        for arm, best_found in best_of.items():
            print(row(arm, best_found, best_of["rloo"]), flush=True)


def climb(needed: Callable[[float, int], float]) -> float:
    """The fewest tokens of any rate, from `START` up and down for as long as it gets better.

    >>> climb(lambda rate, most: abs(rate - 1024) + 1)
    1
    """
    best = start = needed(START, MOST)
    for way in (1, -1):
        at, last = RATES.index(START) + way, start
        while 0 <= at < len(RATES) and (now := needed(RATES[at], int(min(2 * best, MOST)))) < last:
            best, last, at = min(best, now), now, at + way
    return best


Best = tuple[float, list[int]]
"""A rate, and the tokens that were needed with it, by seed."""


def best_rate(tokens: Mapping[tuple[float, int], int | None], seeds: Sequence[int]) -> Best | None:
    """The rate with which every seed arrived, with the fewest tokens; None where no rate did."""
    whole: list[Best] = []
    for rate in RATES:
        needed = [tokens.get((rate, seed)) for seed in seeds]
        if all(n is not None for n in needed):
            whole.append((rate, [n for n in needed if n is not None]))
    return min(whole, key=lambda one: sum(one[1]), default=None)


def row(arm: str, found: Best | None, beside: Best | None) -> str:
    """The line of an estimator: at the rate with which it needed least."""
    if found is None:
        return f"| {arm} | – | some seed not within {MOST:,} | – | – |"
    rate, tokens = found
    mean = sum(tokens) / len(tokens)
    ratio = "–" if beside is None or beside[1] == tokens else ratio_of(tokens, beside[1])
    return f"| {arm} | {rate:g} | {', '.join(f'{n:,}' for n in tokens)} | {mean:,.0f} | {ratio} |"


def ratio_of(tokens: Sequence[int], beside: Sequence[int]) -> str:
    """Ratio of geometric means with its interval of 95%, over seeds.

    >>> ratio_of([100, 200, 400], [200, 400, 800])
    '0.50 [0.50, 0.50]'
    """
    logs = [math.log(one / other) for one, other in zip(tokens, beside, strict=True)]
    mean = sum(logs) / len(logs)
    if len(logs) < 2:
        return f"{math.exp(mean):.2f}"
    deviation = math.sqrt(sum((n - mean) ** 2 for n in logs) / (len(logs) - 1))
    half = student(len(logs) - 1) * deviation / math.sqrt(len(logs))
    return f"{math.exp(mean):.2f} [{math.exp(mean - half):.2f}, {math.exp(mean + half):.2f}]"


if __name__ == "__main__":
    main()
