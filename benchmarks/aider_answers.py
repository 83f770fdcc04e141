"""Answers read by Forge and by Aider's own code, over a whole checkout of the Aider polyglot benchmark.

    nice -n 19 python -m benchmarks.aider_answers --aider PATH --polyglot PATH [--rounds 20] [--seed 0]
    python -m benchmarks.aider_answers --aider PATH --keep tests/envs/aider_verdicts.json

`--aider` is a checkout of Aider-AI/aider, `--polyglot` one of Aider-AI/polyglot-benchmark; nothing of either
is kept. For all 225 exercises the reference solution is written in each format and read by both; then come
answers with one to three changes of `benchmarks/aider_mutations.py`, from the stubs to the solution and from
the solution to an edit of it, and soups of lines. Both must accept or refuse, and leave the agent's files
with the same bytes, but for the reasons in REASONS, which the table counts. `--keep FILE` writes answers to
small files of our own with Aider's verdicts instead, for `tests/envs/test_polyglot_aider.py`.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from benchmarks.aider_mutations import CHANGES, diff_answer, edited, soup, whole_answer
from benchmarks.aider_oracle import Aider, Verdict
from forge_envs.worlds.polyglot.edits import FORMATS, Answer, read_diff, read_whole

REASONS = {
    "no edit": "Aider sees nothing to apply and runs the tests; here the agent is told how to write an edit",
    "stray file": "Aider writes a file that is not the agent's; here that is not done, and told",
    "meant": "Aider writes a stray file; here the agent's file of that name, or so dressed up, is taken",
    "long fence": "a file in a longer fence holds fences: Aider cuts it at the first",
    "crash": "Aider's code raises something that is not its judgement",
    "slip": "Aider matches at a negative indentation and copies code as if it were blanks",
}
EQUAL, DIFFERENT = ("both accept", "both refuse"), "DIFFERENT"


@dataclass(frozen=True)
class Case:
    """An answer to files."""

    change: str
    edit_format: str
    files: Mapping[str, str]
    answer: str
    may_add: Callable[[str], bool]


def exercises(checkout: Path) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """Language, stubs and reference solution of every exercise, playable or not."""
    for config in sorted(checkout.glob("*/exercises/practice/*/.meta/config.json")):
        folder, lists = config.parent.parent, json.loads(config.read_text(encoding="utf-8"))["files"]
        language = folder.parts[-4]
        stubs = {path: (folder / path).read_text(encoding="utf-8") for path in lists["solution"]}
        solved = {}
        for path in lists.get("example", ()):
            kind = PurePosixPath(path).suffix
            place = next((stub for stub in stubs if PurePosixPath(stub).suffix == kind), None)
            if language == "java":
                place = f"src/main/java/{PurePosixPath(path).name}"
            if place:
                solved[place] = (folder / path).read_text(encoding="utf-8")
        yield language, stubs, solved


def cases(checkout: Path, rounds: int, seed: int) -> Iterator[Case]:
    """Gold of every exercise in each format, then `rounds` changed answers for each, and as many soups."""
    write = {"whole": whole_answer, "diff": diff_answer}
    for number, (language, stubs, solved) in enumerate(exercises(checkout)):
        rng = random.Random(f"{seed} {number}")

        def may_add(path: str, language: str = language, files: Mapping[str, str] = stubs) -> bool:
            folders = {PurePosixPath(stub).parent for stub in files}
            return language == "java" and PurePosixPath(path).parent in folders and path.endswith(".java")

        for edit_format in FORMATS:
            yield Case("gold", edit_format, stubs, write[edit_format](stubs, solved, rng), may_add)
            for _ in range(rounds):
                files, goal = (stubs, solved) if rng.random() < 0.5 else (solved, edited(solved, rng))
                names = rng.sample(list(CHANGES), rng.choice([1, 1, 2, 3]))
                lines = write[edit_format](files, goal, rng).splitlines()
                for name in names:
                    lines = CHANGES[name](rng, lines, files)
                text = "\n".join(lines) + rng.choice(["", "\n", "\n\n"])
                yield Case(names[0], edit_format, files, text, may_add)
                yield Case("soup", edit_format, stubs, soup(rng, stubs), may_add)


SMALL: tuple[tuple[dict[str, str], dict[str, str]], ...] = (
    (
        {"tournament.py": "def tally(rows):\n    pass\n"},
        {"tournament.py": "import re\n\n\ndef tally(rows):\n    for row in rows:\n        print(row)\n"},
    ),
    (
        {"src/lib.rs": "fn a() {\n    todo!()\n}\n\nfn b() {\n    todo!()\n}\n", "src/util.rs": ""},
        {
            "src/lib.rs": "use util::c;\n\nfn a() {\n    c();\n}\n\nfn b() {\n    a();\n}\n",
            "src/util.rs": "pub fn c() {\n}\n",
        },
    ),
    (
        {"a.h": "#pragma once\n", "a.cpp": "int f();"},
        {"a.h": "int f();\n", "a.cpp": "int f() {\n\treturn 1;\n}\n"},
    ),
)
"""Files before and after, for cases that are kept."""


def small_cases(count: int) -> Iterator[Case]:
    """Changed answers to small files."""
    write = {"whole": whole_answer, "diff": diff_answer}
    rng = random.Random(0)
    for number in range(count):
        files, solved = SMALL[number % len(SMALL)]
        edit_format = FORMATS[number // len(SMALL) % len(FORMATS)]
        name = list(CHANGES)[number // 6 % len(CHANGES)]
        lines = CHANGES[name](rng, write[edit_format](files, solved, rng).splitlines(), files)
        yield Case(name, edit_format, files, "\n".join(lines) + "\n", lambda path: False)


def keep(aider: Aider, place: Path, count: int = 430) -> None:
    """Write small cases in which both agree: format, number of the files, answer, what changed, accepted."""
    kept = {}
    for case in small_cases(count):
        theirs, ours = aider.read(case.edit_format, case.files, case.answer), read(case)
        if compare(case, theirs, ours) in EQUAL:
            changed = {
                path: theirs.files[path] for path in case.files if theirs.files[path] != case.files[path]
            }
            number = [files for files, _ in SMALL].index(dict(case.files))
            kept[case.edit_format, number, case.answer] = [changed, theirs.error is None]
    rows = [json.dumps([*key, *value], ensure_ascii=True) for key, value in kept.items()]
    files = json.dumps([files for files, _ in SMALL])
    place.write_text('{"files": ' + files + ',\n"cases": [\n' + ",\n".join(rows) + "\n]}\n", encoding="utf-8")
    print(f"{len(rows)} cases in {place}")


def read(case: Case) -> Answer:
    """Our reading."""
    reader = read_diff if case.edit_format == "diff" else read_whole
    return reader(case.answer, case.files, case.may_add)


def compare(case: Case, theirs: Verdict, ours: Answer) -> str:
    """One of EQUAL, a key of REASONS, or DIFFERENT."""
    before = dict(case.files)
    left = {path: text for path, text in theirs.files.items() if path in before or case.may_add(path)}
    left = {path: text for path, text in left.items() if text or path in before}
    strays = sorted(set(theirs.files) - set(left) - set(before))
    after = {**before, **ours.changed}
    same = {path: text for path, text in after.items() if text or path in before} == left
    if same and (theirs.error is None) == (ours.error is None):
        return EQUAL[ours.error is not None]
    if theirs.crashed:
        return "crash"
    if theirs.slipped:
        return "slip"
    short = replace(case, answer=re.sub(r"^`{4,}", "```", case.answer.strip(), flags=re.MULTILINE))
    long = case.edit_format == "whole" and short.answer != case.answer.strip()
    if long and compare(short, theirs, read(short)) != DIFFERENT:
        return "long fence"
    if same and theirs.error is None:
        return "stray file" if strays else "no edit" if left == before else DIFFERENT
    untouched = all(left.get(path) in (text, before.get(path)) for path, text in after.items())
    if strays and untouched and set(left) <= set(after) and (theirs.error is None or ours.error is not None):
        return "meant"
    return DIFFERENT


def main() -> None:
    """Print the table; exit status 1 where something differs without a reason."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--aider", type=Path, required=True)
    parser.add_argument("--polyglot", type=Path)
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", type=int, default=3, help="how many differences are printed")
    arguments = parser.parse_args()
    aider = Aider(arguments.aider)
    if arguments.keep:
        return keep(aider, arguments.keep)
    if not arguments.polyglot:
        parser.error("--polyglot names a checkout of Aider-AI/polyglot-benchmark")
    counts: dict[str, Counter[str]] = {}
    shown = 0
    for case in cases(arguments.polyglot, arguments.rounds, arguments.seed):
        theirs, ours = aider.read(case.edit_format, case.files, case.answer), read(case)
        result = compare(case, theirs, ours)
        counts.setdefault(f"{case.edit_format}, {case.change}", Counter())[result] += 1
        if result == DIFFERENT and shown < arguments.show:
            shown += 1
            print(_told(case, theirs, ours), file=sys.stderr)
    _table(counts)
    sys.exit(any(row[DIFFERENT] for row in counts.values()))


def _told(case: Case, theirs: Verdict, ours: Answer) -> str:
    changed = {path: text for path, text in theirs.files.items() if case.files.get(path) != text}
    return (
        f"--- {case.edit_format}, {case.change}\nfiles: {dict(case.files)!r}\nanswer: {case.answer!r}\n"
        f"Aider: {changed!r}, {theirs.error!r}\nForge: {ours!r}\n"
    )


def _table(counts: Mapping[str, Counter[str]]) -> None:
    columns = (*EQUAL, *REASONS, DIFFERENT)
    print("| format, first change | answers | " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * (len(columns) + 1))
    total = sum(counts.values(), Counter())
    for name, row in [*sorted(counts.items()), ("all", total)]:
        print(f"| {name} | {row.total()} | " + " | ".join(str(row[column]) for column in columns) + " |")


if __name__ == "__main__":
    main()
