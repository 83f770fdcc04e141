"""Answers as models spoil them: gold answers of exercises with one to three changes, and soups of lines."""

from __future__ import annotations

import difflib
import random
import re
from collections.abc import Callable, Mapping
from itertools import pairwise

from forge_envs.worlds.polyglot.edits import write_diff, write_whole

Files = Mapping[str, str]
Change = Callable[[random.Random, list[str], Files], list[str]]
"""Lines of an answer without their ends, before and after a change."""

MARKS = re.compile(r"\s*(<{4,10} SEARCH>?|={4,10}|>{4,10} REPLACE)\s*$")
DRESSES = (
    "**{}**", "`{}`", "`{}`:", "### {}", "# `{}`", "{}:", "**{}**:", "**`{}`**", "File: {}", "  {}", "{}  ",
    "path/to/{}", "./{}", "exercise/{}", "#{}", "*{}*", "{}.", "<{}>", "[{}]", "## File `{}`", "src/../{}",
    "1. {}", "\\{}", "{}\\", "\t{}", "Here is `{}`:", "Here it is:", "The file {} follows.", "...", "",
    "{} ", "{}\u200b", "`{}` (new)", "// {}", "--- {}", "a/{}", "{}\r",
)  # fmt: skip
PROSE = (
    "You can run the tests with:\n```bash\npytest\n```\n",
    "\n```sh\n<<<<<<< SEARCH\necho\n```\n",
    "I change `{}` here.\n\n",
    "Here is `{}`, and the reasons:\n",
    "An example:\n\n```python\nprint(1)\n```\n\n",
    "```\nexample\n```\n",
    "<think>\n```python\nx\n```\n</think>\n",
    "\n\n",
    "> quoted\n",
)


def whole_answer(files: Files, solved: Files, rng: random.Random) -> str:
    """The whole files of a solution."""
    return write_whole(solved, rng.choice(["python", "rust", "", "c++"]))


def diff_answer(files: Files, solved: Files, rng: random.Random) -> str:
    """The solution as one block a file, or as the blocks of its differences with some lines around."""
    if rng.random() < 0.3:
        return write_diff(solved, files, "python")
    around = rng.choice([0, 1, 2, 3])
    parts = ["Some words first.\n"]
    for path, new in solved.items():
        old, lines = files.get(path, "").splitlines(), new.splitlines()
        for group in difflib.SequenceMatcher(None, old, lines).get_grouped_opcodes(around):
            search = "".join(f"{line}\n" for line in old[group[0][1] : group[-1][2]])
            replacement = "".join(f"{line}\n" for line in lines[group[0][3] : group[-1][4]])
            parts.append(
                f"{path}\n```python\n<<<<<<< SEARCH\n{search}=======\n{replacement}>>>>>>> REPLACE\n```\n"
            )
    return "\n".join(parts)


def edited(solved: Files, rng: random.Random) -> dict[str, str]:
    """A solution with some of its lines changed, as a thing to arrive at by blocks."""
    new = {}
    for path, text in solved.items():
        lines = text.splitlines()
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(lines) + 1)
            size = rng.choice([0, 1, 1, 2, 5])
            lines[at : at + size] = [f"    new line {rng.randrange(9)}"] * rng.choice([0, 1, 1, 3])
        new[path] = "".join(f"{line}\n" for line in lines)
    return new


# -- changes --------------------------------------------------------------------------------------------


def _names(lines: list[str], files: Files) -> list[int]:
    return [i for i, line in enumerate(lines) if line in files]


def _fences(lines: list[str]) -> list[int]:
    return [i for i, line in enumerate(lines) if line.startswith("```")]


def _marks(lines: list[str]) -> list[int]:
    return [i for i, line in enumerate(lines) if MARKS.match(line)]


def _at(
    rng: random.Random, lines: list[str], places: list[int], new: Callable[[str], list[str]]
) -> list[str]:
    """One of these lines, or all of them, replaced."""
    if not places:
        return lines
    chosen = set(places) if rng.random() < 0.3 else {rng.choice(places)}
    return [new_line for i, line in enumerate(lines) for new_line in (new(line) if i in chosen else [line])]


def dressed_name(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    dress = rng.choice(DRESSES)
    return _at(rng, lines, _names(lines, files), lambda line: [dress.format(line)])


def misspelt_name(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    def spoil(name: str) -> list[str]:
        at = rng.randrange(len(name))
        way = rng.randrange(5)
        return [
            (name[:at] + name[at + 1 :], f"{name[:at]}x{name[at:]}", name.upper(), name.split("/")[-1],
             name.replace("_", "-"))[way]
        ]  # fmt: skip

    return _at(rng, lines, _names(lines, files), spoil)


def no_name(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _names(lines, files), lambda line: [])


def other_name(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    others = [*files, "Cargo.toml", "tests/test_it.py", "notes"]
    return _at(rng, lines, _names(lines, files), lambda line: [rng.choice(others)])


def blank_under_name(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _names(lines, files), lambda line: [line, *[""] * rng.randint(1, 3)])


def name_on_fence(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    name = rng.choice(list(files))
    form = rng.choice(["```{}", "```python {}", "``` {}", "````{}", "```python:{}"])
    return _at(rng, lines, _fences(lines), lambda line: [form.format(name)])


def name_in_fence(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    name = rng.choice(list(files))
    return _at(
        rng, lines, _fences(lines) + _marks(lines), lambda line: [line, rng.choice([name, f"# {name}"])]
    )


def other_fence(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    form = rng.choice(
        ["````", "`````", "```text", "~~~", "  ```", "```  ", "``", "<source>", "```c++", "```a`b"]
    )
    return _at(rng, lines, _fences(lines), lambda line: [form])


def inner_fence(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, list(range(len(lines))), lambda line: [line, rng.choice(["```", "```x", "````"])])


def no_fence(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _fences(lines), lambda line: [])


def cut(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return lines[: max(1, len(lines) - rng.randint(1, 6))]


def headless(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return lines[rng.randint(1, 4) :]


def crlf(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    if rng.random() < 0.7:
        return [f"{line}\r" for line in lines]
    return _at(rng, lines, list(range(len(lines))), lambda line: [f"{line}\r"])


def trailing_blanks(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    more = rng.choice([" ", "   ", "\t"])
    return _at(rng, lines, list(range(len(lines))), lambda line: [line + more])


def shifted(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    more = rng.choice([" ", "  ", "    ", "\t", "        "])
    fixed = set(_names(lines, files) + _fences(lines) + _marks(lines))
    if rng.random() < 0.3:
        return [more + line for line in lines]
    if rng.random() < 0.5:
        return [line if i in fixed else more + line for i, line in enumerate(lines)]
    return [
        line if i in fixed else line[len(more) :] if line.startswith(more) else line
        for i, line in enumerate(lines)
    ]


def outdented(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, list(range(len(lines))), lambda line: [line.lstrip()])


def indented_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [rng.choice([" ", "  ", "\t"]) + line])


def other_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    def other(line: str) -> list[str]:
        sign, word = line.strip()[:1], line.strip().lstrip("<=>")
        size = rng.choice([4, 5, 6, 8, 9, 10])
        return [sign * size + word + rng.choice(["", "", " ", ">", " #"])]

    return _at(rng, lines, _marks(lines), other)


def equals_at_the_end(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    places = [i for i in _marks(lines) if lines[i].lstrip().startswith(">")]
    return _at(rng, lines, places, lambda line: ["======="])


def no_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [])


def double_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [line, line])


def empty_search(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [line, *(["======="] if "SEARCH" in line else [])])


def blank_after_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [line, *[""] * rng.randint(1, 2)])


def blank_before_mark(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, _marks(lines), lambda line: [*[""] * rng.randint(1, 2), line])


def elided(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    """Some lines in the middle of SEARCH and of REPLACE become "..."."""
    marks = _marks(lines)
    new = list(lines)
    if len(marks) < 3:
        return _at(rng, lines, list(range(len(lines))), lambda line: ["..."])
    for start, end in reversed(list(pairwise(marks))):
        if ">" not in lines[start] and end - start > 3 and rng.random() < 0.9:
            at = start + 1 + rng.randint(0, 1)
            new[at : end - rng.randint(0, 1)] = [rng.choice(["...", "...", "    ...", "... "])]
    return new


def line_gone(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, [rng.randrange(len(lines))] if lines else [], lambda line: [])


def line_twice(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return _at(rng, lines, [rng.randrange(len(lines))] if lines else [], lambda line: [line, line])


def lines_swapped(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    if len(lines) < 2:
        return lines
    at = rng.randrange(len(lines) - 1)
    return [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]]


def prose(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    said = rng.choice(PROSE).replace("{}", rng.choice(list(files))).splitlines()
    where = rng.choice([0, len(lines), rng.choice([0, *_names(lines, files)])])
    return [*lines[:where], *said, *lines[where:]]


def twice(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    return [*lines, "", *lines]


def odd_ends(rng: random.Random, lines: list[str], files: Files) -> list[str]:
    sign = rng.choice(["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r", "\ufeff", "\u00a0"])
    return _at(rng, lines, list(range(len(lines))), lambda line: [line + sign])


CHANGES: dict[str, Change] = {
    change.__name__.replace("_", " "): change
    for change in (
        dressed_name, misspelt_name, no_name, other_name, blank_under_name, name_on_fence, name_in_fence,
        other_fence, inner_fence, no_fence, cut, headless, crlf, trailing_blanks, shifted, outdented,
        indented_mark, other_mark, equals_at_the_end, no_mark, double_mark, empty_search, blank_after_mark,
        blank_before_mark, elided, line_gone, line_twice, lines_swapped, prose, twice, odd_ends,
    )
}  # fmt: skip


def soup(rng: random.Random, files: Files) -> str:
    """Names, marks, fences and lines of the files in any order, or blocks of them."""
    known = [line for text in files.values() for line in text.splitlines()] or ["x"]
    if rng.random() < 0.5:
        found = [line for _ in range(rng.randint(1, 4)) for line in _block(rng, known, files)]
    else:
        pieces = [
            *files, "```", "```python", "````", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "", "...",
            "words", *known[:8],
        ]  # fmt: skip
        found = [rng.choice(pieces) for _ in range(rng.randint(1, 14))]
    for _ in range(rng.randint(0, 2)):
        found = rng.choice(list(CHANGES.values()))(rng, found, files)
    return "\n".join(found) + rng.choice(["", "\n"])


def _block(rng: random.Random, known: list[str], files: Files) -> list[str]:
    """A block whose SEARCH part is nearly some lines of a file."""
    at = rng.randrange(len(known))
    search = known[at : at + rng.choice([0, 1, 1, 2, 3, 6])]
    given = [rng.choice(["new", "    new", "", *search, *known[:4]]) for _ in range(rng.randint(0, 3))]
    for part in (search, given):
        if rng.random() < 0.2:
            part.insert(
                rng.randrange(len(part) + 1), rng.choice(["", "", "...", "  ...", rng.choice(list(files))])
            )
    shift = rng.choice(["", "", "", " ", "    ", "\t"])
    search, given = [shift + line for line in search], [shift + line for line in given]
    if rng.random() < 0.2:
        search = [line.lstrip() for line in search]
    named = rng.choice([[rng.choice(list(files))], [rng.choice(list(files))], [], ["other.py"], ["Here:"]])
    fence = rng.choice([["```"], ["```python"], []])
    return [
        *named,
        *fence,
        "<<<<<<< SEARCH",
        *search,
        "=======",
        *given,
        ">>>>>>> REPLACE",
        *["```"][: len(fence)],
        "",
    ]
