"""Learner and vLLM side by side, a core each, against the two taking turns on both cores.

    python benchmarks/disaggregated.py [--steps 8] [--python .venv-vllm/bin/python]

The demo's policy after its supervised stage goes on learning with a real vLLM server, in the demo's world
behind a line of 20 to 140 ms. `in turn`: max_lag = 0, both have both cores, one rests while the other works.
`beside`: max_lag = 1, the server on core 0, the learner on core 1. Both train the same number of groups of
the same tasks. `parts`: how long playing and learning take when the other one rests, on one core each; no
overlap can be faster than the longer of them. Writes benchmarks/results/disaggregated.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from waiting_world import ID

from forge_train.config import Config, load
from forge_train.engines.local import LocalEngine
from forge_train.learn.learner import Learner
from forge_train.record.checkpoint import latest
from forge_train.record.journal import Journal
from forge_train.record.run_folder import RunFolder
from forge_train.run import Run, train

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "disaggregated"
RESULTS = ROOT / "benchmarks" / "results" / "disaggregated.json"
RAMP = 2
"""First steps that are not counted: the pipeline fills."""


def warm_start() -> Path:
    """The demo's policy after its supervised stage, trained once."""
    folder = OUT / "warm"
    if latest(folder / "checkpoints") is None:
        shutil.rmtree(folder, ignore_errors=True)
        train(load(ROOT / "forge_train" / "recipes" / "grpo.toml", [f"run.out={folder}", "run.steps=0"]))
    saved = latest(folder / "checkpoints")
    assert saved is not None
    return saved.path


def config(model: Path, name: str, python: str, lag: int, cores: str, threads: int, steps: int) -> Config:
    shutil.rmtree(OUT / name, ignore_errors=True)
    return load(
        ROOT / "forge_train" / "recipes" / "grpo.toml",
        [
            f"run.out={OUT / name}", f"run.threads={threads}", f"run.steps={steps}", f"model.path={model}",
            f"worlds.0.id=waiting_world:{ID}", "rollout.engine=vllm", f"rollout.max_lag={lag}",
            f"vllm.python={python}", "vllm.dtype=float32",
            f'vllm.env={{VLLM_CPU_KVCACHE_SPACE = "1", VLLM_CPU_OMP_THREADS_BIND = "{cores}"}}',
        ],
    )  # fmt: skip


def pin(cores: set[int]) -> None:
    """Keep all threads of this process on `cores`; children begin there too."""
    for task in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # a thread that has just ended
            os.sched_setaffinity(int(task), cores)


async def steps(settings: Config, server: set[int], learner: set[int]) -> list[dict[str, Any]]:
    """Train; metrics of every step, with the wall clock between their ends."""
    pin(server)
    with RunFolder.create(settings) as folder:
        run = Run(settings, folder)
        trainer = None
        try:
            await run.engine.start()
            pin(learner)
            trainer = run.trainer(Learner(run.model, settings.optim), Journal(folder), 0)
            found, began = [], time.perf_counter()
            for step in range(settings.run.steps):
                metrics, _, _ = await trainer.step(step)
                now = time.perf_counter()
                found.append({**metrics, "wall": now - began})
                began = now
            return found
        finally:
            if trainer is not None:
                await trainer.close()
            await run.engine.close()
            assert not isinstance(run.engine, LocalEngine)


def measured(rows: list[dict[str, Any]]) -> dict[str, float]:
    kept = rows[RAMP:]
    seconds = [row["seconds"] for row in kept]
    play = [s.get("wait", 0.0) + s.get("generate", 0.0) + s.get("world", 0.0) for s in seconds]
    return {
        "step_s": statistics.median(row["wall"] for row in kept),
        "wait_s": statistics.median(play),
        "update_s": statistics.median(s["update"] + s["weights"] for s in seconds),
        "tokens_per_s": sum(row["sampled_tokens"] for row in kept) / sum(row["wall"] for row in kept),
        "lag": statistics.mean(row["lag"]["mean"] for row in kept),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--python", default=str(ROOT / ".venv-vllm" / "bin" / "python"))
    args = parser.parse_args()
    model, both = warm_start(), {0, 1}
    plans = {
        "in turn": (0, "0-1", 2, both, both),
        "beside": (1, "0", 1, {0}, {1}),
        "parts": (0, "0", 1, {0}, {1}),
    }
    results: dict[str, dict[str, float]] = {}
    for name, (lag, cores, threads, server, learner) in plans.items():
        settings = config(model, name.replace(" ", "-"), args.python, lag, cores, threads, args.steps)
        torch.set_num_threads(threads)
        results[name] = measured(asyncio.run(steps(settings, server, learner)))
        print(name, {k: round(v, 2) for k, v in results[name].items()}, flush=True)
    longer = max(results["parts"]["wait_s"], results["parts"]["update_s"])
    summary = {
        "speedup": results["beside"]["tokens_per_s"] / results["in turn"]["tokens_per_s"],
        "step_over_longer_part": results["beside"]["step_s"] / longer,
    }
    print({k: round(v, 2) for k, v in summary.items()})
    RESULTS.write_text(json.dumps({**summary, "runs": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
