"""Files and directories in memory, and walking them without trusting that they form a tree."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

DEPTH = 950
"""Levels below which a walk gives up, as the official recursion does."""
VISITS = 20_000
"""Entries after which it gives up too: copies share what they hold, so that few calls can make very many."""
CHARACTERS = 10_000_000
"""Characters in the paths of a walk after which it gives up as well."""
SHOWN_DEPTH = 100
"""Levels that a state shows as nested objects."""


class File:
    """A file; its content is what was written, of whatever type."""

    def __init__(self, name: str, content: Any = "") -> None:
        self.name = name
        self.content = content


class Directory:
    """A directory. `contents` may be shared with the directory that this one was moved from."""

    def __init__(self, name: str, parent: Directory | None = None) -> None:
        self.name = name
        self.parent = parent
        self.contents: dict[str, File | Directory] = {}

    def get(self, name: str) -> File | Directory | None:
        """The entry of this name; "." is the directory itself, even if something in it is called so."""
        return self if name == "." else self.contents.get(name)

    def add_file(self, name: str, content: Any = "") -> None:
        """A new file in it."""
        if name in self.contents:
            raise ValueError(f"File '{name}' already exists in directory '{self.name}'.")
        self.contents[name] = File(name, content)

    def add_directory(self, name: str) -> Directory:
        """A new directory in it."""
        if name in self.contents:
            raise ValueError(f"Directory '{name}' already exists in directory '{self.name}'.")
        made = self.contents[name] = Directory(name, self)
        return made


Entry = File | Directory


def walk(start: Directory, path: str) -> Iterator[tuple[str, str, Entry]]:
    """Name, path and entry of everything below a directory, each directory before what it holds.

    A directory that was copied into itself has no end; Python's own complaint about it is raised.
    """
    levels: list[tuple[str, Iterator[tuple[str, Entry]]]] = [(path, iter(start.contents.items()))]
    visits = characters = 0
    while levels:
        base, entries = levels[-1]
        step = next(entries, None)
        if step is None:
            levels.pop()
            continue
        name, entry = step
        visits, characters = visits + 1, characters + len(base)
        if len(levels) > DEPTH or visits > VISITS or characters > CHARACTERS:
            raise RecursionError("maximum recursion depth exceeded")
        yield name, f"{base}/{name}", entry
        if isinstance(entry, Directory):
            levels.append((f"{base}/{name}", iter(entry.contents.items())))


def shown(top: Directory) -> dict[str, Any]:
    """A directory and all below it as plain data, equal for equal trees, whatever shape they have.

    A directory inside itself is shown by how many levels up it is, what is too deep as a list of paths; what
    comes after so many entries that no honest tree has them is left out.
    """
    left = VISITS

    def show(directory: Directory, above: list[int]) -> dict[str, Any]:
        nonlocal left
        mark = id(directory.contents)
        if mark in above:
            return {"__dir__": directory.name, "levels_up": len(above) - above.index(mark)}
        left -= len(directory.contents)
        if left < 0:
            return {"__dir__": directory.name, "below": len(directory.contents)}
        if len(above) >= SHOWN_DEPTH:
            below = _below(directory, left)
            left -= len(below)
            return {"__dir__": directory.name, "below": below}
        within = [*above, mark]
        return {
            "__dir__": directory.name,
            "contents": {
                name: show(entry, within)
                if isinstance(entry, Directory)
                else {"__file__": entry.name, "content": entry.content}
                for name, entry in directory.contents.items()
            },
        }

    return show(top, [])


def _below(directory: Directory, most: int) -> list[Any]:
    found: list[Any] = []
    try:
        for _, path, entry in islice(walk(directory, ""), most):
            found.append(path if isinstance(entry, Directory) else [path, entry.content])
    except RecursionError:
        found.append("...")
    return found


def flat(starts: list[Directory]) -> dict[str, Any]:
    """Directories and all they reach as tables without nesting: deep trees and shared parts survive."""
    numbers: dict[int, int] = {}
    entries: list[Entry] = []
    listings: dict[int, dict[str, Entry]] = {}
    todo: list[Entry] = list(starts)
    while todo:
        entry = todo.pop()
        if id(entry) in numbers:
            continue
        numbers[id(entry)] = len(entries)
        entries.append(entry)
        if isinstance(entry, Directory):
            listings[id(entry.contents)] = entry.contents
            todo += entry.contents.values()
            todo += [entry.parent] if entry.parent else []
    order = {mark: number for number, mark in enumerate(listings)}
    return {
        "starts": [numbers[id(start)] for start in starts],
        "entries": [
            (entry.name, numbers[id(entry.parent)] if entry.parent else None, order[id(entry.contents)])
            if isinstance(entry, Directory)
            else (entry.name, entry.content)
            for entry in entries
        ],
        "listings": [[(name, numbers[id(e)]) for name, e in held.items()] for held in listings.values()],
    }


def unflattened(tables: dict[str, Any]) -> list[Directory]:
    """The directories that `flat` was given."""
    entries: list[Entry] = [Directory(row[0]) if len(row) == 3 else File(*row) for row in tables["entries"]]
    listings = [{name: entries[number] for name, number in held} for held in tables["listings"]]
    for entry, row in zip(entries, tables["entries"], strict=True):
        if isinstance(entry, Directory):
            parent = None if row[1] is None else entries[row[1]]
            assert not isinstance(parent, File)
            entry.parent, entry.contents = parent, listings[row[2]]
    found = [entries[number] for number in tables["starts"]]
    return [start for start in found if isinstance(start, Directory)]
