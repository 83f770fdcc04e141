"""Every entry of BFCL, answered right and wrong in many ways: our verdict beside that of the official code.

The official code runs beside, by an interpreter that has `bfcl-eval` (`pip install --no-deps bfcl-eval
mpmath==1.3.0` is enough); its data are played, or with `--path` those of a folder of the same version. Of
each entry are played gold, silence and `--changed` others (`tests/envs/bfcl_episodes.py`); compared are the
verdict, that with empty turns checked, and the text of every result.

    python -m benchmarks.bfcl_equality --python ../venv/bin/python --changed 8
"""

from __future__ import annotations

import argparse
import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from forge_envs.worlds.bfcl.categories import GROUPS, chosen
from forge_envs.worlds.bfcl.env import BfclEnv
from forge_envs.worlds.bfcl.files import locate, read_lines
from forge_envs.worlds.bfcl.task import OneShot
from tests.envs.bfcl_episodes import Episode, episodes, play
from tests.envs.bfcl_verdicts import CHANGED, EVERY, digest, plain, store

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "bfcl_equality.json"


def asked(env: BfclEnv, made: Iterable[Episode]) -> Iterator[dict[str, Any]]:
    """Episodes as the official side reads them."""
    folder, version = env.leaderboard.folder, env.leaderboard.version
    rows: dict[str, Any] = {}
    answers: dict[str, Any] = {}
    for category in {task.category for task in env.leaderboard.tasks.values()}:
        name = category.file(version)
        rows |= {row["id"]: row for _, row in read_lines(folder / name)}
        if category.has_answers:
            found = read_lines(folder / "possible_answer" / name)
            answers |= {row["id"]: row["ground_truth"] for _, row in found}
    for episode in made:
        task = episode.task
        turns = [[[[c.name, c.arguments] for c in step] for step in steps] for steps in episode.turns]
        told = {"key": episode.key, "gold": answers.get(task.official)}
        if isinstance(task, OneShot):
            calls = turns[0][0] if turns[0] else []
            more = {"functions": task.functions, "category": task.category.name, "calls": calls}
            yield {**told, **more, "language": task.category.language}
        else:
            yield {**told, "entry": rows[task.official], "turns": turns}


def feed(lines: TextIO, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as JSON lines, to the end."""
    with lines:
        for row in rows:
            lines.write(f"{json.dumps(row)}\n")


def official(env: BfclEnv, args: argparse.Namespace, every: int = 1) -> Iterator[tuple[Episode, Any]]:
    """Episodes, each with what the official code says of it."""
    command = [str(args.python), str(HERE / "bfcl_oracle.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdin is not None and run.stdout is not None
        rows = asked(env, episodes(env, args.changed, every))
        writer = threading.Thread(target=feed, args=(run.stdin, rows))
        writer.start()
        for episode, line in zip(episodes(env, args.changed, every), run.stdout, strict=True):
            theirs = json.loads(line)
            assert theirs["key"] == episode.key
            yield episode, theirs
        writer.join()
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} failed: exit {run.returncode}")


def compare(category: str, args: argparse.Namespace) -> dict[str, Any]:
    """The counts of a category, with the keys of all episodes on which the two differ."""
    env = BfclEnv(category=category, path=args.path, wrong_gold="play")
    checked = BfclEnv(category=category, path=args.path, wrong_gold="play", check_empty_turns=True)
    counts: Counter[str] = Counter()
    different: list[str] = []
    why: Counter[str] = Counter()
    for episode, theirs in official(env, args):
        ours = play(env, episode)
        same = ours["valid"] == theirs["valid"]
        if "results" in theirs:
            same &= play(checked, episode)["valid"] == theirs["empty"]
            same &= list(map(plain, ours["results"])) == list(map(plain, theirs["results"]))
            counts["results"] += len(theirs["results"])
        kind = episode.key.rsplit(":", 1)[1].rstrip("0123456789")
        counts[f"{kind} {'right' if theirs['valid'] else 'wrong'}"] += 1
        why["broken" if theirs["why"].startswith("broken") else theirs["why"]] += not theirs["valid"]
        counts["episodes"] += 1
        if not same:
            different.append(episode.key)
    return {
        "source": env.leaderboard.source.rsplit(", in ", 1)[0],
        **dict(sorted(counts.items())),
        "why wrong": dict(why.most_common()),
        "different": different,
    }


def keep(categories: list[str], args: argparse.Namespace) -> None:
    """Store what the official code says of some episodes."""
    args.changed = CHANGED
    for category in categories:
        env = BfclEnv(category=category, path=args.path, wrong_gold="play")
        told = [digest(theirs) for _, theirs in official(env, args, EVERY)]
        store({f"{env.leaderboard.version}/{category}": told})


def main() -> None:
    """Compare, write the counts, fail if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="an interpreter that has bfcl-eval")
    parser.add_argument("--path", default="", help="the folder with the data; by default that interpreter's")
    parser.add_argument("--changed", type=int, default=8, help="changed answers to each entry")
    parser.add_argument("--category", action="append", help="a category or a group; by default all")
    parser.add_argument("--store", action="store_true", help="keep some verdicts for the tests instead")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    if not args.path:
        code = "import importlib.util as u; print(u.find_spec('bfcl_eval').submodule_search_locations[0])"
        found = subprocess.run([args.python, "-c", code], check=True, capture_output=True, text=True)
        args.path = str(Path(found.stdout.strip()) / "data")
    categories = [one.name for name in args.category or GROUPS for one in chosen(name)]
    if args.store:
        return keep(categories, args)
    report, began = {}, time.perf_counter()
    for category in categories:
        report[category] = found_here = compare(category, args)
        told = {key: value for key, value in found_here.items() if key not in ("why wrong", "different")}
        print(f"{category}: {told}; {len(found_here['different'])} differ {found_here['different'][:10]}")
    episodes_, differ = (
        sum(one["episodes"] for one in report.values()),
        sum(len(one["different"]) for one in report.values()),
    )
    print(f"{episodes_} episodes, {differ} differ, in {time.perf_counter() - began:.0f} s")
    known = json.loads(args.out.read_text()) if args.out.exists() else {}
    known[locate(args.path)[1]] = report
    args.out.write_text(json.dumps(known, indent=1) + "\n")
    if differ:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
