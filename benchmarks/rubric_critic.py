"""Does a critic get better at judging when it is trained where outcomes are known?

python benchmarks/rubric_critic.py --out runs/critic        # minutes on one core

A policy of half a million parameters says a digit it is asked for, and compares its own attempts. It is
taught the form of a verdict and nothing of its matter: in the demonstrations A and B are drawn by a coin.
Then `rubric.train` trains its comparisons of attempts with different outcomes. `agreement` of metrics.jsonl
is the share that prefers the better one; 1/2 is chance. Writes OUT/agreement.json: the mean over each fifth
of the updates.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_train.config import load
from forge_train.record.run_folder import read_lines
from forge_train.rubric.verdicts import Episode, comparison
from forge_train.run import train

CRITERION = "It says the digit that was asked for."
ID = "Bench/Digits-v0"


class Digits(gym.Env[tuple[dict[str, Any], ...], str]):
    """Say the digit of the task. It is judged and not rewarded: the policy goes on to err, half of the
    time."""

    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(100)  # type: ignore[assignment]
    metadata = {"quick": True, "render_modes": []}  # noqa: RUF012

    def task_ids(self, split: str, n: int) -> list[str]:
        rng = random.Random(split)
        return [f"{split}/{i}/{rng.randrange(10)}" for i in range(n)]

    def gold_actions(self, task: str) -> list[str]:
        return [task.rpartition("/")[2]]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.digits = str((options or {})["task"]).rpartition("/")[2]
        return ({"role": "user", "content": f"Say {self.digits}"},), {}

    def step(self, action: str) -> Any:
        won = float(action.strip() == self.digits)
        return (), 0.0, True, False, {"outcome": won}


def demonstrations(count: int) -> list[dict[str, Any]]:
    """Copies, half of them wrong, so that there is something to judge; and as many verdicts by a coin."""
    rng = random.Random(0)
    found = []
    for _ in range(count):
        digits = f"{rng.randrange(10)}"
        opening = [{"role": "user", "content": f"Say {digits}"}]
        said = digits if rng.random() < 1 / 2 else wrong(digits, rng)
        found.append({"messages": [*opening, {"role": "assistant", "content": said}]})
        right, off = ([{"role": "assistant", "content": text}] for text in (digits, wrong(digits, rng)))
        pair = [Episode(opening, right), Episode(opening, off)]
        rng.shuffle(pair)
        question = comparison([CRITERION], *pair, 4000)
        verdict = json.dumps({"reason": "So it is.", "better": [rng.choice("AB")]})
        found.append({"messages": [*question, {"role": "assistant", "content": verdict}]})
    return found


def wrong(digits: str, rng: random.Random) -> str:
    """Another digit."""
    return str((int(digits) + rng.randrange(1, 10)) % 10)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("set", nargs="*")
    args = parser.parse_args()
    gym.register(ID, entry_point=Digits, disable_env_checker=True)
    args.out.mkdir(parents=True, exist_ok=True)
    data = args.out / "demonstrations.jsonl"
    data.write_text("".join(json.dumps(one) + "\n" for one in demonstrations(600)))
    config = load(None, [
        f'worlds.0.id="{ID}"', "worlds.0.name=digits", f"run.out={args.out / 'run'}", f"run.seed={args.seed}",
        f"run.steps={args.steps}", "run.threads=1", "model.tiny.hidden=128", "model.tiny.layers=2",
        "model.tiny.vocab=1024", f"sft.path={data}", "sft.episodes=1200", "sft.epochs=3", "sft.batch=16",
        "sft.lr=2e-3", "rollout.groups=8", "rollout.group_size=8", "rollout.max_context=1024",
        "rollout.max_action=8", "optim.lr=1e-4", "optim.betas=[0.9, 0.98]", "eval.tasks=32", "eval.repeats=1",
        "eval.k=[1]", "algorithm.advantage=rloo", 'algorithm.masked=["deadline"]',
        f'rubric.criteria=[{{text="{CRITERION}"}}]', "rubric.weight=0", "rubric.opponents=1",
        "rubric.max_action=32", "rubric.attempts=1", 'rubric.refresh=["digits"]', "rubric.train=true",
        "rubric.lessons=2", *args.set,
    ])  # fmt: skip
    train(config)
    told = [line["rubric"] for line in read_lines(args.out / "run" / "metrics.jsonl") if "rubric" in line]
    fifth = max(len(told) // 5, 1)
    parts = [told[i : i + fifth] for i in range(0, fifth * 5, fifth)]
    means = [
        sum((t["agreement"] or 0.0) * t["checked"] for t in part) / max(sum(t["checked"] for t in part), 1)
        for part in parts
        if part
    ]
    (args.out / "agreement.json").write_text(json.dumps({"seed": args.seed, "agreement": means}, indent=1))
    print("agreement by fifths of the updates:", ", ".join(f"{mean:.1%}" for mean in means))


if __name__ == "__main__":
    main()
