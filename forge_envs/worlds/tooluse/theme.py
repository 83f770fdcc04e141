"""A theme: the box of parts from which domains of one trade are drawn. It is data, read from a TOML file."""

from __future__ import annotations

import functools
import hashlib
import re
import tomllib
from importlib import resources
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

HELD_OUT = 6
"""One theme in so many is never trained on."""
Names = Annotated[tuple[str, ...], Field(min_length=1)]
Number = int | float


_ASKED = re.compile(r"\b(e?-?mail|phone|name|number)\b", re.IGNORECASE)


class ThemePart(BaseModel):
    """What all parts of a theme are: frozen, and of no other fields than these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ThemeField(ThemePart):
    """A field of rows, which a domain may have and calls by one of its names."""

    key: str
    names: Names
    kind: Literal["choice", "count", "money", "date", "code", "flag", "text", "email", "phone"]
    values: tuple[str, ...] = ()
    range: tuple[int, int] = (0, 9)
    zero: float = 0.0
    """The chance of 0."""
    pattern: str = ""
    """Of a code: A stands for a letter, # for a digit."""
    ask: tuple[str, ...] = ()
    """How customers ask for it."""
    tell: tuple[str, ...] = ("{value}.",)
    """How they say a value of it."""

    @model_validator(mode="after")
    def _whole(self) -> ThemeField:
        if self.kind in ("choice", "text") and len(self.values) < 2:
            raise ValueError(f"field {self.key}: a {self.kind} needs two values at least")
        if self.kind == "code" and not re.search("[A#]", self.pattern):
            raise ValueError(f"field {self.key}: a code needs a pattern of A (letter) and # (digit)")
        if self.ask and self.kind in ("choice", "text") and any(map(_ASKED.search, self.values)):
            raise ValueError(
                f"field {self.key}: a question for an email or a phone would be heard as this value"
            )
        if self.range[0] > self.range[1]:
            raise ValueError(f"field {self.key}: range={list(self.range)} ends before it begins")
        return self


BUILT_IN = {
    "email": ThemeField(
        key="email",
        names=("email", "email_address", "mail"),
        kind="email",
        tell=("It is {value}.", "{value}, please."),
    ),
    "phone": ThemeField(
        key="phone",
        names=("phone", "phone_number", "telephone"),
        kind="phone",
        tell=("It is {value}.", "{value}."),
    ),
}
"""Fields that every person has."""


class Called(ThemePart):
    """What is called by nouns, of which a domain has one."""

    nouns: Names
    plurals: tuple[str, ...] = ()


class ThemePerson(Called):
    """Who comes. Everybody has an id, a name, an email address and a phone number as well."""

    fields: tuple[ThemeField, ...] = ()


class ThemeThing(Called):
    """What there is whoever asks."""

    labels: tuple[str, ...]
    fields: tuple[ThemeField, ...] = ()


class ThemeRecord(Called):
    """What belongs to a person and is about a thing."""

    of: str
    link: str = "for"
    """Between the record and the thing: "my loan of The Salt Road"."""
    stock: str = ""
    states: dict[str, Names]
    fields: tuple[ThemeField, ...]


class ThemeAction(ThemePart):
    """What one write tool does."""

    key: str
    verbs: Names
    past: Names
    acts: tuple[str, ...] = ()
    on: str
    does: Literal["state", "set", "add", "swap", "create", "pay"]
    field: str = ""
    by: tuple[int, ...] | Literal["told"] = ()
    range: tuple[int, int] = (1, 5)
    from_: tuple[str, ...] = Field((), alias="from")
    to: str = ""
    reasons: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    defaults: dict[str, Any] = Field(default_factory=dict)
    wish: Names
    doc: str

    @property
    def told(self) -> bool:
        """Whether it takes more than the record: what the customer must be asked for."""
        return self.does in ("set", "swap", "create", "pay") or self.by == "told"


class ThemeCondition(ThemePart):
    """When a rule holds."""

    what: str
    op: Literal["is", "is_not", "at_least", "at_most", "within_days", "beyond_days"]
    value: tuple[Number | str, ...]


class ThemeRule(ThemePart):
    """What forbids an action."""

    action: str
    when: ThemeCondition
    text: str


class Theme(ThemePart):
    """All of it."""

    name: str
    title: str
    places: Names
    person: ThemePerson
    things: dict[str, ThemeThing]
    records: dict[str, ThemeRecord]
    actions: tuple[ThemeAction, ...]
    rules: tuple[ThemeRule, ...] = ()

    @property
    def held_out(self) -> bool:
        """Whether only the test split has domains of it."""
        return _hash(self.name) % HELD_OUT == 0

    @model_validator(mode="after")
    def _fits(self) -> Theme:
        for fault in _faults(self):
            raise ValueError(fault)
        return self


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=4).digest(), "big")


def _faults(theme: Theme) -> list[str]:
    """What refers to nothing."""
    found = []
    fields = {"person": {*BUILT_IN, *(field.key for field in theme.person.fields)}}
    for key, thing in theme.things.items():
        fields[key] = {field.key for field in thing.fields}
    for key, record in theme.records.items():
        fields[key] = {field.key for field in record.fields}
        if record.of not in theme.things:
            found.append(f"records.{key}: of={record.of!r} is no thing: {', '.join(theme.things)}")
        elif record.stock and record.stock not in fields[record.of]:
            found.append(f"records.{key}: stock={record.stock!r} is no field of {record.of}")
    actions = {action.key: action for action in theme.actions}
    if len(actions) < len(theme.actions):
        found.append("two actions share a key")
    for action in theme.actions:
        where = f"action {action.key}"
        if len(action.past) != len(action.verbs):
            found.append(f"{where}: verbs and past differ in length")
        if action.on != "person" and action.on not in theme.records:
            found.append(f"{where}: on={action.on!r} is no record and not person")
            continue
        wanted = [action.field] if action.does in ("set", "add", "pay") else []
        unknown = {*wanted, *action.asks, *action.defaults} - fields[action.on]
        if unknown:
            found.append(f"{where}: {sorted(unknown)} are no fields of {action.on}")
        states = theme.records[action.on].states if action.on != "person" else {}
        lost = {*action.from_, *([action.to] if action.to else [])} - set(states)
        if lost:
            found.append(f"{where}: {sorted(lost)} are no states of {action.on}")
        if action.does in ("state", "create") and not action.to:
            found.append(f"{where}: `to` names no state")
    for rule in theme.rules:
        if rule.action not in actions:
            found.append(f"rule on {rule.action!r}: there is no such action")
            continue
        side, _, key = rule.when.what.partition(".")
        on = actions[rule.action].on
        of = theme.records[on].of if on in theme.records else ""
        if side == "record" and actions[rule.action].does == "create":
            found.append(f"rule on {rule.action}: there is no record yet; look at person or thing")
        owner = {"record": on, "person": "person", "thing": of}.get(side, "")
        if key != "state" and key not in fields.get(owner, ()):
            found.append(f"rule on {rule.action}: what={rule.when.what!r} is no field")
    return found


@functools.cache
def theme_names() -> tuple[str, ...]:
    """All themes there are, by name."""
    folder = resources.files(__package__).joinpath("themes")
    return tuple(sorted(file.name[:-5] for file in folder.iterdir() if file.name.endswith(".toml")))


@functools.cache
def theme(name: str) -> Theme:
    """The theme of a name. Raises ValueError for an unknown one, and for a file that is no theme."""
    if name not in theme_names():
        raise ValueError(f"theme={name!r}: known are {', '.join(theme_names())}")
    text = resources.files(__package__).joinpath("themes", f"{name}.toml").read_text("utf-8")
    return parse_theme(name, text)


def parse_theme(name: str, text: str) -> Theme:
    """A theme from the text of its file. Raises ValueError that says what is wrong with it."""
    try:
        return Theme(name=name, **tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"theme {name}: {error}") from None
