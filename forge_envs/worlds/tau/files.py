"""Where a benchmark's files are, and reading them with errors that name the file and the fix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from forge_envs.errors import NotGiven, TaskError
from forge_envs.tables import Row
from forge_envs.worlds.tau.domain import Domain, Kind

ModelT = TypeVar("ModelT", bound=BaseModel)

_NESTED = {"tau1": ("", "tau_bench/envs"), "tau2": ("", "domains", "data/tau2/domains")}
"""Where the folder of a domain may be below the path that was given: the path itself, or a clone."""
_WHENCE = {
    "tau1": "a clone of sierra-research/tau-bench, its tasks exported as JSON",
    "tau2": "a clone of sierra-research/tau2-bench",
}


def locate(kind: Kind, path: str, domain: Domain) -> Path:
    """The domain's folder that a path means: itself, or one above it. Raises ValueError."""
    proof = "users.json" if kind == "tau1" else domain.proof
    if not isinstance(path, str) or not path:
        raise NotGiven(f"path={path!r}: give the folder with the benchmark's own files, {_WHENCE[kind]}")
    root = Path(path).expanduser().resolve()
    tried = [root, *(root / nest / domain.name for nest in _NESTED[kind])]
    for folder in tried:
        if (folder / proof).is_file() and (folder == root or folder.name == domain.name):
            return folder
    names = ", ".join(map(str, tried))
    raise ValueError(
        f"path={path!r}: no {proof} in any of {names}; it is the folder with the data of "
        f"{domain.name!r}, or the one above it"
    )


def read_text(path: Path) -> str:
    """A text file. Raises TaskError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TaskError(f"{path} cannot be read: {error}; is the benchmark's folder whole?") from error


def read_json(path: Path) -> Any:
    """A JSON file. Raises TaskError."""
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        if isinstance(error, TaskError):
            raise
        hint = " (a Git LFS pointer: run git lfs pull)" if "git-lfs" in read_text(path)[:200] else ""
        raise TaskError(f"{path} is not JSON: {error}{hint}") from error


def read_list(path: Path, model: type[ModelT]) -> list[ModelT]:
    """A JSON list of what `model` describes. Raises TaskError with the place of the first fault."""
    try:
        return TypeAdapter(list[model]).validate_python(read_json(path))  # type: ignore[valid-type]
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the top"
        raise TaskError(
            f"{path}: at {place}: {first['msg'].lower()}; got {str(first['input'])[:80]!r}"
        ) from None


def check_table(table: object, name: str, domain: Domain, path: Path) -> Mapping[str, Row]:
    """A table as it is, if it has the rows that the domain's tools rely on. Raises TaskError."""
    if not isinstance(table, dict) or not table:
        raise TaskError(f"{path}: table {name!r} is no JSON object of rows")
    needed = domain.fields.get(name) or domain.theirs[name]
    for key, row in table.items():
        missing = [field for field in needed if not isinstance(row, dict) or field not in row]
        if missing:
            raise TaskError(f"{path}: row {key!r} of {name!r} lacks {', '.join(missing)}")
    return table
