"""A task in the making at any desk."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from forge_envs.tables import Row, copy_json
from forge_envs.worlds.desk.customer import choose
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.goals import Goal


class Redraw(Exception):
    """The draw cannot become a task; draw again."""


class Draft:
    """A task in the making: a customer, the rows written for it so far, and the dice. A world adds the goals.

    Args:
        size: of the world.
        dice: all that is drawn is drawn with these.
        customers: user ids, of which one is drawn.
        users: their rows.
        held: the table of what they come for, and the field of a user with its ids.
        own_ids: write rows under ids that the customer already has, while there are some.
    """

    package: str
    """Where the world's lines.toml lies."""

    def __init__(
        self,
        size: str,
        dice: Dice,
        *,
        customers: Sequence[str],
        users: Mapping[str, Row],
        held: str,
        own_ids: bool,
    ) -> None:
        self.size = size
        self.tiny = size == "tiny"
        self.dice = dice
        self.voice = dice.below(2**40)
        self.customer_id = dice.choice(customers)
        self.user: Row = copy_json(users[self.customer_id])
        ids = self.user[held]
        self.old_ids = dice.sample(ids, len(ids)) if own_ids else []
        self.rows: dict[str, Row] = {}
        """Rows of `held` that were written for this task, by id."""
        self.said = 0

    def say(self, place: str, **words: str) -> str:
        """The customer's line for a place."""
        self.said += 1
        return choose(self.package, place, self.voice + 11 * self.said, self.tiny, **words)


def greet_once(goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """The goals as one conversation asks for them: only the first begins with a greeting."""
    first, *others = goals
    later = []
    for goal in others:
        text = goal.request.removeprefix("Hi, ").removeprefix("Hello, ")
        later.append(replace(goal, request=text[0].upper() + text[1:]))
    return first, *later


class Layer(Mapping[str, Row]):
    """Rows on top of rows, like `collections.ChainMap`, which takes four times as long for a lookup."""

    __slots__ = ("base", "own")

    def __init__(self, own: dict[str, Row], base: Mapping[str, Row]) -> None:
        self.own = own
        self.base = base

    def __getitem__(self, key: str) -> Row:
        return self.own[key] if key in self.own else self.base[key]

    def get(self, key: str, default: Any = None) -> Any:
        """The row, or the default."""
        return self.own[key] if key in self.own else self.base.get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self.own or key in self.base

    def __iter__(self) -> Iterator[str]:
        yield from self.base
        yield from (key for key in self.own if key not in self.base)

    def __len__(self) -> int:
        return len(self.base) + sum(key not in self.base for key in self.own)
