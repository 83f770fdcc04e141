"""Tasks without limit: a task's id is its seed (`desk.tasks`).

A task takes one customer of the airline and writes the reservations its goals need, so facts differ from task
to task.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from forge_envs.tables import Base
from forge_envs.worlds.airline.database import SIZES, database
from forge_envs.worlds.airline.draft import AirlineDraft
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.gold import gold_actions, rehearse
from forge_envs.worlds.desk.draft import Layer, Redraw, greet_once
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.tasks import content_of, draw_task


@functools.lru_cache(maxsize=4096)
def find_task(text: str) -> AirlineTask:
    """The task of an id. Raises TaskError."""
    return draw_task(text, "airline", SIZES, AirlineDraft, _plan, _finish)


def content(task: AirlineTask) -> tuple[Any, ...]:
    """What a task must not share with one of another split (`desk.tasks`)."""
    return content_of(task.size, task.customer_id, task.goals, task.reservations.rows)


def task_base(text: str, table: str) -> Base:
    """A task's own rows on top of its airline's."""
    base: Base = getattr(find_task(text), table)
    return base


def _finish(text: str, level: int, draft: AirlineDraft, goals: tuple[Goal, ...]) -> AirlineTask | None:
    """The task with its gold, or None if gold does not earn 1.0."""
    airline = draft.airline
    users = airline.users.rows
    if len(draft.user["reservations"]) > len(users[draft.customer_id]["reservations"]):
        users = Layer({draft.customer_id: draft.user}, users)
    reservations = Layer(draft.rows, airline.reservations.rows)
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


def _plan(draft: AirlineDraft, level: int) -> tuple[Goal, ...]:
    """The customer's goals for a level, as one conversation asks for them."""
    return greet_once(_PLANS[level](draft))


def _two(draft: AirlineDraft) -> list[Goal]:
    second: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goals = [draft.write(), draft.dice.choice(second)()]
    if goals[0].kind == goals[1].kind == "book":
        raise Redraw
    return goals if draft.dice.chance(0.5) else goals[::-1]


def _change_of_mind(draft: AirlineDraft) -> list[Goal]:
    row = draft.reservation(cabin="business", direct=True)
    makers = (draft.cancel, draft.bags, draft.cabin, draft.flights, draft.passengers)
    first, second = (maker(row) for maker in draft.dice.sample(makers, 2))
    taken_back = Goal(first.kind, first.request, first.subject, first.details, first.call, withdrawn=True)
    return [taken_back, second]


def _unknown_reservation(draft: AirlineDraft) -> list[Goal]:
    makers: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goal = draft.dice.choice(makers)(knows=False)
    held = Layer(draft.rows, database(draft.size).reservations.rows)
    ends = [(held[key]["origin"], held[key]["destination"]) for key in draft.user["reservations"]]
    own = draft.rows[goal.subject]
    if ends.count((own["origin"], own["destination"])) > 1:
        raise Redraw
    return [goal]


def _something_special(draft: AirlineDraft) -> list[Goal]:
    return draft.dice.choice((_two, _change_of_mind, _unknown_reservation))(draft)


def _several(draft: AirlineDraft) -> list[Goal]:
    goals = [draft.cancel() if draft.dice.chance(0.4) else draft.write() for _ in range(2)]
    if goals[0].kind == goals[1].kind == "book":
        raise Redraw
    goals.insert(draft.dice.below(3), draft.forbidden())
    return goals


_PLANS: dict[int, Callable[[AirlineDraft], list[Goal]]] = {
    1: lambda draft: [draft.fact()],
    2: lambda draft: [draft.cancel()],
    3: lambda draft: [draft.write()],
    4: _something_special,
    5: _several,
}
