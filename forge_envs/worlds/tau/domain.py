"""What a world brings so that published tasks can be played in it: tables, and tools for each contract."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from forge_envs.tables import Base

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
    """From a desk, what the customer's own tools run on, where they have some (`forge_envs.people.hands`)."""


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

    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return pkgutil.resolve_name, (self.address,)
