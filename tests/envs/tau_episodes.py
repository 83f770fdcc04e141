"""Episodes of published tasks: gold, gold changed in every way we know, and calls at random.

They are written from the benchmark's files alone, the same for everybody who has the files, so that what the
official code said of them can be stored as a few bytes (`tests/envs/tau_verdicts.json.gz`). An episode is
JSON: a task, and what the agent says and calls, message by message.
"""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from tests.envs.tau_random import at_random
from tests.envs.tau_source import ODD, Call, Dice, Said, Source, number, say, write


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
    "floats": _one_leaf(lambda value: float(value) if number(value) else value),
    "strings": _one_leaf(lambda value: str(value) if number(value) else value),
    "numbers": _one_leaf(lambda value: int(value) if isinstance(value, str) and value.isdecimal() else value),
    "all floats": _leaves(lambda value: float(value) if number(value) else value),
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
