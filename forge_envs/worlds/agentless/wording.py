"""What the agent is told: the two questions of Agentless and Kimi-Dev, in words of our own."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath

from forge_envs.worlds.agentless.written import TESTED
from forge_envs.worlds.swe.task import SweTask

FIXER, TESTER = "fixer", "tester"
ROLES = (FIXER, TESTER)

SYSTEM = {
    FIXER: "You mend the code of a repository so that it does what an issue asks for. Hidden tests judge it.",
    TESTER: (
        "You write a test for an issue in a repository. It must fail on the code as it is, because of what "
        "the issue reports, and pass once that is mended. You do not see the fix."
    ),
}
WHICH = {
    FIXER: "Which files have to be changed?",
    TESTER: "Which files do you need to see, to write the test: test files to build on, and code under test?",
}
EDITS = """\
Every edit is a block: a line with ### and the file's path, then SEARCH, which repeats whole lines of the file
exactly as they are, blanks included, and then what shall stand there instead. What is searched for must stand
in the file exactly once: take in lines around it until it does. With an empty SEARCH part a new file is made.

```python
### path/to/file.py
<<<<<<< SEARCH
lines as they are
=======
lines as they shall be
>>>>>>> REPLACE
```

Edits that do not fit end the work: nothing is guessed."""
WHAT = {
    FIXER: "Answer with edits that mend the code.",
    TESTER: (
        "Answer with edits that add the test to one test file, new or there already; its name is like "
        "test_x.py. The code stays as it is. The test is run by pytest, which calls it: what cannot be "
        "imported shows nothing. It must come out the same whenever it is run, and ask what the code does, "
        "not how it is written."
    ),
}
SILENT = "Nothing was said."


def issue(task: SweTask) -> str:
    """The issue, as the agent reads it."""
    return f"<issue>\n{task.statement.strip()}\n</issue>"


def locate(task: SweTask, role: str, tree: Sequence[str], most: int, budget: int) -> str:
    """The first question: the issue, the repository's files, and which of them matter."""
    return (
        f"{issue(task)}\n\nFiles of the repository:\n\n{shown_tree(tree, role, budget)}\n\n{WHICH[role]} "
        f"Answer with at most {most} paths, the most important first, one a line between fences:\n\n"
        "```\npath/one.py\npath/two.py\n```"
    )


def edit(role: str, texts: Mapping[str, str], budget: int, notes: str = "") -> str:
    """The second question: the files, and how they are edited."""
    return f"{notes}{shown_files(texts, budget)}\n\n{WHAT[role]} {EDITS}"


def unusable(error: str) -> str:
    """What is told of edits that were not applied."""
    return f"Error: {error}. Nothing was changed, and the work ends here."


def nothing_named(most: int) -> str:
    """What is told of a first answer that names no file."""
    return (
        f"Error: that names no file of the repository. Answer with at most {most} paths, one a line between "
        "fences."
    )


def shown_tree(tree: Sequence[str], role: str, budget: int) -> str:
    """The files as a tree, in at most `budget` characters.

    Where not all fit, only Python files are shown; where these do not, those of the role: code for one who
    mends, tests for one who writes them; and where these do not, as many of them as fit.
    """
    python = [path for path in tree if path.endswith(".py")]
    mine = [path for path in python if is_test(path) == (role == TESTER)]
    for paths in (tree, python, mine):
        text = drawn(paths)
        if len(text) <= budget:
            left = len(tree) - len(paths)
            return text + (f"\n[{left} other files]" if left else "")
    count = budget * len(mine) // max(1, len(text))
    while count and len(drawn(mine[:count])) > budget:
        count = count * 9 // 10
    return drawn(mine[:count]) + f"\n[{len(tree) - count} other files]"


def is_test(path: str) -> bool:
    """Whether a file is one of tests, by its name or folder.

    >>> is_test("a/tests/x.py"), is_test("test_a.py"), is_test("a/latest.py")
    (True, True, False)
    """
    pure = PurePosixPath(path)
    return bool(TESTED & set(pure.parts[:-1])) or pure.name.startswith("test_") or pure.stem.endswith("_test")


def drawn(paths: Collection[str]) -> str:
    """Paths as a tree, folders once.

    >>> print(drawn(["a/b.py", "a/c/d.py", "e.py"]))
    a/
        b.py
        c/
            d.py
    e.py
    """
    lines: list[str] = []
    above: tuple[str, ...] = ()
    for path in paths:
        *folders, name = path.split("/")
        same = 0
        while same < min(len(folders), len(above)) and folders[same] == above[same]:
            same += 1
        lines += [f"{'    ' * depth}{folders[depth]}/" for depth in range(same, len(folders))]
        lines.append(f"{'    ' * len(folders)}{name}")
        above = tuple(folders)
    return "\n".join(lines)


def shown_files(texts: Mapping[str, str], budget: int) -> str:
    """The files, the first ones first, in at most `budget` characters of theirs; a longer one is cut."""
    left, shown = budget, []
    for path, text in texts.items():
        whole = text if len(text) <= left else text[: text.rfind("\n", 0, left) + 1]
        left -= len(whole)
        rest = len(text) - len(whole)
        cut = f"\n[{rest} more characters are not shown]" if rest else ""
        end = "" if whole.endswith("\n") or not whole else "\n"
        fence = "```" if "```" not in whole else "`````"
        shown.append(f"### {path}\n{fence}\n{whole}{end}{fence}{cut}")
    return "\n\n".join(shown)
