"""Which domains there are: an address is a seed, and says to which split the domain belongs.

A domain of the test split shares neither the names of its tools nor its schema with one of the training
split: hashes of both decide on which side a draw may stand, and one that falls on the wrong side is drawn
again. Some themes have domains in the test split alone.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace

from forge_envs.errors import TaskError
from forge_envs.tables import Base
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Redraw
from forge_envs.worlds.desk.tasks import SPLITS
from forge_envs.worlds.tooluse.database import draw_tables
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.draft import VisitDraft
from forge_envs.worlds.tooluse.draw import draw_domain
from forge_envs.worlds.tooluse.lots import Lots
from forge_envs.worlds.tooluse.theme import Theme, theme, theme_names

SIZES = ("full", "tiny")
MOST_DRAWS = 2_000
"""A theme that fits together in none of so many draws never will."""


@functools.cache
def themes_of(split: str) -> tuple[str, ...]:
    """The themes of which a split has domains."""
    return tuple(name for name in theme_names() if split == "test" or not theme(name).held_out)


def addresses(size: str, split: str, n: int, only: str = "") -> list[str]:
    """The first `n` domains of a split: the themes by turns, or one theme. Raises ValueError."""
    names = themes_of(split)
    if only:
        theme(only)
        if only not in names:
            raise ValueError(f"theme={only!r} is held out: only split='test' has domains of it")
        names = (only,)
    return [f"{size}/{split}/{names[i % len(names)]}-{i // len(names)}" for i in range(n)]


@functools.lru_cache(maxsize=1024)
def domain_of(address: str) -> ToolDomain:
    """The domain of an address, "<size>/<split>/<theme>-<number>". Raises TaskError."""
    size, split, name, _ = parse_address(address)
    drawn_from = theme(name)
    seed = int.from_bytes(hashlib.blake2b(address.encode(), digest_size=8).digest(), "big")
    for attempt in range(MOST_DRAWS):
        dice = Lots(seed, attempt)
        try:
            domain = draw_domain(address, drawn_from, size == "tiny", dice)
        except Redraw:
            continue
        if side(tool_names(domain)) == side(schema(domain)) == split:
            made = with_tables(domain, drawn_from, dice)
            if playable(made):
                return made
    raise TaskError(f"domain {address!r}: theme {name} fits together in none of {MOST_DRAWS} draws")


def with_tables(domain: ToolDomain, drawn_from: Theme, dice: Dice) -> ToolDomain:
    """The domain with its database."""
    tables = draw_tables(domain, drawn_from, dice)
    bases = {name: Base(rows, (base_of, domain.address, name)) for name, rows in tables.items()}
    return replace(domain, bases=bases)


def playable(domain: ToolDomain) -> bool:
    """Whether there are rows for which each of its requests is allowed."""
    try:
        for number, act in enumerate(domain.acts.values()):
            VisitDraft(domain, number, Lots(number)).act(act)
    except Redraw:
        return False
    return True


def base_of(address: str, table: str) -> Base:
    """A table of a domain's database."""
    return domain_of(address).bases[table]


def parse_address(address: str) -> tuple[str, str, str, int]:
    """Size, split, theme and number. Raises TaskError."""
    size, split, rest = (*address.split("/"), "", "", "")[:3]
    name, _, number = rest.rpartition("-")
    if (
        size in SIZES
        and split in SPLITS
        and name in themes_of(split)
        and number.isascii()
        and number.isdigit()
        and str(int(number[:20])) == number
    ):
        return size, split, name, int(number)
    raise TaskError(
        f"unknown domain {address!r}: one is called <size>/<split>/<theme>-<number>; sizes are "
        f"{', '.join(SIZES)}, splits {', '.join(SPLITS)}, themes of a split as in `themes_of`"
    )


def tool_names(domain: ToolDomain) -> str:
    """The set of the names of a domain's tools, as text."""
    return json.dumps(sorted(domain.specs))


def schema(domain: ToolDomain) -> str:
    """What a domain is made of, as text: tables, their fields, and the arguments of its tools."""
    tables = sorted([kind.table, sorted(kind.fields)] for kind in domain.kinds.values())
    tools = sorted([spec.name, sorted(param.name for param in spec.params)] for spec in domain.specs.values())
    return json.dumps([tables, tools])


def side(text: str) -> str:
    """The split on which something may stand, from itself alone."""
    return SPLITS[hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % 2]
