"""Level 1 of Forge/Search-v0 by a tiny model: it imitates, and is judged on webs whose names it never saw.

    python benchmarks/search_learning.py [--seeds 0 1 2] [--webs 20] [--episodes 30000]

A policy of random weights (0.7 million parameters) imitates gold episodes (search, visit, answer) of the
train webs, each once, and is judged on questions of as many test webs, which share no name with them: what it
can learn is to copy names out of questions and hits, and answers out of pages. Hits have no snippets, and of
a page the passages that fit the goal best are shown, so that an episode takes some 500 tokens.
Embeddings are tied and hidden matrices move by Muon: docs/search.md says what each is worth. A seed takes a
core half an hour. Writes benchmarks/results/search_learning.json.
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
QUESTIONS = 200
"""Held-out ones, of all webs together."""


def config_of(seed: int, args: argparse.Namespace) -> Config:
    """The run of a seed."""
    worlds = []
    for web in range(args.webs):
        world = {
            "level": 1,
            "entities": args.entities,
            "seed": web,
            "prompt": "compact",
            "results": 2,
            "snippets": False,
            "budget": args.budget,
            "max_turns": 6,
        }
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in world.items())
        worlds.append(f'{{id="forge_envs:Forge/Search-v0", name="web{web}", tasks=2000, args={{{told}}}}}')
    return load(None, [
        f"worlds=[{', '.join(worlds)}]", f"run.out={OUT}/level1-{seed}", f"run.seed={seed}", "run.steps=0",
        "run.threads=1", "run.checkpoint_every=0", "model.tiny.hidden=128",
        f"model.tiny.layers={args.layers}", "model.tiny.heads=4", "model.tiny.kv_heads=4",
        "model.tiny.vocab=768", f"model.tiny.tied={json.dumps(not args.untied)}", "optim.kind=muon",
        f"sft.episodes={args.episodes}", "sft.epochs=1", "sft.batch=8", "sft.lr=6e-3",
        "sft.warmup=20", "sft.schedule=linear", "rollout.max_context=1024", "rollout.max_action=96",
        "optim.betas=[0.9, 0.98]", "optim.micro_tokens=2048",
        f"eval.tasks={QUESTIONS // args.webs}", "eval.repeats=1", "eval.k=[1]", "eval.greedy=true",
    ])  # fmt: skip


def row_of(folder: Path, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    """What the evaluations of a run say, all webs together."""
    row: dict[str, Any] = {"seed": seed, "episodes": args.episodes, "webs": args.webs, "layers": args.layers}
    for event in read_lines(folder / "events.jsonl"):
        if event["event"] != "evaluation":
            continue
        stage = row.setdefault(event["stage"], {"questions": 0, "solved": 0, "solved at T = 0": 0})
        stage["questions"] += event["counted"]
        stage["solved"] += round(event["pass@1"] * event["counted"])
        stage["solved at T = 0"] += round(event["greedy"]["pass@1"] * event["counted"])
    return row


def learned(seed: int, args: argparse.Namespace) -> dict[str, Any]:
    """Train a seed; what its evaluations say."""
    began = time.process_time()
    config = config_of(seed, args)
    train(config)
    row = row_of(config.run.folder, args, seed) | {"cpu_seconds": round(time.process_time() - began)}
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--webs", type=int, default=20)
    parser.add_argument("--episodes", type=int, default=30_000)
    parser.add_argument("--budget", type=int, default=400, help="characters of a page that a visit shows")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--untied", action="store_true")
    parser.add_argument("--entities", type=int, default=8000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    rows = [learned(seed, args) for seed in args.seeds]
    args.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
