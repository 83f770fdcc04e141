"""GRPO on the desk with one thing changed, seed by seed: older rollouts, or PPO. Writes docs/results.md.

    python benchmarks/grpo_variants.py [--variants "max_lag 1" "max_lag 4" PPO] [--seeds 0 1 2]

"max_lag" is forge_train/recipes/grpo.toml with another `rollout.max_lag`; its rows with 0 are those of
`grpo_seeds.py`, which runs first. "PPO" is forge_train/recipes/ppo.toml: a critic, and more tasks with
fewer episodes of each. Warm start and judgement are the same for all. What
benchmarks/results/grpo_variants.json holds is not run again, unless --fresh asks for it.
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import grpo_seeds
from grpo_seeds import GRPO, OUT, ROOT, kept, run, section

from forge_train.show.results import spanned

RESULTS = ROOT / "benchmarks" / "results" / "grpo_variants.json"
VARIANTS = {
    "max_lag 1": (*GRPO, "rollout.max_lag=1"),
    "max_lag 4": (*GRPO, "rollout.max_lag=4"),
    "PPO": ("train", str(ROOT / "forge_train" / "recipes" / "ppo.toml")),
}


def lag_of(folder: str) -> dict[str, float]:
    """Mean lag over tokens and largest lag of a group, over the whole run."""
    lines = [json.loads(line) for line in (OUT / folder / "metrics.jsonl").open()]
    return {
        "mean": sum(line["lag"]["mean"] for line in lines) / len(lines),
        "max": max(line["lag"]["group_max"] for line in lines),
    }


def row(variant: str, r: dict[str, Any]) -> str:
    warm, after, lag = r["stages"]["after SFT"], r["stages"]["after RL"], r["lag"]["mean"]
    return (
        f"| {variant} | {r['seed']} | {lag:.2f} | {warm['pass@1']:.1%} | {after['pass@1']:.1%} "
        f"| {spanned(after)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--variants", choices=list(VARIANTS), nargs="+", default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--fresh", action="store_true", help="measure all of it anew")
    args = parser.parse_args()
    results = [] if args.fresh else kept(RESULTS)
    measured = {(r["variant"], r["seed"]) for r in results}
    for seed, variant in ((seed, variant) for seed in args.seeds for variant in args.variants):
        if (variant, seed) in measured:
            continue
        folder = f"{variant.replace(' ', '-')}-{seed}"
        stages, _, wall = run(folder, f"run.seed={seed}", command=VARIANTS[variant])
        found = {"variant": variant, "seed": seed, "wall": wall, "stages": stages, "lag": lag_of(folder)}
        results.append(found)
        RESULTS.write_text(json.dumps(results, indent=1))
    rows = [row("max_lag 0", r | {"lag": {"mean": 0.0}}) for r in kept(grpo_seeds.RESULTS)]
    for variant in VARIANTS:
        rows += [row(variant, r) for r in results if r["variant"] == variant]
    heads = "| | seed | lag of a token, mean | success after SFT | after RL | 95% interval |"
    section("grpo_variants", [heads, "|---|---|---|---|---|---|", *rows])


if __name__ == "__main__":
    main()
