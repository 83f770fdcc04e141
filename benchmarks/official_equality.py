"""Every official task, gold and spoilt: our verdict beside that of the official rule written a second time.

The second rule (`tests/envs/official.py`) shares nothing with ours but the tools: it replays an episode on a
shop of its own and hashes the whole database. Its hashes of gold are compared with those that the official
code computed (`oracle.json`). Each write of gold is dropped, doubled, given a wrong argument, and swapped
with the next; a write of another task is put in; the last line is replaced, and so is the end by silence.
Run from the repository's root: python -m benchmarks.official_equality [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import forge_envs  # noqa: F401  registers the worlds
from tests.envs.official import DATA, Evaluator, play
from tests.envs.perturbed import gold_calls, gold_hashes, official_tasks, perturbed, writes

RESULTS = Path(__file__).parent / "results" / "official_equality.json"
WORLDS = {
    "tau1 retail": ("Forge/Retail-v0", "tau1", "retail"),
    "tau2 retail": ("Forge/Retail-v0", "tau2", "retail"),
    "tau2 airline": ("Forge/Airline-v0", "tau2", "airline"),
}
CHANGES = ("gold", "dropped", "swapped", "duplicated", "wrong", "foreign", "untold", "silent")


def compare(world: str, kind: str, folder: Path) -> list[dict[str, Any]]:
    """A row for each task: how often each change was played, how often both said the same and how often 1."""
    env: Any = gym.make(world, source=f"{kind}:{folder}", gaps="play").unwrapped
    second, tasks = Evaluator(kind, folder), official_tasks(kind, folder)
    began, hashes = gold_hashes(kind, folder)
    assert second.hash([]) == began, "the database is not the one that the official code began with"
    rows, ids = [], sorted(tasks)
    for n, id in enumerate(ids):
        rng = np.random.default_rng([7, n])
        foreign = [action for action in env.gold_actions(ids[n - 1]) if writes(env, action)]
        episodes: dict[str, Counter[str]] = defaultdict(Counter)
        for change, actions in perturbed(env, env.gold_actions(id), foreign, rng):
            played, info = play(env, id, actions)
            theirs = second.verdict(tasks[id], played)
            found = episodes[change]
            found["played"] += 1
            found["equal"] += info["outcome"] == theirs
            found["ours"] += info["outcome"] == 1.0
            found["second"] += theirs == 1.0
        rows.append(
            {
                "task": id,
                "basis": "+".join(env.find(id).basis),
                "not_judged": env.gaps.get(id, ""),
                "gold_hash_is_official": second.hash(gold_calls(kind, tasks[id])) == hashes[id],
                "episodes": {change: dict(episodes[change]) for change in CHANGES if change in episodes},
            }
        )
    return rows


def table(sources: dict[str, list[dict[str, Any]]]) -> str:
    """The rows added up, as docs/results.md shows them."""
    lines = [
        "| source | tasks | gold hash is official | " + " | ".join(CHANGES) + " | equal verdicts |",
        "|---" * (len(CHANGES) + 4) + "|",
    ]
    for source, rows in sources.items():
        cells, total, equal = [], 0, 0
        for change in CHANGES:
            found = [row["episodes"].get(change, {}) for row in rows]
            played, won = (sum(f.get(key, 0) for f in found) for key in ("played", "ours"))
            total, equal = total + played, equal + sum(f.get("equal", 0) for f in found)
            cells.append(f"{won:,} of {played:,}")
        official = sum(row["gold_hash_is_official"] for row in rows)
        lines.append(
            f"| {source} | {len(rows)} | {official} | " + " | ".join(cells) + f" | {equal:,} of {total:,} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with tau1 and tau2")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    start = time.perf_counter()
    sources = {
        name: compare(world, kind, args.data / kind / domain)
        for name, (world, kind, domain) in WORLDS.items()
    }
    print("Episodes that earn 1, of those played:\n\n" + table(sources))
    unequal = [
        (row["task"], change)
        for rows in sources.values()
        for row in rows
        for change, found in row["episodes"].items()
        if found["equal"] < found["played"]
    ]
    print(f"\nUnequal: {unequal or 'none'}; {time.perf_counter() - start:.0f} s")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(
        f'  "{name}": [\n' + ",\n".join(f"    {json.dumps(row)}" for row in rows) + "\n  ]"
        for name, rows in sources.items()
    )
    args.out.write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
