"""Credit for turns beside credit for episodes, where outcomes are sparse: with turn rewards, and with none.

    python benchmarks/turn_credit.py [--seeds 0 1 2]

The world is `choices_world.py`: independent choices of which one in four is counted the other way, and an
outcome of 1 where all count as right. The policy is a table of one logit for each sign and word, behind the
engine's interface, so that nothing but the credit differs: groups are played by `play_group` and
`play_branched`, advantages are those of `ESTIMATORS`, and the table takes plain steps of REINFORCE. Two
settings:

    rewards    sixteen choices, turn rewards that say of each whether it counted, a policy that knows nothing
    outcomes   five choices, the outcome alone, a policy that is right in 70% of turns, as after a warm start

Every estimator has the best of the same rates, by the tokens that it took in the mean over the seeds. Counted
are all sampled tokens, those of branches too, until the policy's exact chance to be right in all turns is 50%
(without luck).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import random
from collections.abc import Mapping, Sequence
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
from forge_train.trajectory import Trajectory

RESULTS = Path(__file__).resolve().parent / "results" / "turn_credit.json"
GROUPS, SIZE = 4, 4
"""Groups of an update, episodes of a group."""
REACHED = 0.5
MOST = 150_000
"""Tokens after which an estimator gives up."""
RATES = (256.0, 512.0, 1024.0, 4096.0)
LUCK = 0.25


@dataclass(frozen=True)
class Setting:
    """A world and a policy to begin with."""

    length: int
    turn_weight: float
    known: float
    """Probability of the right word."""
    arms: Mapping[str, Mapping[str, Any]]


BRANCH = {"advantage": "branch", "turn_gamma": 1.0, "size": 2, "continuations": 2}
SETTINGS = {
    "rewards": Setting(
        16,
        1.0,
        1 / len(WORDS),
        {
            "rloo": {"advantage": "rloo"},
            "turn_rloo": {"advantage": "turn_rloo"},
            "turn_rloo, turn_gamma = 0.9": {"advantage": "turn_rloo", "turn_gamma": 0.9},
            "turn_rloo, turn_gamma = 0": {"advantage": "turn_rloo", "turn_gamma": 0.0},
            "mt_grpo": {"advantage": "mt_grpo"},
        },
    ),
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


def run(setting: Setting, arm: str, rate: float, seed: int) -> int | None:
    """Tokens until the table is good enough; None if it never is."""
    keys = dict(setting.arms[arm])
    size = keys.pop("size", SIZE)
    branching = {key: keys.pop(key) for key in ("continuations", "at") if key in keys}
    forking = Forking("branch", BranchingConfig(**branching))
    config = AlgorithmConfig(**keys)
    table, tokens, number = Table(setting.known), 0, 0
    world = World(
        f"choices_world:{ID}", {"length": setting.length, "luck": LUCK, "turn_weight": setting.turn_weight}
    )
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
        while tokens < MOST and table.solves(setting.length) < REACHED:
            groups = [await play(number + i) for i in range(GROUPS)]
            number += GROUPS
            tokens += sum(t.sampled for group in groups for t in group)
            table.learn(groups, [ESTIMATORS[config.advantage](group, config) for group in groups], rate)
        return tokens if table.solves(setting.length) >= REACHED else None

    return asyncio.run(learn())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--settings", nargs="+", choices=list(SETTINGS), default=list(SETTINGS))
    args = parser.parse_args()
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    known = {(r["setting"], r["arm"], r["rate"], r["seed"]): r["tokens"] for r in found}
    for name in args.settings:
        for arm, rate, seed in itertools.product(SETTINGS[name].arms, RATES, args.seeds):
            if (name, arm, rate, seed) in known or known.get((name, arm, rate, args.seeds[0]), 0) is None:
                continue  # a rate with which one seed never arrives is none for the others
            known[name, arm, rate, seed] = tokens = run(SETTINGS[name], arm, rate, seed)
            found.append({"setting": name, "arm": arm, "rate": rate, "seed": seed, "tokens": tokens})
            RESULTS.write_text(json.dumps(found, indent=1))
        print(f"\n{name}\n\n| estimator | best rate | tokens to 50%, by seed | mean |\n|---|---|---|---|")
        for arm in SETTINGS[name].arms:
            print(row(arm, [r for r in found if (r["setting"], r["arm"]) == (name, arm)]), flush=True)


def row(arm: str, found: Sequence[dict[str, Any]]) -> str:
    """The line of an estimator: at the rate with which it needed least."""
    by_rate: dict[float, list[int | None]] = {}
    for r in found:
        by_rate.setdefault(r["rate"], []).append(r["tokens"])
    whole = {
        rate: [n for n in tokens if n is not None] for rate, tokens in by_rate.items() if None not in tokens
    }
    if not whole:
        return f"| {arm} | – | not within {MOST:,} | – |"
    rate, tokens = min(whole.items(), key=lambda item: sum(item[1]))
    mean = sum(tokens) / len(tokens)
    return f"| {arm} | {rate:g} | {', '.join(f'{n:,}' for n in tokens)} | {mean:,.0f} |"


if __name__ == "__main__":
    main()
