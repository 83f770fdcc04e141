"""A thousand generated domains, a hundred tasks in each: gold, silence, duplicates, leaks, and the speed.

Draws the tasks of 800 domains to train on and 200 to test on, plays gold and silence in every one, and
reports as `forge-envs tooluse report` does. First it measures in processor time of one process: tasks drawn a
second, with and without the drawing of their domains, and steps a second of whole gold episodes, resets
included. Counts hold on any machine; `spin` says how fast this one is (seconds for ten million additions).
Run: python benchmarks/tooluse.py [--domains 1000] [--tasks 100] [--size full] [--processes 1]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import reduce
from pathlib import Path
from typing import Any

from forge_envs.worlds.tooluse.domains import addresses, domain_of
from forge_envs.worlds.tooluse.env import ToolUseEnv
from forge_envs.worlds.tooluse.report import Study, leaks, merged, study, told
from forge_envs.worlds.tooluse.tasks import find_task, task_name

RESULTS = Path(__file__).parent / "results"


def part(job: tuple[str, str, int, int, int]) -> Study:
    """The study of some of the domains, from one on."""
    size, split, first, last, tasks = job
    return study(size, split, last, tasks, first=first, show=lambda line: print(line, file=sys.stderr))


def jobs(size: str, split: str, domains: int, tasks: int, step: int) -> list[tuple[str, str, int, int, int]]:
    return [(size, split, at, min(at + step, domains), tasks) for at in range(0, domains, step)]


def drawing(size: str, domains: int, tasks: int) -> dict[str, float]:
    """Tasks a second, none of them and none of their domains drawn before."""
    find_task(task_name(addresses(size, "train", 1)[0], 5, 10**6))  # what is loaded once
    found = addresses(size, "train", domains)
    domain_of.cache_clear()
    find_task.cache_clear()
    start = time.process_time()
    for address in found:
        domain_of(address)
    middle = time.process_time()
    for address in found:
        for n in range(tasks):
            find_task(task_name(address, 0, n))
    end = time.process_time()
    count = domains * tasks
    return {
        "tasks": count,
        "tasks_a_second": count / (end - start),
        "tasks_a_second_domains_drawn": count / (end - middle),
        "milliseconds_a_domain": 1000 * (middle - start) / domains,
    }


def playing(size: str, domains: int, tasks: int) -> dict[str, float]:
    """Steps a second of gold episodes whose tasks were drawn before."""
    env: Any = ToolUseEnv(size=size, domains=domains)
    gold = {task: env.gold_actions(task) for task in env.task_ids(n=domains * tasks)}
    best = 0.0
    for _ in range(3):
        steps, start = 0, time.process_time()
        for task, actions in gold.items():
            env.reset(options={"task": task})
            for action in actions:
                env.step(action)
            steps += len(actions)
        best = max(best, steps / (time.process_time() - start))
    return {"steps": steps, "steps_a_second": best}


def spin() -> float:
    start, total = time.process_time(), 0
    for n in range(10_000_000):
        total += n
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1000)
    parser.add_argument("--tasks", type=int, default=100)
    parser.add_argument("--size", choices=("full", "tiny"), default="full")
    parser.add_argument("--processes", type=int, default=1)
    args = parser.parse_args()
    speeds = {
        "spin": spin(),
        "drawing": drawing(args.size, min(args.domains, 100), args.tasks),
        "playing": playing(args.size, min(args.domains, 40), 25),
    }
    print(json.dumps(speeds, indent=2))
    splits = {"train": args.domains * 4 // 5, "test": args.domains - args.domains * 4 // 5}
    found = {}
    with ProcessPoolExecutor(args.processes) as pool:
        for split, domains in splits.items():
            found[split] = reduce(merged, pool.map(part, jobs(args.size, split, domains, args.tasks, 10)))
    print("\n".join(told(found["train"], found["test"])))
    between = leaks(found["train"], found["test"])
    results = {
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "size": args.size,
        "speeds": speeds,
        **{split: one.as_dict() for split, one in found.items()},
        "shared_tool_names": len(between.names),
        "shared_schemas": len(between.schemas),
        "themes_in_test_alone": list(between.held_out),
    }
    name = "tooluse.json" if args.size == "full" else f"tooluse_{args.size}.json"
    (RESULTS / name).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
