"""Schedules compared in virtual time: play and learn in turn on all GPUs, or at once on parts of them.

    python benchmarks/scheduler.py [--gpus 64 1024] [--updates 6] [--seed 0] [--jobs 1]

The admission is the trainer's own; stage times come from stage_times.toml, which says where each is from.
Two cases. "paper" is the comparison of Klear-AgentForge (arXiv 2511.05951, 3.4.2), 4 + 4 nodes overlapped
against 8 in turn: about 32% there. "long" has a faster learner and tasks of very different length. The work
grows with the GPUs. "drops late" is the foil: first come, first trained, and what is too old is lost.
Writes benchmarks/results/scheduler.json.
"""

from __future__ import annotations

import argparse
import gc
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from forge_train.play.admission import Admission
from forge_train.simulator.simulate import DropsLate, Simulation, simulate
from forge_train.simulator.stages import Placement, load

HERE = Path(__file__).parent
FILE = HERE / "stage_times.toml"
BASE_GPUS = 64
"""Of which stage_times.toml speaks."""


LAGS = (1, 4)
SCHEDULES = {
    "paper": ["in turn", "at once, max_lag 1"],
    "long": ["in turn", *(f"{how}, max_lag {lag}" for how in ("at once", "drops late") for lag in LAGS)],
}


def schedule(case: str, name: str, gpus: int, groups: int) -> tuple[Placement, Admission]:
    """Who has which GPUs, and who decides."""
    if name == "in turn":
        return Placement(gpus, gpus, shared=True), Admission(groups, 0)
    engines = gpus // 2 if case == "paper" else gpus * 3 // 4
    decides = DropsLate if name.startswith("drops") else Admission
    return Placement(engines, gpus - engines), decides(groups, int(name[-1]))


def row(case: str, name: str, place: Placement, done: Simulation) -> dict[str, Any]:
    return {
        "case": case,
        "gpus": place.gpus,
        "engine_gpus": place.engine_gpus,
        "schedule": name,
        "step_s": round(done.step_seconds, 1),
        **{f"{part}_s": round(done.part(part), 1) for part in ("wait", "logprobs", "update", "weights")},
        "idle": round(done.idle, 3),
        "engine_idle": round(done.engine_idle, 3),
        "learner_idle": round(done.learner_idle, 3),
        "lag_mean": round(sum(done.lags) / len(done.lags), 2),
        "lag_max": max(done.lags),
        "lost": round(done.lost(), 4),
        "lost_slowest_tenth": round(done.lost(slowest=0.1), 4),
        "length_bias_ks": round(done.length_bias, 4),
    }


def measure(run: tuple[int, str, str], updates: int, seed: int) -> dict[str, Any]:
    """One schedule; the work grows with the GPUs and is the same for all schedules."""
    gpus, case, name = run
    gc.freeze()  # what was imported need not be looked through again
    workload, speeds = load(FILE, "" if case == "paper" else case)
    workload = replace(workload, groups=workload.groups * gpus // BASE_GPUS)
    place, admission = schedule(case, name, gpus, workload.groups)
    done = simulate(
        workload, speeds, place, admission, updates=updates, warmup=1 + admission.max_lag, seed=seed
    )
    return row(case, name, place, done)


def told(row: dict[str, Any]) -> str:
    return (
        f"{row['gpus']:5} GPUs  {row['case']:5}  {row['schedule']:22} step {row['step_s']:6.1f} s "
        f"(x {row['speedup']:.2f})  idle {row['idle']:4.0%}  "
        f"lag {row['lag_mean']:.2f}, at most {row['lag_max']}  "
        f"lost {row['lost']:5.1%}, of the slowest tenth {row['lost_slowest_tenth']:5.1%}  "
        f"KS {row['length_bias_ks']:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[64, 1024])
    parser.add_argument("--updates", type=int, default=6, help="after the warm-up")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="schedules simulated at a time")
    args = parser.parse_args()
    runs = [(gpus, case, name) for gpus in args.gpus for case, names in SCHEDULES.items() for name in names]
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for found in pool.map(partial(measure, updates=args.updates, seed=args.seed), runs):
            in_turn = next(r for r in [found, *reversed(rows)] if r["schedule"] == "in turn")
            rows.append(found | {"speedup": round(in_turn["step_s"] / found["step_s"], 3)})
            print(told(rows[-1]), flush=True)
    out = HERE / "results" / "scheduler.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps({"updates": args.updates, "seed": args.seed, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
