"""Calls at random: from the tools, from gold of any task, from the rows; and then often bent."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from tests.envs.tau_source import ODD, SUMS, Call, Dice, Source, number, say


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
    if number(value) and roll < 5:
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
