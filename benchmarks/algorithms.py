"""The demo's setting with one algorithm after the other: held-out success and tokens to a threshold.

    python benchmarks/algorithms.py [--algorithms grpo rloo ...] [--seeds 0 1 2] [--steps 50]

All begin with the same weights: forge_train/recipes/grpo.toml up to its supervised stage, run once a seed.
Then each algorithm plays the same tasks, is judged every 10 steps and at the end, and the table says how many
tokens the policy had sampled when it first reached a threshold (a judgement is 400 episodes: its interval is
some eight points wide, so small differences there mean nothing). What benchmarks/results/algorithms.json
holds is not run again, and a run that was killed goes on. An algorithm that this build does not know is named
and left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grpo_seeds import ROOT, kept, section

from forge_train.config import ConfigError, load
from forge_train.record.run_folder import read_lines
from forge_train.show.results import evaluations, spanned

GRPO = ROOT / "forge_train" / "recipes" / "grpo.toml"
PPO = ROOT / "forge_train" / "recipes" / "ppo.toml"
OUT = ROOT / "runs" / "algorithms"
RESULTS = ROOT / "benchmarks" / "results" / "algorithms.json"
THRESHOLD = 0.65
EVERY = 10
KEPT = ("pass@1", "low", "high")
"""Of a judgement."""
ALGORITHMS: dict[str, tuple[Path, tuple[str, ...]]] = {
    "grpo": (GRPO, ()),
    "rloo": (GRPO, ("algorithm.advantage=rloo",)),
    "ppo": (PPO, ()),
    "gspo": (GRPO, ("algorithm.objective=gspo",)),
    "cispo": (GRPO, ("algorithm.objective=cispo",)),
    "opmd": (GRPO, ("algorithm.objective=opmd",)),
    "turn_rloo": (GRPO, ("algorithm.advantage=turn_rloo",)),
    "branch": (
        GRPO,
        (
            "algorithm.advantage=branch",
            "algorithm.turn_gamma=1.0",
            "rollout.group_size=2",
            "branching.continuations=2",
        ),
    ),
    "grpo, negatives at a quarter, up to the first mistake": (
        GRPO,
        ("algorithm.negative_weight=0.25", "algorithm.blame=first_mistake"),
    ),
}
"""The recipe of each and what differs in it.

With 16 groups of 2 and two plays that go on from each later turn, branch credit samples about as many tokens
an update as 16 groups of 8 do; its defaults sample nine times that."""


def train(recipe: Path, folder: Path, *overrides: str) -> None:
    """Run a recipe, or go on with it."""
    whole = [sys.executable, "-m", "forge_train.cli", "train", str(recipe), f"run.out={folder}", *overrides]
    subprocess.run(whole, cwd=ROOT, check=True)


def known(recipe: Path, overrides: Sequence[str]) -> bool:
    """Whether this build has the algorithm; says so where not."""
    try:
        load(recipe, overrides)
    except ConfigError as error:
        print(f"left out: {' '.join(overrides)}: {error}", file=sys.stderr)
        return False
    return True


def measure(name: str, seed: int, steps: int) -> dict[str, Any]:
    """One algorithm on one seed, from the weights that all share."""
    warm = OUT / f"warm-{seed}"
    train(GRPO, warm, f"run.seed={seed}", "run.steps=0", "sft.schedule=linear")
    recipe, overrides = ALGORITHMS[name]
    folder = OUT / f"{name.split(',')[0]}{'-tempered' if ',' in name else ''}-{seed}"
    given = (
        f'model.path="{warm}/supervised"',
        "sft.episodes=0",
        f"run.steps={steps}",
        f"run.eval_every={EVERY}",
        "run.threads=1",
    )
    train(recipe, folder, f"run.seed={seed}", *given, *overrides)
    sampled = {line["step"] + 1: line["sampled_so_far"] for line in read_lines(folder / "metrics.jsonl")}
    judged = evaluations(folder)
    return {
        "algorithm": name,
        "seed": seed,
        "steps": steps,
        "before": {key: judged[0][key] for key in KEPT},
        "after": {key: judged[-1][key] for key in KEPT},
        "sampled": sampled[max(sampled)],
        "curve": [(sampled[e["step"]] if e["step"] else 0, e["pass@1"]) for e in judged],
    }


def row(r: dict[str, Any]) -> str:
    """A line of the table."""
    reached = next((tokens for tokens, success in r["curve"] if tokens and success >= THRESHOLD), None)
    to_threshold = "never" if reached is None else f"{reached:,}"
    return (
        f"| {r['algorithm']} | {r['seed']} | {r['before']['pass@1']:.1%} | {r['after']['pass@1']:.1%} "
        f"| {spanned(r['after'])} | {r['sampled']:,} | {to_threshold} |"
    )


def main() -> None:
    """Measure what is not measured yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algorithms", nargs="+", choices=list(ALGORITHMS), default=list(ALGORITHMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=50)
    args = parser.parse_args()
    results = kept(RESULTS)
    for seed in args.seeds:
        for name in args.algorithms:
            if any((r["algorithm"], r["seed"], r["steps"]) == (name, seed, args.steps) for r in results):
                continue
            if not known(*ALGORITHMS[name]):
                continue
            results.append(measure(name, seed, args.steps))
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1))
    heads = (
        f"| algorithm | seed | before | after | 95% interval | sampled tokens | tokens to {THRESHOLD:.0%} |"
    )
    section("algorithms", [heads, "|---|---|---|---|---|---|---|", *map(row, results)])


if __name__ == "__main__":
    main()
