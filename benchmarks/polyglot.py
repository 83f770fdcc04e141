"""Every exercise of a checkout of Aider-AI/polyglot-benchmark, judged twice: by Forge, and by hand.

    nice -n 19 python benchmarks/polyglot.py --source PATH [--sandbox docker] [--languages go rust] [--again]

For each exercise its stubs and its reference solution go through `judge`, as in Forge/Polyglot-v0, and
through the exercise's own test command typed into a fresh box of the same image, where the exit status alone
decides. What Aider's harness does to the files is done by hand too: `xtest` becomes `test`, `@Disabled` goes.
Java has no own command without gradle, whose parts are in no registry that is reached here; by hand it is
javac and JUnit's launcher. C++ by hand uses the Catch that comes with the exercise, not the image's own.

Writes benchmarks/results/polyglot.json after every exercise and goes on from there. `seconds` is the whole of
a judgement of the reference that passes: a box, the tests, the control test, the box gone.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.sandbox import provider
from forge_envs.worlds.polyglot.checkout import PREFIX, Checkout
from forge_envs.worlds.polyglot.exercise import Exercise
from forge_envs.worlds.polyglot.gaps import GAPS, NO_EXAMPLE
from forge_envs.worlds.polyglot.judge import LIMITS, judge, pack
from forge_envs.worlds.polyglot.languages import LANGUAGES
from forge_envs.worlds.polyglot.languages.java import LAUNCH_ALL

RESULTS = Path(__file__).parent / "results" / "polyglot.json"
TIMEOUT, BY_HAND_TIMEOUT = 180.0, 900.0
"""Seconds; by hand the exit status is looked for, however long a busy machine takes."""
BY_HAND = {
    "python": "pytest",
    "javascript": "ln -s /opt/exercises/node_modules node_modules && npm run test",
    "go": "go test ./...",
    "rust": "cargo test -- --include-ignored",
    "java": LAUNCH_ALL,
    "cpp": 'cmake -DEXERCISM_RUN_ALL_TESTS=1 -G "Unix Makefiles" . && make',
}


def by_hand(exercise: Exercise, files: Mapping[str, str], sandbox: str) -> bool:
    """Whether the exercise's own command ends with status 0."""
    language = LANGUAGES[exercise.language]
    everything = {
        path: text.encode() for path, text in {**files, **language.unskipped(exercise.tests)}.items()
    }
    box = provider(sandbox).open(language.image, limits=LIMITS)
    try:
        box.write("exercise.tar", pack({**everything, **exercise.support}))
        box.run(f"mkdir {exercise.name} && tar -xf exercise.tar -C {exercise.name}")
        folder = f"{box.workdir}/{exercise.name}"
        return box.run(BY_HAND[exercise.language], timeout=BY_HAND_TIMEOUT, cwd=folder).code == 0
    finally:
        box.close()


def measure(exercise: Exercise, sandbox: str, hand: bool) -> dict[str, Any]:
    """Verdicts on the stubs and, where there is one, on the reference; by hand only where asked for."""
    kinds = {"stubs": exercise.files({})}
    if exercise.example:
        kinds["reference"] = exercise.files(exercise.example)
    record: dict[str, Any] = {"expected": LANGUAGES[exercise.language].expected(exercise.tests).total()}
    for kind, files in kinds.items():
        began = time.monotonic()
        verdict = judge(exercise, files, sandbox=sandbox, timeout=TIMEOUT)
        seconds = time.monotonic() - began
        record[kind] = {
            "passed": verdict.passed,
            "by_hand": by_hand(exercise, files, sandbox) if hand else None,
            "tests": verdict.results.total,
            "tests_passed": verdict.results.passed.total(),
            "seconds": round(seconds, 2),
        }
    return record


def table(exercises: Mapping[str, Any]) -> dict[str, Any]:
    """One row per language."""
    rows = {}
    for language in LANGUAGES:
        mine = {name: record for name, record in exercises.items() if name.startswith(f"{language}/")}
        references = [record["reference"] for record in mine.values() if "reference" in record]
        both = [record["stubs"] for record in mine.values()] + references
        both = [run for run in both if run["by_hand"] is not None]
        seconds = [run["seconds"] for run in references if run["passed"]]
        gaps = [name for name in GAPS if name.startswith(f"{language}/")]
        rows[language] = {
            "exercises": len(mine) + len(gaps),
            "playable": len(mine),
            "references": len(references),
            "references_pass": sum(run["passed"] for run in references),
            "stubs_pass": sum(record["stubs"]["passed"] for record in mine.values()),
            "verdicts_by_hand": len(both),
            "verdicts_unlike_by_hand": sum(run["passed"] != run["by_hand"] for run in both),
            "seconds_median": round(statistics.median(seconds), 2) if seconds else None,
            "seconds_worst": max(seconds, default=None),
        }
    total = {
        key: sum(row[key] for row in rows.values())
        for key in next(iter(rows.values()))
        if "seconds" not in key
    }
    return {**rows, "all": total}


def keep(header: Mapping[str, Any], exercises: Mapping[str, Any]) -> dict[str, Any]:
    """Add to what is on disk, where another run of this script may be adding too; returns all there is."""
    folder = os.open(RESULTS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"exercises": {}}
        found = {**found, **header, "exercises": dict(sorted({**found["exercises"], **exercises}.items()))}
        found["table"] = table(found["exercises"])
        scratch = RESULTS.with_suffix(".part")
        scratch.write_text(json.dumps(found, indent=1) + "\n")
        scratch.replace(RESULTS)
        return found
    finally:
        os.close(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", type=Path, required=True, help="a checkout of Aider-AI/polyglot-benchmark"
    )
    parser.add_argument("--sandbox", default="docker", choices=["docker", "process"])
    parser.add_argument("--languages", nargs="+", default=list(LANGUAGES), choices=list(LANGUAGES))
    parser.add_argument("--again", action="store_true", help="measure what has been measured as well")
    parser.add_argument("--only", nargs="+", default=[], help="exercises such as go/say, measured anew")
    parser.add_argument(
        "--judge-only", action="store_true", help="nothing by hand, which is half of the work"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that `process` is no jail is known to who asks for it here
    checkout = Checkout(options.source)
    header = {
        "sandbox": options.sandbox,
        "machine": {"python": platform.python_version(), "cores": os.cpu_count()},
        "gaps": GAPS,
        "no_reference": NO_EXAMPLE,
    }
    found = keep(header, {})
    for language in options.languages:
        for task in checkout.ids(language):
            name = task.removeprefix(f"{PREFIX}/")
            known = found["exercises"].get(name)
            half = known is not None and known["stubs"]["by_hand"] is None and not options.judge_only
            asked = name in options.only if options.only else options.again or known is None or half
            if not asked:
                continue
            record = measure(checkout.find(task), options.sandbox, not options.judge_only)
            found = keep(header, {name: record})
            runs = {kind: record[kind] for kind in ("stubs", "reference") if kind in record}
            odd = any(run["passed"] != (kind == "reference") for kind, run in runs.items())
            unlike = any(run["by_hand"] not in (None, run["passed"]) for run in runs.values())
            print(name, "ODD" * odd, "UNLIKE" * unlike, json.dumps(record), flush=True)
    json.dump(found["table"], sys.stdout, indent=1)


if __name__ == "__main__":
    main()
