"""A published benchmark in memory: tables, tasks, splits, and the database that gold leaves."""

from __future__ import annotations

import contextlib
import functools
import json
import marshal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from forge_envs.errors import TaskError, ToolError
from forge_envs.tables import Base, Row, Table
from forge_envs.tools import BadArguments, Tool
from forge_envs.worlds.tau import read_tau1, read_tau2
from forge_envs.worlds.tau.domain import Contract, Desk, Domain, Kind
from forge_envs.worlds.tau.files import locate, read_text
from forge_envs.worlds.tau.task import GREETING, TauTask, heard
from forge_envs.worlds.tau.tools import official_tools

Key: TypeAlias = tuple[str, str]
"""(table, row id)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A row to compare with, to the last digit: the official hashes tell 80 from 80.0.

    >>> wanted = wanted_row({"balance": 80, "id": "a"})
    >>> wanted.equals({"id": "a", "balance": 80}), wanted.equals({"balance": 80.0, "id": "a"})
    (True, False)
    """

    row: Row
    packed: bytes
    """The row by `marshal`, the quickest exact comparison where the fields come in the same order."""

    def equals(self, row: Row) -> bool:
        """Whether the official hash of both is the same."""
        if marshal.dumps(row, _PLAIN) == self.packed:
            return True
        return row == self.row and _text(row) == _text(self.row)


_PLAIN = 2  # the last version of marshal whose bytes say nothing of which objects are shared


def wanted_row(row: Row) -> Wanted:
    """A row as a thing to compare with."""
    return Wanted(row, marshal.dumps(row, _PLAIN))


_READERS = {"tau1": read_tau1, "tau2": read_tau2}


@dataclass(frozen=True, eq=False)
class Benchmark:
    """One domain of one benchmark. Shared by all episodes; nothing in it changes but its caches."""

    domain: Domain
    kind: Kind
    source: str
    """What it was loaded from, "tau2:<absolute folder>"."""
    folder: Path
    policy: str
    tables: Mapping[str, Base]
    tasks: Mapping[str, TauTask]
    splits: Mapping[str, tuple[str, ...]]
    tools: Mapping[str, Tool]
    open_desk: Callable[[], Desk]
    _began: dict[Key, Wanted] = field(default_factory=dict)
    _targets: dict[str, dict[Key, Wanted]] = field(default_factory=dict)

    @functools.cached_property
    def contract(self) -> Contract:
        """The tools in play."""
        return self.domain.contracts[self.kind]

    @functools.cached_property
    def solved_by_silence(self) -> frozenset[str]:
        """Tasks whose database stays as it is and that ask for no text and no call."""
        return frozenset(
            task.id
            for task in self.tasks.values()
            if not ("DB" in task.basis and self.target(task))
            and not ("COMMUNICATE" in task.basis and len(heard(task, GREETING)) < len(task.communicate))
            and not ("ACTION" in task.basis and task.gold)
        )

    @property
    def bases(self) -> dict[str, int]:
        """How many tasks are judged by what; they differ between versions of the same benchmark."""
        said = ("+".join(t.basis) + ("" if t.says_basis else " (by default)") for t in self.tasks.values())
        return dict(Counter(said))

    def find(self, task_id: str) -> TauTask:
        """The task of this id, with or without "<benchmark>/<domain>/". Raises TaskError."""
        prefix = f"{self.kind}/{self.domain.name}/"
        task = self.tasks.get(task_id) or self.tasks.get(f"{prefix}{task_id}")
        if task is None:
            raise TaskError(f"unknown task {task_id!r}: an id of {self.source} is {prefix}<id of its files>")
        return task

    def agreement(self, task: TauTask, desk: Desk) -> tuple[int, int]:
        """How many rows are as gold leaves them, of how many that gold or the desk changed."""
        target = self.target(task)
        right, rows = 0, len(target)
        if desk.writes:
            for place, row in self._touched(desk):
                wanted = target.get(place)
                if wanted is not None:
                    right += wanted.equals(row)
                elif self._differs(place, row):
                    rows += 1
        return right, rows

    def _touched(self, desk: Desk) -> Iterator[tuple[Key, Row]]:
        """The rows that tools copied to change them, or added."""
        for name in self.contract.changing:
            table: Table = getattr(desk, name)
            for key, row in table.touched().items():
                yield (name, key), row

    def _differs(self, place: Key, row: Row) -> bool:
        """Whether a row is not as the database began."""
        name, key = place
        began = self.tables[name].rows.get(key)
        if began is None or row != began:
            return True
        if place not in self._began:
            self._began[place] = wanted_row(began)
        return not self._began[place].equals(row)

    def target(self, task: TauTask) -> Mapping[Key, Wanted]:
        """The rows that gold changes, as it leaves them.

        Calls that the tools refuse change nothing, as in the official replay.
        """
        found = self._targets.get(task.id)
        if found is None:
            desk = self.open_desk()
            hands = self.contract.hands
            sides: dict[str, tuple[object, Mapping[str, Tool]]] = {"assistant": (desk, self.tools)}
            if hands is not None:
                owner = hands(desk)
                sides["user"] = owner, official_tools(type(owner))
            for gold in task.gold or ():
                owner, tools = sides.get(gold.call.requestor, (desk, {}))
                if gold.call.name in tools:
                    with contextlib.suppress(ToolError, BadArguments):
                        tools[gold.call.name].call(owner, gold.call.arguments)
            changed = ((place, row) for place, row in self._touched(desk) if self._differs(place, row))
            found = self._targets[task.id] = {place: wanted_row(row) for place, row in changed}
        return found


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def load(domain: Domain, kind: Kind, path: str) -> Benchmark:
    """A benchmark's files at a path, read once per process.

    Raises ValueError for a path without them, and TaskError for files that cannot be used.
    """
    return _load(domain, kind, locate(kind, path, domain.name))


@functools.cache
def _load(domain: Domain, kind: Kind, folder: Path) -> Benchmark:
    contract = domain.contracts.get(kind)
    if contract is None:
        known = ", ".join(domain.contracts)
        raise ValueError(f"domain={domain.name!r}: it has tools for {known}, not for {kind}")
    reader, source, tools = _READERS[kind], f"{kind}:{folder}", official_tools(contract.tools)
    tables = {
        name: Base(rows, (_table, domain, kind, str(folder), name))
        for name, rows in reader.read_tables(folder, domain).items()
    }
    tasks, splits = reader.read_tasks(folder, source, domain)
    return Benchmark(
        domain=domain,
        kind=kind,
        source=source,
        folder=folder,
        policy=read_text(folder / reader.POLICY).strip(),
        tables=tables,
        tasks={task.id: _checked(task, tools) for task in tasks},
        splits={split: tuple(ids) for split, ids in splits.items()},
        tools=tools,
        open_desk=contract.prepare(tables),
    )


def _table(domain: Domain, kind: Kind, path: str, name: str) -> Base:
    return load(domain, kind, path).tables[name]


def _checked(task: TauTask, tools: Mapping[str, Tool]) -> TauTask:
    """The task, with a gap where its own gold cannot be shown to win. Raises TaskError."""
    for gold in task.gold or ():
        call = gold.call
        if call.requestor == "user":
            continue  # a tool of the customer's own; the gap says so
        if call.name not in tools:
            known = ", ".join(tools)
            raise TaskError(
                f"task {task.id!r} of {task.where} calls unknown tool {call.name!r}; known: {known}"
            )
    gap = task.gap
    never = [text for text in task.communicate if "," in text]
    if never and "COMMUNICATE" in task.basis:
        gap = gap or f"nothing can say {never[0]!r}: the official rule drops commas from what the agent says"
    return replace(task, gap=gap)
