"""What each way to choose tasks and groups does with its episodes, for a policy that does not change.

    python benchmarks/sampling.py            # some seconds; writes benchmarks/results/sampling.json

100 tasks, most of which the policy always or never solves: the chance is a sigmoid of a normal number
times 4. Every way plays 100 updates of 8 groups of 8 with the curriculum and the mixture of `forge_train`.
Counted are the share of the episodes that stand in a group with spread, the different tasks with a lesson in
an update, and the episodes played for one. It says how far episodes go, not how well one learns from them.
"""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from statistics import fmean
from typing import Any

from forge_train.config import CurriculumConfig
from forge_train.learn.advantages import grpo
from forge_train.learn.mixture import Mixture
from forge_train.play.curriculum import Curriculum, Terms
from forge_train.trajectory import Segment, Trajectory

TASKS, GROUPS, SIZE, UPDATES = 100, 8, 8, 100
SEEDS = range(3)
WAYS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "rollout.refill = 8": {"refill": 8},
    "duplicate": {"duplicate": True},
    "top_spread = 0.25": {"top_spread": 0.25},
    "rates = [0, 1]": {"rates": (0.0, 1.0)},
    "rates = [0.25, 0.75]": {"rates": (0.25, 0.75)},
    "prioritised": {"order": "prioritised"},
}


def episode(task: str, lot: random.Random) -> Trajectory:
    """One play of a task, solved by chance; the task's name decides the chance."""
    right = float(lot.random() < 1 / (1 + math.exp(-4 * random.Random(task).gauss(0, 1))))
    info = {"world": "toy", "task": task}
    return Trajectory(task, [Segment([0, 1], [0.0, -1.0], [-1, 0])], [right], [0.0], right, info=info)


def counts(way: dict[str, Any], seed: int) -> tuple[float, float, float]:
    """Share of episodes in groups with spread, tasks with a lesson in an update, episodes of an update."""
    told = dict(way)
    refill = told.pop("refill", 0)
    config = CurriculumConfig(**told)
    tasks = [f"task {i}" for i in range(TASKS)]
    curriculum = Curriculum({"toy": tasks}, {"toy": 1.0}, seed=seed, terms=Terms(config))
    mixture, lot, index = Mixture(config, seed=seed), random.Random(seed), 0
    useful, lessons, played = 0, list[int](), 0
    for update in range(UPDATES):
        groups, useless = list[list[Trajectory]](), list[list[Trajectory]]()
        while len(groups) < GROUPS:
            group = [episode(curriculum.draw(index, update).task, lot) for _ in range(SIZE)]
            index += 1
            same = len({t.outcome for t in group}) == 1
            (useless if same and len(useless) < refill else groups).append(group)
            useful += SIZE * (not same)
        curriculum.learned(update, groups + useless)
        mixed = mixture.of(update, groups, [grpo(group) for group in groups])
        taught = {t.group for t, row in zip(mixed.trajectories, mixed.advantages, strict=True) if any(row)}
        lessons.append(len(taught))
        played += SIZE * (len(groups) + len(useless))
    return useful / played, fmean(lessons), played / UPDATES


def main() -> None:
    """Every way with every seed, and a table."""
    results = {}
    for name, way in WAYS.items():
        share, lessons, played = (
            fmean(column) for column in zip(*(counts(way, s) for s in SEEDS), strict=True)
        )
        results[name] = {"useful": round(share, 4), "tasks": round(lessons, 2), "episodes": round(played, 1)}
        print(f"{name:22} {share:6.1%} {lessons:6.2f} {played:7.1f}", flush=True)
    told = {"tasks": TASKS, "groups": GROUPS, "size": SIZE, "updates": UPDATES, "ways": results}
    (Path(__file__).parent / "results" / "sampling.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
