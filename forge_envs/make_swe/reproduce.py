"""Issue examples, each executed: what a script does with the bug and what with gold, or no example."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from forge_envs.make_swe.draft import Retelling, drafts
from forge_envs.make_swe.fixtures import is_literal
from forge_envs.make_swe.witness import SHOW

TESTS = 6
"""Failing tests that are looked at for one issue."""
WANTED = 3
"""Examples of an issue."""
SCRIPTS = 9
"""Scripts that are tried for one test."""
LONGEST = 400
"""Characters of a value that is told."""
LINES = 14
"""Lines of a value that is printed."""
UNSTABLE = re.compile(r"0x[0-9a-fA-F]{6,}|/tmp/|/testbed|forge-script|\bexample\.py\b")
"""Places in memory and on disk, which a reader has others of."""
AMBIENT = re.compile(r" object>|<function |<module |<generator |<coroutine ")
BROKEN = frozenset({"NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "ImportError"})
"""Exceptions that no released code raises at first touch."""

Ask = Callable[[Sequence[Mapping[str, str]]], Mapping[str, Any]]
"""Runs scripts in both states: `bug0`, `bug1`, `gold0`, `gold1` and their answers."""


@dataclass(frozen=True)
class Told:
    """What a script did in one state: an exception, or a value."""

    raised: str = ""
    """The last line of the traceback."""
    error: str = ""
    """The name of the exception."""
    written: str = ""
    """The value as Python writes it."""
    printed: str = ""
    """The value as it is printed."""
    kind: str = ""
    """The value's type."""
    lines: tuple[int, ...] = ()
    """The lines of the script on the way to the exception, the outermost first."""

    @property
    def value(self) -> bool:
        """Whether there is a value."""
        return bool(self.written)


@dataclass(frozen=True)
class Example:
    """A script that was seen to go wrong with the bug, and to go right with gold."""

    draft: Retelling
    bug: Told
    gold: Told

    @property
    def kind(self) -> str:
        """`value`, `raises` (only with the bug), `silent` (only gold raises) or `other` (both raise)."""
        if self.bug.value:
            return "value" if self.gold.value or not self.gold.raised else "silent"
        return "other" if self.gold.raised else "raises"


def read_told(first: Any, second: Any) -> Told | None:
    """What two runs of a script agree on; None where they differ, or tell what others would not see.

    `first` and `second` are answers of `witness.run`.
    """
    if first is None or second is None or first["said"] or second["said"]:
        return None
    if first["value"] != second["value"] or first["raised"] != second["raised"]:
        return None
    raised, value = first["raised"], first["value"]
    if raised is not None:
        told = Told(raised["last"], raised["name"], lines=tuple(raised["lines"]))
        return (
            told if _tellable(told.raised) and (raised["inside"] or told.error != "AssertionError") else None
        )
    if value is None:
        return Told()
    told = Told(written=value["repr"], printed=value["str"], kind=value["type"])
    return told if value["repr"] and _tellable(told.written) and _tellable(told.printed) else None


def _tellable(text: str) -> bool:
    """Whether a value is short enough, and says nothing of this machine and this minute."""
    if len(text) > LONGEST or text.count("\n") >= LINES or UNSTABLE.search(text) or AMBIENT.search(text):
        return False
    now = time.time()
    clocks = (time.strftime("%Y", time.gmtime(now)), str(int(now))[:6])
    return (not any(clock in text for clock in clocks) and text.isprintable()) or "\n" in text


def judged(draft: Retelling, answers: Mapping[str, Any], last: bool) -> Example | None:
    """The example that a draft makes; `last` says that its last statement stood as it is written."""
    bug, gold = (read_told(answers[f"{state}0"], answers[f"{state}1"]) for state in ("bug", "gold"))
    if bug is None or gold is None:
        return None
    if bug.raised and (bug.error in BROKEN or not _at_last(bug, draft)):
        return None
    if gold.raised and not (draft.refuses and _at_last(gold, draft)):
        return None
    if bug.raised == gold.raised and bug.written == gold.written:
        return None
    if last and not bug.raised:
        return None  # nothing could be seen
    return Example(draft, bug, gold)


def _at_last(told: Told, draft: Retelling) -> bool:
    """Whether the exception passed through the last statement."""
    lines = told.lines[1:] if draft.after else told.lines
    return max(lines, default=0) > (draft.before.count("\n") + 1 if draft.before else 0)


def reproduced(
    failures: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, int]],
    files: Mapping[str, bytes],
    ask: Ask,
) -> list[Example]:
    """The examples in failing tests, one of each test function, the shortest first. Raises SandboxError."""
    tried = list(_tried(failures, places, files))
    found: dict[str, Example] = {}
    for wave in (3, SCRIPTS):
        asked = [(d, last) for options in tried for d, last in options[(wave == SCRIPTS) * 3 : wave]
                 if d.test not in found]  # fmt: skip
        if not asked:
            continue
        answers = ask([{"text": draft.script("" if last else SHOW)} for draft, last in asked])
        for number, (draft, last) in enumerate(asked):
            example = judged(draft, {key: value[number] for key, value in answers.items()}, last)
            if example is not None:
                found.setdefault(draft.test, example)
        if found:
            break
    distinct: dict[tuple[str, str, str], Example] = {}
    for example in sorted(found.values(), key=_length):
        distinct.setdefault((example.draft.value, example.bug.written, example.bug.raised), example)
    return [*distinct.values()][:WANTED]


def _tried(
    failures: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, int]],
    files: Mapping[str, bytes],
) -> Iterator[list[tuple[Retelling, bool]]]:
    """The scripts of some failing tests, one test of each function."""
    firsts: dict[tuple[str, int], str] = {}
    for nodeid in sorted(failures, key=lambda n: (len(n), n)):
        if nodeid in places:
            firsts.setdefault(places[nodeid], nodeid)
    for place, nodeid in islice(firsts.items(), TESTS):
        options = islice(drafts(nodeid, failures[nodeid], place, files), SCRIPTS)
        yield [(draft, not draft.value) for draft in options]


def _length(example: Example) -> tuple[bool, int, str]:
    told = len(example.bug.written) + len(example.gold.written)
    vague = example.bug.kind == "bool" and not is_literal(example.draft.value)
    return vague, len(example.draft.script(SHOW)) + told, example.draft.test
