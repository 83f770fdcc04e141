"""Honest answers to exercises of Forge/Polyglot-v0: examples in other words and wrong ones, judged twice.

In Python the habits of `honest_habits` that touch one module; in other languages other ends of lines, more
blank lines and remarks. A right answer that we refuse is a fault of the control. In Python every answer is
also judged by the exercise's own command, `pytest` on the published tests in a folder of their own.
Run: python -m benchmarks.honest_exercises [--source CHECKOUT] [--language python] [--sandbox process]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir
from pathlib import Path

from benchmarks.honest_habits import HABITS, Unfit
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.polyglot.exercise import Exercise
from forge_envs.worlds.polyglot.judge import judge

RESULTS = Path(__file__).parent / "results" / "honest_exercises.json"
IN_PYTHON = (
    *("unparsed", "tabs", "crlf", "no_final_newline", "byte_order_mark", "coding_line", "single_quotes"),
    *("comments", "rewritten", "locals_renamed", "helpers_behind", "deprecated_aliases", "dead_code_deleted"),
    *("prints", "prints_at_the_end", "logs", "threads", "processes", "signals", "doctests"),
)
REMARK = {"python": "#"}
Answer = tuple[str, Mapping[str, str], bool]
"""A name, the files, and whether they are meant to be right."""


def in_python(task: Exercise, names: list[str]) -> Iterator[Answer]:
    """Habits on the first file of the example, and the example with one result thrown away."""
    for name in names:
        with tempfile.TemporaryDirectory() as folder, chdir(folder):
            for path, text in task.example.items():
                Path(path).write_text(text, newline="")
            first = Path(sorted(task.example)[0])
            try:
                HABITS[name](first, first.with_name("x_test.py"))
            except Unfit:
                continue
            yield name, {path: Path(path).read_bytes().decode() for path in task.example}, True
    spoiled = {path: text.replace("return ", "return None and ") for path, text in task.example.items()}
    yield "nothing comes back", spoiled, False


def in_others(task: Exercise) -> Iterator[Answer]:
    """What needs no knowledge of a language."""
    mark = REMARK.get(task.language, "//")
    noted = {p: f"{t.rstrip()}\n\n{mark} naïve, see “issue 12”" for p, t in task.example.items()}
    yield "remark, no last newline", noted, True
    yield "crlf", {p: t.replace("\r\n", "\n").replace("\n", "\r\n") for p, t in task.example.items()}, True
    yield (
        "blank lines",
        {p: "\n\n" + t.replace("\n}\n", "\n}\n\n\n") + "\n\n\n" for p, t in task.example.items()},
        True,
    )


def own_command(task: Exercise, files: Mapping[str, str]) -> bool:
    """Whether `pytest` passes in a folder with these files and the published tests."""
    with tempfile.TemporaryDirectory() as folder:
        for path, data in {
            **{p: t.encode() for p, t in {**files, **task.tests}.items()},
            **task.support,
        }.items():
            place = Path(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        words = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        return subprocess.run(words, cwd=folder, capture_output=True, timeout=180).returncode == 0


def main() -> None:
    """Judge, print what differs, keep the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--source", default="builtin")
    parser.add_argument("--language", default="python")
    parser.add_argument("--sandbox", default="process")
    parser.add_argument("--each", type=int, default=4, help="habits tried on an exercise")
    args = parser.parse_args()
    env = PolyglotEnv(source=args.source, language=args.language, sandbox=args.sandbox)
    counts = {"right": 0, "refused": 0, "no_solution": 0, "wrong": 0, "compared": 0, "differ": 0}
    said = []
    for number, task_id in enumerate(env.task_ids(None)):
        task = env.find(task_id)
        if not isinstance(task, Exercise) or not task.example:
            continue
        names = [IN_PYTHON[(number * args.each + k) % len(IN_PYTHON)] for k in range(args.each)]
        answers = in_python(task, names) if task.language == "python" else in_others(task)
        for name, files, meant in answers:
            found = judge(task, task.files(files), sandbox=args.sandbox, timeout=300.0)
            own = own_command(task, task.files(files)) if task.language == "python" else None
            right = bool(found.command_passed) if own is None else own
            kind = (
                "wrong" if not meant else "right" if found.passed else "refused" if right else "no_solution"
            )
            counts[kind] += 1
            counts["compared"] += own is not None
            if own is not None and own is not found.command_passed:
                counts["differ"] += 1
                said.append(f"{task_id} {name}: own command {own}, ours {found.command_passed}")
            if kind in ("refused", "no_solution") or (not meant and found.passed):
                said.append(f"{task_id} {name}: {kind}: {found.output[-300:]}")
    print("\n".join(said), counts)
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    place = "builtin" if args.source == "builtin" else "checkout"
    kept[f"{place} {args.language} {args.sandbox}"] = {**counts, "said": said}
    RESULTS.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
