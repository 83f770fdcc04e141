"""Where BFCL's files are, of which version they are, and reading them with errors that name file and fix."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from forge_envs.errors import NotGiven, TaskError, brief
from forge_envs.worlds.bfcl.categories import Category, Version

ModelT = TypeVar("ModelT", bound="Entry")

PACKAGE = "bfcl_eval"
_NESTED = ("", "data", "bfcl_eval/data", "berkeley-function-call-leaderboard/bfcl_eval/data")
"""Where the files may be below the path that was given."""
_FILE = re.compile(r"BFCL_(v\d+)_\w+\.json")
VERSIONS: tuple[Version, ...] = get_args(Version)


class Entry(BaseModel):
    """A line of a file; what another version adds to it is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)
    id: str


class Spoken(BaseModel):
    """One message of a question."""

    model_config = ConfigDict(extra="forbid", strict=True)
    role: str
    content: str


class Asking(Entry):
    """An entry of a single-turn category."""

    question: list[list[Spoken]]
    function: list[dict[str, Any]]


class Talking(Entry):
    """An entry of a multi-turn category."""

    question: list[list[Spoken]]
    initial_config: dict[str, dict[str, Any]]
    path: list[str]
    involved_classes: list[str]
    missed_function: dict[str, list[str]] = {}
    excluded_function: list[str] = []
    """No official code reads it."""


class OneAnswer(Entry):
    """The answer to an entry of a single-turn category: calls, each with the accepted values by argument."""

    ground_truth: list[dict[str, dict[str, list[Any]]]]


class TurnAnswers(Entry):
    """The answer to an entry of a multi-turn category: calls as Python text, by turn."""

    ground_truth: list[list[str]]


def locate(path: str) -> tuple[Path, Version]:
    """The folder with BFCL's files that a path means, and their version; "" means the installed package.

    Raises NotGiven, and ValueError for a folder without such files or with those of another version.
    """
    tried = [_installed()] if not path else [Path(path).expanduser().resolve() / nest for nest in _NESTED]
    for folder in tried:
        found = sorted({hit[1] for file in _names(folder) if (hit := _FILE.fullmatch(file))})
        if not found:
            continue
        if len(found) > 1:
            raise ValueError(f"path={path!r}: {folder} mixes versions {', '.join(found)}; give one of them")
        for version in VERSIONS:
            if found == [version]:
                return folder, version
        raise ValueError(
            f"path={path!r}: {folder} holds BFCL {found[0]}, of {len(_names(folder))} files; "
            f"known are {', '.join(VERSIONS)}"
        )
    below = [child.name for child in tried[0].iterdir() if _names(child)] if tried[0].is_dir() else []
    hint = f"; did you mean the folder {below[0]!r} in it?" if below and below[0] in VERSIONS else ""
    raise ValueError(
        f"path={path!r}: no BFCL_v*.json in any of {', '.join(map(str, tried))}; it is the folder of the "
        f"official data, which has possible_answer in it{hint}"
    )


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("BFCL_v*.json")) if folder.is_dir() else []


def _installed() -> Path:
    """The data of the installed package, which is found and not imported. Raises NotGiven."""
    spec = importlib.util.find_spec(PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not places:
        raise NotGiven(
            "path='': give the folder with BFCL's files, bfcl_eval/data of a clone of "
            "ShishirPatil/gorilla, or install them: pip install --no-deps bfcl-eval"
        )
    return Path(places[0]) / "data"


def read_lines(path: Path) -> list[tuple[int, Any]]:
    """A file of JSON lines, each with its number. Raises TaskError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}; is the folder whole?") from error
    if text.startswith("version https://git-lfs"):
        raise TaskError(f"{path} is a Git LFS pointer: run git lfs pull")
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                found.append((number, json.loads(line)))
            except ValueError as error:
                raise TaskError(f"{path}, line {number} is not JSON: {error}") from error
    return found


def read_entries(path: Path, model: type[ModelT]) -> dict[str, ModelT]:
    """A file of entries by id. Raises TaskError with the place of the first fault."""
    found: dict[str, ModelT] = {}
    for number, row in read_lines(path):
        try:
            entry = model.model_validate(row)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the top"
            raise TaskError(
                f"{path}, line {number}: at {place}: {first['msg'].lower()}; got {brief(first['input'])}; "
                "is it of another version?"
            ) from None
        if entry.id in found:
            raise TaskError(f"{path}, line {number}: a second entry has the id {entry.id!r}")
        found[entry.id] = entry
    return found


def read_category(
    folder: Path, version: Version, category: Category, question: type[ModelT], answer: type[Entry]
) -> tuple[dict[str, ModelT], dict[str, Any]]:
    """The entries of a category and its answers by id. Raises TaskError where they do not fit together."""
    name, called = category.file(version), category.called(version)
    if not (folder / name).is_file():
        there = ", ".join(_names(folder))
        raise TaskError(f"{folder} has no {name}, so no {category.name}; it has {there}")
    entries = read_entries(folder / name, question)
    most = category.entries[version]
    if len(entries) > most or not entries:
        raise TaskError(
            f"{folder / name} has {len(entries)} entries; {called} of BFCL {version} has {most}: "
            "it is of another version"
        )
    _refuse(folder / name, f"are not of {called}", [id for id in entries if _number(id, called) is None])
    if not category.has_answers:
        return entries, {}
    path = folder / "possible_answer" / name
    answers = read_entries(path, answer)
    if list(answers) != list(entries):
        lacking = [id for id in entries if id not in answers]
        more = [id for id in answers if id not in entries]
        faults = f": {len(lacking)} lack one{_few(lacking)}, {len(more)} answer no entry{_few(more)}"
        raise TaskError(
            f"{path} has {len(answers)} answers for {len(entries)} entries"
            + (faults if lacking or more else ", in another order")
        )
    return entries, answers


def _number(id: str, called: str) -> int | None:
    """The place of an entry in its category, if it is of this one."""
    hit = re.fullmatch(rf"{called}_(\d+)(?:-\d+-\d+)?", id)
    return int(hit[1]) if hit else None


def _refuse(path: Path, what: str, ids: Sequence[str]) -> None:
    if ids:
        raise TaskError(f"{path}: {len(ids)} entries {what}{_few(ids)}")


def _few(ids: Sequence[str]) -> str:
    more = ", …" if len(ids) > 5 else ""
    return f" ({', '.join(ids[:5])}{more})" if ids else ""
