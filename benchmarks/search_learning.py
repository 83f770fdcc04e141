"""Level 1 of Forge/Search-v0 by a tiny model: it imitates, and is judged on a web whose names it never saw.

    python benchmarks/search_learning.py [--seeds 0 1 2] [--episodes 2000] [--entities 8000]

A policy of random weights imitates gold episodes of the train web (search, visit, answer) and is judged on
questions of the test web, which shares no name with it: what it can learn is to copy names out of questions
and hits, and answers out of pages. Hits have no snippets, so that an episode fits a context of 1,024 tokens.
Muon, for AdamW learns to copy several times slower (docs/search.md). 2,000 episodes take a core 90 seconds.
Writes benchmarks/results/search_learning.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from forge_train.config import Config, load
from forge_train.record.run_folder import read_lines
from forge_train.run import train

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "search"
RESULTS = ROOT / "benchmarks" / "results" / "search_learning.json"


def config_of(seed: int, args: argparse.Namespace) -> Config:
    """The run of a seed."""
    web = {
        "level": 1,
        "entities": args.entities,
        "prompt": "compact",
        "results": 2,
        "snippets": False,
        "budget": 800,
        "max_turns": 6,
    }
    told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in web.items())
    return load(None, [
        "worlds.0.id=forge_envs:Forge/Search-v0", f"worlds.0.args={{{told}}}", "worlds.0.tasks=2000",
        f"run.out={OUT}/level1-{seed}", f"run.seed={seed}", "run.steps=0", "run.threads=1",
        "run.checkpoint_every=0", f"model.tiny.hidden={args.hidden}", "model.tiny.layers=2",
        "model.tiny.heads=4", "model.tiny.kv_heads=4", "model.tiny.vocab=768",
        "optim.kind=muon",
        f"sft.episodes={args.episodes}", f"sft.epochs={args.epochs}", "sft.batch=8", "sft.lr=6e-3",
        "sft.warmup=20", "sft.schedule=linear", "rollout.max_context=1024", "rollout.max_action=96",
        "optim.betas=[0.9, 0.98]", "optim.micro_tokens=2048",
        "eval.tasks=200", "eval.repeats=1", "eval.k=[1]", "eval.greedy=true",
    ])  # fmt: skip


def learned(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train a seed; what each of its evaluations says."""
    began = time.process_time()
    config = config_of(seed, args)
    train(config)
    events = read_lines(config.run.folder / "events.jsonl")
    judged = [event for event in events if event["event"] == "evaluation"]
    row = {
        "seed": seed,
        "episodes": args.episodes,
        "epochs": args.epochs,
        "cpu_seconds": round(time.process_time() - began),
        "evaluations": [
            {
                key: event[key]
                for key in ("stage", "pass@1", "low", "high", "greedy", "endings")
                if key in event
            }
            for event in judged
        ],
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--episodes", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--entities", type=int, default=8000)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = [learned(seed, args) for seed in args.seeds]
    args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
