"""Two experts become one: what is kept of each, by method. Writes benchmarks/results/merge.json.

    python benchmarks/merge.py [--out runs/merge] [--methods sce ties linear ...] [--tasks 60]

One tiny model learns two desks from few gold episodes; then one copy goes on with retail alone, another
with the airline alone. Each way to merge the two is judged on both desks, beside the experts and their
common start. What lies in --out already is not trained or judged again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from forge_train.evaluation.folder import evaluate_model
from forge_train.merging.merge import merge
from forge_train.merging.methods import Recipe
from forge_train.record.intervals import paired

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "merge.json"
DESK = 'args = { size = "tiny", level = 1, prompt = "compact", max_turns = 8 }'
WORLDS = {"retail": "forge_envs:Forge/Retail-v0", "airline": "forge_envs:Forge/Airline-v0"}
CONFIG = """
[run]
steps = 0
checkpoint_every = 0
[model]
path = "{path}"
[model.tiny]
hidden = 192
layers = 2
heads = 4
kv_heads = 2
vocab = 1024
{worlds}
[sft]
episodes = {episodes}
epochs = {epochs}
batch = 8
lr = {lr}
warmup = 10
[rollout]
max_context = 1024
max_action = 96
[optim]
micro_tokens = 2048
[eval]
tasks = 2
repeats = 1
k = [1]
"""
RECIPES: dict[str, dict[str, Any]] = {
    "sce": {"method": "sce"},
    "sce, density 0.5": {"method": "sce", "density": 0.5},
    "sce, not renormalised": {"method": "sce", "renormalize": False},
    "sce_paper": {"method": "sce_paper"},
    "sce_paper, unanimous": {"method": "sce_paper", "consensus": "unanimous"},
    "linear": {"method": "linear"},
    "task_arithmetic": {"method": "task_arithmetic"},
    "task_arithmetic, 0.7": {"method": "task_arithmetic", "scale": 0.7},
    "ties": {"method": "ties"},
    "ties, density 0.5": {"method": "ties", "density": 0.5},
    "dare_linear": {"method": "dare_linear"},
}


def train(out: Path, worlds: list[str], path: str, *, episodes: int, epochs: int, lr: float) -> Path:
    """Supervised training of a model on gold of some desks; returns its run."""
    if not (out / "report.html").is_file():
        tables = "".join(f'[[worlds]]\nid = "{WORLDS[name]}"\n{DESK}\n' for name in worlds)
        file = out.with_suffix(".toml")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(CONFIG.format(path=path, worlds=tables, episodes=episodes, epochs=epochs, lr=lr))
        subprocess.run([sys.executable, "-m", "forge_train.cli", "train", file, f"run.out={out}"], check=True)
    return out


def judge(model: Path, tasks: int, repeats: int) -> dict[str, Any]:
    """Success on held-out tasks of each desk, overall and by task."""
    kept = model / "judged.json"
    if not kept.is_file():
        found = {}
        for name, world in WORLDS.items():
            told = asyncio.run(
                evaluate_model(
                    model,
                    world=world,
                    world_args={"size": "tiny", "level": 1, "prompt": "compact", "max_turns": 8},
                    split="test",
                    tasks=tasks,
                    repeats=repeats,
                    temperature=1.0,
                    seed=0,
                    max_context=1024,
                    max_action=96,
                    device="cpu",
                )
            )
            estimate = told.pass_at[1]
            found[name] = {
                "success": estimate.mean,
                "low": estimate.low,
                "high": estimate.high,
                "tasks": {t.task: t.successes / t.plays for t in told.tasks if t.plays},
            }
        kept.write_text(json.dumps(found))
    loaded: dict[str, Any] = json.loads(kept.read_text())
    return loaded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "merge")
    parser.add_argument("--methods", nargs="+", default=list(RECIPES))
    parser.add_argument("--tasks", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--episodes", type=int, default=480, help="gold episodes of each expert")
    parser.add_argument("--lr", type=float, default=1e-3, help="of each expert")
    args = parser.parse_args()
    base = train(args.out / "base", list(WORLDS), "", episodes=800, epochs=1, lr=3e-3)
    start = str(base / "checkpoints" / "step-000000")
    experts = {
        name: train(args.out / name, [name], start, episodes=args.episodes, epochs=1, lr=args.lr)
        for name in WORLDS
    }
    models = {"start": base, **{f"expert: {name}": run for name, run in experts.items()}}
    for name in args.methods:
        folder = args.out / name.replace(" ", "_").replace(",", "")
        if not folder.is_dir():
            merge([*experts.values()], folder, Recipe(weights=(1.0, 1.0), **RECIPES[name]), base=base)
        models[name] = folder
    rows = []
    for name, folder in models.items():
        found = judge(folder, args.tasks, args.repeats)
        row: dict[str, Any] = {"model": name}
        for desk, told in found.items():
            best = judge(experts[desk], args.tasks, args.repeats)[desk]
            change = paired(best["tasks"], told["tasks"])
            row[desk] = {
                "success": told["success"],
                "interval": [told["low"], told["high"]],
                "kept": told["success"] / best["success"],
                "against the expert": str(change),
            }
        rows.append(row)
        cells = [f"{d}: {row[d]['success']:.1%}, {row[d]['kept']:.0%} of its expert" for d in WORLDS]
        print(f"{name:24} {'   '.join(cells)}", flush=True)
    found = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    name = f"experts of {args.episodes} episodes at lr {args.lr:g}"
    found[name] = {"tasks": args.tasks, "repeats": args.repeats, "worlds": WORLDS, "rows": rows}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
