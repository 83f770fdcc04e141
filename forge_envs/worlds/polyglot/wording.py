"""What the agent is told."""

from __future__ import annotations

from collections.abc import Mapping

from forge_envs.worlds.polyglot.edits import write_whole
from forge_envs.worlds.polyglot.languages import LANGUAGES

WHOLE = """\
Answer with every file you change, whole, each as a line with nothing but its name and then the file between
fences:

path/to/file
```
the whole file
```"""
DIFF = """\
Answer with SEARCH/REPLACE blocks. Above each stands a line with nothing but the file's name. The SEARCH part
repeats lines of the file exactly as they are, the REPLACE part says what stands there instead; an empty
SEARCH part appends:

path/to/file
```
<<<<<<< SEARCH
lines as they are
=======
lines as they shall be
>>>>>>> REPLACE
```"""
HOW = {"whole": WHOLE, "diff": DIFF}


def system(language: str, edit_format: str, tries: int) -> str:
    """The system message."""
    more = f" You have {_count(tries)} tries: after a failed one you see what the tests say."
    return (
        f"You are an expert {LANGUAGES[language].title} programmer. You are given a task and the files to "
        "write "
        f"it in. Hidden tests judge what you write.{more if tries > 1 else ''}\n\n{HOW[edit_format]}"
    )


def task(prompt: str, language: str, stubs: Mapping[str, str]) -> str:
    """The message with the task and the files."""
    spoken, names = LANGUAGES[language], " and ".join(stubs)
    return (
        f"{prompt}\n\nWrite it in {names}. Keep the names that are given there: tests rely on them. Use "
        "nothing "
        f"but {spoken.title}'s standard library.{spoken.addable}\n\n{write_whole(stubs, spoken.fence)}"
    )


def malformed(error: str, left: int) -> str:
    """The message after an answer that could not be used as it is; `left` more are forgiven."""
    last = "" if left else " If the next one cannot be used either, the tests run on the files as they are."
    return f"Your answer cannot be used: {error}. Nothing was tested.{last}"


def failed(output: str, files: Mapping[str, str], notes: tuple[str, ...], left: int) -> str:
    """The message after tests that failed."""
    said = "The tests do not pass.\n\n" + (f"```\n{output}\n```\n\n" if output else "")
    more, names = "".join(f"{note}\n" for note in notes), " and ".join(files)
    tries = "one more try" if left == 1 else f"{_count(left)} more tries"
    return f"{said}{more}The tests are right and stay as they are. Mend {names}: you have {tries}."


UNCHANGED = "No file was changed, so nothing was tested."


def _count(number: int) -> str:
    return {1: "one", 2: "two", 3: "three"}.get(number, str(number))
