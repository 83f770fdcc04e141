"""A contest problem: a statement, hidden cases, and how values are written as text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from forge_envs.worlds.polyglot.exercise import Puzzle

Kind: TypeAlias = Literal["int", "ints", "text", "rows", "pairs"]
"""What an argument is: a whole number, a list of them, a line of text, lines of text, a list of pairs."""
Style: TypeAlias = Literal["stdin", "unit"]
FILE = "solution.py"

ANNOTATION: dict[Kind, str] = {
    "int": "int",
    "ints": "list[int]",
    "text": "str",
    "rows": "list[str]",
    "pairs": "list[list[int]]",
}
LAYOUT: dict[Kind, str] = {
    "int": "one line with the number `{0}`",
    "ints": "one line with the length of `{0}`, then one line with its numbers, separated by blanks",
    "text": "one line, `{0}`, which may be empty",
    "rows": "one line with the number of lines of `{0}`, then those lines",
    "pairs": (
        "one line with the number of pairs in `{0}`, then one line for each, its two numbers separated by "
        "a blank"
    ),
}
READING: dict[Kind, str] = {
    "int": "int(lines.pop(0))",
    "ints": "(lines.pop(0), [int(word) for word in lines.pop(0).split()])[1]",
    "text": "lines.pop(0)",
    "rows": "[lines.pop(0) for _ in range(int(lines.pop(0)))]",
    "pairs": "[[int(word) for word in lines.pop(0).split()] for _ in range(int(lines.pop(0)))]",
}


@dataclass(frozen=True, slots=True)
class Argument:
    """A named argument of the function, or part of the input."""

    name: str
    kind: Kind
    meaning: str


@dataclass(frozen=True, slots=True)
class Case:
    """What a program is given, as text, and what it must answer."""

    given: str
    answer: str


@dataclass(frozen=True)
class Contest(Puzzle):
    """A problem of a contest. Its cases never enter the box together with their answers."""

    style: Style
    cases: tuple[Case, ...]
    limit: float
    """Seconds that a program may take for one case."""


def written(kind: Kind, value: Any) -> str:
    """A value as lines of standard input.

    >>> written("ints", [3, 4])
    '2\\n3 4\\n'
    """
    if kind == "ints":
        return f"{len(value)}\n{' '.join(map(str, value))}\n"
    if kind in ("rows", "pairs"):
        rows = [row if isinstance(row, str) else f"{row[0]} {row[1]}" for row in value]
        return "".join(f"{line}\n" for line in (len(rows), *rows))
    return f"{value}\n"


def answer_text(value: Any) -> str:
    """An answer as a program prints it: numbers separated by blanks, text as it is."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def make_case(style: Style, arguments: Sequence[Argument], values: Sequence[Any], answer: Any) -> Case:
    """A case in the form in which a box is given it."""
    if style == "unit":
        return Case(json.dumps(list(values)), json.dumps(answer))
    return Case(
        "".join(written(a.kind, v) for a, v in zip(arguments, values, strict=True)), answer_text(answer)
    )


def same_answer(style: Style, got: str, want: str) -> bool:
    """Whether a program's answer is the right one: word by word, or as a JSON value of the same type.

    >>> same_answer("stdin", "3\\n 4 ", "3 4"), same_answer("unit", "1.0", "1"), same_answer("unit", "", "1")
    (True, False, False)
    """
    if style == "stdin":
        return got.split() == want.split()
    try:
        return json.dumps(json.loads(got)) == want
    except (ValueError, RecursionError):
        return False


def program(style: Style, arguments: Sequence[Argument], function: str) -> str:
    """A whole solution around a function `solve`."""
    if style == "unit":
        return function
    reads = "".join(f"{a.name} = {READING[a.kind]}\n" for a in arguments)
    names = ", ".join(a.name for a in arguments)
    shown = "print(*answer) if isinstance(answer, list) else print(answer)"
    return (
        f"import sys\n\n{function}\n\nlines = sys.stdin.read().split('\\n')\n{reads}answer = "
        f"solve({names})\n{shown}\n"
    )


def stub(style: Style, arguments: Sequence[Argument], answer: str) -> str:
    """The file as the agent is given it."""
    if style == "stdin":
        return "# Read from standard input, write to standard output.\n"
    signature = ", ".join(f"{a.name}: {ANNOTATION[a.kind]}" for a in arguments)
    return f"def solve({signature}) -> {answer}:\n    pass\n"


def statement(style: Style, arguments: Sequence[Argument], asked: str, samples: Sequence[Case]) -> str:
    """The task as the agent reads it."""
    meanings = "\n".join(f"- `{a.name}` ({ANNOTATION[a.kind]}): {a.meaning}" for a in arguments)
    if style == "unit":
        names = ", ".join(a.name for a in arguments)
        how = f"Write a function `solve({names})` that returns the answer."
        shown = [f"solve({case.given[1:-1]}) returns {case.answer}" for case in samples]
        examples = "```\n" + "\n".join(shown) + "\n```"
    else:
        layout = "; ".join(LAYOUT[a.kind].format(a.name) for a in arguments)
        how = (
            f"Write a program that reads from standard input: {layout}. It prints the answer and nothing "
            "else."
        )
        shown = [f"Input:\n```\n{case.given}```\nOutput:\n```\n{case.answer}\n```" for case in samples]
        examples = "\n\n".join(shown)
    return f"{asked}\n\n{meanings}\n\n{how}\n\nExamples:\n\n{examples}"
