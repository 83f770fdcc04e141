"""Exercises of a checkout of Aider-AI/polyglot-benchmark, read where they lie.

An exercise is a folder `<language>/exercises/practice/<name>/`. Its `.meta/config.json` says which files are
to be edited (`solution`), which judge (`test`), which solve (`example`); `.docs/` holds the instructions.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot.exercise import Exercise
from forge_envs.worlds.polyglot.gaps import GAPS, NO_EXAMPLE
from forge_envs.worlds.polyglot.languages import LANGUAGES

PREFIX = "aider"
CLONE = "git clone https://github.com/Aider-AI/polyglot-benchmark"
DOCS = ("introduction.md", "instructions.md", "instructions.append.md")
NEVER_EDITED = ("Cargo.toml", "CMakeLists.txt")
"""Listed as solution files by some exercises, and yet not the agent's: they decide what is built and run."""


class Checkout:
    """A folder with the benchmark in it. Raises ValueError if it is none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise ValueError(f"source={str(folder)!r}: there is no such folder; {CLONE}")
        if not any(_practice(folder, language).is_dir() for language in LANGUAGES):
            raise ValueError(
                f"source={str(folder)!r} is no checkout of the Aider polyglot benchmark: "
                f"python/exercises/practice is not in it; {CLONE}"
            )

    def ids(self, language: str, split: str | None = None) -> list[str]:
        """Ids of a language's exercises by name: unsolved ones last, unplayable ones left out.

        The name decides the split, in every language the same: what is tested in one is trained on in none.
        Raises TaskError for a language that the checkout does not have.
        """
        place = _practice(self.folder, language)
        if not place.is_dir():
            raise TaskError(f"the checkout {self.folder} has no {language}: {place} is not there; {CLONE}")
        names = sorted(entry.name for entry in place.iterdir() if (entry / ".meta/config.json").is_file())
        names = [
            name for name in names if split in (None, split_of(name)) and f"{language}/{name}" not in GAPS
        ]
        names.sort(key=lambda name: f"{language}/{name}" in NO_EXAMPLE)
        return [f"{PREFIX}/{language}/{name}" for name in names]

    def find(self, task_id: str) -> Exercise:
        """The exercise of an id such as "aider/go/say". Raises TaskError."""
        prefix, _, rest = task_id.partition("/")
        language, _, name = rest.partition("/")
        folder = _practice(self.folder, language) / name
        known = prefix == PREFIX and language in LANGUAGES and name and "/" not in name and name != ".."
        if not known or not (folder / ".meta/config.json").is_file():
            raise TaskError(f"unknown task {task_id!r}; tasks are called like '{PREFIX}/python/book-store'")
        if rest in GAPS:
            raise TaskError(f"task {task_id!r} cannot be played: {GAPS[rest]}")
        return _read(folder, language, task_id)


def split_of(name: str) -> str:
    """ "train" or "test", for ever the same for an exercise of this name."""
    return ("train", "test")[zlib.crc32(name.encode()) % 2]


def _practice(folder: Path, language: str) -> Path:
    return folder / language / "exercises" / "practice"


@lru_cache(maxsize=512)
def _read(folder: Path, language: str, task_id: str) -> Exercise:
    lists = _lists(folder)
    stubs = {p: _text(folder, p) for p in lists["solution"] if PurePosixPath(p).name not in NEVER_EDITED}
    tests = {p: _text(folder, p) for p in lists["test"]}
    for kind, found in (("test", tests), ("solution", stubs)):
        if not found:
            raise TaskError(
                f"exercise {folder} has no {kind} files: .meta/config.json lists none under `files`"
            )
    try:
        known = LANGUAGES[language].expected(tests)
    except SyntaxError as error:
        raise TaskError(
            f"the tests of exercise {folder}, {', '.join(tests)}, are no {language}: {error}"
        ) from error
    if not known:
        raise TaskError(f"exercise {folder} has no tests: none is in {', '.join(tests)}")
    support = {path: data for path, data in _others(folder) if path not in stubs and path not in tests}
    return Exercise(
        id=task_id,
        language=language,
        name=folder.name,
        prompt=_prompt(folder),
        stubs=stubs,
        tests=tests,
        support=support,
        example=_example(folder, lists["example"], stubs, support, task_id),
    )


def _lists(folder: Path) -> dict[str, list[str]]:
    place = folder / ".meta" / "config.json"
    try:
        files = json.loads(place.read_text(encoding="utf-8"))["files"]
        return {kind: [str(path) for path in files.get(kind, ())] for kind in ("solution", "test", "example")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TaskError(
            f"{place} cannot be read ({error!r}): it must hold a list of files by kind"
        ) from error


def _text(folder: Path, path: str) -> str:
    try:
        return (folder / path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(
            f"exercise {folder} lacks {path}, which its .meta/config.json names: {error}"
        ) from error


def _prompt(folder: Path) -> str:
    parts = [(folder / ".docs" / name) for name in DOCS]
    prompt = "\n\n".join(part.read_text(encoding="utf-8").strip() for part in parts if part.is_file())
    if not prompt:
        raise TaskError(f"exercise {folder} has no instructions: .docs/instructions.md is missing or empty")
    return prompt


def _others(folder: Path) -> Iterator[tuple[str, bytes]]:
    """What else is needed to build and run the tests: neither documents, nor solutions, nor gradle."""
    for file in sorted(folder.rglob("*")):
        path = file.relative_to(folder)
        hidden = path.parts[0] in (
            ".docs",
            ".meta",
            "gradle",
            "gradlew",
            "gradlew.bat",
            "node_modules",
            "LICENSE",
        )
        if file.is_file() and not hidden:
            yield path.as_posix(), file.read_bytes()


def _example(
    folder: Path, listed: list[str], stubs: Mapping[str, str], support: Mapping[str, Any], task_id: str
) -> dict[str, str]:
    """The reference solution under the names of the files it solves."""
    if task_id.removeprefix(f"{PREFIX}/") in NO_EXAMPLE:
        return {}
    found: dict[str, str] = {}
    for path in listed:
        place = _place(path, stubs)
        if place is not None and place not in support:
            found[place] = _text(folder, path)
    return found


def _place(example: str, stubs: Mapping[str, str]) -> str | None:
    """Where an example file goes: in Java to its own name beside the stubs, else to the stub of its kind."""
    path = PurePosixPath(example)
    if path.suffix == ".java":
        return f"src/main/java/{path.name}"
    return next((stub for stub in stubs if PurePosixPath(stub).suffix == path.suffix), None)
