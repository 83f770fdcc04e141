"""Tasks without limit: a task's id is its seed.

A task takes one customer of the airline and writes the reservations its goals need, so facts differ from task
to task. Whether a task belongs to "train" or "test" follows from a hash of its customer and goals, so that no
request occurs in both. A draw that falls on the wrong side, or whose gold fails, is drawn again.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from forge_envs.tables import Base
from forge_envs.worlds.airline.draft import Draft, Redraw
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.gold import gold_actions, rehearse
from forge_envs.worlds.airline.ids import content_of, parse_id
from forge_envs.worlds.airline.network import database
from forge_envs.worlds.desk.dice import Dice
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.ids import LEVELS, split_of
from forge_envs.worlds.desk.layer import Layer


@functools.lru_cache(maxsize=4096)
def find_task(text: str) -> AirlineTask:
    """The task of an id. Raises TaskError."""
    size, split, level, _ = parse_id(text)
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    level = level or 1 + seed % len(LEVELS)
    for attempt in itertools.count():
        draft = Draft(size, Dice(seed, attempt))
        try:
            goals = _greeting_once(_PLANS[level](draft))
        except Redraw:
            continue
        if split_of(content_of(size, draft.customer_id, goals, draft.reservations)) == split:
            task = _finish(text, level, draft, goals)
            if task is not None:
                return task
    raise AssertionError("unreachable")


def _greeting_once(goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """The goals as one conversation asks for them."""
    later = []
    for goal in goals[1:]:
        text = goal.request.removeprefix("Hi, ").removeprefix("Hello, ")
        later.append(replace(goal, request=text[0].upper() + text[1:]))
    return goals[0], *later


def task_base(text: str, table: str) -> Base:
    """A task's own rows on top of its airline's."""
    base: Base = getattr(find_task(text), table)
    return base


def _finish(text: str, level: int, draft: Draft, goals: tuple[Goal, ...]) -> AirlineTask | None:
    """The task with its gold, or None if gold does not earn 1.0."""
    airline = draft.airline
    users = airline.users.rows
    if len(draft.user["reservations"]) > len(users[draft.customer_id]["reservations"]):
        users = Layer({draft.customer_id: draft.user}, users)
    reservations = Layer(draft.reservations, airline.reservations.rows)
    parts: dict[str, Any] = {
        "id": text,
        "size": draft.size,
        "level": level,
        "customer_id": draft.customer_id,
        "goals": goals,
        "users": Base(users, (task_base, text, "users")),
        "reservations": Base(reservations, (task_base, text, "reservations")),
    }
    gold = tuple(gold_actions(AirlineTask(**parts), airline, draft.voice))
    target = rehearse(AirlineTask(**parts, gold=gold), airline)
    return None if target is None else AirlineTask(**parts, gold=gold, target=target)


# -- goals of each level -------------------------------------------------------------------------------


def _two(draft: Draft) -> list[Goal]:
    second: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goals = [draft.write(), draft.dice.choice(second)()]
    if goals[0].kind == goals[1].kind == "book":
        raise Redraw
    return goals if draft.dice.chance(0.5) else goals[::-1]


def _change_of_mind(draft: Draft) -> list[Goal]:
    row = draft.reservation(cabin="business", direct=True)
    makers = (draft.cancel, draft.bags, draft.cabin, draft.flights, draft.passengers)
    first, second = (maker(row) for maker in draft.dice.sample(makers, 2))
    taken_back = Goal(first.kind, first.request, first.subject, first.details, first.call, withdrawn=True)
    return [taken_back, second]


def _unknown_reservation(draft: Draft) -> list[Goal]:
    makers: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goal = draft.dice.choice(makers)(knows=False)
    held = Layer(draft.reservations, database(draft.size).reservations.rows)
    ends = [(held[key]["origin"], held[key]["destination"]) for key in draft.user["reservations"]]
    own = draft.reservations[goal.subject]
    if ends.count((own["origin"], own["destination"])) > 1:
        raise Redraw
    return [goal]


def _something_special(draft: Draft) -> list[Goal]:
    return draft.dice.choice((_two, _change_of_mind, _unknown_reservation))(draft)


def _several(draft: Draft) -> list[Goal]:
    goals = [draft.cancel() if draft.dice.chance(0.4) else draft.write() for _ in range(2)]
    if goals[0].kind == goals[1].kind == "book":
        raise Redraw
    goals.insert(draft.dice.below(3), draft.forbidden())
    return goals


_PLANS: dict[int, Callable[[Draft], list[Goal]]] = {
    1: lambda draft: [draft.fact()],
    2: lambda draft: [draft.cancel()],
    3: lambda draft: [draft.write()],
    4: _something_special,
    5: _several,
}
