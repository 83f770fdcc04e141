"""Answers to BFCL's entries, gold and changed, always the same ones; and playing them in our world."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.worlds.bfcl.accepted import gold_calls
from forge_envs.worlds.bfcl.env import BfclEnv
from forge_envs.worlds.bfcl.task import BfclTask, Dialogue, OneShot

Steps = list[list[ToolCall]]
"""The steps of one turn, each with calls."""


@dataclass
class Episode:
    """What is said in one play of an entry: calls by turn and step; a question has one turn and one step."""

    key: str
    task: BfclTask
    turns: list[Steps]


def episodes(env: BfclEnv, changed: int, every: int = 1) -> Iterator[Episode]:
    """Of one of `every` entries, those that cannot be won included: gold, silence, and `changed` others."""
    tasks = list(env.leaderboard.tasks.values())
    for task in tasks[::every]:
        rng = random.Random(task.id)
        other = tasks[rng.randrange(len(tasks))]
        made = (
            _of_dialogue(task, other, rng) if isinstance(task, Dialogue) else _of_question(task, other, rng)
        )
        named = {"gold": next(made), "silence": next(made)}
        for n in range(changed):
            named[f"changed{n}"] = next(made)
        for name, turns in named.items():
            yield Episode(f"{task.id}:{name}", task, turns)


# -- dialogues -------------------------------------------------------------------------------------------


def _of_dialogue(task: Dialogue, other: BfclTask, rng: random.Random) -> Iterator[list[Steps]]:
    def gold() -> list[Steps]:
        turns = [[list(map(copy.deepcopy, calls))] if calls else [] for calls in task.gold]
        return turns[: len(task.turns)]

    yield gold()
    yield [[] for _ in task.turns]
    first = rng.randrange(len(_DIALOGUE))
    n = 0
    while True:
        change = _DIALOGUE[(first + n) % len(_DIALOGUE)]
        turns = gold()
        change(task, other, turns, rng)
        yield turns
        n += 1


def _filled(turns: list[Steps], rng: random.Random) -> Steps:
    full = [steps for steps in turns if steps]
    return rng.choice(full) if full else turns[0]


def _drop(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    steps = _filled(turns, rng)
    if steps:
        del steps[0][rng.randrange(len(steps[0]))]
        steps[:] = [step for step in steps if step]


def _reverse(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    for steps in turns:
        for step in steps:
            step.reverse()


def _double(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    steps = _filled(turns, rng)
    if steps:
        steps.append([copy.deepcopy(rng.choice(steps[0]))])


def _alter(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    steps = _filled(turns, rng)
    if steps:
        at = rng.randrange(len(steps[0]))
        steps[0][at] = altered(steps[0][at], rng)


def _swap(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    at = rng.randrange(max(len(turns) - 1, 1))
    turns[at : at + 2] = turns[at : at + 2][::-1]


def _early(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """All of a turn is done in the turn before it."""
    at = rng.randrange(len(turns))
    if at:
        turns[at - 1].extend(turns[at])
        turns[at] = []


def _one_by_one(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    for steps in turns:
        steps[:] = [[call] for step in steps for call in step]


def _reads(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """Calls of functions that need nothing, before and after gold's."""
    later = [tool for turn in task.turns[1:] for message in turn for tool in message.get("tools", ())]
    functions = [tool["function"] for tool in (*task.tools, *later)]
    free = [function for function in functions if not function["parameters"]["required"]]
    for steps in turns:
        if free and rng.random() < 0.5:
            place = rng.choice((0, len(steps)))
            steps.insert(place, [ToolCall(rng.choice(free)["name"], {})])


def _foreign(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """Calls of another entry, most of them writes."""
    calls = [call for turn in other.gold for call in turn] if isinstance(other, Dialogue) else []
    if calls:
        rng.choice(turns).append([copy.deepcopy(rng.choice(calls))])


def _in_empty(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """Calls in turns in which gold makes none, and where there are none, odd ones in any turn."""
    empty = [steps for steps in turns if not steps]
    calls = [call for turn in task.gold for call in turn]
    for steps in empty:
        steps.append([copy.deepcopy(rng.choice(calls))])
    if not empty:
        rng.choice(turns).append([rng.choice(_ODD)])


def _odd(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    rng.choice(turns).insert(0, [rng.choice(_ODD)])


def _many(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """As many steps in a turn as are allowed, or one more."""
    steps = rng.choice(turns)
    while len(steps) < rng.choice((20, 21)):
        steps.append([ToolCall("no_such_function", {})])


def _bracket(task: Dialogue, other: BfclTask, turns: list[Steps], rng: random.Random) -> None:
    """Texts with brackets, which the official runner changes on their way."""
    steps = _filled(turns, rng)
    for step in steps:
        for n, call in enumerate(step):
            texts = [key for key, value in call.arguments.items() if isinstance(value, str)]
            if texts:
                name = rng.choice((call.name, "thing", "x\n", "\t"))
                step[n] = ToolCall(
                    call.name, {**call.arguments, rng.choice(texts): f"a {name} (b) 'c' \"d\""}
                )
                return


_ODD = [
    ToolCall("kill", {}),
    ToolCall("run", {"command": "ls"}),
    ToolCall("no_such_function", {"a": 1}),
    ToolCall("ls", {"no_such_argument": "x"}),
    ToolCall("cd", {}),
    ToolCall("mkdir", {"dir_name": 3}),
    ToolCall("add", {"a": "1", "b": 2}),
    ToolCall("get_user_id", {"user": None}),
    ToolCall("cat", {"file_name": ["a"]}),
]
_DIALOGUE = [
    _drop, _alter, _reverse, _early, _double, _swap, _reads, _bracket, _one_by_one, _foreign, _in_empty,
    _alter, _odd, _many,
]  # fmt: skip


# -- questions -------------------------------------------------------------------------------------------


def _of_question(task: OneShot, other: OneShot, rng: random.Random) -> Iterator[list[Steps]]:
    gold = gold_calls(task) if task.answers else []
    if task.category.rule == "some":
        gold = [ToolCall(task.functions[0]["name"], {})]
    yield [[gold] if gold else []]
    yield [[]]
    first = rng.randrange(7)
    n = 0
    while True:
        calls = copy.deepcopy(gold)
        if not calls:
            calls = [ToolCall(function["name"], {"x": 1}) for function in task.functions[:1]]
        elif (kind := (first + n) % 7) == 0:
            del calls[rng.randrange(len(calls))]
        elif kind == 1:
            calls.append(copy.deepcopy(rng.choice(calls)))
        elif kind == 2:
            calls.reverse()
            calls[0] = _accepted_otherwise(task, calls[0], rng)
        elif kind == 3:
            calls[0] = ToolCall(f"{calls[0].name}_", calls[0].arguments)
        else:
            at = rng.randrange(len(calls))
            calls[at] = altered(_accepted_otherwise(task, calls[at], rng), rng)
        yield [[calls]]
        n += 1


def _accepted_otherwise(task: OneShot, call: ToolCall, rng: random.Random) -> ToolCall:
    """The call with other accepted values, and with arguments that may be left out."""
    answers = next((answer[call.name] for answer in task.answers if call.name in answer), {})
    arguments = dict(call.arguments)
    for key, accepted in answers.items():
        if accepted and rng.random() < 0.7:
            value = copy.deepcopy(rng.choice(accepted))
            if isinstance(value, dict):
                value = {name: rng.choice(options) for name, options in value.items() if options}
            arguments[key] = value
    return ToolCall(call.name, arguments)


# -- both ------------------------------------------------------------------------------------------------


def altered(call: ToolCall, rng: random.Random) -> ToolCall:
    """The call with one argument changed, taken away or added."""
    arguments = copy.deepcopy(call.arguments)
    if not arguments or rng.random() < 0.1:
        return ToolCall(call.name, {**arguments, "extra": 1})
    key = rng.choice(sorted(arguments))
    if rng.random() < 0.1:
        del arguments[key]
    else:
        arguments[key] = _other(arguments[key], rng)
    return ToolCall(call.name, arguments)


def _other(value: Any, rng: random.Random) -> Any:
    if isinstance(value, bool):
        return rng.choice((not value, str(value), int(value)))
    if isinstance(value, int):
        return rng.choice((value + 1, float(value), str(value), -value))
    if isinstance(value, float):
        return rng.choice((value + 0.5, int(value), str(value)))
    if isinstance(value, str):
        return rng.choice((f"{value}x", value.upper(), f" {value}.", value[1:], "", [value], None))
    if isinstance(value, list):
        return rng.choice((value[1:], value[::-1], [*value, *value[:1]], tuple_text(value), []))
    if isinstance(value, dict):
        return rng.choice((dict(list(value.items())[1:]), {**value, "extra": 1}, {}, [value]))
    return "something"


def tuple_text(value: list[Any]) -> str:
    """A list as the text of it."""
    return ", ".join(map(str, value))


def play(env: BfclEnv, episode: Episode) -> dict[str, Any]:
    """Play an episode; its verdict, and the results that the agent saw."""
    env.reset(options={"task": episode.task.id})
    info: dict[str, Any] = {}
    over = False
    for steps in episode.turns:
        for step in steps:
            if not over:
                *_, terminated, truncated, info = env.step(env.grammar.write(calls=step))
                over = terminated or truncated
        if not over:
            *_, terminated, truncated, info = env.step("Done.")
            over = terminated or truncated
    results = list(env.playing.results)
    return {"valid": info.get("outcome") == 1.0, "results": results}
