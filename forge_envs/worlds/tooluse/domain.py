"""A domain: what a seed drew from a theme. Kinds of rows, tools, rules, spelling, and its database."""

from __future__ import annotations

import datetime as dt
import functools
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from forge_envs.tables import Base, Row
from forge_envs.worlds.tooluse.spelling import AnswerStyle, DateStyle, IdStyle
from forge_envs.worlds.tooluse.theme import ThemeAction, ThemeField, ThemeRule
from forge_envs.worlds.tooluse.words import Vocabulary


@dataclass(frozen=True)
class Column:
    """A field of a kind's rows under the name that the domain gives it."""

    spec: ThemeField
    name: str
    """As rows spell it."""
    said: str
    """As people say it."""
    values: tuple[str, ...]
    """Of a choice: those that there are here."""

    @property
    def key(self) -> str:
        """The theme's name for it."""
        return self.spec.key


@dataclass(frozen=True, eq=False)
class RowKind:
    """A kind of rows: the person, a thing or a record."""

    key: str
    role: str
    """"person", "thing" or "record"."""
    noun: str
    plural: str
    table: str
    id_name: str
    """The field and the argument of its id."""
    ids: IdStyle
    columns: tuple[Column, ...]
    label: str = ""
    """Of a person and a thing: the field with the name."""
    owner: str = ""
    """Of a record: the field with the person's id."""
    about: str = ""
    """Of a record: the field with the thing's id."""
    thing: str = ""
    """Of a record: the key of the kind of thing it is about."""
    link: str = ""
    state: str = ""
    """Of a record: the field with its state."""
    states: Mapping[str, str] = field(default_factory=dict)
    """Key -> how rows spell it."""
    synonyms: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Key of a state -> all that it may be called."""
    stock: str = ""
    """Of a record: the field of its thing that counts what is left."""

    @functools.cached_property
    def by_key(self) -> dict[str, Column]:
        """Its columns by the theme's names."""
        return {column.key: column for column in self.columns}

    @functools.cached_property
    def fields(self) -> tuple[str, ...]:
        """The names of all fields of its rows."""
        fixed = (self.id_name, self.label, self.owner, self.about, self.state)
        return tuple([name for name in (*fixed, *(column.name for column in self.columns)) if name])


@dataclass(frozen=True)
class Deed:
    """An action of the theme as the domain has it."""

    spec: ThemeAction
    kind: RowKind
    verb: str
    past: str
    column: Column | None
    by: int
    """Of an addition that is not told: how much."""
    asks: tuple[Column, ...]
    """Of a creation: the columns that the customer chooses."""
    reasons: tuple[str, ...]

    @property
    def key(self) -> str:
        """The theme's name for it."""
        return self.spec.key

    @property
    def told(self) -> bool:
        """Whether the customer must be asked for more than which record."""
        return self.spec.told


@dataclass(frozen=True)
class Law:
    """A rule of the theme as the domain has it."""

    spec: ThemeRule
    act: str
    column: str
    """The field that it looks at."""
    side: str
    """Whose field: "record", "person" or "thing"."""
    value: Any
    """As rows spell it; a number of days for dates."""
    text: str
    by_tool: bool
    """The tool refuses; else only the policy forbids."""

    def holds(self, row: Row, domain: ToolDomain) -> bool:
        """Whether it forbids, as this row of its side stands."""
        found, op = row[self.column], self.spec.when.op
        if op in ("is", "is_not"):
            return bool((found == self.value) == (op == "is"))
        if op in ("at_least", "at_most"):
            return bool(found >= self.value if op == "at_least" else found <= self.value)
        day = domain.dates.read(found)
        days = (day - domain.today).days if day else 0
        return bool(days <= self.value if op == "within_days" else days > self.value)


@dataclass(frozen=True)
class Param:
    """An argument of a tool."""

    name: str
    role: str
    """What it stands for: the key of a kind (its id), "email", "name", "phone", "amount", "reason", …"""
    schema: Mapping[str, Any]
    column: Column | None = None


@dataclass(frozen=True)
class ToolSpec:
    """A tool as data; `engine` carries it out."""

    name: str
    op: str
    kind: str
    description: str
    params: tuple[Param, ...]
    writes: bool = False
    act: str = ""
    needed: bool = True
    """Some task may need it; else it is a distractor."""

    @functools.cached_property
    def by_role(self) -> dict[str, str]:
        """Role -> argument."""
        return {param.role: param.name for param in self.params}


@dataclass(frozen=True, eq=False)
class ToolDomain:
    """All that a seed drew; the same address gives the same domain on every machine."""

    address: str
    """"<size>/<split>/<theme>-<number>"."""
    theme: str
    tiny: bool
    place: str
    """"the Harbor Street music library"."""
    today: dt.date
    dates: DateStyle
    answers: AnswerStyle
    errors: str
    kinds: Mapping[str, RowKind]
    """By the theme's names; the person is "person"."""
    acts: Mapping[str, Deed]
    laws: tuple[Law, ...]
    specs: Mapping[str, ToolSpec]
    """Tools by name."""
    vocabulary: Vocabulary
    finds_row: bool
    """Tools that find a person answer with the row; else with the id alone."""
    asks_rules: bool
    """The rules are not told; a tool reads them."""
    bases: Mapping[str, Base] = field(default_factory=dict)
    """The database that all tasks share, by table."""

    def __reduce__(self) -> tuple[Callable[[str], ToolDomain], tuple[str]]:
        return _found, (self.address,)

    @property
    def person(self) -> RowKind:
        """The kind of those who come."""
        return self.kinds["person"]

    @functools.cached_property
    def records(self) -> tuple[RowKind, ...]:
        """The kinds of what belongs to them."""
        return tuple(kind for kind in self.kinds.values() if kind.role == "record")

    @functools.cached_property
    def finders(self) -> frozenset[str]:
        """Tools that look people up by what they say of themselves."""
        return frozenset(spec.name for spec in self.specs.values() if spec.op == "find")

    def tool(self, op: str, kind: str = "") -> ToolSpec | None:
        """The first tool that does something to a kind."""
        for spec in self.specs.values():
            if spec.op == op and (not kind or spec.kind == kind):
                return spec
        return None

    @functools.cached_property
    def doing(self) -> dict[str, ToolSpec]:
        """The key of an act -> its tool."""
        return {spec.act: spec for spec in self.specs.values() if spec.act}

    @functools.cached_property
    def by_argument(self) -> dict[str, RowKind]:
        """The argument with an id -> whose id it is."""
        return {kind.id_name: kind for kind in self.kinds.values()}

    @functools.cached_property
    def laws_of(self) -> dict[str, list[Law]]:
        """The key of an act -> what forbids it."""
        return {key: [law for law in self.laws if law.act == key] for key in self.acts}

    def said_date(self, text: str) -> dt.date:
        """A date of a row."""
        day = self.dates.read(text)
        assert day is not None, text
        return day


def _found(address: str) -> ToolDomain:
    domain: ToolDomain = pkgutil.resolve_name("forge_envs.worlds.tooluse.domains:domain_of")(address)
    return domain
