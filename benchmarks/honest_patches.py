"""Honest solutions of Forge/SWE-v0 by the hundred: gold and a habit of honest people each, judged.

What is refused is a fault of the guard. A solution is made as an agent's is: in a box of its task, the habits
of `honest_habits` and gold in it, taken by the world. Where the official verdict refuses it as well, the
habit was no right one for that task, and it is counted apart.
Run: python -m benchmarks.honest_patches [--sandbox process] [--source builtin] [--each 3]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.honest_habits import HABITS, UNFIT
from forge_envs.red_team.swe import source_of
from forge_envs.sandbox import Limits
from forge_envs.worlds.swe import patch as patches
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.patch import paths_of
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.site import Ground, open_site
from forge_envs.worlds.swe.task import SweTask

RESULTS = Path(__file__).parent / "results" / "honest_patches.json"
PROGRAM = Path(__file__).with_name("honest_habits")
LIMIT = 4_000_000


def solutions(task: SweTask, names: list[str], ground: Ground) -> Iterator[tuple[str, bytes]]:
    """Gold with each habit that fits, as an agent's box gives it. Raises AssertionError, MachineError."""
    source = source_of(task)
    tests = [path for path in sorted(paths_of(task.test_patch)) if path.endswith(".py")]
    if not source or not tests:
        return
    site = open_site(task, ground)
    try:
        for file in PROGRAM.glob("*.py"):
            site.put(f"habits/{PROGRAM.name}/{file.name}", file.read_bytes())
        program = f"PYTHONPATH={site.tools}/habits python3 -B -m {PROGRAM.name}"
        gold = site.put("gold.patch", task.patch.encode())
        for name in names:
            fresh = "git clean -qfdx && git rm -rq --cached . && git reset -q --hard"
            words = f"{fresh} && git apply {gold} && {program} {name} {source} {tests[0]}"
            done = site.run(words, timeout=120.0)
            if done.code != UNFIT:
                assert done.code == 0, (task.id, name, done.output[-2000:])
                yield name, patches.take(site, LIMIT)
    finally:
        site.close()


def tried(work: list[tuple[SweTask, list[str]]], ground: Ground) -> Iterator[dict[str, Any]]:
    """One line a solution, as they come: what the guard says, and where it refuses, what is official."""
    for task, names in work:
        for name, patch in solutions(task, names, ground):
            found = judge(task, patch, ground, timeout=300.0)
            line = {"habit": name, "task": task.id, "ours": found.resolved, "dropped": list(found.dropped)}
            if not found.resolved:
                official = judge(task, patch, ground, guard=False, timeout=300.0)
                line |= {"official": official.resolved, "reason": found.reason, "log": found.log[-1500:]}
            yield line


def dealt(tasks: list[SweTask], names: list[str], each: int) -> list[tuple[SweTask, list[str]]]:
    """Habits dealt to tasks in turn, so that each habit comes to `each` of them, or to all."""
    hands: list[tuple[SweTask, list[str]]] = [(task, []) for task in tasks]
    for number, name in enumerate(names):
        for turn in range(min(each, len(tasks))):
            hands[(number * each + turn) % len(tasks)][1].append(name)
    return hands


def main() -> None:
    """Judge, print what is refused, keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", default="builtin")
    parser.add_argument("--sandbox", default="process")
    parser.add_argument("--habit", action="append", choices=sorted(HABITS))
    parser.add_argument("--task", action="append")
    parser.add_argument("--each", type=int, default=1_000, help="on how many tasks each habit is tried")
    args = parser.parse_args()
    known = load(args.source)
    tasks = [known.find(name) for name in args.task or known.by_id]
    ground = Ground(args.sandbox, Limits(lifetime=900.0))
    counts: Counter[str] = Counter()
    refused = []
    for line in tried(dealt(tasks, args.habit or list(HABITS), args.each), ground):
        kind = "right" if line["ours"] else "refused" if line["official"] else "no_solution"
        counts[kind] += 1
        if kind != "right":
            refused.append({key: value for key, value in line.items() if key != "log"})
            print(kind, json.dumps(line, ensure_ascii=False), flush=True)
    print(dict(counts))
    if not args.habit and not args.task:
        kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        kept[f"{args.source} {args.sandbox}"] = {
            **counts,
            "tasks": len(tasks),
            "habits": len(HABITS),
            "not_right": refused,
        }
        RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
