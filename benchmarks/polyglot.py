"""Every exercise of a checkout of Aider-AI/polyglot-benchmark, judged twice: by Forge, and by hand.

    nice -n 19 python benchmarks/polyglot.py --source PATH [--sandbox docker] [--languages go rust]

For each exercise its stubs and its reference solution go through `judge`, as in Forge/Polyglot-v0, and
through the exercise's own test command typed into a fresh box of the same image, where the exit status alone
decides. What Aider's harness does to the files is done by hand too: `xtest` becomes `test`, `@Disabled` goes.
C++ by hand uses the Catch that comes with the exercise, not the image's own. Java's own command needs Gradle
and Maven Central, which are not reached here: by hand another build tool does what `build.gradle` says, Ant
with its own compiler and JUnit tasks, on the same Debian libraries.

Writes benchmarks/results/polyglot.json after every exercise, merged into what is there, and measures only
what is missing. `seconds` is the whole of a judgement of the reference that passes: a box, the tests, the
control test, the box gone; `load` is the host's load average before it. Prints the table as Markdown.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import platform
import statistics
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

RESULTS = Path(__file__).parent / "results" / "polyglot.json"
TIMEOUT, BY_HAND_TIMEOUT = 180.0, 900.0
"""Seconds; by hand the exit status is looked for, however long a busy machine takes."""
BY_HAND = {
    "python": "pytest",
    "javascript": "ln -s /opt/exercises/node_modules node_modules && npm run test",
    "go": "go test ./...",
    "rust": "cargo test -- --include-ignored",
    "java": "ant",
    "cpp": 'cmake -DEXERCISM_RUN_ALL_TESTS=1 -G "Unix Makefiles" . && make',
}
ANT_IMAGE = "forge/polyglot-java-by-hand"
ANT_DOCKERFILE = b"""\
FROM forge/polyglot-java
USER root
RUN apt-get update && apt-get install -y --no-install-recommends ant ant-optional
USER forge
"""
ANT_BUILD = b"""\
<project default="test">
  <path id="libraries">
    <fileset dir="/usr/share/java" includes="junit-jupiter*.jar junit-platform-*.jar opentest4j.jar
      apiguardian-api.jar assertj-core.jar byte-buddy.jar json-latest.jar" excludes="*-standalone.jar"/>
  </path>
  <target name="test">
    <mkdir dir="build/main"/>
    <mkdir dir="build/test"/>
    <javac srcdir="src/main/java" destdir="build/main" classpathref="libraries" includeantruntime="false"/>
    <path id="all"><pathelement path="build/main:build/test"/><path refid="libraries"/></path>
    <javac srcdir="src/test/java" destdir="build/test" classpathref="all" includeantruntime="false"/>
    <junitlauncher haltonfailure="true">
      <classpath refid="all"/>
      <testclasses>
        <fileset dir="build/test" includes="**/*.class" excludes="**/*$*.class"/>
        <fork/>
      </testclasses>
    </junitlauncher>
  </target>
</project>
"""
"""What an exercise's `build.gradle` says, in Ant's words."""


def by_hand(exercise: Exercise, files: Mapping[str, str], sandbox: str) -> bool:
    """Whether the exercise's own command ends with status 0."""
    language = LANGUAGES[exercise.language]
    texts = {**files, **language.unskipped(exercise.tests)}
    everything = {path: text.encode() for path, text in texts.items()} | dict(exercise.support)
    image = language.image
    if exercise.language == "java":
        everything["build.xml"] = ANT_BUILD
        image = ant_image() if sandbox == "docker" else image
    box = provider(sandbox).open(image, limits=LIMITS)
    try:
        box.write("exercise.tar", pack(everything))
        box.run(f"mkdir {exercise.name} && tar -xf exercise.tar -C {exercise.name}")
        folder = f"{box.workdir}/{exercise.name}"
        command, typed = BY_HAND[exercise.language], {"LANG": "C.UTF-8"}  # what people's terminals speak
        return box.run(command, timeout=BY_HAND_TIMEOUT, cwd=folder, env=typed).code == 0
    finally:
        box.close()


def ant_image() -> str:
    """Java's image with Ant in it; the daemon remembers that it has made it."""
    from forge_envs.sandbox.engine import Engine

    engine = Engine()
    with engine.asking(f"building {ANT_IMAGE}", patience=600.0):
        for line in engine.api.build(
            fileobj=io.BytesIO(ANT_DOCKERFILE), tag=ANT_IMAGE, network_mode="host", rm=True, decode=True
        ):
            if "error" in line:
                raise RuntimeError(f"{ANT_IMAGE} was not built: {line['error']}")
    return ANT_IMAGE


def measure(
    exercise: Exercise, known: Mapping[str, Any], sandbox: str, *, hand: bool, least: int
) -> dict[str, Any]:
    """An exercise's record, where something was missing: verdicts on the stubs and, if there is one, on the
    reference.

    A reference is judged `least` times; of passes the quickest is kept.
    """
    kinds = {"stubs": exercise.files({})}
    if exercise.example:
        kinds["reference"] = exercise.files(exercise.example)
    record: dict[str, Any] = {"expected": LANGUAGES[exercise.language].expected(exercise.tests).total()}
    for kind, files in kinds.items():
        run = dict(known.get(kind, {}))
        if "passed" not in run:
            tries = [judged(exercise, files, sandbox) for _ in range(least if kind == "reference" else 1)]
            run |= min(tries, key=lambda tried: (tried["passed"], tried["seconds"]))
        if hand and "by_hand" not in run:
            run["by_hand"] = by_hand(exercise, files, sandbox)
        record[kind] = run
    return record


def judged(exercise: Exercise, files: Mapping[str, str], sandbox: str) -> dict[str, Any]:
    """Forge's verdict, how long it took, and how busy the host was."""
    load, began = os.getloadavg()[0], time.monotonic()
    verdict = judge(exercise, files, sandbox=sandbox, timeout=TIMEOUT)
    return {
        "passed": verdict.passed,
        "tests": verdict.results.total,
        "tests_passed": verdict.results.passed.total(),
        "seconds": round(time.monotonic() - began, 2),
        "load": round(load, 1),
    }


def table(exercises: Mapping[str, Any]) -> dict[str, Any]:
    """One row per language."""
    rows = {}
    for language in LANGUAGES:
        mine = {name: record for name, record in exercises.items() if name.startswith(f"{language}/")}
        stubs = [record["stubs"] for record in mine.values() if "passed" in record["stubs"]]
        references = [
            record["reference"] for record in mine.values() if "passed" in record.get("reference", {})
        ]
        both = [run for run in stubs + references if "by_hand" in run]
        passed = [run for run in references if run["passed"]]
        gaps = [name for name in GAPS if name.startswith(f"{language}/")]
        rows[language] = {
            "exercises": len(mine) + len(gaps),
            "playable": len(mine),
            "references": len(references),
            "references_pass": len(passed),
            "stubs_fail": sum(not run["passed"] for run in stubs),
            "by_hand": len(both),
            "by_hand_equal": sum(run["passed"] == run["by_hand"] for run in both),
            "seconds_median": round(statistics.median(run["seconds"] for run in passed), 2)
            if passed
            else None,
            "seconds_worst": max((run["seconds"] for run in passed), default=None),
            "load_median": round(statistics.median(run["load"] for run in passed), 1) if passed else None,
        }
    counts = [key for key in next(iter(rows.values())) if not key.startswith(("seconds", "load"))]
    return {**rows, "all": {key: sum(row[key] for row in rows.values()) for key in counts}}


def markdown(rows: Mapping[str, Any]) -> str:
    """The table for docs/results.md."""
    titles = "language", "exercises", "playable", "references pass", "stubs fail", "by hand equal"
    lines = [f"| {' | '.join(titles)} | median s | worst s |", f"|{'---|' * 8}"]
    for name, row in rows.items():
        title = LANGUAGES[name].title if name in LANGUAGES else "all"
        cells = [
            title,
            row["exercises"],
            row["playable"],
            f"{row['references_pass']} of {row['references']}",
            f"{row['stubs_fail']} of {row['playable']}",
            f"{row['by_hand_equal']} of {row['by_hand']}",
            row.get("seconds_median") or "",
            row.get("seconds_worst") or "",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |".replace("  ", " "))
    return "\n".join(lines)


def keep(header: Mapping[str, Any], exercises: Mapping[str, Any]) -> dict[str, Any]:
    """Merge into what is on disk, where another run of this script may be adding; returns all there is."""
    folder = os.open(RESULTS.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"exercises": {}}
        for name, record in exercises.items():
            known = found["exercises"].get(name, {})
            runs = {
                kind: {**known.get(kind, {}), **run} if isinstance(run, dict) else run
                for kind, run in record.items()
            }
            found["exercises"][name] = {**known, **runs}
        found = {**found, **header, "exercises": dict(sorted(found["exercises"].items()))}
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
    parser.add_argument("--only", nargs="+", default=[], help="exercises such as go/say and no others")
    parser.add_argument("--again", action="store_true", help="judge anew what has been judged")
    parser.add_argument(
        "--judge-only", action="store_true", help="nothing by hand, which is half of the work"
    )
    parser.add_argument(
        "--least", type=int, default=1, help="judge a reference so often; the least time counts"
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
            known = found["exercises"].get(name, {})
            if options.again:
                hands = {kind: known.get(kind, {}).get("by_hand") for kind in ("stubs", "reference")}
                known = {kind: {"by_hand": hand} for kind, hand in hands.items() if hand is not None}
            if options.only and name not in options.only:
                continue
            record = measure(
                checkout.find(task), known, options.sandbox, hand=not options.judge_only, least=options.least
            )
            if record == known:
                continue
            found = keep(header, {name: record})
            runs = {kind: record[kind] for kind in ("stubs", "reference") if kind in record}
            odd = any(run["passed"] != (kind == "reference") for kind, run in runs.items())
            unlike = any(run.get("by_hand", run["passed"]) != run["passed"] for run in runs.values())
            print(name, "ODD" * odd, "UNLIKE" * unlike, json.dumps(record), flush=True)
    print(markdown(found["table"]))


if __name__ == "__main__":
    main()
