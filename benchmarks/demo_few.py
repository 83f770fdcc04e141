"""Few demonstrations: imitation at its best, then rounds of expert iteration. Writes docs/results.md.

    python benchmarks/demo_few.py [--demonstrations 16 32 64 960] [--seeds 0 1 2]

For each number of demonstrations and each seed: (1) imitation for every number of passes in EPOCHS, annealed
to 0, each judged on validation tasks (of the train split, which neither demonstrations nor rounds come to)
and on held-out ones. The best on validation is imitation at its best. (2) forge_train/recipes/few.toml, whose
rounds begin with the weights of that best run, so that both have seen the same demonstrations. What
benchmarks/results/demo_few.json holds is not run again, and a run that was killed goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo_seeds import ROOT, kept, section

from forge_train.record.evaluation_result import shares
from forge_train.record.intervals import paired
from forge_train.record.run_folder import read_lines
from forge_train.show.results import evaluations, spanned

FEW = ROOT / "forge_train" / "recipes" / "few.toml"
OUT = ROOT / "runs" / "few"
RESULTS = ROOT / "benchmarks" / "results" / "demo_few.json"
EPOCHS = {16: (60, 120, 240), 32: (60, 120, 240), 64: (30, 60, 120), 960: (1, 3, 6)}
"""Passes over so many demonstrations that are tried."""
ROUNDS = 4
VALIDATION = 100
"""Tasks after those that may be played."""


def train(folder: Path, *overrides: str) -> None:
    """Run the recipe, or go on with it."""
    whole = [sys.executable, "-m", "forge_train.cli", "train", str(FEW), f"run.out={folder}", *overrides]
    subprocess.run(whole, cwd=ROOT, check=True)


def validated(run: Path, seed: int) -> float:
    """Success on validation tasks, two plays each: the train split's after those of training."""
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
    model, tokenizer = load_model(run)
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


def imitation(count: int, seed: int, epochs: int) -> dict[str, Any]:
    """One length of imitation, judged."""
    folder = OUT / f"imitation-{count}-{seed}-{epochs}"
    train(folder, f"run.seed={seed}", f"sft.episodes={count}", f"sft.epochs={epochs}", "run.steps=0")
    last = evaluations(folder)[-1]
    return {"epochs": epochs, "validation": validated(folder, seed), "event": last, "folder": str(folder)}


def reinforcement(count: int, seed: int, start: str) -> dict[str, Any]:
    """The rounds, from the weights that imitation at its best ended with."""
    folder = OUT / f"rounds-{count}-{seed}"
    given = (f'model.path="{start}/supervised"', f"sft.episodes={count}", "sft.epochs=0")
    train(folder, f"run.seed={seed}", f"run.steps={ROUNDS}", *given)
    lines = read_lines(folder / "metrics.jsonl")
    return {"event": evaluations(folder)[-1], "sampled": lines[-1]["sampled_so_far"], "rounds": len(lines)}


def row(r: dict[str, Any]) -> list[str]:
    """Two lines of the table: imitation at its best and what reinforcement made of it."""
    best, after = r["best"]["event"], r["rounds"]["event"]
    change = paired(shares(best["tasks"]), shares(after["tasks"]))
    tried = ", ".join(f"{t['epochs']}: {t['event']['pass@1']:.1%}" for t in r["tried"])
    head = f"| {r['demonstrations']} | {r['seed']} "
    return [
        f"{head}| imitation at its best, {r['best']['epochs']} passes ({tried}) | {told(best)} | | |",
        f"{head}| then {r['rounds']['rounds']} rounds | {told(after)} | {change} "
        f"| {r['rounds']['sampled']:,} |",
    ]


def told(event: dict[str, Any]) -> str:
    """Success with its interval, and at temperature 0."""
    greedy = (event.get("greedy") or {}).get("pass@1")
    return f"{event['pass@1']:.1%} | {spanned(event)} | {'' if greedy is None else f'{greedy:.1%}'}"


def write(results: Sequence[dict[str, Any]]) -> None:
    """Results so far, as JSON and as the table of docs/results.md."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    rows = [line for r in results if "rounds" in r for line in row(r)]
    heads = (
        "| demonstrations | seed | | held-out success | 95% interval | at T = 0 | gained | sampled tokens |"
    )
    section("demo_few", [heads, "|---|---|---|---|---|---|---|---|", *rows])


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demonstrations", type=int, nargs="+", choices=list(EPOCHS), default=list(EPOCHS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    args = parser.parse_args()
    results = kept(RESULTS)
    for seed in args.seeds:
        for count in args.demonstrations:
            if any((r["seed"], r["demonstrations"]) == (seed, count) for r in results):
                continue
            tried = [imitation(count, seed, epochs) for epochs in EPOCHS[count]]
            best = max(tried, key=lambda t: t["validation"])
            rounds = reinforcement(count, seed, best["folder"])
            results.append(
                {"seed": seed, "demonstrations": count, "tried": tried, "best": best, "rounds": rounds}
            )
            write(results)


if __name__ == "__main__":
    main()
