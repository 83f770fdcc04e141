"""A curve for the entries of docs/algorithms/: tiny policies that are tables, the trainer's own functions.

    python benchmarks/shelf.py [--shelves baselines objectives …] [--pages]

The world is `shelf_world.py`, what is run `shelf_run.py`. Each entry is run at the same three rates with the
same five seeds; the rate shown is the one with which most seeds arrive, and of equals the one that takes the
fewest tokens. Counted are all sampled tokens, until the exact chance to solve a task is 60%. What
benchmarks/results/shelf.json holds already is not run again; --pages only writes the tables and pictures of
docs/algorithms/ anew (`shelf_pages.py`).
"""

from __future__ import annotations

import argparse
import gc
import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from shelf_pages import write_pages
from shelf_run import Arm, Curve, Runs

RESULTS = Path(__file__).resolve().parent / "results" / "shelf.json"
RATES = (0.2, 0.4, 0.8)
SEEDS = 5
STEPS = 64
REACHED = 0.6


def of(advantage: str, **keys: Any) -> Arm:
    """An estimator."""
    return Arm(algorithm={"advantage": advantage, **keys})


OBJECTIVES: Mapping[str, Mapping[str, Any]] = {
    "nll": {},
    "clipped": {},
    "ppo": {},
    "cispo": {},
    "sapo": {},
    "gppo": {},
    "ce_gppo": {},
    "dppo_tv": {},
    "dppo_kl": {},
    "gspo": {},
    "gspo_token": {},
    "gspo_turn": {},
    "gmpo": {},
    "opmd": {"advantage": "dr_grpo"},
    "opmd_k2": {"advantage": "dr_grpo"},
    "vespo": {},
}
"""With what their papers say (`forge_train.config.objectives.OF_PAPER`), and the baseline of the paper."""


def objectives(lag: int = 0, **keys: Any) -> dict[str, Arm]:
    """All of them, with as many updates of lag."""
    return {
        name: Arm(algorithm={"objective": name, **own, **keys}, lag=lag) for name, own in OBJECTIVES.items()
    }


def held(lag: int = 0, **keys: Any) -> Arm:
    """Rows share weights, so that an old skill can be forgotten."""
    return Arm(algorithm=keys, shared=True, lag=lag)


def picked(refill: bool = False, **keys: Any) -> Arm:
    """Verdicts without luck: a group whose members all fail or all succeed teaches nothing."""
    return Arm(curriculum=keys, refill=refill, flips=0.0)


def warm(start: float = 1.0, **keys: Any) -> Arm:
    """A temperature that moves."""
    return Arm(temperature=keys, start=start, flips=0.0)


SHELVES: dict[str, dict[str, Arm]] = {
    "baselines": {
        **{
            name: of(name)
            for name in ("grpo", "dr_grpo", "rloo", "opo", "reinforce++", "reinforce++_baseline")
        },
        "dr_grpo, across = scale": of("dr_grpo", across="scale"),
        "max_k, best_of = 4": of("max_k", best_of=4),
    },
    "lag_16": objectives(16),
    "regularisers": {
        "none": held(),
        "kl_weight = 0.1, k1": held(kl_weight=0.1, kl="k1"),
        "kl_weight = 0.1, k2": held(kl_weight=0.1, kl="k2"),
        "kl_weight = 0.1, k3": held(kl_weight=0.1, kl="k3"),
        "kl_weight = 0.1, unbiased": held(kl_weight=0.1, kl="unbiased"),
        "kl_weight = 0.1, in the reward": held(kl_weight=0.1, kl_in="reward"),
        "entropy_weight = 0.02": held(entropy_weight=0.02),
        "ptx_weight = 0.1": held(ptx_weight=0.1),
    },
    "off_policy": {
        "none": Arm(algorithm={"objective": "nll"}, lag=16),
        "off_policy_delta = 0.5": Arm(algorithm={"objective": "nll", "off_policy_delta": 0.5}, lag=16),
        "off_policy_delta = 0.1": Arm(algorithm={"objective": "nll", "off_policy_delta": 0.1}, lag=16),
    },
    "sampling": {
        "nothing": picked(),
        "rollout.refill": picked(refill=True),
        "duplicate": picked(duplicate=True),
        "top_spread = 0.25": picked(top_spread=0.25),
        "recall = 8": picked(recall=8, recall_from=5, recall_steps=5),
    },
    "shaping": {
        "nothing": Arm(eager=True, flips=0.0),
        "overlong_limit = 10": Arm(
            eager=True, flips=0.0, shaping={"overlong_limit": 10, "overlong_buffer": 6}
        ),
        "length_weight = 0.2": Arm(eager=True, flips=0.0, shaping={"length_weight": 0.2}),
    },
    "parts": {name: Arm(algorithm={"advantage": name}, parts=True) for name in ("grpo", "rloo", "gdpo")},
    "curriculum": {
        "nothing": picked(),
        "rates = [0.1, 0.9]": picked(rates=(0.1, 0.9), revisit=4),
        "order = prioritised": picked(order="prioritised"),
        "grow_by = 4 every 10": picked(grow_by=4, grow_every=10, passes="measured"),
        "hard_from = 15": picked(hard_from=15, hard=(8, 512), passes="measured"),
        "cycle = [a, b]": picked(cycle=("a", "b")),
        "horizons = [[0, 3], [10, 5], [20, 8]]": picked(horizons=((0, 3), (10, 5), (20, 8))),
        "temperature, 1.3 to 0.7 in 40": warm(1.3, decay="cosine", end=0.7, steps=40),
        "temperature, grid on a plateau": warm(grid=(0.8, 1.0, 1.2, 1.4), plateau=10, gain=0.01),
    },
    "minibatches_4": objectives(minibatches=4),
    "lag_4": objectives(4),
}
"""Entries by the table they stand in."""


def tokens_to(curve: Curve, run: int) -> int | None:
    """Tokens until a run reached the threshold, between two points by a straight line; None if it did not."""
    before = (0, 0.0)
    for tokens, chance in zip(curve.tokens, curve.chance, strict=True):
        if chance[run] >= REACHED:
            share = (REACHED - before[1]) / (chance[run] - before[1])
            return round(before[0] + share * (tokens[run] - before[0]))
        before = (tokens[run], chance[run])
    return None


def summed_up(curve: Curve) -> dict[str, Any]:
    """All seeds at all rates, the best rate, and the mean curve with it."""
    by_rate = {
        rate: [tokens_to(curve, i * SEEDS + seed) for seed in range(SEEDS)] for i, rate in enumerate(RATES)
    }

    def worth(rate: float) -> tuple[int, float, float]:
        there = [n for n in by_rate[rate] if n is not None]
        at = RATES.index(rate) * SEEDS
        return len(there), -fmean(there) if there else 0.0, fmean(curve.chance[-1][at : at + SEEDS])

    best = max(RATES, key=worth)
    mine = slice(RATES.index(best) * SEEDS, (RATES.index(best) + 1) * SEEDS)
    return {
        "rate": best,
        "tokens": by_rate[best],
        "by_rate": {str(rate): found for rate, found in by_rate.items()},
        "curve": [
            [round(fmean(t[mine])), round(fmean(c[mine]), 4)]
            for t, c in zip(curve.tokens, curve.chance, strict=True)
        ],
        "told": {name: [round(fmean(row[mine]), 4) for row in rows] for name, rows in curve.told.items()},
        "told_seeds": {name: rows[-1][mine] for name, rows in curve.told.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shelves", nargs="+", choices=list(SHELVES), default=list(SHELVES))
    parser.add_argument("--pages", action="store_true", help="write pages and pictures, run nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    gc.disable()  # nothing here holds itself, and counting half a million episodes takes a third of the time
    found: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for shelf in [] if args.pages else args.shelves:
        for name, arm in SHELVES[shelf].items():
            if name in found.get(shelf, {}):
                continue
            began = time.process_time()
            row = summed_up(Runs(arm, RATES, SEEDS).go(STEPS))
            row["seconds"] = round(time.process_time() - began, 1)
            found.setdefault(shelf, {})[name] = row
            RESULTS.write_text(json.dumps(found) + "\n")
            print(shelf, name, row["rate"], row["tokens"], row["curve"][-1], row["seconds"], flush=True)
    write_pages(found)


if __name__ == "__main__":
    main()
