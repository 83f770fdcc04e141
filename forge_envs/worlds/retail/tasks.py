"""Tasks without limit: a task's id is its seed (`desk.tasks`).

A task takes one customer of the shop and writes the orders its goals need, so facts differ from task to task.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from forge_envs.tables import Base
from forge_envs.worlds.desk.draft import Layer, Redraw, greet_once
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.tasks import content_of, draw_task
from forge_envs.worlds.retail.database import SIZES
from forge_envs.worlds.retail.draft import ShopDraft
from forge_envs.worlds.retail.goals import RetailTask
from forge_envs.worlds.retail.gold import gold_actions, rehearse


@functools.lru_cache(maxsize=4096)
def find_task(text: str) -> RetailTask:
    """The task of an id. Raises TaskError."""
    return draw_task(text, "retail", SIZES, ShopDraft, _plan, _finish)


def content(task: RetailTask) -> tuple[Any, ...]:
    """What a task must not share with one of another split (`desk.tasks`)."""
    return content_of(task.size, task.customer_id, task.goals, task.orders.rows)


def task_base(text: str, table: str) -> Base:
    """A task's own rows on top of its shop's."""
    base: Base = getattr(find_task(text), table)
    return base


def _finish(text: str, level: int, draft: ShopDraft, goals: tuple[Goal, ...]) -> RetailTask | None:
    """The task with its gold, or None if gold does not earn 1.0."""
    shop = draft.shop
    users = shop.users.rows
    if len(draft.user["orders"]) > len(users[draft.customer_id]["orders"]):
        users = Layer({draft.customer_id: draft.user}, users)
    forgets = level > (2 if draft.tiny else 0) and draft.dice.chance(0.25)
    name = draft.user["name"]
    parts: dict[str, Any] = {
        "id": text,
        "size": draft.size,
        "level": level,
        "customer_id": draft.customer_id,
        "email": "" if forgets else draft.user["email"],
        "name": f"{name['first_name']} {name['last_name']}",
        "zip": draft.user["address"]["zip"],
        "goals": goals,
        "users": Base(users, (task_base, text, "users")),
        "orders": Base(Layer(draft.rows, shop.orders.rows), (task_base, text, "orders")),
    }
    gold = tuple(gold_actions(RetailTask(**parts), shop, draft.voice))
    target = rehearse(RetailTask(**parts, gold=gold), shop)
    return None if target is None else RetailTask(**parts, gold=gold, target=target)


# -- goals of each level -------------------------------------------------------------------------------


def _plan(draft: ShopDraft, level: int) -> tuple[Goal, ...]:
    """The customer's goals for a level, as one conversation asks for them."""
    return greet_once(_PLANS[level](draft))


def _two(draft: ShopDraft) -> list[Goal]:
    second: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goals = [draft.write(), draft.dice.choice(second)()]
    if goals[0].kind == goals[1].kind == "home":
        raise Redraw
    return goals if draft.dice.chance(0.5) else goals[::-1]


def _change_of_mind(draft: ShopDraft) -> list[Goal]:
    if draft.dice.chance(0.5):
        order = draft.order("pending")
        makers = [draft.cancel, draft.address, draft.payment, draft.modify]
    else:
        order = draft.order("delivered")
        makers = [draft.exchange, draft.giving_back]
    first, second = (maker(order) for maker in draft.dice.sample(makers, 2))
    taken_back = Goal(first.kind, first.request, first.subject, first.details, first.call, withdrawn=True)
    return [taken_back, second]


def _unknown_order(draft: ShopDraft) -> list[Goal]:
    makers: tuple[Callable[..., Goal], ...] = (draft.fact, draft.cancel, draft.write)
    goal = draft.dice.choice(makers)(knows=False)
    held = Layer(draft.rows, draft.shop.orders.rows)
    name = draft.rows[goal.subject]["items"][0]["name"]
    for order_id in draft.user["orders"]:
        if order_id != goal.subject and any(item["name"] == name for item in held[order_id]["items"]):
            raise Redraw
    return [goal]


def _something_special(draft: ShopDraft) -> list[Goal]:
    return draft.dice.choice((_two, _change_of_mind, _unknown_order))(draft)


def _several(draft: ShopDraft) -> list[Goal]:
    goals = [draft.cancel() if draft.dice.chance(0.4) else draft.write() for _ in range(2)]
    if goals[0].kind == goals[1].kind == "home":
        raise Redraw
    goals.insert(draft.dice.below(3), draft.forbidden())
    return goals


_PLANS: dict[int, Callable[[ShopDraft], list[Goal]]] = {
    1: lambda draft: [draft.fact()],
    2: lambda draft: [draft.cancel()],
    3: lambda draft: [draft.write()],
    4: _something_special,
    5: _several,
}
