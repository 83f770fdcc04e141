"""Does a critic get better at judging when it is trained where outcomes are known?

python benchmarks/rubric_critic.py --out runs/critic        # minutes on one core

A policy of half a million parameters says digits, and compares its own attempts. Even ones are right, and
nobody says so: it is taught the form of a verdict and nothing of its matter, for in the demonstrations
digits, A and B are drawn by a coin. Its attempts earn nothing, so it goes on to err half of the time. Then
`rubric.train` trains its comparisons of attempts with different outcomes. `agreement` of metrics.jsonl is the
share that prefers the better one; 1/2 is chance. Writes OUT/agreement.json: the mean over each tenth of the
updates.
"""

from __future__ import annotations

import argparse
import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_train.config import load
from forge_train.record.run_folder import read_lines
from forge_train.rubric.verdicts import Episode, comparison
from forge_train.run import train

CRITERION = "It says the right digit."
ID = "Bench/Digits-v0"
OPENING = [{"role": "user", "content": "Say a digit."}]
PARTS = 10


class Digits(gym.Env[tuple[dict[str, Any], ...], str]):
    """Say a digit: the outcome is 1 for an even one, the reward 0."""

    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(100)  # type: ignore[assignment]
    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def gold_actions(self, task: str) -> list[str]:
        return ["2"]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        return tuple(OPENING), {}

    def step(self, action: str) -> Any:
        return (), 0.0, True, False, {"outcome": float(action.strip() in tuple("02468"))}


def demonstrations(count: int) -> list[dict[str, Any]]:
    """Digits, and as many verdicts, all by a coin."""
    rng = random.Random(0)
    found = []
    for _ in range(count):
        found.append({"messages": [*OPENING, said(rng.choice("0123456789"))]})
        pair = [Episode(OPENING, [said(rng.choice("0123456789"))]) for _ in "AB"]
        verdict = json.dumps({"reason": "So it is.", "better": [rng.choice("AB")]})
        found.append({"messages": [*comparison([CRITERION], *pair, 4000), said(verdict)]})
    return found


def said(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("set", nargs="*")
    args = parser.parse_args()
    gym.register(ID, entry_point=Digits, disable_env_checker=True)
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.out / "demonstrations.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in demonstrations(400)))
    config = load(None, [
        f'worlds.0.id="{ID}"', "worlds.0.name=digits", f"run.out={args.out / 'run'}", f"run.seed={args.seed}",
        f"run.steps={args.steps}", "run.threads=1", "model.tiny.hidden=128", "model.tiny.layers=2",
        "model.tiny.vocab=1024", f"sft.path={data}", "sft.episodes=800", "sft.epochs=3", "sft.batch=16",
        "sft.lr=2e-3", "rollout.groups=8", "rollout.group_size=8", "rollout.max_context=1024",
        "rollout.max_action=8", "optim.lr=2e-4", "optim.betas=[0.9, 0.98]", "eval.tasks=8", "eval.repeats=1",
        "eval.k=[1]", "algorithm.advantage=rloo", 'algorithm.masked=["deadline"]',
        f'rubric.criteria=[{{text="{CRITERION}"}}]', "rubric.weight=0", "rubric.opponents=1",
        "rubric.max_action=32", "rubric.attempts=1", 'rubric.refresh=["digits"]', "rubric.train=true",
        "rubric.lessons=2", *args.set,
    ])  # fmt: skip
    train(config)
    told = [line["rubric"] for line in read_lines(args.out / "run" / "metrics.jsonl") if "rubric" in line]
    cuts = [len(told) * i // PARTS for i in range(PARTS + 1)]
    means = []
    for start, end in pairwise(cuts):
        part = told[start:end]
        checked = sum(one["checked"] for one in part)
        means.append(sum((one["agreement"] or 0.0) * one["checked"] for one in part) / max(checked, 1))
    (args.out / "agreement.json").write_text(json.dumps({"seed": args.seed, "agreement": means}, indent=1))
    print("agreement by tenths of the updates:", ", ".join(f"{mean:.1%}" for mean in means))


if __name__ == "__main__":
    main()
