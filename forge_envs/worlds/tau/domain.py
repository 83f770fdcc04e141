"""What a world brings so that published tasks can be played in it: tables, and tools for each contract."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from forge_envs.messages import ToolCall
from forge_envs.people.users import User
from forge_envs.tables import Base, Row

Side: TypeAlias = Literal["assistant", "user"]
"""Who calls a tool, and whose tools they are."""
Kind: TypeAlias = Literal["tau1", "tau2"]
"""τ-bench, τ²-bench."""


class Desk(Protocol):
    """One episode's database; its `@tool` methods are the agent's tools. It pickles."""

    over: bool
    """A tool ended the conversation."""
    writes: int
    """Calls that can have changed something, refused ones included."""


@dataclass(frozen=True, eq=False)
class Contract:
    """The tools of one benchmark in one domain."""

    tools: type
    """The class whose `@tool` methods they are."""
    prepare: Callable[[Mapping[str, Base]], Callable[[], Desk]]
    """From all tables, what opens a fresh desk over them; done once, so that opening costs little."""
    changing: tuple[str, ...]
    """Attributes of the desk that are tables which tools write to, named as the tables are."""
    hands: Callable[[Any], object] | None = None
    """From a desk, what the customer's own tools run on, where they have some (`forge_envs.people.hands`). A
    class of either side with a method `settle` has it called after every call that went through."""
    functions: Mapping[Side, Mapping[str, Callable[..., Any]]] = field(default_factory=dict)
    """What tasks call on either side besides its tools, to begin with and to assert at the end."""
    apart: Callable[[Any], None] = lambda desk: None
    """Makes a desk draw other random ids than those of episodes, as two runs of the official code do."""


@dataclass(frozen=True, eq=False)
class Domain:
    """A domain of the benchmarks, as a constant of a module."""

    name: str
    """The name of its folder."""
    address: str
    """Where the constant is, "package.module:NAME"; pickles hold this."""
    fields: Mapping[str, tuple[str, ...]]
    """Table -> fields that each of its rows must have."""
    nulls: Mapping[str, tuple[str, ...]]
    """Table -> fields that τ²-bench writes as null where its file has none; they are shown and compared."""
    contracts: Mapping[Kind, Contract]
    theirs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """As `fields`, for tables on the customer's side, which τ²-bench keeps in `user_db.json`."""
    proof: str = "db.json"
    """A file of τ²-bench without which a folder is not this domain's."""
    read: Callable[[Path], dict[str, dict[str, Row]]] | None = None
    """All tables of a folder of τ²-bench, where they are not one JSON object. Raises TaskError."""
    policy: Callable[..., str] | None = None
    """(folder, style, solo) -> what the agent is told, where that is not `policy.md`. Raises TaskError."""
    customer: Callable[[Any, Any], User] | None = None
    """(task, hands) -> who plays a customer that has to act; None: `PlainCustomer` says their case."""
    ask: Callable[[ToolCall], str] | None = None
    """How an agent asks that customer for one of their calls."""
    looks: Callable[[Any], Sequence[ToolCall]] | None = None
    """task -> calls of both sides with which a careful agent looks before it hands the customer over; where
    this is, `strict` asks for such."""

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return pkgutil.resolve_name, (self.address,)
