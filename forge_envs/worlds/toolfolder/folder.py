"""A folder of tool schemas, read: whatever form its files have, and whatever is wrong with them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.worlds.toolfolder.listed import items_of, read_listed
from forge_envs.worlds.toolfolder.naming import LONGEST, safe_name, words
from forge_envs.worlds.toolfolder.openapi import is_openapi, read_openapi
from forge_envs.worlds.toolfolder.schema import Catalogue, ToolSchema

LARGEST_FILE = 32 << 20
"""Bytes of a file."""
MOST_FILES = 2_000
MOST_TOOLS = 20_000
SUFFIXES = (".json", ".jsonl", ".yaml", ".yml", ".snap")
"""Files that are looked at; `.snap` is how some MCP servers keep their tools."""
_DEEPEST = 200


def read_folder(path: str | Path) -> Catalogue:
    """Every tool in the files of a folder (or in one file), and a finding for all that was not taken.

    Read once a process for as long as no file changes. Raises TaskError where there is no such folder.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise TaskError(f"path={str(path)!r}: no such folder; give one with OpenAPI, MCP or function files")
    files = [root] if root.is_file() else sorted(_files(root))
    return _read(root, tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files))


def _files(root: Path) -> Iterator[Path]:
    for file in root.rglob("*"):
        inside = file.relative_to(root).parts
        if file.suffix.lower() not in SUFFIXES or any(part.startswith(".") for part in inside):
            continue
        if file.is_file() and file.resolve().is_relative_to(root.resolve()):
            yield file


@functools.lru_cache(maxsize=8)
def _read(root: Path, files: tuple[tuple[Path, int, int], ...]) -> Catalogue:
    found = Catalogue(seen=len(files))
    if len(files) > MOST_FILES:
        text = f"it holds {len(files)} files: the first {MOST_FILES} are read"
        found.note("file", str(root.name), text, refused=True)
    for file, size, _ in files[:MOST_FILES]:
        name = str(file.relative_to(root)) if file != root else file.name
        before = len(found.tools)
        if size > LARGEST_FILE:
            found.note("file", name, f"{size} bytes are more than {LARGEST_FILE}", refused=True)
            continue
        for tool in _tools(file, name, found):
            if len(found.tools) >= MOST_TOOLS:
                found.note("size", name, f"more than {MOST_TOOLS} tools: the rest is left out", refused=True)
                break
            _put(found, tool)
        if len(found.tools) > before:
            found.files.append(name)
    return found


def _put(found: Catalogue, tool: ToolSchema) -> None:
    """Take in a tool; one of a name that is taken gets another, unless it is the same once more."""
    other = found.tools.get(tool.name)
    if other is None:
        found.tools[tool.name] = tool
        return
    if (other.parameters, other.description, other.path, other.method) == (
        tool.parameters,
        tool.description,
        tool.path,
        tool.method,
    ):
        found.note("clash", tool.source, f"{tool.name} is the tool of {other.source} once more", refused=True)
        return
    begin = safe_name("_".join(words(tool.api)[:2]))
    names = [f"{begin}_{tool.name}"] if begin else []
    names += [f"{tool.name[: LONGEST - 4]}_{number}" for number in range(2, 100)]
    name = next((one for one in names if one not in found.tools and len(one) <= LONGEST), None)
    if name is None:
        found.note("clash", tool.source, f"{tool.name} is taken a hundred times", refused=True)
        return
    found.note("clash", tool.source, f"{tool.name} is also in {other.source}: this one is called {name}")
    found.tools[name] = replace(tool, name=name)


def _tools(file: Path, name: str, notes: Catalogue) -> Iterator[ToolSchema]:
    try:
        documents = _documents(file, name, notes)
    except (OSError, ValueError, RecursionError) as error:
        why = "it is nested too deep" if isinstance(error, RecursionError) else str(error)[:200]
        notes.note("file", name, why, refused=True)
        return
    listed: list[Any] = []
    for document in documents:
        if is_openapi(document):
            yield from read_openapi(document, name, notes)
        elif (items := items_of(document)) is not None:
            listed += items
        else:
            what = "it is no OpenAPI document, MCP list or list of functions"
            notes.note("form", name, what, refused=True)
    yield from read_listed(listed, name, notes)


def _documents(file: Path, name: str, notes: Catalogue) -> list[Any]:
    """What a file holds: one document, or one a line. Raises ValueError."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8: {error}") from None
    if file.suffix.lower() in (".yaml", ".yml"):
        return [_jsonable(_yaml(text))]

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) < len(items):
            keys = [key for key, _ in items]
            twice = sorted({key for key in keys if keys.count(key) > 1})
            notes.note("clash", name, f"keys stand twice in one object, the last counts: {str(twice)[:100]}")
        return found

    def load(part: str) -> Any:
        return json.loads(part, object_pairs_hook=pairs, parse_constant=_no_number)

    try:
        return [load(text)]
    except json.JSONDecodeError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if error.msg != "Extra data" or len(lines) < 2:
            raise ValueError(f"it is no JSON: {error}") from None
        try:
            return [load(line) for line in lines]
        except json.JSONDecodeError:
            raise ValueError(f"it is no JSON, as a whole or line by line: {error}") from None


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ModuleNotFoundError:
        raise ValueError("YAML needs PyYAML: pip install 'forge-envs[tooluse]'") from None
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {' '.join(str(error).split())[:200]}") from None


def _jsonable(value: Any) -> Any:
    """A YAML value as JSON has it: keys are text, dates too. Raises ValueError for what JSON cannot hold.

    An anchor may stand in many places; each object is gone through once.
    """
    known: dict[int, Any] = {}

    def plain(node: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deep")
        if isinstance(node, dict | list):
            if id(node) not in known:
                known[id(node)] = {} if isinstance(node, dict) else []
                made = known[id(node)]
                if isinstance(node, dict):
                    made.update((_key(key), plain(one, depth + 1)) for key, one in node.items())
                else:
                    made.extend(plain(one, depth + 1) for one in node)
            return known[id(node)]
        if isinstance(node, date):
            return node.isoformat()
        if node is None or isinstance(node, str | int | float | bool):
            return node
        raise ValueError(f"{type(node).__name__} is no JSON")

    return plain(value, 0)


def _key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)
