"""GRPO from many demonstrations on several seeds, beside imitation for the same time: writes docs/results.md.

    python benchmarks/grpo_seeds.py [--seeds 0 1 2]

For each seed forge_train/recipes/grpo.toml runs as a person would run it. Then the same warm start simply
goes on, on the same gold episodes, for as long as warm start and reinforcement took together: what would
more imitation give? What benchmarks/results/grpo_seeds.json holds already is not run again, unless --fresh
asks for it.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_train.show.results import spanned

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "runs" / "seeds"
RESULTS = ROOT / "benchmarks" / "results" / "grpo_seeds.json"
GRPO = ("train", str(ROOT / "forge_train" / "recipes" / "grpo.toml"))


def run(
    name: str, *overrides: str, command: Sequence[str] = GRPO
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]], float]:
    """Run a recipe with overrides in a fresh folder: evaluations by stage, events, wall seconds."""
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    whole = [sys.executable, "-m", "forge_train.cli", *command, f"run.out={folder}", *overrides]
    began = time.perf_counter()
    subprocess.run(whole, cwd=ROOT, check=True)
    wall = time.perf_counter() - began
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return {e["stage"]: e for e in events if e["event"] == "evaluation"}, events, wall


def equal_time_steps(events: list[dict[str, Any]], stages: dict[str, dict[str, Any]]) -> int:
    """Supervised steps that take as long as both stages took, at the pace they had in this run."""
    seconds = stages["after RL"]["seconds"]
    times = [e["time"] for e in events if e["event"] == "sft"]
    pace = (times[-1] - times[0]) / (len(times) - 1)
    steps: int = max(len(times), round(seconds / pace))
    return steps


def kept(where: Path) -> list[dict[str, Any]]:
    """What an earlier run measured."""
    return json.loads(where.read_text()) if where.exists() else []


def row(seed: int, stage: str, e: dict[str, Any], seconds: float) -> str:
    return f"| {seed} | {stage} | {e['pass@1']:.1%} | {spanned(e)} | {e['turns']:.1f} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fresh", action="store_true", help="measure all of it anew")
    args = parser.parse_args()
    results = [] if args.fresh else kept(RESULTS)
    for seed in args.seeds:
        if any(result["seed"] == seed for result in results):
            continue
        stages, events, wall = run(f"demo-{seed}", f"run.seed={seed}")
        results.append(
            {"seed": seed, "wall": wall, "stages": stages, "steps": equal_time_steps(events, stages)}
        )
        write(results)
    for result in results:
        if "longer" in result:
            continue
        more = (f"sft.steps={result['steps']}", "sft.epochs=100000", "run.steps=0")
        longer, _, _ = run(f"sft-{result['seed']}", f"run.seed={result['seed']}", *more)
        result["longer"] = longer["after SFT"]
        write(results)


def write(results: list[dict[str, Any]]) -> None:
    """Results so far, as JSON and as the table of docs/results.md."""
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=1))
    rows = []
    for r in results:
        stages = r["stages"]
        rows.append(row(r["seed"], "untrained", stages["untrained"], 0.0))
        rows.append(row(r["seed"], "after SFT", stages["after SFT"], stages["after SFT"]["seconds"]))
        rows.append(row(r["seed"], "after RL", stages["after RL"], stages["after RL"]["seconds"]))
        if "longer" in r:
            rows.append(row(r["seed"], "SFT for as long", r["longer"], r["longer"]["seconds"]))
    walls = ", ".join(f"{r['wall']:.0f} s" for r in results)
    section(
        "grpo_seeds",
        [
            "| seed | stage | held-out success | 95% interval | turns | seconds |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"Whole command, wall clock per seed: {walls}. {os.cpu_count()} cores, "
            f"Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}.",
        ],
    )


def section(name: str, lines: list[str]) -> None:
    """Put `lines` between the markers of `name` in docs/results.md, and print them."""
    page = ROOT / "docs" / "results.md"
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    text = page.read_text()
    head, tail = text.split(begin)[0], text.split(end)[1]
    table = "\n".join(lines)
    page.write_text(f"{head}{begin}\n{table}\n{end}{tail}")
    print(table)


if __name__ == "__main__":
    main()
