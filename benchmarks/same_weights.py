"""Does a run with max_lag = 1 end in the same weights, however long worlds and engine take?

    python benchmarks/same_weights.py [--repeats 20] [--steps 6] [--lag 1] [--as-it-comes]

The whole of `forge-train train` on a small world whose every reset and step sleeps for a random while, with
an engine in process whose steps do too; all delays are drawn anew in each repetition. Prints the hash of the
last weights of each, and fails if there are two. `--as-it-comes` plays without `rollout.deterministic`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from safetensors.torch import load_file

from forge_train.config import load
from forge_train.engines.local import LocalEngine
from forge_train.record.checkpoint import latest
from forge_train.run import train

DELAYS = random.Random()
"""Of nobody's seed."""


class SlowCoin(gym.Env[tuple[dict[str, Any], ...], str]):
    """Say anything three times: half of all texts are worth 1. Now and then it takes ten times as long."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(1_000_000)  # type: ignore[assignment]

    def task_ids(self, split: str, n: int) -> list[str]:
        return [f"{split}/{i}" for i in range(n)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.said: list[str] = []
        linger()
        return ({"role": "user", "content": f"Task {(options or {}).get('task')}."},), {}

    def step(self, action: str) -> Any:
        self.said.append(action)
        linger()
        done, won = len(self.said) == 3, float(zlib.crc32(action.encode()) % 2)
        answer = ({"role": "user", "content": "On."},)
        return answer, won, done, False, {}


def linger() -> None:
    time.sleep(DELAYS.uniform(0, 0.002) * DELAYS.choice((1, 1, 1, 10)))


gym.register("Bench/SlowCoin-v0", entry_point=SlowCoin)


def once(folder: Path, args: argparse.Namespace) -> tuple[str, float]:
    """Hash of the weights after a whole run, and its mean lag."""
    settings = [
        f"run.out={folder}", f"run.steps={args.steps}", "run.threads=1", "run.checkpoint_every=0",
        'worlds=[{id = "Bench/SlowCoin-v0", tasks = 64}]', "model.tiny.hidden=32", "model.tiny.layers=2",
        "model.tiny.vocab=300", "sft.episodes=0", "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
        "rollout.groups=3", "rollout.group_size=4", "rollout.max_action=300", "rollout.max_context=700",
        f"rollout.max_lag={args.lag}", "rollout.refill=2", "algorithm.masked=[]",
        "optim.lr=0.003", f"rollout.deterministic={str(not args.as_it_comes).lower()}",
    ]  # fmt: skip
    train(load(None, settings))
    saved = latest(folder / "checkpoints")
    assert saved is not None
    digest = hashlib.sha256()
    for name, weight in sorted(load_file(saved.path / "model.safetensors").items()):
        digest.update(name.encode() + weight.contiguous().view(torch.uint8).numpy().tobytes())
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    lags = [json.loads(line)["lag"] for line in lines]
    return digest.hexdigest()[:16], sum(lag["mean"] for lag in lags) / len(lags)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--lag", type=int, default=1)
    parser.add_argument("--as-it-comes", action="store_true")
    args = parser.parse_args()
    step = LocalEngine._step

    def late(engine: LocalEngine) -> None:
        time.sleep(DELAYS.uniform(0, 0.001))
        step(engine)

    LocalEngine._step = late  # type: ignore[method-assign]
    found: Counter[str] = Counter()
    for i in range(args.repeats):
        with tempfile.TemporaryDirectory() as folder:
            digest, lag = once(Path(folder) / "run", args)
        found[digest] += 1
        print(f"{i + 1}: {digest}, mean lag {lag:.2f}", flush=True)
    print(f"{args.repeats} runs ended in {len(found)} different sets of weights: {dict(found)}")
    raise SystemExit(len(found) > 1)


if __name__ == "__main__":
    main()
