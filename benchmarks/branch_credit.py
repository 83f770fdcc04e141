"""Branch credit beside credit by episode on Forge/Retail-v0: tokens sampled until held-out success is there.

    python benchmarks/branch_credit.py [--arms rloo branch best] [--seeds 0 1 2] [--threshold 0.6]

Both go on from the same warm start (the demo's supervised stage), with the same learning rate, until 100
held-out tasks, played twice each, say that the threshold is reached. Every token that the policy sampled in
training counts, those of branches too; those of evaluations do not. What the folder of a run holds is not
played again, so that a run that was cut short goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

from forge_train.config import Config, load
from forge_train.record.run_folder import read_lines
from forge_train.run import train
from forge_train.show.results import evaluations

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "branch_credit.json"
GRPO = ROOT / "forge_train" / "recipes" / "grpo.toml"
WORLD = (
    'worlds=[{id = "forge_envs:Forge/Retail-v0", tasks = 4096, '
    'args = {size = "tiny", level = 1, prompt = "compact", max_turns = 8}}]'
)
SHARED = [
    WORLD, "run.threads=1", "run.checkpoint_every=4", "rollout.max_context=1024", "rollout.max_action=96",
    "algorithm.masked=[\"deadline\"]", "optim.betas=[0.9, 0.98]", "optim.warmup=5", "optim.micro_tokens=2048",
    "eval.tasks=100", "eval.repeats=2", "eval.k=[1]",
]  # fmt: skip
ARMS = {
    "rloo": ["algorithm.advantage=rloo", "rollout.groups=16", "rollout.group_size=8"],
    "turn_rloo": ["algorithm.advantage=turn_rloo", "rollout.groups=16", "rollout.group_size=8"],
    "branch": [
        "algorithm.advantage=branch", "algorithm.turn_gamma=1.0", "branching.continuations=2",
        "rollout.groups=16", "rollout.group_size=2",
    ],
    "best": [
        "algorithm.advantage=branch", "algorithm.turn_gamma=1.0", "branching.continuations=2",
        "branching.at=best", "rollout.groups=16", "rollout.group_size=4",
    ],
}  # fmt: skip
"""What is played in an update: of rloo 16 x 8 episodes; of branch 16 x 2, and two that go on from each later
turn of each, which together say about as much; of best 16 x 4, and two that go on from each later turn of
those that earned most."""


def warm_start(seed: int, out: Path) -> Path:
    """The demo's policy after its supervised stage, of this seed."""
    folder = out / f"warm-{seed}"
    checkpoint = folder / "checkpoints" / "step-000000"
    if not checkpoint.is_dir():
        own = [f"run.out={folder}", f"run.seed={seed}", "run.steps=0", "run.threads=1"]
        train(load(GRPO, [*own, "eval.tasks=100", "eval.repeats=2", "eval.k=[1]"]))
    return checkpoint


def config_of(arm: str, seed: int, steps: int, out: Path, model: Path, lr: float) -> Config:
    """The run of an arm, up to an update."""
    own = [f"run.out={out / f'{arm}-{seed}'}", f"run.seed={seed}", f"run.steps={steps}"]
    return load(None, [*SHARED, *ARMS[arm], f"optim.lr={lr}", f"model.path={model}", *own])


def curve(folder: Path) -> list[dict[str, Any]]:
    """Held-out success by tokens sampled in training, from what a run wrote down."""
    tokens, spent = 0, {0: 0}
    for line in read_lines(folder / "metrics.jsonl"):
        tokens += line["sampled_tokens"]
        spent[line["step"] + 1] = tokens
    found = {e["step"]: e for e in evaluations(folder)}
    return [
        {"step": step, "tokens": spent[step], "success": e["pass@1"]}
        for step, e in sorted(found.items())
        if step in spent
    ]


def tokens_to(points: list[dict[str, Any]], threshold: float) -> float | None:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["rloo", "branch", "best"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threshold", type=float, default=0.6)
    parser.add_argument("--every", type=int, default=4, help="updates between evaluations")
    parser.add_argument("--most", type=int, default=48, help="updates after which an arm gives up")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "branch_credit")
    args = parser.parse_args()
    for seed in args.seeds:
        model = warm_start(seed, args.out)
        for arm in args.arms:
            folder = args.out / f"{arm}-{seed}"
            for steps in range(args.every, args.most + 1, args.every):
                points = curve(folder) if folder.is_dir() else []
                if tokens_to(points, args.threshold) is not None:
                    break
                if not any(point["step"] == steps for point in points):
                    train(config_of(arm, seed, steps, args.out, model, args.lr))
            write(arm, seed, args.threshold, curve(folder))


def write(arm: str, seed: int, threshold: float, points: list[dict[str, Any]]) -> None:
    """Put what one run showed into the results, in the place of what stood there for it."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    key = {"arm": arm, "seed": seed, "threshold": threshold}
    results = [r for r in results if any(r[name] != value for name, value in key.items())]
    results.append({**key, "tokens": tokens_to(points, threshold), "curve": points})
    RESULTS.write_text(json.dumps(sorted(results, key=lambda r: (r["seed"], r["arm"])), indent=1))


if __name__ == "__main__":
    main()
