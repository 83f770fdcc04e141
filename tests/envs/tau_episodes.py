"""Episodes of published tasks: gold, gold changed in every way we know, and calls at random.

They are written from the benchmark's files alone, the same for everybody who has the files, so that what the
official code said of them can be stored as a few bytes (`tests/envs/tau_verdicts.json.gz`). An episode is
JSON: a task, and what the agent says and calls, message by message.
"""

from __future__ import annotations

import copy
import itertools
import json
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

Call: TypeAlias = dict[str, Any]
Said: TypeAlias = dict[str, Any]
"""{"text", "calls"}."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 2.0, 1.5, -2.0, "", " ", "2", "2.0", "x", "yes", "pending", "business"),
    *([], {}, [[]], [None], ["a"], {"a": 1}, [{}], [{"a": 1}], "ab", [1, 2], ["a", "b"], {"a": 1, "b": 2}),
)
WRITES = ("cancel", "modify", "exchange", "return", "book", "update", "send", "create")
SUMS = (
    "2 + 2",
    "1 / 0",
    "",
    "(8)",
    "2 ** 10",
    "1 // 3",
    "1e5",
    "2 2",
    "-(3 - 5) * .5",
    "08",
    [],
    5,
    "9" * 400 + ".",
)


def write(call: Call) -> bool:
    """Whether a call may change something."""
    return call["name"].startswith(WRITES)


class Source:
    """One domain of one benchmark: its rows, its tasks, its tools."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.domain = kind, folder.name
        if kind == "tau2":
            self.rows = json.loads((folder / "db.json").read_text())
            found = json.loads((folder / "tasks.json").read_text())
            splits = json.loads((folder / "split_tasks.json").read_text())
            ids = set(splits.get("train") or splits["base"])
            self.tasks = {task["id"]: task for task in found if task["id"] in ids and _begins(task)}
            schemas = json.loads((folder / "tools_schema.json").read_text())["assistant"]
        else:
            self.rows = {path.stem: json.loads(path.read_text()) for path in folder.glob("[!t]*.json")}
            found = json.loads((folder / "tasks_train.json").read_text())
            self.tasks = {f"train/{n}": task for n, task in enumerate(found) if n % 5 == 0}
            schemas = json.loads((folder.parent / "oracle" / f"{folder.name}_tools_schema.json").read_text())
        self.tools = {
            entry["function"]["name"]: list(entry["function"]["parameters"].get("properties", {}))
            for entry in schemas
        }
        self.golds = {id: self.gold(id) for id in self.tasks}
        self.writes = [call for gold in self.golds.values() for call in gold if write(call)]
        self.reads = [call for gold in self.golds.values() for call in gold if not write(call)]
        self.reads += [
            {"name": "get_user_details", "arguments": {"user_id": id}} for id in [*self.rows["users"]][:3]
        ]
        self.pool: dict[str, list[Any]] = {}
        for call in (*self.writes, *self.reads):
            for name, value in call["arguments"].items():
                self.pool.setdefault(name, []).append(value)

    def gold(self, id: str) -> list[Call]:
        """The official solution."""
        task = self.tasks[id]
        if self.kind == "tau1":
            return [{"name": a["name"], "arguments": a["kwargs"]} for a in task["actions"]]
        actions = (task["evaluation_criteria"] or {}).get("actions") or []
        return [{"name": a["name"], "arguments": a["arguments"]} for a in actions]

    def facts(self, id: str) -> list[str]:
        """Texts that must be said."""
        task = self.tasks[id]
        if self.kind == "tau1":
            return list(task["outputs"])
        return list((task["evaluation_criteria"] or {}).get("communicate_info") or [])


def _begins(task: dict[str, Any]) -> bool:
    """Whether a task is played from its beginning, by an agent alone."""
    criteria = task.get("evaluation_criteria") or {}
    state = task.get("initial_state") or {}
    return not any(state.values()) and not criteria.get("env_assertions") and not task.get("user_tools")


def say(text: str = "", *calls: Call) -> Said:
    return {"text": text, "calls": list(calls)}


class Dice:
    """Draws that are the same on every version of Python."""

    def __init__(self, *seed: object) -> None:
        self._random = random.Random(json.dumps(seed)).random

    def below(self, n: int) -> int:
        return int(self._random() * n)

    def pick(self, values: Sequence[Any]) -> Any:
        return values[self.below(len(values))]

    def chance(self, share: float) -> bool:
        return self._random() < share


def episodes(source: Source, each: int = 20) -> Iterator[dict[str, Any]]:
    """All episodes of all tasks, in a fixed order; `each` of those at random a task."""
    for id in source.tasks:
        for change, messages, *more in (*changed(source, id), *at_random(source, id, each)):
            extra = more[0] if more else {}
            yield {
                "domain": source.domain,
                "task": id,
                "change": change,
                "messages": copy.deepcopy(messages),
                **extra,
            }


# -- gold, changed -----------------------------------------------------------------------------------------


def changed(source: Source, id: str) -> Iterator[tuple[Any, ...]]:
    """(name of the change, messages) for everything that is done to a task's gold."""
    dice, gold = Dice("changed", id), source.golds[id]
    facts = source.facts(id)
    bye = say("All is done." + "".join(f" {fact}." for fact in facts))
    script = [say("", call) for call in gold]
    places = [n for n, call in enumerate(gold) if write(call)]
    yield "gold", [*script, bye]
    yield "at once", [say("", *gold), bye] if gold else [bye]
    yield from _told(script, gold, facts, bye, dice)
    for n in places:
        yield "dropped", [*script[:n], *script[n + 1 :], bye]
        yield "repeated", [*script[: n + 1], *script[n:], bye]
    for n, m in itertools.pairwise(places):
        order = list(script)
        order[n], order[m] = script[m], script[n]
        yield "swapped", [*order, bye]
    for name, change in CHANGES.items():
        where = places if name in WRITE_ALONE else range(len(gold))
        for n in where:
            call = change(source, copy.deepcopy(gold[n]), dice)
            if call is not None and json.dumps(call) != json.dumps(gold[n]):
                yield name, [*script[:n], say("", call), *script[n + 1 :], bye]
    reads = [say("", dice.pick(source.reads)) for _ in range(3)]
    yield "more reads", [*reads, *script, bye]
    yield "reads last", [*(script[n] for n in places), *(s for s in script if not write(s["calls"][0])), bye]
    yield "foreign write", [*script, say("", dice.pick(source.writes)), bye]
    bad = (say("", {"name": "get_user_details", "arguments": {"user_id": "nobody"}}), say("", _unknown(dice)))
    for times in (3, 9, 10, 11):
        failing = [bad[dice.chance(0.4)] for _ in range(times)]
        yield f"{times} failing", [*script, *failing, bye]
    yield "10 failing at once", [say("", *[bad[0]["calls"][0]] * 9), *script, bad[1], bye]
    transfer = {"name": "transfer_to_human_agents", "arguments": {"summary": "help"}}
    yield "transfer first", [say("", transfer), *script, bye]
    yield "transfer last", [*script, say("", transfer), bye]
    yield (
        "transfer oddly",
        [*script, say("", {**transfer, "arguments": dice.pick(({}, {"summary": 5}))}), bye],
    )
    if source.kind == "tau2":
        look = say("", transfer)  # which ends nothing here
        for turn in (98, 99, 100, 101):
            yield f"ends at {turn}", [*[look] * max(0, turn - 1 - len(script)), *script, bye]
        yield "asks until 99", [*script, *[say("Yes?")] * max(0, 98 - len(script)), bye]
        yield "asks until 100", [*script, *[say("Yes?")] * max(0, 99 - len(script)), bye]
        for part in (["ACTION"], ["DB", "COMMUNICATE", "ACTION"]):
            yield from _by_calls(script, gold, bye, part)


def _told(
    script: list[Said], gold: list[Call], facts: list[str], bye: Said, dice: Dice
) -> Iterator[tuple[Any, ...]]:
    """What must be said, said elsewhere or otherwise."""
    yield "untold", [*script, say("All is done.")]
    told = " ".join(facts) or "I look."
    if script:
        n = dice.below(len(script))
        beside = [*script[:n], say(told, *script[n]["calls"]), *script[n + 1 :]]
        yield "told beside a call", [*beside, say("All is done.")]
        yield "text beside calls", [say("One moment, please.", *s["calls"]) for s in script] + [bye]
        yield "told first", [say(f"{told}?"), *script, say("All is done.")]
    for form in (str.upper, lambda text: ",".join(text), lambda text: f"x{text}y", lambda text: text[:-1]):
        yield "told otherwise", [*script, say("Done: " + " ".join(form(fact) for fact in facts))]
    if facts:
        yield "told in part", [*script, say("Done: " + " ".join(facts[:-1]))]
        yield "told in pieces", [*script, *(say(f"It is {fact}, right?") for fact in facts), say("Done.")]


def _by_calls(script: list[Said], gold: list[Call], bye: Said, basis: list[str]) -> Iterator[tuple[Any, ...]]:
    """Verdicts that look at the calls."""
    more = {"basis": basis}
    yield "judged by calls", [*script, bye], more
    empty = [say("", {"name": call["name"], "arguments": {}}) for call in gold]
    yield "judged by calls, empty", [*empty[:8], bye], more
    if script:
        yield "judged by calls, one less", [*script[:-1], bye], more
        odd = copy.deepcopy(script[-1])
        odd["calls"][0]["arguments"]["more"] = 1
        yield "judged by calls, more keys", [*script[:-1], odd, bye], more


def _unknown(dice: Dice) -> Call:
    return {"name": dice.pick(("fly", "GET_USER_DETAILS", "get_user_details ", "")), "arguments": {}}


# -- one call, changed -------------------------------------------------------------------------------------


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    """Every leaf of a value changed."""
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list):
        return [_each(item, change) for item in value]
    return change(value)


def _leaves(change: Callable[[Any], Any]) -> Callable[[Source, Call, Dice], Call]:
    return lambda source, call, dice: {**call, "arguments": _each(call["arguments"], change)}


def _one_leaf(change: Callable[[Any], Any]) -> Callable[[Source, Call, Dice], Call]:
    """One argument changed, all through."""

    def apply(source: Source, call: Call, dice: Dice) -> Call:
        names = [
            name
            for name, value in call["arguments"].items()
            if json.dumps(_each(value, change)) != json.dumps(value)
        ]
        if names:
            name = dice.pick(names)
            call["arguments"][name] = _each(call["arguments"][name], change)
        return call

    return apply


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _nested(source: Source, call: Call, dice: Dice) -> Call | None:
    """Keys that nobody reads in every object of a call."""
    objects = [item for value in call["arguments"].values() if isinstance(value, list) for item in value]
    objects = [item for item in objects if isinstance(item, dict)]
    for item in objects:
        item[dice.pick(("price", "origin", "note", "status"))] = dice.pick((150, "JFK", None, "x"))
    return call if objects else None


def _top(source: Source, call: Call, dice: Dice) -> Call:
    call["arguments"][dice.pick(("note", "tool_name", "self", "requestor", "data"))] = "x"
    return call


def _missing(source: Source, call: Call, dice: Dice) -> Call | None:
    if not call["arguments"]:
        return None
    call["arguments"].pop(dice.pick(list(call["arguments"])))
    return call


def _null(source: Source, call: Call, dice: Dice) -> Call | None:
    if not call["arguments"]:
        return None
    call["arguments"][dice.pick(list(call["arguments"]))] = None
    return call


def _odd(source: Source, call: Call, dice: Dice) -> Call | None:
    if not call["arguments"]:
        return None
    call["arguments"][dice.pick(list(call["arguments"]))] = dice.pick(ODD)
    return call


def _wrong(source: Source, call: Call, dice: Dice) -> Call | None:
    """Another value that the argument has elsewhere."""
    if not call["arguments"]:
        return None
    name = dice.pick(list(call["arguments"]))
    call["arguments"][name] = dice.pick(source.pool[name])
    return call


def _payment(source: Source, call: Call, dice: Dice) -> Call | None:
    """Another way to pay of the same customer."""
    for name in ("payment_method_id", "payment_id"):
        if name in call["arguments"]:
            used = call["arguments"][name]
            users = source.rows["users"].values()
            mine = next((u["payment_methods"] for u in users if used in u["payment_methods"]), {})
            call["arguments"][name] = dice.pick([*mine, "paypal_0000000"])
    return call


def _flip(source: Source, call: Call, dice: Dice) -> Call:
    """Lists in another order."""
    for name, value in call["arguments"].items():
        if isinstance(value, list):
            call["arguments"][name] = value[::-1]
    return call


def _fewer(source: Source, call: Call, dice: Dice) -> Call:
    """A list without its last item, or with its first one twice."""
    lists = [name for name, value in call["arguments"].items() if isinstance(value, list) and value]
    if lists:
        name = dice.pick(lists)
        value = call["arguments"][name]
        call["arguments"][name] = value[:-1] if dice.chance(0.5) else [*value, value[0]]
    return call


def _keys(source: Source, call: Call, dice: Dice) -> Call:
    """Keys in another order."""
    return {**call, "arguments": dict(reversed(call["arguments"].items()))}


CHANGES: dict[str, Callable[[Source, Call, Dice], Call | None]] = {
    "more keys": _top,
    "more keys inside": _nested,
    "floats": _one_leaf(lambda value: float(value) if _number(value) else value),
    "strings": _one_leaf(lambda value: str(value) if _number(value) else value),
    "numbers": _one_leaf(lambda value: int(value) if isinstance(value, str) and value.isdecimal() else value),
    "all floats": _leaves(lambda value: float(value) if _number(value) else value),
    "null": _null,
    "missing": _missing,
    "keys reordered": _keys,
    "lists reordered": _flip,
    "longer or shorter": _fewer,
    "blanks": _one_leaf(lambda value: f" {value} " if isinstance(value, str) else value),
    "upper case": _one_leaf(lambda value: value.upper() if isinstance(value, str) else value),
    "lower case": _one_leaf(lambda value: value.lower() if isinstance(value, str) else value),
    "odd value": _odd,
    "wrong value": _wrong,
    "wrong payment": _payment,
}
WRITE_ALONE = {
    "keys reordered",
    "lists reordered",
    "longer or shorter",
    "wrong payment",
    "blanks",
    "upper case",
}


# -- at random ---------------------------------------------------------------------------------------------


def at_random(source: Source, id: str, count: int) -> Iterator[tuple[Any, ...]]:
    """Calls at random before, among or instead of gold's."""
    for n in range(count):
        dice = Dice("random", id, n)
        calls = [one_call(source, id, dice) for _ in range(1 + dice.below(5))]
        gold = source.golds[id] if dice.chance(0.4) else []
        order = (
            sorted([*calls, *gold], key=lambda _: dice.below(1000)) if dice.chance(0.3) else [*calls, *gold]
        )
        facts = "".join(f" {fact}." for fact in source.facts(id))
        yield "at random", [*(say("", call) for call in order), say(f"All is done.{facts}")]


def one_call(source: Source, id: str, dice: Dice) -> Call:
    """A call drawn from the tools, from gold of any task, or from the rows; and then often bent."""
    kind = dice.below(10)
    if kind < 3:
        name = dice.pick(list(source.tools))
        keys = [key for key in source.tools[name] if not dice.chance(0.05)]
        call = {"name": name, "arguments": {key: _drawn(source, key, dice) for key in keys}}
    elif kind < 5 and source.writes:
        call = copy.deepcopy(dice.pick(source.writes))
    else:
        call = copy.deepcopy(MAKERS[source.domain](source, dice))
    if call["name"] == "calculate":
        call["arguments"]["expression"] = dice.pick(SUMS)
    for _ in range(dice.pick((0, 0, 1, 1, 2))):
        if call["arguments"]:
            call["arguments"] = bent(call["arguments"], source, dice)
    return call


def _drawn(source: Source, key: str, dice: Dice) -> Any:
    if dice.chance(0.75) and key in source.pool:
        return copy.deepcopy(dice.pick(source.pool[key]))
    return copy.deepcopy(dice.pick(ODD))


def bent(value: Any, source: Source, dice: Dice) -> Any:
    """One place of a value changed."""
    if isinstance(value, dict) and value:
        key = dice.pick(list(value))
        roll = dice.below(20)
        if roll == 0:
            return {name: item for name, item in value.items() if name != key}
        if roll == 1:
            return {**value, "more": dice.pick(ODD)}
        return {**value, key: bent(value[key], source, dice)}
    if isinstance(value, list) and value and dice.chance(0.7):
        n, roll = dice.below(len(value)), dice.below(8)
        if roll == 0:
            return [*value, copy.deepcopy(value[n])]
        if roll == 1:
            return value[:n] + value[n + 1 :]
        if roll == 2:
            return {str(item): item for item in value} if dice.chance(0.5) else json.dumps(value)
        return [bent(item, source, dice) if m == n else item for m, item in enumerate(value)]
    return _retype(value, dice)


def _retype(value: Any, dice: Dice) -> Any:
    roll = dice.below(8)
    if _number(value) and roll < 5:
        choices = (
            float(value),
            str(value),
            f"{value}.0",
            value + 1,
            value + 0.5,
            -value,
            f" {value} ",
            bool(value),
        )
        return dice.pick(choices)
    if isinstance(value, str) and roll < 4:
        return dice.pick((f"{value} ", value.upper(), value[:-1], [value], value.title()))
    return copy.deepcopy(dice.pick(ODD))


def _retail_call(source: Source, dice: Dice) -> Call:
    """A call about an order that may well go through."""
    order = dice.pick(list(source.rows["orders"].values()))
    wanted = dice.pick(("pending", "delivered"))
    while order["status"] != wanted:
        order = dice.pick(list(source.rows["orders"].values()))
    user = source.rows["users"][order["user_id"]]
    method = dice.pick([*user["payment_methods"], order["payment_history"][0]["payment_method_id"]])
    items = [item for item in order["items"] if dice.chance(0.6)]
    old = [item["item_id"] for item in items]
    new = [dice.pick(list(source.rows["products"][item["product_id"]]["variants"])) for item in items]
    home = dict(dice.pick(list(source.rows["users"].values()))["address"])
    about = {"order_id": order["order_id"]}
    reason = dice.pick(("no longer needed", "ordered by mistake", "x"))
    change = {**about, "item_ids": old, "new_item_ids": new, "payment_method_id": method}
    pending: list[tuple[str, dict[str, Any]]] = [
        (
            "cancel_pending_order",
            {**about, "reason": reason},
        ),
        ("modify_pending_order_items", change),
        ("modify_pending_order_payment", {**about, "payment_method_id": method}),
        ("modify_pending_order_address", {**about, **home}),
    ]
    delivered: list[tuple[str, dict[str, Any]]] = [
        ("exchange_delivered_order_items", change),
        ("return_delivered_order_items", {**about, "item_ids": old, "payment_method_id": method}),
        ("modify_user_address", {"user_id": order["user_id"], **home}),
        (
            "find_user_id_by_name_zip",
            {**user["name"], "zip": dice.pick((user["address"]["zip"], home["zip"]))},
        ),
    ]
    name, arguments = dice.pick(pending if wanted == "pending" else delivered)
    return {"name": name, "arguments": arguments}


def _airline_call(source: Source, dice: Dice) -> Call:
    """A call about a reservation that may well go through."""
    held = dice.pick(list(source.rows["reservations"].values()))
    user_id = held["user_id"]
    methods = source.rows["users"][user_id]["payment_methods"]
    pays = dice.pick(list(methods))
    cabin = dice.pick(("basic_economy", "economy", "business", held["cabin"]))
    legs = [_leg(source, dice) for _ in range(1 + dice.below(2))]
    party = [dict(person) for person in held["passengers"]]
    bags = dice.below(4)
    about = {"reservation_id": held["reservation_id"]}
    kept = [{key: leg[key] for key in ("flight_number", "date")} for leg in held["flights"]]
    price = sum(
        source.rows["flights"][leg["flight_number"]]["dates"][leg["date"]]["prices"][cabin] for leg in legs
    )
    insured = dice.pick(("yes", "no"))
    total = len(party) * (price + 30 * (insured == "yes")) + 50 * bags
    part = dice.pick((0, 0, 50, total // 2))
    paid = [
        {"payment_id": dice.pick(list(methods)), "amount": amount}
        for amount in (part, total - part)
        if amount
    ]
    if dice.chance(0.1):
        paid = [{"payment_id": pays, "amount": 0}, *paid]
    first = source.rows["flights"][legs[0]["flight_number"]]
    booking = {
        "user_id": user_id,
        "origin": first["origin"],
        "destination": first["destination"],
        "flight_type": dice.pick(("one_way", "round_trip")),
        "cabin": cabin,
        "flights": legs,
        "passengers": party,
        "payment_methods": paid,
        "total_baggages": bags + 1,
        "nonfree_baggages": bags,
        "insurance": insured,
    }
    trip = {"origin": first["origin"], "destination": first["destination"], "date": legs[0]["date"]}
    bought = {"total_baggages": bags + 1, "nonfree_baggages": bags, "payment_id": pays}
    made: tuple[tuple[str, dict[str, Any]], ...] = (
        ("book_reservation", booking),
        ("book_reservation", booking),
        ("update_reservation_flights", {**about, "cabin": cabin, "flights": legs, "payment_id": pays}),
        ("update_reservation_flights", {**about, "cabin": cabin, "flights": kept, "payment_id": pays}),
        ("update_reservation_flights", {**about, "cabin": cabin, "flights": [], "payment_id": pays}),
        ("update_reservation_baggages", {**about, **bought}),
        ("update_reservation_passengers", {**about, "passengers": party}),
        ("cancel_reservation", about),
        ("send_certificate", {"user_id": user_id, "amount": dice.pick((100, 50.0, "100"))}),
        ("search_onestop_flight", trip),
        ("search_direct_flight", trip),
    )
    name, arguments = dice.pick(made)
    return {"name": name, "arguments": arguments}


def _leg(source: Source, dice: Dice) -> dict[str, str]:
    """A flight that can be booked."""
    while True:
        flight = dice.pick(list(source.rows["flights"].values()))
        days = [date for date, day in flight["dates"].items() if day["status"] == "available"]
        if days:
            return {"flight_number": flight["flight_number"], "date": dice.pick(days)}


def _mock_call(source: Source, dice: Dice) -> Call:
    made: tuple[tuple[str, dict[str, Any]], ...] = (
        ("create_task", {"user_id": "user_1", "title": "Sweep", "description": dice.pick((None, "well"))}),
        ("create_task", {"user_id": "user_1", "title": "Sweep"}),
        ("update_task_status", {"task_id": "task_1", "status": dice.pick(("pending", "completed", "x"))}),
        ("get_users", {}),
    )
    name, arguments = dice.pick(made)
    return {"name": name, "arguments": arguments}


MAKERS = {"retail": _retail_call, "airline": _airline_call, "mock": _mock_call}
