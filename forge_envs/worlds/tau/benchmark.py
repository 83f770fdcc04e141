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
from typing import Any, TypeAlias

from forge_envs.errors import TaskError, ToolError
from forge_envs.tables import Base, Row, Table
from forge_envs.tools import BadArguments, Tool
from forge_envs.worlds.tau import read_tau1, read_tau2
from forge_envs.worlds.tau.calls import check_known, function_of
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
    """What the agent is told; "" where the domain has several."""
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
        """Tasks that begin as gold and assertions want them and that ask for no text and no call."""
        return frozenset(task.id for task in self.tasks.values() if self._solved(task))

    def _solved(self, task: TauTask) -> bool:
        if "COMMUNICATE" in task.basis and len(heard(task, GREETING)) < len(task.communicate):
            return False
        if "ACTION" in task.basis and task.gold:
            return False
        desk = self.open_task(task)
        if "DB" in task.basis:
            right, rows = self.agreement(task, desk)
            if right < rows:
                return False
        return "ENV_ASSERTION" not in task.basis or self.met(task, desk) == len(task.conditions)

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
        if desk.writes or task.setup:
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
        """The rows that gold changes, as it leaves them, with those that the task began by changing.

        Calls that the tools refuse change nothing, and no call is carried to the other side, as in the
        official replay.
        """
        found = self._targets.get(task.id)
        if found is None:
            desk = self.open_task(task, apart=True)
            owners = self.owners(desk)
            for gold in task.gold or ():
                owner = owners.get(gold.call.requestor, desk)
                tools = official_tools(type(owner), settled=False)
                if gold.call.name in tools:
                    with contextlib.suppress(ToolError, BadArguments):
                        tools[gold.call.name].call(owner, gold.call.arguments)
            changed = ((place, row) for place, row in self._touched(desk) if self._differs(place, row))
            found = self._targets[task.id] = {place: wanted_row(row) for place, row in changed}
        return found

    def open_task(self, task: TauTask, *, apart: bool = False) -> Desk:
        """A fresh desk as the task begins. Raises TaskError.

        `apart` is for a desk that no episode may look like to the last random id.
        """
        desk = self.open_desk()
        if apart:
            self.contract.apart(desk)
        owners = self.owners(desk)
        for call in task.setup:
            owner = owners[call.side]
            try:
                function_of(self.contract, call)(owner, **call.arguments)
                if hasattr(owner, "settle"):
                    owner.settle()
            except Exception as error:
                raise TaskError(
                    f"task {task.id!r} of {task.where} cannot begin: {call.name}({call.arguments}) says "
                    f"{type(error).__name__}: {error}"
                ) from error
        return desk

    def owners(self, desk: Desk) -> dict[str, Any]:
        """What the tools and functions of each side run on."""
        hands = self.contract.hands
        return {"assistant": desk} if hands is None else {"assistant": desk, "user": hands(desk)}

    def met(self, task: TauTask, desk: Desk) -> int:
        """How many of a task's assertions are as they must be; one that cannot be asked is not."""
        owners, met = self.owners(desk), 0
        for call, wanted in task.conditions:
            with contextlib.suppress(Exception):
                answer = function_of(self.contract, call)(owners[call.side], **call.arguments)
                met += isinstance(answer, bool) and answer == wanted
        return met


def _text(row: Row) -> str:
    return json.dumps(row, sort_keys=True)


def load(domain: Domain, kind: Kind, path: str) -> Benchmark:
    """A benchmark's files at a path, read once per process.

    Raises ValueError for a path without them, and TaskError for files that cannot be used.
    """
    return _load(domain, kind, locate(kind, path, domain))


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
    check_known(tasks, contract)
    whole = domain.policy is None
    return Benchmark(
        domain=domain,
        kind=kind,
        source=source,
        folder=folder,
        policy=read_text(folder / reader.POLICY).strip() if whole else "",
        tables=tables,
        tasks={task.id: _checked(task) for task in tasks},
        splits={split: tuple(ids) for split, ids in splits.items()},
        tools=tools,
        open_desk=contract.prepare(tables),
    )


def _table(domain: Domain, kind: Kind, path: str, name: str) -> Base:
    return load(domain, kind, path).tables[name]


def _checked(task: TauTask) -> TauTask:
    """The task, with a gap where its own gold cannot be shown to win."""
    gap = task.gap
    never = [text for text in task.communicate if "," in text]
    if never and "COMMUNICATE" in task.basis:
        gap = gap or f"nothing can say {never[0]!r}: the official rule drops commas from what the agent says"
    return replace(task, gap=gap)
