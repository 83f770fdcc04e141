"""Does tool use learned on many domains carry over? Success on unseen domains, by how many were trained on.

    python benchmarks/tooluse_curve.py [--domains 1 10 100 1000] [--seeds 0 1 2]

A model of some two million parameters, from random weights, imitates the gold of equally many episodes of
Forge/ToolUse-v0, drawn from 1, 10, 100 or 1,000 domains of the train split; then it plays one task of each
of 200 domains of the test split, whose names of tools and whose tables occur in no domain of train. All runs
share one tokenizer, trained on text of the train split. What benchmarks/results/tooluse_curve.json holds
already is not run again, unless --fresh asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from grpo_seeds import kept, section

from forge_train.show.results import spanned

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "curve"
RESULTS = ROOT / "benchmarks" / "results" / "tooluse_curve.json"
WORLD = "forge_envs:Forge/ToolUse-v0"
EPISODES = 4096
TURNS = 10
CONFIG = """
[run]
name = "curve"
steps = 0
threads = 1

[[worlds]]
id = "{world}"
args = {{ size = "tiny", prompt = "compact", level = {level}, domains = {domains}, max_turns = {turns} }}
eval_args = {{ domains = 200 }}
tasks = {episodes}

[sft]
episodes = {episodes}
epochs = 1
batch = 8
lr = 3e-3
warmup = 50

[rollout]
max_context = 1536
max_action = 96

[eval]
tasks = 200
repeats = 1
k = [1]
temperature = 0.0
"""


SHOWN = ("pass@1", "low", "high", "counted", "asked", "turns", "seconds")
"""What is kept of an evaluation."""
SHAPE = {"hidden": 192, "layers": 3, "heads": 4, "kv_heads": 2, "vocab": 2048}


def policies(level: int, seeds: list[int]) -> dict[int, Path]:
    """A random model for each seed, with the tokenizer that all runs share."""
    from forge_train.config import TinyConfig
    from forge_train.play.world_pool import World
    from forge_train.sft import gold_episodes
    from forge_train.tiny import texts_of, tiny_model, train_tokenizer

    args = {"size": "tiny", "prompt": "compact", "level": level, "domains": 1000, "max_turns": TURNS}
    world = World(WORLD, args)
    spec = TinyConfig(**SHAPE)
    tokenizer = train_tokenizer(texts_of(gold_episodes(world, world.tasks("train", 2000))), spec.vocab)
    world.close()
    folders = {seed: OUT / f"level-{level}" / f"policy-{seed}" for seed in seeds}
    for seed, folder in folders.items():
        tiny_model(tokenizer, spec, seed=seed).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folders


def run(level: int, domains: int, seed: int, policy: Path) -> dict[str, Any]:
    """Train and judge; what became of it."""
    folder = OUT / f"level-{level}" / f"{domains}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    config = folder.with_suffix(".toml")
    config.write_text(
        CONFIG.format(world=WORLD, level=level, domains=domains, turns=TURNS, episodes=EPISODES)
    )
    command = [sys.executable, "-m", "forge_train.cli", "train", str(config), f"run.out={folder}"]
    began = time.perf_counter()
    subprocess.run([*command, f"run.seed={seed}", f"model.path={policy}"], cwd=ROOT, check=True)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    stages = {e["stage"]: e for e in events if e["event"] == "evaluation"}
    last = [e for e in events if e["event"] == "sft"][-1]
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return {
        "level": level,
        "domains": domains,
        "seed": seed,
        "stages": {stage: {key: e[key] for key in SHOWN} for stage, e in stages.items()},
        "loss": last.get("loss"),
        "wall": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domains", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--level", type=int, default=1)
    parser.add_argument("--fresh", action="store_true", help="measure all of it anew")
    args = parser.parse_args()
    results = [] if args.fresh else kept(RESULTS)
    missing = [
        (seed, domains)
        for seed in args.seeds
        for domains in args.domains
        if not any((r["level"], r["domains"], r["seed"]) == (args.level, domains, seed) for r in results)
    ]
    folders = policies(args.level, sorted({seed for seed, _ in missing})) if missing else {}
    for seed, domains in missing:
        results.append(run(args.level, domains, seed, folders[seed]))
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(results, indent=1))
        write(results)
    write(results)


def write(results: list[dict[str, Any]]) -> None:
    """The table of docs/results.md."""
    rows = []
    for r in sorted(results, key=lambda r: (r["level"], r["domains"], r["seed"])):
        before, after = r["stages"]["untrained"], r["stages"]["after SFT"]
        head = f"| {r['level']} | {r['domains']:,} | {r['seed']} | {before['pass@1']:.1%} "
        rows.append(head + f"| {after['pass@1']:.1%} | {spanned(after)} | {r['wall']:.0f} |")
    section(
        "tooluse_curve",
        [
            "| level | domains trained on | seed | untrained | on unseen domains | 95% interval | seconds |",
            "|---|---|---|---|---|---|---|",
            *rows,
            "",
            f"{EPISODES:,} gold episodes each, once. {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.",
        ],
    )


if __name__ == "__main__":
    main()
