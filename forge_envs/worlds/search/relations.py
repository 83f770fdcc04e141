"""The kinds of entities and of facts a web is made of, read from `relations.toml`."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any

KINDS = {
    "person": "person",
    "town": "town",
    "region": "region",
    "firm": "firm",
    "work": "work",
    "event": "event",
    "prize": "prize",
    "school": "school",
    "landmark": "landmark",
}
"""Kinds of entities, with the noun by which a question calls them."""
FOLDERS = {
    "person": "people",
    "town": "towns",
    "region": "regions",
    "firm": "firms",
    "work": "works",
    "event": "events",
    "prize": "prizes",
    "school": "schools",
    "landmark": "landmarks",
}
"""Where the pages of a kind stand in a web."""
VALUES = ("date", "number", "noun")
"""What a fact may say that is no entity."""


@dataclass(frozen=True, slots=True)
class WebRelation:
    """One kind of fact: between which kinds it stands, and in which words it is asked and told."""

    key: str
    subject: str
    object: str
    """A kind of entity, or one of VALUES."""
    label: str
    ask: tuple[str, ...]
    does: tuple[str, ...]
    told: tuple[str, ...]
    done: tuple[str, ...] = ()
    ask_then: tuple[str, ...] = ()
    did: tuple[str, ...] = ()
    was_done: tuple[str, ...] = ()
    told_then: tuple[str, ...] = ()
    changes: bool = False
    """Another object takes over in time: it is asked for now, or in a year."""
    symmetric: bool = False

    @property
    def links(self) -> bool:
        """Whether it leads to another entity."""
        return self.object not in VALUES


@functools.cache
def relations() -> dict[str, WebRelation]:
    """All kinds of facts by key."""
    text = resources.files(__package__).joinpath("relations.toml").read_text(encoding="utf-8")
    found = {}
    for key, row in tomllib.loads(text).items():
        words: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        found[key] = WebRelation(key=key, **words)
    return found
