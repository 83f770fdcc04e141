"""Tasks without limit: an id names a domain and a number, and is the seed of a customer with their goals."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from forge_envs.errors import TaskError
from forge_envs.tables import Base
from forge_envs.worlds.desk.draft import Layer, Redraw
from forge_envs.worlds.desk.tasks import LEVELS
from forge_envs.worlds.tooluse.domain import Deed
from forge_envs.worlds.tooluse.domains import domain_of, parse_address
from forge_envs.worlds.tooluse.draft import VisitDraft
from forge_envs.worlds.tooluse.forbidden import forbidden
from forge_envs.worlds.tooluse.goals import Errand, ToolUseTask
from forge_envs.worlds.tooluse.gold import gold_actions, rehearse, stumbling
from forge_envs.worlds.tooluse.lots import Lots

MOST_DRAWS = 500
"""A level that comes about in none of so many draws cannot be played in a domain."""


def task_name(address: str, level: int, n: int) -> str:
    """The id of the `n`-th task of a level (0: levels mixed) in a domain."""
    return f"tooluse/{address}/{level}/{n}"


def parse_task(text: str) -> tuple[str, int, int]:
    """A domain's address, level and number. Raises TaskError."""
    parts = text.split("/") if isinstance(text, str) else []
    if len(parts) == 6 and parts[0] == "tooluse":
        address, level, n = "/".join(parts[1:4]), parts[4], parts[5]
        parse_address(address)
        if level in map(str, (0, *LEVELS)) and n.isascii() and n.isdigit() and str(int(n[:20])) == n:
            return address, int(level), int(n)
    raise TaskError(
        f"unknown task {text!r}: an id is tooluse/<size>/<split>/<theme>-<number>/<level>/<number>; "
        "levels are 0 to 5"
    )


@functools.lru_cache(maxsize=4096)
def find_task(text: str) -> ToolUseTask:
    """The task of an id. Raises TaskError."""
    address, level, n = parse_task(text)
    domain = domain_of(address)
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    number = n * (len(LEVELS) + 1) + level
    drawn = level or 1 + seed % len(LEVELS)
    for attempt in range(MOST_DRAWS):
        case = VisitDraft(domain, number, Lots(seed, attempt))
        try:
            goals = _PLANS[drawn](case)
        except Redraw:
            continue
        if case.consistent(goals):
            task = _finish(text, drawn, case, goals)
            if task is not None:
                return task
    raise TaskError(f"task {text!r}: level {drawn} comes about in none of {MOST_DRAWS} draws of this domain")


def task_base(text: str, table: str) -> Base:
    """A task's own rows on top of its domain's."""
    return find_task(text).held[table]


def content(task: ToolUseTask) -> tuple[Any, ...]:
    """What two tasks have in common if they are the same, however it is said."""
    rows = tuple(sorted(str(task.row(goal)) for goal in task.goals if not goal.forbidden))
    return (task.domain.address, task.customer_id, *(goal.content for goal in task.goals), rows)


def _finish(text: str, level: int, case: VisitDraft, goals: list[Errand]) -> ToolUseTask | None:
    """The task with its gold, or None if gold does not earn 1.0."""
    domain, person = case.domain, case.domain.person
    held = {
        table: Base(Layer(rows, domain.bases[table].rows), (task_base, text, table))
        if rows
        else domain.bases[table]
        for table, rows in case.rows.items()
    }
    forgets = not domain.tiny and case.dice.chance(0.25)
    parts: dict[str, Any] = {
        "id": text,
        "size": "tiny" if domain.tiny else "full",
        "level": level,
        "domain": domain,
        "customer_id": case.customer_id,
        "name": case.person[person.label],
        "email": "" if forgets else case.person[person.by_key["email"].name],
        "phone": case.person[person.by_key["phone"].name],
        "goals": _greeted(case, goals),
        "users": held[person.table],
        "held": held,
    }
    if level == 4 and case.dice.chance(0.4):
        parts["stumbles"] = stumbling(ToolUseTask(**parts), case.voice)
    gold = tuple(gold_actions(ToolUseTask(**parts), case.voice))
    task = ToolUseTask(**parts, gold=gold)
    target = rehearse(task)
    return None if target is None else replace(task, target=target)


def _greeted(case: VisitDraft, goals: list[Errand]) -> tuple[Errand, ...]:
    """The goals as one conversation asks for them: the first line begins and ends with manners."""
    first, *others = goals
    opener, closer = case.say("opener"), case.say("closer")
    return replace(first, request=f"{opener}{first.request}{closer}"), *others


# -- goals of each level -------------------------------------------------------------------------------


def _acts(case: VisitDraft, told: bool) -> list[Deed]:
    return [act for act in case.domain.acts.values() if act.told == told]


def _simple(case: VisitDraft) -> list[Errand]:
    acts = _acts(case, told=False)
    if not acts:
        raise Redraw
    return [case.act(case.dice.choice(acts))]


def _told(case: VisitDraft) -> list[Errand]:
    return [case.act(case.dice.choice(_acts(case, told=True)))]


def _any(case: VisitDraft) -> Errand:
    return case.act(case.dice.choice(list(case.domain.acts.values())))


def _apart(goals: list[Errand]) -> list[Errand]:
    """The goals, if none stands in another's way: one's own data and new records are asked for once."""
    once = [goal.kind for goal in goals if not goal.subject and goal.kind != "fact"]
    once += [goal.fact for goal in goals if goal.fact.startswith("person.")]
    if len(set(once)) < len(once):
        raise Redraw
    return goals


def _two(case: VisitDraft) -> list[Errand]:
    goals = [_any(case), case.fact() if case.dice.chance(0.4) else _any(case)]
    return _apart(goals if case.dice.chance(0.5) else goals[::-1])


def _change_of_mind(case: VisitDraft) -> list[Errand]:
    """Two requests about one record, of which the first is taken back."""
    acts = [
        act for act in case.domain.acts.values() if act.kind.role == "record" and act.spec.does != "create"
    ]
    first, second = case.dice.sample(acts, 2) if len(acts) > 1 else (None, None)
    if first is None or second is None or first.kind.key != second.kind.key:
        raise Redraw
    both = [
        key
        for key in first.kind.states
        if all(not act.spec.from_ or key in act.spec.from_ for act in (first, second))
    ]
    if not both:
        raise Redraw
    row = case.record(first.kind, both)
    return [replace(case.act(first, row), withdrawn=True), case.act(second, row)]


def _unknown(case: VisitDraft) -> list[Errand]:
    """Something about a record whose id the customer does not know, among several."""
    acts = [
        act for act in case.domain.acts.values() if act.kind.role == "record" and act.spec.does != "create"
    ]
    goal = case.fact(knows=False) if case.dice.chance(0.4) else case.act(case.dice.choice(acts), knows=False)
    kind = case.domain.kinds[goal.about]
    if case.domain.tool("list", kind.key) is None:
        raise Redraw
    for _ in range(1 + case.dice.below(3)):
        case.record(kind)
    own = case.rows[kind.table]
    case.rows[kind.table] = dict(case.dice.sample(list(own.items()), len(own)))
    return [case.known_by_field(goal) if case.dice.chance(0.4) else goal]


def _something_special(case: VisitDraft) -> list[Errand]:
    return case.dice.choice((_two, _change_of_mind, _unknown, _unknown))(case)


def _several(case: VisitDraft) -> list[Errand]:
    goals = [_any(case) for _ in range(2)]
    goals.insert(case.dice.below(3), forbidden(case))
    return _apart(goals)


_PLANS: dict[int, Callable[[VisitDraft], list[Errand]]] = {
    1: lambda case: [case.fact()],
    2: _simple,
    3: _told,
    4: _something_special,
    5: _several,
}
