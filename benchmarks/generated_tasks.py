"""Ten thousand generated tasks of each service desk: gold, silence, duplicates, difficulty by level.

Plays gold and silence on 1,000 tasks of every level and split, at full size, and counts requests that occur
twice. The imperfect agent plays gold, but loses the thread in each turn with a chance of 5% and says nothing
from there on: what it solves shows how a level's length makes it harder. Counts hold on any machine.
Run: python benchmarks/generated_tasks.py [--tasks 1000] [--size full]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.worlds.airline.tasks import content as airline_content
from forge_envs.worlds.desk.tasks import LEVELS, SPLITS, task_id
from forge_envs.worlds.retail.tasks import content as retail_content

RESULTS = Path(__file__).parent / "results" / "generated_tasks.json"
WORLDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "Forge/Retail-v0": ("retail", retail_content),
    "Forge/Airline-v0": ("airline", airline_content),
}
LOSES_THE_THREAD = 0.05
PENALTIES = ("malformed", "refused", "unauthorised", "unconfirmed")


def outcome(env: Any, text: str, actions: list[str]) -> tuple[float, int, bool]:
    """The outcome of a whole episode, how many of the actions it took, and whether a rule was broken."""
    env.reset(options={"task": text})
    broken = False
    for n, action in enumerate(actions, 1):
        *_, terminated, truncated, info = env.step(action)
        broken = broken or any(name in info["parts"] for name in PENALTIES)
        if terminated or truncated:
            return info["outcome"], n, broken
    raise AssertionError(f"{text}: not over after {len(actions)} actions")


def measure(world: str, level: int, size: str, tasks: int, seen: dict[str, set[Any]]) -> dict[str, Any]:
    """All figures of one level."""
    name, content = WORLDS[world]
    env: Any = gym.make(world, size=size, prompt="compact").unwrapped
    rng = random.Random(level)
    found = {
        "tasks": 0,
        "gold": 0,
        "gold_breaks_rules": 0,
        "silence": 0,
        "again": 0,
        "solved": 0,
        "actions": 0,
    }
    for split in SPLITS:
        for n in range(tasks):
            text = task_id(name, size, split, level, n)
            gold = env.gold_actions(text)
            earned, took, broken = outcome(env, text, gold)
            found["tasks"] += 1
            found["gold"] += earned == 1.0 and took == len(gold)
            found["gold_breaks_rules"] += broken
            found["actions"] += len(gold)
            key = content(env.task)
            found["again"] += key in seen[split]
            seen[split].add(key)
            found["silence"] += outcome(env, text, [""] * env.max_turns)[0] == 0.0
            length = next((n for n in range(len(gold)) if rng.random() < LOSES_THE_THREAD), len(gold))
            found["solved"] += outcome(env, text, [*gold[:length], *[""] * env.max_turns])[0] == 1.0
    return {"level": level, **found}


def table(results: dict[str, Any]) -> str:
    """The results in words and columns, as docs/results.md shows them."""
    lines = [
        "| world | level | tasks | gold earns 1 | gold breaks a rule | silence earns 0 | the same again "
        "| actions of gold | solved by an agent that loses the thread |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for world, rows in results["worlds"].items():
        for row in rows["levels"]:
            tasks = row["tasks"]
            lines.append(
                f"| {world} | {row['level']} | {tasks:,} | {row['gold']:,} | {row['gold_breaks_rules']} "
                f"| {row['silence']:,} | {row['again']} | {row['actions'] / tasks:.1f} "
                f"| {row['solved'] / tasks:.1%} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", type=int, default=1000, help="of every level and split")
    parser.add_argument("--size", default="full", choices=["full", "small", "tiny"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    results: dict[str, Any] = {"size": args.size, "python": platform.python_version(), "worlds": {}}
    for world in WORLDS:
        start = time.perf_counter()
        seen: dict[str, set[Any]] = {split: set() for split in SPLITS}
        levels = [measure(world, level, args.size, args.tasks, seen) for level in LEVELS]
        results["worlds"][world] = {
            "levels": levels,
            "tasks": sum(row["tasks"] for row in levels),
            "in_both_splits": len(seen["train"] & seen["test"]),
            "seconds": time.perf_counter() - start,
        }
    print(table(results))
    for world, found in results["worlds"].items():
        print(f"{world}: {found['tasks']:,} tasks, {found['in_both_splits']} in both splits")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
