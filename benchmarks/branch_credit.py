"""Branch credit beside credit by episode on Forge/Retail-v0: tokens sampled until held-out success is there.

    python benchmarks/branch_credit.py [--arms rloo states] [--seeds 0 1 2] [--rates 3e-4] [--threshold 0.6]

All begin with the same weights: forge_train/recipes/grpo.toml up to its supervised stage, once a seed. Then
each arm plays until 100 held-out tasks, played twice each and twice in a row, say that the threshold is
reached, or until `--tokens` are spent. Every token that the policy sampled in training counts, those of
branches too; those of evaluations do not. An arm has the best of the rates, tried on the first seed. What the
folder of a run holds is not played again, so that a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_train.config import load
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from forge_train.show.results import evaluations

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "branch_credit.json"
GRPO = ROOT / "forge_train" / "recipes" / "grpo.toml"
EVERY = 5
"""Updates between evaluations."""
JUDGED = ("eval.tasks=100", "eval.repeats=2", "eval.k=[1]", "run.threads=1")
BRANCH = ("algorithm.advantage=branch", "algorithm.turn_gamma=1.0")
ARMS = {
    "rloo": ("algorithm.advantage=rloo",),
    "every": (*BRANCH, "branching.continuations=2", "rollout.group_size=2"),
    "best": (*BRANCH, "branching.at=best", "branching.continuations=2", "rollout.group_size=4"),
    "states": (
        *BRANCH, "algorithm.branch_form=states", "branching.at=undecided", "branching.continuations=4",
        "rollout.group_size=4",
    ),
}  # fmt: skip
"""What is played in an update, for 16 tasks each: of rloo 8 episodes; of every 2, and two that go on from
each later turn; of best 4, and two from each later turn of those that earned most; of states 4, and four from
each state that several came through and that turned out either way. These say about as much, eight to
thirteen thousand tokens; `metrics.jsonl` of a run has the numbers."""


def warm_start(seed: int, out: Path) -> Path:
    """The weights that all arms of a seed begin with."""
    folder = out / f"warm-{seed}"
    if not (folder / "supervised").is_dir():
        own = (f"run.out={folder}", f"run.seed={seed}", "run.steps=0", "sft.schedule=linear")
        train(load(GRPO, [*JUDGED, *own]))
    return folder / "supervised"


def curve(folder: Path) -> list[dict[str, Any]]:
    """Held-out success by tokens sampled in training, from what a run wrote down."""
    spent = {0: 0} | {x["step"] + 1: x["sampled_so_far"] for x in read_lines(folder / "metrics.jsonl")}
    found = {e["step"]: e for e in evaluations(folder)}
    return [
        {"step": step, "tokens": spent[step], "success": e["pass@1"]}
        for step, e in sorted(found.items())
        if step in spent
    ]


def tokens_to(points: Sequence[dict[str, Any]], threshold: float) -> float | None:
    """Tokens at which the mean of two evaluations in a row crosses the threshold; None if it never does.

    One evaluation is off by a few points either way, and who is judged more often would cross by luck.

    >>> found = [{"tokens": n, "success": s} for n, s in ((0, 0.4), (100, 0.4), (200, 0.6), (300, 0.6))]
    >>> tokens_to(found, 0.5), tokens_to(found, 0.7)
    (200.0, None)
    """
    mean = [(a["success"] + b["success"]) / 2 for a, b in itertools.pairwise(points)]
    for i, now in enumerate(mean):
        if now >= threshold:
            before = mean[i - 1] if i else points[0]["success"]
            share = (threshold - before) / (now - before) if i and now > before else 1.0
            return points[i]["tokens"] + max(share, 0.0) * (points[i + 1]["tokens"] - points[i]["tokens"])
    return None


def play(arm: str, rate: float, seed: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Go on with the run of an arm until it is there or has spent its tokens; what it showed."""
    folder = args.out / f"{arm}-{rate:g}-{seed}"
    own = (
        f"run.out={folder}", f"run.seed={seed}", f"optim.lr={rate}", "sft.episodes=0",
        f'model.path="{warm_start(seed, args.out)}"', f"run.checkpoint_every={EVERY}",
    )  # fmt: skip
    points = curve(folder) if folder.is_dir() else []
    while tokens_to(points, args.threshold) is None and (not points or points[-1]["tokens"] < args.tokens):
        steps = points[-1]["step"] + EVERY if points else EVERY
        train(load(GRPO, [*JUDGED, *own, *ARMS[arm], f"run.steps={steps}"]))
        points = curve(folder)
    write({"arm": arm, "rate": rate, "seed": seed}, args.threshold, points)
    return points


def write(key: dict[str, Any], threshold: float, points: Sequence[dict[str, Any]]) -> None:
    """Put what one run showed into the results, in the place of what stood there for it."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = [r for r in results if any(r[name] != value for name, value in key.items())]
    results.append(
        {**key, "threshold": threshold, "tokens": tokens_to(points, threshold), "curve": list(points)}
    )
    RESULTS.write_text(json.dumps(sorted(results, key=lambda r: (r["arm"], r["rate"], r["seed"])), indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["rloo", "states"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rates", type=float, nargs="+", default=[3e-4, 6e-4])
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--tokens", type=int, default=450_000, help="after which an arm gives up")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "branch_credit")
    args = parser.parse_args()
    print("| arm | rate | " + " | ".join(f"seed {seed}" for seed in args.seeds) + " |")
    print("|---" * (2 + len(args.seeds)) + "|")
    for arm in args.arms:

        def rank(rate: float, arm: str = arm) -> tuple[float, float]:
            """By tokens on the first seed; of rates that never arrive, by the best success."""
            points = play(arm, rate, args.seeds[0], args)
            found = tokens_to(points, args.threshold)
            return (math.inf if found is None else found, -max(point["success"] for point in points))

        rate = min(args.rates, key=rank)
        found = [tokens_to(play(arm, rate, seed, args), args.threshold) for seed in args.seeds]
        told = ("not within" if n is None else f"{n:,.0f}" for n in found)
        print(f"| {arm} | {rate:g} | {' | '.join(told)} |", flush=True)


if __name__ == "__main__":
    main()
