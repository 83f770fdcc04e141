"""Run the examples in the issues of a task repository again: as a reader would, from the text alone.

    nice -n 19 python benchmarks/issue_examples.py --out /tmp/strangers [--sample 50]

Shares no code with make-swe. Takes the fenced code out of each problem statement, types it in a fresh box of
the task's image, then applies gold and types it again. With the bug it must do what the text says: print the
value told, or end with the exception told; with gold it must do something else, which the text names as what
is right, or end without an error. Values told the wrong way round are found by the words around them.

Writes benchmarks/results/issue_examples.json; ends with status 1 unless every example holds.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from forge_envs.sandbox import Sandbox, provider

RESULTS = Path(__file__).parent / "results" / "issue_examples.json"
BLOCK = re.compile(r"^```(\w*)\n(.*?)\n```$", re.M | re.S)
RIGHT = re.compile(
    r"(expected|should|would be correct|right answer|rather than|instead of|not)[^.`\n]{0,40}`?$", re.I
)
WRONG = re.compile(
    r"(prints|i get|output|got|i see is|actual|fact it is|side is|value is|result is)[^.`\n]{0,20}`?$", re.I
)
AFTER_RIGHT = re.compile(r"^`?,? (would be correct|should be raised|to be raised)")
AFTER_WRONG = re.compile(r"^`?,? (comes out|is printed|back, where)")
TYPIST = r"""
import contextlib, doctest, io, json, traceback
text = open("/tmp/typed.txt").read()
out = {"said": "", "raised": "", "last": "", "as_shown": None}
if ">>> " in text:
    test = doctest.DocTestParser().get_doctest(text + "\n", {"__name__": "__main__"}, "t", None, 0)
    told = []
    class Runner(doctest.DocTestRunner):
        def report_success(self, out, test, example, got): told.append((True, example.want, got, ""))
        def report_failure(self, out, test, example, got): told.append((False, example.want, got, ""))
        def report_unexpected_exception(self, out, test, example, info):
            last = "".join(traceback.format_exception_only(*info[:2])).strip()
            told.append((False, example.want, "", last))
    Runner(verbose=False).run(test, out=lambda _: None, clear_globs=False)
    out["as_shown"] = all(right for right, *_ in told)
    out["said"], out["raised"] = told[-1][2].strip("\n"), told[-1][3]
    want = test.examples[-1]
    out["told"] = (want.exc_msg or want.want).strip("\n")
    if want.exc_msg and told[-1][0]:
        out["said"], out["raised"] = "", want.exc_msg.strip()
else:
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said):
            exec(compile(text, "typed.py", "exec"), {"__name__": "__main__"})
    except BaseException as error:
        out["raised"] = "".join(traceback.format_exception_only(type(error), error)).strip()
    out["said"] = said.getvalue().strip("\n")
json.dump(out, open("/tmp/typed.json", "w"))
"""


def typed(box: Sandbox, code: str) -> dict[str, Any]:
    """What somebody sees who types a block of code."""
    box.write("/tmp/typed.txt", code.encode())
    box.write("/tmp/typist.py", TYPIST.encode())
    done = box.run("cd /tmp && rm -f typed.json && python3 typist.py", timeout=60.0)
    if done.code != 0:
        return {"said": "", "raised": f"the reader's machine: {done.output[-200:]}", "as_shown": False}
    seen: dict[str, Any] = json.loads(box.read("/tmp/typed.json"))
    return seen


def roles(text: str, value: str) -> set[str]:
    """What the words around a value call it: right, wrong, both or nothing."""
    found = set[str]()
    shown = value.replace("`", "'")
    for match in re.finditer(re.escape(shown), text):
        before, after = text[max(0, match.start() - 60) : match.start()], text[match.end() : match.end() + 30]
        flat = re.sub(r"[\s`#*:]+", " ", before).rstrip() + (" " if before[-1:] != "`" else "")
        found |= {"right"} if AFTER_RIGHT.match(after) or RIGHT.search(flat.rstrip()) else set()
        found |= {"wrong"} if AFTER_WRONG.match(after) or WRONG.search(flat.rstrip()) else set()
    return found


def fault(text: str, code: str, bug: dict[str, Any], gold: dict[str, Any]) -> str:
    """What is wrong with an example, empty if nothing is."""
    prose = BLOCK.sub(lambda m: m[2] if m[1] == "" else "", text)
    if ">>> " in code:
        if not bug["as_shown"]:
            return f"the session does not go as shown: {bug['said'] or bug['raised']!r}"
        if gold["as_shown"]:
            return "the session goes the same with gold"
        wanted = gold["said"] or gold["raised"]
        if gold["raised"] and gold["raised"].replace("`", "'") not in prose:
            return f"with gold it raises {gold['raised']!r}, which nothing tells"
        quiet = bool(bug["raised"]) and not gold["raised"]
        if not quiet and wanted.replace("`", "'") not in prose:
            return f"with gold it gives {wanted!r}, which nothing tells"
        return ""
    if (bug["said"], bug["raised"]) == (gold["said"], gold["raised"]):
        return f"the same in both: {bug['said'] or bug['raised']!r}"
    if bug["raised"] == "AssertionError" and "assert" in code:
        return "" if not gold["raised"] else f"with gold it raises {gold['raised']!r}"
    for name, seen in (("the bug", bug), ("gold", gold)):
        for value in filter(None, (seen["said"], seen["raised"])):
            if value not in text and value.replace("`", "'") not in text:
                return f"with {name} it gives {value!r}, which nothing tells"
    if gold["raised"] and not bug["raised"] and not re.search("expected|should", prose, re.I):
        return "nothing says that it should raise"
    left, right = roles(prose, bug["said"] or bug["raised"]), roles(prose, gold["said"] or gold["raised"])
    if left == {"right"} or right == {"wrong"}:
        return f"told the wrong way round: {bug['said']!r} for {gold['said']!r}"
    return ""


def judge(folder: Path, image: str) -> list[str]:
    """The faults of the examples of a task, one text each, empty for one that holds."""
    text = (folder / "problem_statement.md").read_text(encoding="utf-8")
    blocks = [code for language, code in BLOCK.findall(text) if language in ("python", "pycon", "py")]
    box = provider("docker").open(image)
    try:
        before = [typed(box, code) for code in blocks]
        box.write("/tmp/gold.patch", (folder / "gold.patch").read_bytes())
        applied = box.run("cd /testbed && git apply --whitespace=nowarn /tmp/gold.patch")
        if applied.code != 0:
            return [f"gold does not apply: {applied.output[-200:]}"]
        after = [typed(box, code) for code in blocks]
    finally:
        box.close()
    faults = [fault(text, *each) for each in zip(blocks, before, after, strict=True)]
    return faults or ["there is no code in it"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the task repository")
    parser.add_argument("--sample", type=int, default=0, help="tasks drawn by lot (default all)")
    args = parser.parse_args()
    folders = sorted(path.parent for path in args.out.glob("tasks/*/task.yaml"))
    if args.sample:
        folders = random.Random(0).sample(folders, min(args.sample, len(folders)))
    examples, bad = 0, dict[str, list[str]]()
    for folder in folders:
        meta = yaml.safe_load((folder / "task.yaml").read_text(encoding="utf-8"))
        faults = judge(folder, meta["image"])
        examples += len(faults)
        if any(faults):
            bad[folder.name] = [text for text in faults if text]
            print(f"{folder.name}: {bad[folder.name]}", flush=True)
    found = {
        "tasks": len(folders),
        "examples": examples,
        "held": examples - sum(map(len, bad.values())),
        "bad": bad,
    }
    RESULTS.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    print(f"{found['held']} of {examples} examples in {len(folders)} issues hold")
    return 1 if bad or not folders else 0


if __name__ == "__main__":
    sys.exit(main())
