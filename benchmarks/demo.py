"""The demo beside imitation at its best, on several seeds. Writes docs/results.md.

    python benchmarks/demo.py [--seeds 0 1 2] [--demonstrations 48]

For each seed: (1) `make demo` as a person runs it: imitation, then rounds on tasks without gold. (2)
Imitation alone of the same episodes, for every number of passes in PASSES, annealed to 0; the longest takes
about the time of the whole demo. The best one on validation tasks (of the train split, which nobody is
trained on) is imitation at its best. What benchmarks/results/demo.json holds is not run again, and a run
that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo_seeds import ROOT, kept, section

from forge_train.record.evaluation_result import shares
from forge_train.record.intervals import paired
from forge_train.record.run_folder import read_lines
from forge_train.show.results import evaluations, spanned

DEMO = ROOT / "forge_train" / "recipes" / "demo.toml"
OUT = ROOT / "runs" / "demos"
RESULTS = ROOT / "benchmarks" / "results" / "demo.json"
PASSES = {48: (60, 120, 240), 960: (1, 6)}
"""By number of demonstrations, how often imitation goes over them."""
MORE: list[str] = []
"""Overrides of all runs, from the command line."""
VALIDATION = 100
"""Tasks after those that may be played."""


def train(folder: Path, *overrides: str) -> None:
    """Run the recipe, or go on with it."""
    whole = [sys.executable, "-m", "forge_train.cli", "train", str(DEMO), f"run.out={folder}", *overrides]
    subprocess.run([*whole, *MORE], cwd=ROOT, check=True)


def validated(run: Path, seed: int, weights: Path) -> float:
    """Success of these weights of a run on validation tasks, two plays each: the train split's after those of
    training."""
    from forge_train import interrupt
    from forge_train.engine import Sampling
    from forge_train.engines.local import LocalEngine
    from forge_train.evaluation.evaluate import evaluate
    from forge_train.evaluation.folder import run_of, world_of
    from forge_train.play.episode import TokenPlayer
    from forge_train.play.hearing import renderer_of
    from forge_train.record.checkpoint import load_model

    config = run_of(run)
    assert config is not None
    world = world_of(config, run, None, {}, judged=True)
    model, tokenizer = load_model(weights)
    engine = LocalEngine(model, max_context=config.rollout.max_context)
    sampling = Sampling(temperature=1.0, max_tokens=config.rollout.max_action)
    tasks = world.tasks("train", config.worlds[0].tasks + VALIDATION)[-VALIDATION:]
    found = interrupt.run(
        evaluate(
            world,
            TokenPlayer(engine, renderer_of(model, tokenizer, world), sampling),
            tasks,
            repeats=2,
            seed=seed,
            in_flight=256,
            deadline=600.0,
        )
    )
    world.close()
    assert found.pass_1 is not None
    return found.pass_1.mean


def demo(count: int, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole demo, judged; and its beginning, which is imitation with the fewest passes."""
    folder = OUT / f"demo-{count}-{seed}"
    passes = PASSES[count][0]
    began = time.perf_counter()
    train(folder, f"run.seed={seed}", f"sft.episodes={count}", f"sft.epochs={passes}")
    stages = {e["stage"]: e for e in evaluations(folder)}
    lines, wall = read_lines(folder / "metrics.jsonl"), time.perf_counter() - began
    whole = {
        "stages": stages,
        "sampled": lines[-1]["sampled_so_far"],
        "rounds": len(lines),
        "wall": wall,
    }
    beginning = {
        "passes": passes,
        "validation": validated(folder, seed, folder / "supervised"),
        "event": stages["after SFT"],
    }
    return whole, beginning


def imitation(count: int, seed: int, passes: int) -> dict[str, Any]:
    """Imitation alone, judged on held-out tasks and on validation tasks."""
    folder = OUT / f"imitation-{count}-{seed}-{passes}"
    train(folder, f"run.seed={seed}", f"sft.episodes={count}", f"sft.epochs={passes}", "run.steps=0")
    return {"passes": passes, "validation": validated(folder, seed, folder), "event": evaluations(folder)[-1]}


def rows(r: dict[str, Any]) -> list[str]:
    """Three lines of the table: imitation at its best, the demo's own beginning, and its end."""
    best, stages = r["best"]["event"], r["demo"]["stages"]
    warm, after = stages["after SFT"], stages["after RL"]
    change = paired(shares(best["tasks"]), shares(after["tasks"]))
    tried = ", ".join(f"{t['passes']}: {t['event']['pass@1']:.1%}" for t in r["tried"])
    head = f"| {r['demonstrations']} | {r['seed']} "
    return [
        f"{head}| imitation at its best, {r['best']['passes']} passes ({tried}) {told(best)} | | |",
        f"{head}| `make demo` after imitation {told(warm)} | | |",
        f"{head}| `make demo` after {r['demo']['rounds']} rounds {told(after)} | {change} "
        f"| {r['demo']['sampled']:,} |",
    ]


def told(event: dict[str, Any]) -> str:
    """Success with its interval, at temperature 0, and the seconds until then."""
    greedy = (event.get("greedy") or {}).get("pass@1")
    return (
        f"| {event['pass@1']:.1%} | {spanned(event)} | {'' if greedy is None else f'{greedy:.1%}'} "
        f"| {event['seconds']:.0f}"
    )


def write(results: Sequence[dict[str, Any]]) -> None:
    """Results so far, as JSON and as the table of docs/results.md."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results))  # with every task's share, for the paired intervals
    lines = [line for r in results for line in rows(r)]
    heads = (
        "| demonstrations | seed | | held-out success | 95% interval | at T = 0 | seconds "
        "| over imitation at its best | sampled tokens |"
    )
    section("demo", [heads, "|---|---|---|---|---|---|---|---|---|", *lines])


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demonstrations", type=int, nargs="+", choices=list(PASSES), default=[48])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="overrides of all runs")
    args = parser.parse_args()
    MORE.extend(args.set)
    results = kept(RESULTS)
    for seed in args.seeds:
        for count in args.demonstrations:
            if any((r["seed"], r["demonstrations"]) == (seed, count) for r in results):
                continue
            whole, beginning = demo(count, seed)
            tried = [beginning, *(imitation(count, seed, passes) for passes in PASSES[count][1:])]
            best = max(tried, key=lambda t: float(t["validation"]))
            new = {"seed": seed, "demonstrations": count, "demo": whole, "tried": tried, "best": best}
            results = [*kept(RESULTS), new]  # another process may have measured another seed
            write(sorted(results, key=lambda r: (r["demonstrations"], r["seed"])))


if __name__ == "__main__":
    main()
