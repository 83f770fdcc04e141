"""Higher-order action synthesis of AgentFounder (arXiv 2509.13310): a stored episode becomes choices.

At step k of an episode N other actions are shuffled with the one that was taken, S_k:

    options 1 .. N + 1,  "I will choose option n_k",  the world's real answer R_k,  ...  "My decision is
    {Correct/Incorrect}"

which is the verdict on the episode. The others are, without a model, what other plays of the task did at that
step, then what was done at it in other tasks; with one (`--by`) it is asked N times what it would do next.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_train.recipes.synthesis.shelf import Line, Made, Shelf, episode
from forge_train.record.run_folder import read_lines
from forge_train.seeds import derive_seed
from forge_train.trajectory import SUCCESS

ASKED = "Options for the next step:"
Sampler = Callable[[Sequence[Mapping[str, Any]], int], Awaitable[str]]
"""From what was said so far and a seed to another action."""


async def higher_order(
    plays: Path,
    out: Path,
    *,
    options: int = 3,
    steps: int = 4,
    longest: int | None = None,
    seed: int = 0,
    by: str = "other plays",
    sample: Sampler | None = None,
    progress: Callable[[int], None] = lambda total: None,
) -> dict[str, Any]:
    """Write one sample of each stored episode, with choices at `steps` of its steps, each of `options` other
    actions and its own; return the filter report.

    Raises ValueError for a file without plays and for a folder of other settings.
    """
    if options < 1 or steps < 1:
        raise ValueError(f"options={options}, steps={steps}: a choice needs another action, and a step")
    path = plays / "plays.jsonl" if plays.is_dir() else plays
    stored = read_lines(path)
    if not stored:
        raise ValueError(f"{path} holds no plays: forge-train collect makes some")
    settings = {
        "recipe": "has",
        "plays": str(plays),
        "options": options,
        "steps": steps,
        "seed": seed,
        "by": by,
    }
    shelf = Shelf(out, settings, longest=longest)
    others = _by_step(stored)
    keys = []
    for number, play in enumerate(stored):
        key = f"{play['task']}/{play['repetition']}/{number}"
        keys.append(key)
        if not shelf.there(key):
            rng = random.Random(derive_seed(seed, "has", key))
            shelf.put(await _made(key, play, others, options, steps, rng, sample))
        progress(len(stored))
    return shelf.finish(keys)


def actions_of(play: Mapping[str, Any]) -> list[int]:
    """Where in a play's messages its actions stand."""
    return [i for i, m in enumerate(play["messages"]) if i >= play["opening"] and m["role"] == "assistant"]


def _by_step(stored: Sequence[Mapping[str, Any]]) -> dict[int, list[tuple[str, str]]]:
    """Task and action of every play, by step."""
    found: dict[int, list[tuple[str, str]]] = {}
    for play in stored:
        for step, at in enumerate(actions_of(play)):
            found.setdefault(step, []).append((play["task"], play["messages"][at]["content"]))
    return found


async def _made(
    key: str,
    play: Mapping[str, Any],
    others: Mapping[int, Sequence[tuple[str, str]]],
    options: int,
    most: int,
    rng: random.Random,
    sample: Sampler | None,
) -> Made:
    if play["error"] is not None:
        return Made(key, reason="a machine failed")
    if not play["graded"]:
        return Made(key, reason="it has no verdict")
    places = actions_of(play)
    if not places:
        return Made(key, reason="nothing was done in it")
    chosen = dict[int, tuple[list[str], int]]()
    for step in rng.sample(range(len(places)), len(places)):
        if len(chosen) == most:
            break
        at = places[step]
        own = play["messages"][at]["content"]
        found = await _alternatives(play, at, step, own, others, options, rng, sample)
        if len(found) == options:
            place = rng.randrange(options + 1)
            chosen[at] = ([*found[:place], own, *found[place:]], place + 1)
    if not chosen:
        return Made(key, reason="too few other actions at any step")
    return Made(key, (_sample(play, chosen),))


async def _alternatives(
    play: Mapping[str, Any],
    at: int,
    step: int,
    own: str,
    others: Mapping[int, Sequence[tuple[str, str]]],
    count: int,
    rng: random.Random,
    sample: Sampler | None,
) -> list[str]:
    """`count` different actions that are not `own`, or as many as there are."""
    found: dict[str, None] = {}
    if sample is not None:
        for _ in range(2 * count):
            action = await sample(play["messages"][:at], rng.randrange(1 << 31))
            if _plain(action) not in map(_plain, [own, *found]) and action.strip():
                found[action] = None
            if len(found) == count:
                break
        return list(found)
    near = [action for task, action in others.get(step, ()) if task == play["task"]]
    far = [action for task, action in others.get(step, ()) if task != play["task"]]
    for pool in (near, far):
        rng.shuffle(pool)
        for action in pool:
            if len(found) < count and action.strip() and _plain(action) not in map(_plain, [own, *found]):
                found[action] = None
    return list(found)


def _plain(action: str) -> str:
    return " ".join(action.split())


def _sample(play: Mapping[str, Any], chosen: Mapping[int, tuple[list[str], int]]) -> Line:
    messages = []
    for at, message in enumerate(play["messages"]):
        if at in chosen:
            actions, number = chosen[at]
            told = "\n\n".join(f"Option {i}:\n{action}" for i, action in enumerate(actions, 1))
            message = {
                "role": "assistant",
                "content": f"{ASKED}\n\n{told}\n\nI will choose option {number}.",
            }
        messages.append({key: message[key] for key in ("role", "content", "name", "tools") if key in message})
    decision = "Correct" if play["outcome"] >= SUCCESS else "Incorrect"
    verdict = f"My decision is {decision}."
    if messages[-1]["role"] == "assistant":
        messages[-1] = {**messages[-1], "content": f"{messages[-1]['content']}\n\n{verdict}"}
    else:
        messages.append({"role": "assistant", "content": verdict})
    return episode(messages, "has", task=play["task"], world=play["world"], steps=len(chosen))
