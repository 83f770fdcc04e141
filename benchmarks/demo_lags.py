"""The demo with other lags: does training on older rollouts cost success? Writes docs/results.md.

    python benchmarks/demo_lags.py [--lags 0 1 4] [--seed 0]

Everything but `rollout.max_lag` is the demo's, the warm start included, so the runs differ only in how late
the groups of an update are. What benchmarks/results/demo_lags.json holds already is not run again, unless
--fresh asks for it.
"""

from __future__ import annotations

import argparse
import json

from demo_seeds import ROOT, kept, run, section

RESULTS = ROOT / "benchmarks" / "results" / "demo_lags.json"


def lag_of(folder: str) -> dict[str, float]:
    """Mean lag over tokens and largest lag of a group, over the whole run."""
    lines = [json.loads(line) for line in (ROOT / "runs" / "seeds" / folder / "metrics.jsonl").open()]
    return {
        "mean": sum(line["lag"]["mean"] for line in lines) / len(lines),
        "max": max(line["lag"]["group_max"] for line in lines),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lags", type=int, nargs="+", default=[0, 1, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true", help="measure all of it anew")
    args = parser.parse_args()
    results = [] if args.fresh else kept(RESULTS)
    for lag in args.lags:
        if any(result["max_lag"] == lag for result in results):
            continue
        name = f"lag-{lag}"
        stages, _, wall = run(name, f"run.seed={args.seed}", f"rollout.max_lag={lag}")
        results.append({"max_lag": lag, "wall": wall, "stages": stages, "lag": lag_of(name)})
        RESULTS.write_text(json.dumps(results, indent=1))
    rows = [
        "| max_lag | lag of a token, mean | success after SFT | after RL | 95% interval |",
        "|---|---|---|---|---|",
    ]
    for r in results:
        before, after = r["stages"]["after SFT"], r["stages"]["after RL"]
        rows.append(
            f"| {r['max_lag']} | {r['lag']['mean']:.2f} | {before['pass@1']:.1%} | {after['pass@1']:.1%} "
            f"| {after['low']:.1%} to {after['high']:.1%} |"
        )
    section("demo_lags", rows)


if __name__ == "__main__":
    main()
