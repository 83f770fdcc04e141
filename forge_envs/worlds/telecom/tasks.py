"""Tasks without limit: a task's id is its seed (`desk.tasks`).

A task draws a customer with a line, a case and its faults. What breaks is done to fresh rows, gold is played
on them, and a draw whose faults do not show or whose gold does not mend them is drawn again.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from forge_envs.env import Task
from forge_envs.errors import ToolError
from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief
from forge_envs.tables import Base, Row, Table, copy_json
from forge_envs.tools import tools_of
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Layer
from forge_envs.worlds.desk.tasks import LEVELS, parse_id, split_of
from forge_envs.worlds.telecom.carrier import Carrier
from forge_envs.worlds.telecom.customer import ask_for, first_person
from forge_envs.worlds.telecom.database import TABLES, Rows, company, draw_phone
from forge_envs.worlds.telecom.faults import CASES, PROOFS, LinePlace, PhoneFault
from forge_envs.worlds.telecom.functions import CARRIER, PHONE, attempt
from forge_envs.worlds.telecom.handset import Handset
from forge_envs.worlds.telecom.phone import Phone
from forge_envs.worlds.telecom.words import (
    ANYTHING_ELSE,
    GOALS,
    HANDED_OVER,
    HOW_MUCH,
    WHO,
    manners,
    opening_line,
)

SIZES = ("full",)
JUDGED = ("customers", "lines", "bills")
"""Tables of the carrier that a task must leave as gold does."""
Key: TypeAlias = tuple[str, str]
HANDOVER = "transfer_to_human_agents"


@dataclass(frozen=True, kw_only=True)
class PhoneTask(Task):
    """A customer whose phone does not do what it should, and the proof that this can be dealt with."""

    level: int
    case: str
    faults: tuple[PhoneFault, ...]
    place: LinePlace
    brief: Brief
    known: str
    tables: Mapping[str, Base]
    """The rows of both sides before anything breaks."""
    gold: tuple[str | ToolCall, ...] = ()
    began: dict[Key, Row] = field(default_factory=dict)
    """Rows of the carrier that were touched to break things."""
    target: dict[Key, Row] = field(default_factory=dict)
    """Rows of the carrier that gold leaves otherwise than they began."""

    @functools.cached_property
    def solvable(self) -> bool:
        """Whether agent and customer can mend it between them."""
        return all(fault.mends is not None for fault in self.faults)

    @property
    def content(self) -> tuple[Any, ...]:
        """What a task must not share with one of another split: the customer and what is wrong."""
        who = self.tables["customers"].rows[self.place.customer_id]
        broken = tuple(str(fault.breaks) for fault in self.faults)
        return who["full_name"], who["date_of_birth"], self.place, self.case, broken

    def __reduce__(self) -> tuple[Callable[[str], PhoneTask], tuple[str]]:
        return find_task, (self.id,)


@functools.lru_cache(maxsize=4096)
def find_task(text: str) -> PhoneTask:
    """The task of an id. Raises TaskError."""
    _, split, level, _ = parse_id("telecom", SIZES, text)
    seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")
    level = level or 1 + seed % len(LEVELS)
    for attempt_ in itertools.count():
        task = _draw(text, level, Dice(seed, attempt_))
        if split_of(task.content) == split:
            whole = _prove(task, Dice(seed, attempt_, 1))
            if whole is not None:
                return whole
    raise AssertionError("unreachable")


def task_table(text: str, name: str) -> Base:
    """A table of a task; pickles hold this call."""
    return find_task(text).tables[name]


def open_desk(task: PhoneTask, *, broken: bool = True) -> Carrier:
    """A fresh desk, with what is wrong."""
    tables = {name: Table(task.tables[name]) for name in (*TABLES, "phone")}
    desk = Carrier(**tables, salt=task.id)  # type: ignore[arg-type]
    if broken:
        owners: dict[str, Any] = {"assistant": desk, "user": Phone(desk)}
        for fault in task.faults:
            for side, name, arguments in fault.breaks:
                _function(side, name)(owners[side], **task.place.fill(arguments))
                desk.settle()
        Phone(desk).search()
        desk.settle()
        desk.writes = 0
    return desk


def works(task: PhoneTask, desk: Carrier) -> bool:
    """Whether the phone does again what the customer wants of it."""
    phone = Phone(desk)
    return all(attempt(PHONE[name], phone, arguments) for name, arguments in PROOFS[task.case])


def rows_right(task: PhoneTask, desk: Carrier) -> tuple[int, int]:
    """How many rows of the carrier are as gold leaves them, of how many that gold or others changed."""
    right, rows = 0, len(task.target)
    for name in JUDGED:
        table: Table = getattr(desk, name)
        for key, row in table.touched().items():
            place = (name, key)
            if place in task.target:
                right += row == task.target[place]
            elif row != task.began.get(place, task.tables[name].rows.get(key)):
                rows += 1
    return right, rows


def _function(side: str, name: str) -> Callable[..., Any]:
    own = (CARRIER if side == "assistant" else PHONE).get(name)
    return own or tools_of(Carrier if side == "assistant" else Phone)[name].function


# -- drawing -----------------------------------------------------------------------------------------------


def _draw(text: str, level: int, dice: Dice) -> PhoneTask:
    rows = Rows(dice, 5000 + dice.below(4000))
    customer = rows.customer(1 + dice.below(3))
    line = rows.tables["lines"][customer["line_ids"][0]]
    case = dice.choice(list(CASES))
    faults = _faults(case, level, dice)
    gigabytes = dice.choice((0.5, 1.0, 1.5, 2.0))
    limit = company()["plans"].rows[line["plan_id"]]["data_limit_gb"]
    place = LinePlace(customer["customer_id"], line["line_id"], limit, gigabytes, rows.new_id("bills", "B"))
    if case == "data" and any(fault.kind == "usage" for fault in faults):
        gigabytes = max(gigabytes, 1.0)
    phone = draw_phone(dice)
    phone["surroundings"] |= {"name": customer["full_name"], "phone_number": line["phone_number"]}
    phone["surroundings"]["is_abroad"] = abroad = any(fault.abroad for fault in faults)
    layers = {name: Layer(rows.tables[name], company()[name].rows) for name in TABLES}
    tables = {name: Base(found, (task_table, text, name)) for name, found in layers.items()}
    tables["phone"] = Base(phone, (task_table, text, "phone"))
    where = f" You are {dice.choice(('in France', 'in Japan', 'in Brazil'))} at the moment." if abroad else ""
    known = f"You are {customer['full_name']}, your number is {line['phone_number']}.{where}"
    first = opening_line(case, dice)
    if level < 3:
        first = f"{first} {first_person(known)}"
    brief = Brief(known, GOALS[case], manners(case, gigabytes), first)
    return PhoneTask(
        id=text,
        level=level,
        case=case,
        faults=faults,
        place=replace(place, gigabytes=gigabytes),
        brief=brief,
        known=known,
        tables=tables,
    )


_COUNTS = {1: (1, 1), 2: (1, 1), 3: (2, 2), 4: (2, 3), 5: (3, 5)}
"""Level -> how many faults at least and at most."""


def _faults(case: str, level: int, dice: Dice) -> tuple[PhoneFault, ...]:
    """So many causes of a case as the level has, of different kinds; in level 1 only of the phone, in level 2
    only those the agent must help with, and from level 4 on perhaps one that nobody can mend.
    """
    low, high = _COUNTS[level]
    hopeless = level > 3 and dice.chance(0.3)
    least = {1: False, 2: True}.get(level)
    found: dict[str, PhoneFault] = {}
    if hopeless:
        cause = dice.choice([fault for fault in CASES["service"] if fault.mends is None])
        found[cause.kind] = cause
    count = low + dice.below(high - low + 1)
    for fault in dice.sample(CASES["service" if hopeless else case], len(CASES[case])):
        fits = fault.mends is not None and (least is None or fault.carrier == least)
        if len(found) < count and fault.kind not in found and fits:
            found[fault.kind] = fault
    # Airplane mode cuts a VPN, so what breaks that comes after it; mends that end with a restart come last.
    order = {"airplane": -1, "suspended": 1, "apn": 2}
    return tuple(sorted(found.values(), key=lambda fault: order.get(fault.kind, 0)))


# -- gold ----------------------------------------------------------------------------------------------------


def _prove(task: PhoneTask, dice: Dice) -> PhoneTask | None:
    """The task with gold and the rows that gold leaves; None if gold does not earn 1.0, or silence does."""
    desk = open_desk(task)
    if works(task, desk) or not task.faults:
        return None
    began = _touched(desk)
    gold = tuple(_gold(task, dice))
    phone = Phone(desk)
    for action in gold:
        owner: Carrier | Handset
        for call in [action] if isinstance(action, ToolCall) else _done_by_customer(task, action):
            owner = phone if call.requestor == "user" else desk
            try:
                tools_of(type(owner))[call.name].function(owner, **call.arguments)
            except ToolError:
                return None
            desk.settle()
    if works(task, desk) != task.solvable:
        return None
    after, rows = _touched(desk), task.tables
    target = {
        place: row
        for place, row in after.items()
        if row != began.get(place, rows[place[0]].rows.get(place[1]))
    }
    return replace(task, gold=gold, began=began, target=target)


def _touched(desk: Carrier) -> dict[Key, Row]:
    """The carrier's rows that were copied to be changed, as they are now."""
    return {
        (name, key): copy_json(row) for name in JUDGED for key, row in getattr(desk, name).touched().items()
    }


def _done_by_customer(task: PhoneTask, said: str) -> Sequence[ToolCall]:
    """The calls of the customer's that a line of gold asks for."""
    return [call for call in _theirs(task) if ask_for(call) == said]


def _theirs(task: PhoneTask) -> list[ToolCall]:
    calls = [call for fault in task.faults for call in (*fault.shows, *(fault.mends or ()))]
    calls.append(_LOOK)
    return [
        replace(call, arguments=task.place.fill(call.arguments)) for call in calls if call.requestor == "user"
    ]


_LOOK = ToolCall("check_network_status", {}, "user")
"""What an exemplary agent has every customer look at first."""


def _gold(task: PhoneTask, dice: Dice) -> list[str | ToolCall]:
    """What an exemplary agent says and calls: who it is, what shows, what mends, and whether it works."""
    number = task.tables["phone"].rows["surroundings"]["phone_number"]
    said: list[str | ToolCall] = [dice.choice(WHO)] if task.level > 2 else []
    said += [ToolCall("get_customer_by_phone", {"phone_number": number}), ask_for(_LOOK)]
    hopeless = [fault for fault in task.faults if fault.mends is None]
    for fault in hopeless or task.faults:
        if fault.kind == "usage":
            said.append(dice.choice(HOW_MUCH))
        for call in (*fault.shows, *(fault.mends or ())):
            filled = replace(call, arguments=task.place.fill(call.arguments))
            said.append(ask_for(filled) if call.requestor == "user" else filled)
    if hopeless:
        return [*said, ToolCall(HANDOVER, {"summary": dice.choice(HANDED_OVER)})]
    return [*said, dice.choice(ANYTHING_ELSE)]
