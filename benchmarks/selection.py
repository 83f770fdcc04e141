"""What selection among N plays is worth, on a desk and on contests: benchmarks/results/selection.json.

    forge-train collect RUN --repeats 16 --top-logprobs 20 ...   # or let --model RUN do it, on the desk
    python benchmarks/selection.py --plays FOLDER

The desk is that of the demo (Forge/Retail-v0, tiny, level 1). Contests are those of Forge/Polyglot-v0,
level 1, and stand for a coding world where no model at hand can write programs: patches are scripted, the
right program or one with a planted bug, and so are the test files, of whose cases one in five expects what
a wrong program says. Of what is measured there the selection is real, and how often a patch is right is
not.
"""

from __future__ import annotations

import argparse
import ast
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forge_envs.worlds.polyglot.contests.generator import build
from forge_train.selection.candidates import Candidate, read_plays
from forge_train.selection.confidence import Windows
from forge_train.selection.patch_tests import execute
from forge_train.selection.selectors import SELECTORS
from forge_train.selection.table import ALL, ONE, Row, refuse, table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "selection.json"
DESK = ["--world", "forge_envs:Forge/Retail-v0"]
for argument in ("size=tiny", "level=1", "prompt=compact", "max_turns=8"):
    DESK += ["--arg", argument]
WINDOWS = Windows(window=16, tail=16)
"""Plays of the desk have about 60 tokens of the policy's: DeepConf's 2,048 would be all of each."""
RIGHT, WRONG_CASES = 0.3, 0.2
"""Share of patches that are the right program, and of tests that expect a wrong answer."""
PATCHES, FILES, CASES = 16, 8, 3

RUNNER = """
import contextlib, io, json, signal, sys
def late(*_): raise TimeoutError
signal.signal(signal.SIGALRM, late)
told = json.load(sys.stdin)
found = []
for source in told["sources"]:
    row = []
    for given in told["given"]:
        sys.stdin, out = io.StringIO(given), io.StringIO()
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(source, "main.py", "exec"), {"__name__": "__main__"})
            row.append(out.getvalue().strip())
        except BaseException:
            row.append(None)
        signal.setitimer(signal.ITIMER_REAL, 0)
    found.append(row)
json.dump(found, sys.__stdout__)
"""


SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Mod: ast.FloorDiv, ast.FloorDiv: ast.Mod,
}  # fmt: skip


class Plant(ast.NodeTransformer):
    """Changes one comparison, operator or number of a program."""

    def __init__(self, at: int) -> None:
        self.at, self.seen = at, 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        number = isinstance(node, ast.Constant) and type(node.value) is int
        if number or type(node) in SWAPS:
            self.seen += 1
            if self.seen - 1 == self.at:
                if isinstance(node, ast.Constant):
                    return ast.Constant(int(node.value) + 1)
                return SWAPS[type(node)]()
        return super().generic_visit(node)


def planted(source: str, rng: random.Random) -> str:
    """A program with one bug."""
    counter = Plant(-1)
    counter.visit(ast.parse(source))
    changed = Plant(rng.randrange(counter.seen)).visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(changed))


def contest(seed: int) -> tuple[list[Candidate], dict[tuple[str, int], float]] | None:
    """Patches of one contest as candidates, with S as confidence and what they print as effect; and verdicts.

    None where the planted bug of the code as it was shows on no case, and for contests of functions, not
    programs.
    """
    problem = build("test", 1, seed)
    if problem.style != "stdin":
        return None
    (right,) = problem.example.values()
    rng = random.Random(seed)
    broken = planted(right, rng)
    patches = [right if rng.random() < RIGHT else planted(right, rng) for _ in range(PATCHES)]
    rng.shuffle(patches)
    cases = list(problem.cases)
    rng.shuffle(cases)
    hidden, known = cases[::2], cases[1::2]
    asked = {"sources": [broken, *patches], "given": [case.given for case in cases]}
    run = subprocess.run(
        [sys.executable, "-c", RUNNER], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    printed = [dict(zip(asked["given"], row, strict=True)) for row in json.loads(run.stdout)]
    files = []
    for _ in range(FILES):
        chosen = rng.sample(known, min(CASES, len(known)))
        files.append({c.given: rng.choice(printed)[c.given] if rng.random() < WRONG_CASES else c.answer
                      for c in chosen})  # fmt: skip

    def outcomes(patch: int | None, wanted: Sequence[dict[str, str]]) -> list[dict[str, bool]]:
        said = printed[0 if patch is None else patch + 1]
        return [{given: said[given] == expected for given, expected in file.items()} for file in wanted]

    scores = execute(range(PATCHES), files, outcomes).scores()
    won = [float(all(printed[i + 1][c.given] == c.answer for c in hidden)) for i in range(PATCHES)]
    if all(printed[0][c.given] == c.answer for c in hidden):
        return None
    task = problem.id
    candidates = [
        Candidate(
            task, i, (), confidence=(scores[i],), effect=tuple(str(printed[i + 1][c.given]) for c in known)
        )
        for i in range(PATCHES)
    ]
    return candidates, {(task, i): w for i, w in enumerate(won)}


def contests(count: int, ns: Sequence[int]) -> list[Row]:
    """The table of patches by tests, and by a majority of what they print."""
    groups, verdicts, seed = [], {}, 0
    while len(groups) < count:
        found = contest(seed)
        seed += 1
        if found is not None:
            groups.append(found[0])
            verdicts |= found[1]
    return table(groups, verdicts, ["majority", "mean"], ns)


def desk(folder: Path, ns: Sequence[int]) -> tuple[list[Row], list[Row], dict[str, int]]:
    """The table of stored plays, as it is and with plays that ended by themselves first."""
    groups, verdicts = read_plays(folder)
    whole = [group for group in groups if len(group) >= max(ns)]
    refuse(whole, list(SELECTORS), ns, str(folder))
    rows = table(whole, verdicts, list(SELECTORS), ns, windows=WINDOWS)
    first = table(whole, verdicts, list(SELECTORS), ns, windows=WINDOWS, finished=True)
    return rows, first, {"tasks": len(whole), "plays of each": max(ns)}


def told(rows: Sequence[Row], names: dict[str, str]) -> list[dict[str, Any]]:
    found = []
    for row in rows:
        name = names.get(row.selector, row.selector)
        gain = None if row.gain is None else str(row.gain)
        estimate = row.success
        found.append({"selector": name, "n": row.n, "success": estimate.mean,
                      "interval": [estimate.low, estimate.high], "gain over one play": gain})  # fmt: skip
        print(f"{name:24} N = {row.n:2}  {estimate}   {gain or ''}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plays", type=Path, default=ROOT / "runs" / "select")
    parser.add_argument("--model", help="a run of the demo, e.g. with run.steps=0, to collect plays from")
    parser.add_argument("--n", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--contests", type=int, default=60)
    args = parser.parse_args()
    if args.model:
        command = [sys.executable, "-m", "forge_train.cli", "collect", args.model, *DESK, "--split", "test"]
        command += ["--tasks", "100", "--repeats", str(max(args.n)), "--top-logprobs", "20"]
        subprocess.run([*command, "--out", str(args.plays)], check=True)
    results: dict[str, Any] = {}
    rows, first, settings = desk(args.plays, args.n)
    print("desk:", settings)
    results["desk"] = {"settings": settings | {"window": WINDOWS.window}, "rows": told(rows, {})}
    print("desk, plays that ended by themselves first:")
    results["desk, finished first"] = {"rows": told(first, {})}
    print("contests:")
    names = {"mean": "patches x tests", ONE: "one patch", ALL: ALL}
    scripted = {"contests": args.contests, "patches": PATCHES, "test files": FILES, "cases of each": CASES,
                "right patches": RIGHT, "wrong tests": WRONG_CASES}  # fmt: skip
    results["contests, scripted patches"] = {
        "settings": scripted,
        "rows": told(contests(args.contests, args.n), names),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
