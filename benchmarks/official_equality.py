"""Every published task, gold and changed and at random: our verdict beside that of the official code.

The official code runs beside: a checkout of sierra-research/tau2-bench, and if you like one of tau-bench,
with an interpreter that has their dependencies (never PyPI's `tau2`, which is a stranger's). Each episode of
`tests/envs/tau_episodes.py` is played here and there, and compared are the reward, whether the customer or a
limit ended it, which calls were errors, and every row that changed, to the last digit. In telecom, where the
customer acts as well (`tau_telecom_episodes.py`), so is every result that was no error, byte by byte.

    python -m benchmarks.official_equality --official ../tau2-bench --python ../venv/bin/python

`--store` writes what the official code said as a few digits an episode, against which a test proves equality
where no checkout is. Without `--official` the comparison is with those.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.envs.official import DATA
from tests.envs.tau_verdicts import (
    DIGITS,
    MODES,
    SOURCES,
    all_episodes,
    digest,
    official,
    open_env,
    ours,
    store,
    stored,
)

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "official_equality.json"


def ask(kind: str, folder: Path, args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What the official code says of every episode of a domain."""
    checkout = args.official if kind == "tau2" else args.official1
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src" if kind == "tau2" else checkout)}
    command = [str(args.python), str(HERE / f"{kind}_oracle.py"), "--slow", str(args.slow)]
    with tempfile.TemporaryDirectory() as place:
        if kind == "tau2":  # the official code wants its own layout around the data
            domain = Path(place, "tau2", "domains", folder.name)
            domain.mkdir(parents=True)
            for path in folder.resolve().iterdir():
                (domain / path.name).symlink_to(path)
            if folder.name == "telecom" and not (domain / "user_db.toml").exists():
                (domain / "user_db.toml").touch()  # which leaves its defaults
            environment["TAU2_DATA_DIR"] = place
        else:
            command += ["--data", str(folder.parent.resolve())]
        asked = Path(place, "episodes.jsonl")
        asked.write_text("".join(f"{json.dumps(one)}\n" for one in all_episodes(kind, folder)))
        with (
            asked.open() as lines,
            subprocess.Popen(command, stdin=lines, stdout=subprocess.PIPE, env=environment, text=True) as run,
        ):
            assert run.stdout is not None
            yield from map(json.loads, run.stdout)
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed: exit {run.returncode}")


def compare(kind: str, folder: Path, theirs: Iterator[str]) -> tuple[dict[str, Any], str]:
    """What was found of a domain, and the digests that `theirs` gave."""
    envs = {
        alone: open_env(kind, folder, **({"solo": True} if alone else {})) for alone in MODES[folder.name]
    }
    found = defaultdict[str, Counter[str]](Counter)
    unequal: list[dict[str, Any]] = []
    digests = []
    for episode, their in zip(all_episodes(kind, folder), theirs, strict=True):
        verdict = ours(envs[episode.get("solo", False)], episode)
        digests.append(their)
        of = found[episode["change"]]
        of["played"] += 1
        of["earned"] += verdict["reward"] == 1.0
        of["errors"] += "x" in verdict["errors"]
        of["equal"] += digest(verdict) == their
        if digest(verdict) != their:
            unequal.append({key: episode[key] for key in ("task", "change", "messages")})
    rows = {"tasks": len({episode["task"] for episode in all_episodes(kind, folder)}), "unequal": unequal}
    return {**rows, "changes": {change: dict(count) for change, count in found.items()}}, "".join(digests)


def table(found: dict[str, dict[str, Any]]) -> str:
    """Change by change, all sources together, then source by source."""
    by_change = defaultdict[str, Counter[str]](Counter)
    for rows in found.values():
        for change, count in rows["changes"].items():
            by_change[change].update(count)
    lines = ["| change | episodes | with errors | earn 1 | equal |", "|---|---|---|---|---|"]
    cells = "| {} | {:,} | {:,} | {:,} | {:,} |"
    keys = ("played", "errors", "earned", "equal")
    lines += [cells.format(change, *(count[key] for key in keys)) for change, count in by_change.items()]
    for name, rows in found.items():
        whole = sum((Counter(count) for count in rows["changes"].values()), Counter[str]())
        lines.append(cells.format(f"**{name}**, {rows['tasks']} tasks", *(whole[key] for key in keys)))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--official", type=Path, help="a checkout of sierra-research/tau2-bench")
    parser.add_argument("--official1", type=Path, help="a checkout of sierra-research/tau-bench")
    parser.add_argument("--python", type=Path, default="python", help="with the official dependencies")
    parser.add_argument("--data", type=Path, default=DATA, help="the folder with tau1 and tau2")
    parser.add_argument("--only", nargs="*", help="domains; the others stay as they were found last")
    parser.add_argument("--slow", type=int, default=200, help="every N-th episode without short cuts, too")
    parser.add_argument("--store", action="store_true", help="keep what the official code said for the test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    start, known = time.perf_counter(), stored()
    found: dict[str, dict[str, Any]] = {}
    if args.out.exists():
        found = json.loads(args.out.read_text())
    for name, (kind, domain) in SOURCES.items():
        if domain not in (args.only or domain):
            continue
        folder = args.data / kind / domain
        if args.official if kind == "tau2" else args.official1:
            answers = ask(kind, folder, args)
            theirs = (digest(official(one, both=domain == "telecom")) for one in answers)
        else:
            theirs = (known[name][n : n + DIGITS] for n in range(0, len(known[name]), DIGITS))
        found[name], known[name] = compare(kind, folder, theirs)
        print(
            f"{name}: {len(found[name]['unequal'])} unequal, {time.perf_counter() - start:.0f} s", flush=True
        )
    print("\n" + table(found))
    if args.store:
        store(known)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    text = ",\n".join(f'  "{name}": {json.dumps(rows)}' for name, rows in found.items())
    args.out.write_text("{\n" + text + "\n}\n")


if __name__ == "__main__":
    main()
