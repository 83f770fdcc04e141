"""Issues written from what fails: our sentences around the code, values and errors of the failing tests."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from forge_envs.make_swe.example import Example, read_example

SHOWN = 3
"""Further examples in a list."""
SHORTEST = 10
"""Characters; a shorter changed line says nothing that could be recognised."""
OPENINGS = {
    "bug": (
        "I ran into this with {name} {version}:",
        "With {name} {version} this does not do what it should:",
        "Something is off in {name} {version}. This is enough to see it:",
        "Our code relies on the following, and with {name} {version} it fails:",
    ),
    "release": (
        "{name} {version} does not support this yet:",
        "This should work, and with {name} {version} it does not:",
        "I expected {name} {version} to handle the following:",
    ),
}
MORE = ("The same thing in other places:", "Other cases that I tried:", "It also shows here:")
CLOSINGS = (
    "Please make it behave as described, without breaking anything that works now.",
    "All else that I use still works, and should stay as it is.",
    "I have not found where it comes from.",
)


def examples_of(
    failures: Mapping[str, Mapping[str, Any]],
    places: Mapping[str, tuple[str, int]],
    files: Mapping[str, bytes],
) -> list[Example]:
    """The examples in failing tests, one of each function first; shorter ones first."""
    found: list[tuple[tuple[str, int], Example]] = []
    for nodeid, facts in sorted(failures.items()):
        place = places.get(nodeid)
        example = read_example(nodeid, facts, place, files.get(place[0], b"")) if place else None
        if place and example:
            found.append((place, example))
    found.sort(key=lambda pair: (not pair[1].line, len(pair[1].code) + len(pair[1].got), pair[1].test))
    firsts: dict[tuple[str, int], Example] = {}
    for place, example in found:
        firsts.setdefault(place, example)
    return [*firsts.values(), *(example for place, example in found if firsts[place] is not example)]


def write_statement(
    name: str, version: str, examples: Sequence[Example], count: int, *, seed: str, style: str = "bug"
) -> str:
    """An issue of one example in full, a few more in a line each, and how many checks fail in all.

    `style` is "bug", or "release" for what a later release can do.
    """
    dice = random.Random(seed)
    first, rest = examples[0], examples[1:]
    parts = [
        f"# {_title(first, name)}",
        dice.choice(OPENINGS[style]).format(name=name, version=version),
        f"```python\n{first.code}\n```",
        f"**Expected:** {_told(first.wanted, first.line)}\n\n**Actual:** {_told(first.got, first.line)}",
    ]
    lines = [line for line in dict.fromkeys(_bullet(example) for example in rest) if line][:SHOWN]
    if lines:
        parts.append("\n".join([dice.choice(MORE), "", *lines]))
    told = 1 + len(lines)
    if count > told:
        parts.append(f"There is more of the kind: {count} checks that I have fail because of it.")
    parts.append(dice.choice(CLOSINGS))
    return "\n\n".join(parts) + "\n"


def _title(example: Example, name: str) -> str:
    what = f"`{example.line}`" if 0 < len(example.line) <= 60 else name
    if example.raised:
        return f"{what} raises `{example.raised}`"
    if example.got.startswith("Nothing"):
        return f"{what} accepts what it should refuse"
    return f"{what} gives a wrong result" if example.line else f"Unexpected behaviour of {name}"


def _told(sentence: str, line: str) -> str:
    if sentence.startswith("It is") and line:
        return f"`{line}`{sentence[2:]}"
    return sentence


def _bullet(example: Example) -> str:
    if not example.closed:
        return ""
    got = example.got.rstrip(".").removeprefix("It is ")
    wanted = example.wanted.rstrip(".").removeprefix("It is ")
    return f"- `{example.line}`: {got}; expected: {wanted}"


def leaks(text: str, path: str, function: str, before: bytes, after: bytes) -> list[str]:
    """What a statement says of the change: its file, a line number, lines that differ, a private name.

    Lines that only import something do not count: every example has some.
    """
    pure = PurePosixPath(path)
    own = (pure.name,) if pure.name != "__init__.py" else ()
    told = [word for word in (path, *own) if word in text]
    told += re.findall(r"\bline \d+", text)
    private = function.rpartition(".")[2]
    if (
        private.startswith("_")
        and not private.endswith("__")
        and re.search(rf"\b{re.escape(private)}\b", text)
    ):
        told.append(private)
    changed = [line for line in _changed(before, after) if not line.startswith(("import ", "from "))]
    told += [line for line in changed if len(line) >= SHORTEST and line in text]
    return told


def _changed(before: bytes, after: bytes) -> Iterable[str]:
    old, new = (data.decode("utf-8", "replace").splitlines() for data in (before, after))
    both = set(old) & set(new)
    return [line.strip() for line in dict.fromkeys([*old, *new]) if line not in both and line.strip()]
