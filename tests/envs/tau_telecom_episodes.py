"""Episodes of τ²-bench's telecom, in which both sides act: gold, gold changed in every way we know, and calls
at random of all 43 tools.

As in `tau_episodes`, with more: `user` is what the customer does and says, message by message, from their
first line on; then they leave. With `solo` the agent makes all calls.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.envs.tau_source import ODD, Call, Dice, Said, say

TRANSFER: Call = {"name": "transfer_to_human_agents", "arguments": {"summary": "help"}}
BAD: tuple[Call, ...] = (
    {"name": "get_customer_by_id", "arguments": {"customer_id": "nobody"}},
    {"name": "fly", "arguments": {}},
)
BASES = (["DB"], ["DB", "ENV_ASSERTION"], ["ACTION"], ["ENV_ASSERTION", "ACTION", "DB"], ["COMMUNICATE"], [])


class TelecomSource:
    """The tasks of a folder and what calls at random are made of."""

    def __init__(self, folder: Path) -> None:
        tasks = json.loads((folder / "tasks.json").read_text())
        splits = json.loads((folder / "split_tasks.json").read_text())
        ids = {*splits["train"], *splits["small"]}
        self.tasks: dict[str, Any] = {task["id"]: task for task in tasks if task["id"] in ids}
        schemas = json.loads((folder / "tools_schema.json").read_text())
        self.tools = {
            side: {
                one["function"]["name"]: list(one["function"]["parameters"]["properties"])
                for one in schemas[side]
            }
            for side in ("assistant", "user")
        }
        self.pool: dict[str, list[Any]] = {
            "customer_id": ["C1001", "C1001", "C1001", "C1002", "C1003"],
            "line_id": ["L1001", "L1002", "L1002", "L1003", "L1004"],
            "bill_id": ["B1001", "B1002", "B1003", "B1234321", "B1234321"],
            "id": ["C1001", "L1002", "D1001", "B1234321", "P1002", "X1", "L9", ""],
            "phone_number": ["555-123-2002", "555-123-2001", "555-123-2002", "1"],
            "full_name": ["John Smith", "JOHN SMITH", "Nobody"],
            "dob": ["1985-06-15", "1985-06-16"],
            "reason": ["lost"],
            "summary": ["help"],
            "limit": [1, 2, 12, 0, -1],
            "gb_amount": [2.0, 2, 0.5, 1, 0, -1, 1e9],
            "mode": ["4g_5g_preferred", "4g_only", "3g_only", "2g_only", "5g"],
            "app_name": ["messaging", "browser", "messaging", "camera"],
            "permission": ["sms", "storage", "SMS", "network", "phone", "camera"],
            "apn_settings": [
                {},
                {"apn_name": "broken"},
                {"apn_name": "internet", "mmsc_url": None},
                {"mms_port": "80", "reset_at_reboot": "yes"},
                {"reset_at_reboot": 1, "mms_apn": "x"},
                {"apn_name": "no"},
                {"mms_port": 1.5},
                {"more": 1},
            ],
        }

    def gold(self, id: str) -> list[Call]:
        """The official solution, each call with its requestor."""
        actions = self.tasks[id]["evaluation_criteria"]["actions"] or []
        return [{key: one[key] for key in ("name", "arguments", "requestor")} for one in actions]

    def any_call(self, dice: Dice, odd: float) -> Call:
        """A call of either side's, some of its values odd with the chance given."""
        side = "assistant" if dice.chance(0.4) else "user"
        name = dice.pick(list(self.tools[side]))
        keys = [key for key in self.tools[side][name] if not dice.chance(odd / 4)]
        arguments = {
            key: copy.deepcopy(dice.pick(ODD if dice.chance(odd) else self.pool[key])) for key in keys
        }
        if dice.chance(odd / 4):
            arguments["more"] = 1
        return {"name": name, "arguments": arguments, "requestor": side}


def telecom_episodes(source: TelecomSource, each: int = 12, every: int = 4) -> Iterator[dict[str, Any]]:
    """Gold and silence of all tasks, and of all that is done to gold every so-manieth, in a fixed order; with
    `each` episodes at random a task before they are thinned out.
    """
    for n, episode in enumerate(_all(source, each)):
        if n % every == 0 or episode["change"] in ("gold", "nothing", "alone: gold"):
            yield episode


def _all(source: TelecomSource, each: int) -> Iterator[dict[str, Any]]:
    for id in source.tasks:
        for change, calls, *more in (*_changed(source, id), *_random(source, id, each)):
            extra = more[0] if more else {}
            yield {"domain": "telecom", "task": id, "change": change, **_talk(calls), **extra}
        for change, calls in _alone(source, id):
            yield {"domain": "telecom", "task": id, "change": change, "solo": True, "user": [], **calls}


def _bare(call: Call) -> Call:
    return {"name": call["name"], "arguments": copy.deepcopy(call["arguments"])}


def _talk(calls: Sequence[Call]) -> dict[str, Any]:
    """The calls of both sides as a conversation in which they come in this order, and then an end."""
    messages: list[Said] = []
    user: list[Said] = [say("It does not work.")]
    for call in calls:
        if call.get("requestor") == "user":
            messages.append(say("Please do that."))
            user += [say("", _bare(call)), say("I did.")]
        else:
            messages.append(say("", _bare(call)))
    return {"messages": [*messages, say("All is done.")], "user": user}


def _changed(source: TelecomSource, id: str) -> Iterator[tuple[Any, ...]]:
    """(name of the change, calls of both sides) for everything that is done to a task's gold."""
    dice, gold = Dice("telecom", id), source.gold(id)
    others = [other for other in source.tasks if other != id]
    yield "gold", gold
    yield "nothing", []
    yield "reversed", gold[::-1]
    for n in range(len(gold)):
        yield "dropped", [*gold[:n], *gold[n + 1 :]]
    n = dice.below(len(gold))
    yield "repeated", [*gold[: n + 1], *gold[n:]]
    yield "all twice", [*gold, *gold]
    for n, m in itertools.pairwise(range(len(gold))):
        if dice.chance(0.3):
            order = list(gold)
            order[n], order[m] = gold[m], gold[n]
            yield "swapped", order
    yield "only the agent", [call for call in gold if call["requestor"] == "assistant"]
    yield "only the customer", [call for call in gold if call["requestor"] == "user"]
    yield "customer first", sorted(gold, key=lambda call: call["requestor"] == "assistant")
    yield "agent first", sorted(gold, key=lambda call: call["requestor"] == "user")
    for _ in range(2):
        bent = copy.deepcopy(gold)
        call = dice.pick([one for one in bent if one["arguments"]] or [{"arguments": {"x": 1}}])
        key = dice.pick(list(call["arguments"]))
        call["arguments"][key] = dice.pick([*source.pool.get(key, ()), *ODD[:8]])
        yield "altered", bent
    yield (
        "by the other side",
        [{**call, "requestor": "user" if call["requestor"] == "assistant" else "assistant"} for call in gold],
    )
    yield "transfer first", [TRANSFER, *gold]
    yield "transfer alone", [TRANSFER]
    yield "transfer by the customer", [{**TRANSFER, "requestor": "user"}]
    yield "transfer oddly", [{**TRANSFER, "arguments": dice.pick(({}, {"summary": 5}))}, *gold]
    yield "another task's", source.gold(dice.pick(others))
    yield "and another task's", [*gold, *source.gold(dice.pick(others))]
    for basis in BASES:
        yield "other basis", dice.pick((gold, gold, [], gold[1:])), {"basis": basis}
    for times in (9, 10):
        bad = [{**BAD[dice.chance(0.4)], "requestor": dice.pick(("assistant", "user"))} for _ in range(times)]
        yield f"{times} failing", [*gold, *bad]
    look = [{"name": "check_status_bar", "arguments": {}, "requestor": "user"}]
    for rounds in (30, 47, 48, 49, 50):
        yield f"{rounds} looks", [*gold, *look * (rounds - sum(c["requestor"] == "user" for c in gold))]
    early = [_bare(call) for call in gold if call["requestor"] == "user"]
    late = [say("", _bare(call)) for call in gold if call["requestor"] == "assistant"]
    at_once = {"messages": [say("", *(one["calls"][0] for one in late)), say("Bye.")], "user": [say("Hi.")]}
    yield "at once", gold, at_once if late else {}
    for name, rounds in (("early, one by one", [[call] for call in early]), ("early, at once", [early])):
        acts = [say("", *round) for round in rounds if round]
        talk = {"messages": [*late, say("Bye.")], "user": [*acts, say("I did it all.")]}
        yield name, gold, talk


def _random(source: TelecomSource, id: str, count: int) -> Iterator[tuple[Any, ...]]:
    """Calls of all 43 tools at random, before, among or instead of gold's; odd values in every second one."""
    for n in range(count):
        dice = Dice("telecom random", id, n)
        calls = [source.any_call(dice, 0.3 * (n % 2)) for _ in range(4 + dice.below(14))]
        gold = source.gold(id) if dice.chance(0.5) else []
        mixed = [*calls, *gold]
        if dice.chance(0.6):
            mixed = sorted(mixed, key=lambda _: dice.below(1000))
        basis = {"basis": dice.pick(BASES)} if dice.chance(0.2) else {}
        yield "at random", mixed, basis


def _alone(source: TelecomSource, id: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """What an agent without a customer does."""
    dice, gold = Dice("telecom alone", id), [_bare(call) for call in source.gold(id)]
    script, done = [say("", call) for call in gold], {"name": "done", "arguments": {}}
    yield "alone: gold", {"messages": [*script, say("", done)]}
    yield "alone: at once", {"messages": [say("", *gold), say("", done)]}
    yield "alone: done among them", {"messages": [*script[:-1], say("", *script[-1]["calls"], done)]}
    yield "alone: talks", {"messages": [*script, say("All is done.")]}
    yield "alone: the mark", {"messages": [*script, say("###STOP###")]}
    calls = [_bare(source.any_call(dice, 0.1)) for _ in range(8)]
    yield "alone: at random", {"messages": [*(say("", call) for call in calls), *script, say("", done)]}
