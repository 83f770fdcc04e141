"""The contract of a world as a program: `check_world` proves every promise or names the broken one.

Each promise is a function below that returns a note on what it saw and raises WorldError.
"""

from __future__ import annotations

import json
import random
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from forge_envs import border
from forge_envs.env import PENALTIES
from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.probe import (
    HOSTILE,
    Bench,
    World,
    WorldError,
    bent_calls,
    go_on,
    play,
    require,
    same,
    short,
)

__all__ = ["Promise", "WorldError", "WorldReport", "check_world", "promises"]


@dataclass(frozen=True)
class Promise:
    """One promise, whether it was kept, and what was seen."""

    name: str
    kept: bool
    note: str
    cause: Exception | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{'ok    ' if self.kept else 'FAILED'}  {self.name}: {self.note}"


@dataclass(frozen=True)
class WorldReport:
    """What `check_world` proved."""

    world: str
    promises: tuple[Promise, ...]

    def __str__(self) -> str:
        return "\n".join([self.world, *(f"  {promise}" for promise in self.promises)])


def check_world(env_id: str, *, tasks: int = 20, seed: int = 0, **kwargs: Any) -> WorldReport:
    """Prove that a registered world keeps the contract, on `tasks` tasks of every split.

    `kwargs` go to `gymnasium.make`, whose errors for an unknown id or argument come through. Raises
    WorldError at the first broken promise.
    """
    kept = []
    for promise in promises(env_id, tasks=tasks, seed=seed, **kwargs):
        if not promise.kept:
            raise WorldError(f"{env_id}: {promise.name}: {promise.note}") from promise.cause
        kept.append(promise)
    return WorldReport(env_id, tuple(kept))


def promises(env_id: str, *, tasks: int = 20, seed: int = 0, **kwargs: Any) -> Iterator[Promise]:
    """Every promise in turn, kept or broken; a broken one does not stop the rest."""
    if tasks < 1:
        raise ValueError(f"tasks={tasks}: at least 1 task is needed to check a world")
    bench = Bench(env_id, kwargs, tasks, seed)
    for name, check in _PROMISES.items():
        try:
            yield Promise(name, True, check(bench))
        except WorldError as error:
            yield Promise(name, False, str(error))
        except Exception as error:  # a bug in the world is a broken promise like any other
            yield Promise(name, False, f"{type(error).__name__}: {error}", error)


# -- promises ------------------------------------------------------------------------------------------


def _keeps_gymnasium(bench: Bench) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = bench.make()
        env.reset(seed=bench.seed)  # check_env draws some actions and resets without a seed
        env.action_space.seed(bench.seed)
        check_env(env)
    return "check_env passes with warnings as errors"


def _names_tasks(bench: Bench) -> str:
    env, seen = bench.env, dict[str, str]()
    for split in env.splits:
        ids = env.task_ids(split, bench.tasks)
        require(0 < len(ids) <= bench.tasks, f"split {split!r}: {bench.tasks} ids asked for, {len(ids)} came")
        require(ids == bench.make().task_ids(split, bench.tasks), f"split {split!r}: the ids vary")
        require(ids[:1] == env.task_ids(split, 1), f"split {split!r}: fewer ids are not the first ones")
        for task in ids:
            require(task not in seen, f"task {task!r} is in split {split!r} and in {seen.get(task)!r}")
            require(env.find(task).id == task, f"find({task!r}) gives task {env.find(task).id!r}")
            seen[task] = split
    for call in (lambda: env.find("no/such task"), lambda: env.reset(options={"task": "no/such task"})):
        require("no/such task" in _raised(TaskError, call), "TaskError does not name the unknown task")
    require(
        "nowhere" in _raised(ValueError, lambda: env.task_ids("nowhere", 1)), "an unknown split is not named"
    )
    return f"{len(seen)} stable ids in {', '.join(env.splits)}; unknown ones are named"


def _raised(kind: type[Exception], call: Callable[[], object]) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    raise WorldError(f"no {kind.__name__} for an unknown name")


def _gold_wins(bench: Bench) -> str:
    longest = 0
    for task in bench.ids():
        gold = bench.env.gold_actions(task)
        require(gold == bench.env.gold_actions(task), f"task {task!r}: gold varies")
        turns = play(bench.env, task, gold)
        last = turns[-1]
        said = "; ".join(m["content"] for m in last.messages)
        require(
            last.over, f"task {task!r}: not over after {len(gold)} gold actions; last heard: {short(said)}"
        )
        outcome = last.info.get("outcome")
        require(outcome == 1.0, f"task {task!r}: gold earns {outcome}, parts {last.info.get('parts')}")
        longest = max(longest, len(gold))
    return f"1.0 on {len(bench.ids())} tasks, in at most {longest} actions"


def _silence_loses(bench: Bench) -> str:
    exempt = set(bench.env.silence_solves)
    for task in bench.ids():
        turns = play(bench.env, task, [""] * bench.env.max_turns)
        require(turns[-1].over, f"task {task!r}: not over after {bench.env.max_turns} turns, the turn limit")
        outcome = turns[-1].info.get("outcome")
        require(task in exempt or outcome == 0.0, f"task {task!r}: saying nothing earns {outcome}")
    return f"0.0 on {len(bench.ids())} tasks" + (f", {len(exempt)} exempt" if exempt else "")


def _survives_any_text(bench: Bench) -> str:
    rng = np.random.default_rng(bench.seed)
    actions = [*HOSTILE, *bent_calls(bench.env, rng)[: 25 * bench.tasks]]
    said = 0
    for task in bench.ids(2):
        rest = actions
        while rest:
            played = len(play(bench.env, task, rest)) - 1
            said, rest = said + played, rest[played:]
    for task in bench.ids():
        said += len(play(bench.env, task, bench.wander(task, 40))) - 1
    return f"{said} random, hostile and misplaced actions"


def _same_seed_same_episode(bench: Bench) -> str:
    if not bench.deterministic:
        return "not asked: registered as nondeterministic"
    for seed in range(bench.seed, bench.seed + bench.tasks):
        task = bench.make().reset(seed=seed)[1]["task"]
        actions = bench.wander(task)
        same(play(bench.make(), None, actions, seed), play(bench.make(), None, actions, seed), f"seed {seed}")
    return f"{bench.tasks} episodes twice"


def _reset_is_fresh(bench: Bench) -> str:
    if not bench.deterministic:
        return "not asked: registered as nondeterministic"
    ids = bench.ids()
    used = bench.make()
    for i, task in enumerate(ids):
        before = ids[i - 1]
        play(used, before, bench.wander(before)[: i % 8])
        for actions in (bench.wander(task), ["", "", *bench.env.gold_actions(task)]):
            same(play(used, task, actions), play(bench.make(), task, actions), f"reset after {before!r}")
    return f"after {len(ids)} prefixes like a new world"


def _opening_ignores_seed(bench: Bench) -> str:
    for task in bench.ids():
        first, second = (play(bench.env, task, [], seed) for seed in (bench.seed, bench.seed + 1))
        same(first, second, "with another seed")
    return f"{len(bench.ids())} openings depend on the task alone"


def _nothing_leaks(bench: Bench) -> str:
    """Gold actions are never shown, and info never holds what gold alone knows.

    Whole calls and whole sentences are looked for, because a world rightly shows the values that calls are
    made of. In `info` a value is enough, except for the task id and for what the opening tells anyway.
    """
    env = bench.env
    for task in bench.ids():
        gold = env.gold_actions(task)
        quiet = play(env, task, [""] * env.max_turns) + play(env, task, bench.wander(task, gold=False))
        rules = _squash(" ".join(m["content"] for m in quiet[0].messages if m["role"] == "system"))
        calls = [_squash(_dump(c)) for action in gold for c in env.grammar.parse(action).calls]
        lines = [env.grammar.parse(action).prose for action in gold]
        secrets = [*calls, *(s for line in lines if len(line) >= 20 and (s := _squash(line)) not in rules)]
        for turn in quiet:
            shown = "\n".join(map(_squash, _texts([*turn.messages, turn.info])))
            told = [s for s in secrets if s in shown and s not in _squash(turn.action or "")]
            require(not told, f"task {task!r}: gold is shown after {short(turn.action)}: {short(told[:1])}")
        opening = json.dumps(quiet[0].messages, ensure_ascii=False)
        known = {v for action in gold for c in env.grammar.parse(action).calls for v in _texts(c.arguments)}
        hidden = [v for v in known if len(v) >= 6 and v not in opening]
        for turn in [*quiet, *play(env, task, gold)]:
            info = "\n".join(_texts({k: v for k, v in turn.info.items() if k != "task"}))
            told = [v for v in hidden if v in info]
            require(not told, f"task {task!r}: info holds {short(told[:1])} of gold: {short(turn.info)}")
    return f"no gold in messages and info of {len(bench.ids())} tasks"


def _dump(call: ToolCall) -> str:
    return json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False)


def _squash(text: str) -> str:
    return "".join(text.split())


def _texts(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys included, and every object as JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield json.dumps(value, ensure_ascii=False)
        for key, item in value.items():
            yield from (key, *_texts(item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _rewards_add_up(bench: Bench) -> str:
    """Turn rewards telescope, and the return is the outcome plus their weighted sum."""
    for weight in (0.0, 1.0):
        env = bench.make(turn_weight=weight)
        for task in bench.ids():
            first, *turns = play(env, task, [*bench.wander(task), *[""] * env.max_turns])
            if "error" in turns[-1].info:
                continue
            for turn in turns:
                parts, reward = turn.info["parts"], turn.info["turn_reward"]
                named = sum(parts.get(name, 0.0) for name in ("progress", *PENALTIES))
                hint = f"; no part of the score is called progress, {' or '.join(PENALTIES)}"
                _equal(reward, named, f"task {task!r}: turn reward and the sum of its parts {parts}", hint)
                require(
                    0.0 <= turn.progress <= 1.0, f"task {task!r}: progress {turn.progress} is not in [0, 1]"
                )
            gained = sum(turn.info["parts"].get("progress", 0.0) for turn in turns)
            moved = turns[-1].progress - first.progress
            _equal(gained, moved, f"task {task!r}: the sum of progress rewards and progress made")
            want = turns[-1].info["outcome"] + weight * sum(turn.info["turn_reward"] for turn in turns)
            got = sum(turn.reward for turn in turns)
            _equal(
                got, want, f"task {task!r}, turn_weight={weight}: return and outcome + weighted turn rewards"
            )
    return f"they telescope on {len(bench.ids())} tasks; with turn_weight=0 the return is the outcome"


def _equal(got: float, want: float, what: str, hint: str = "") -> None:
    require(abs(got - want) < 1e-9, f"{what} differ: {got} and {want}{hint}")


def _snapshots_continue(bench: Bench) -> str:
    if not bench.deterministic:
        return "not asked: registered as nondeterministic"
    for i, task in enumerate(bench.ids()):
        env, actions = bench.make(), bench.wander(task)
        cut = i % 6
        if play(env, task, actions[:cut])[-1].over:
            continue
        snapshot = env.snapshot()
        rest = go_on(env, actions[cut:])
        for where, other in (("another world", bench.make()), ("the same world", env)):
            other.restore(snapshot)
            same(go_on(other, actions[cut:]), rest, f"restored in {where} after {cut} actions")
    return "they continue in the same and in another world"


def _ends_cleanly(bench: Bench) -> str:
    env, task = bench.make(), bench.ids(1)[0]
    _raised(gym.error.ResetNeeded, lambda: env.step(""))
    for end in (lambda: play(env, task, [""] * env.max_turns), lambda: _cut_off(env, task)):
        end()
        _raised(gym.error.ResetNeeded, lambda: env.step(""))
        _raised(gym.error.ResetNeeded, env.truncate)
    env.close()
    env.close()
    _raised(gym.error.ResetNeeded, lambda: env.step(""))
    return "a step after the end asks for reset; cut off, an episode is graded; closing twice is fine"


def _cut_off(env: World, task: str) -> None:
    """An episode that its caller ends has a verdict, which is no better than that of its whole gold."""
    env.reset(seed=0, options={"task": task})
    messages, _, terminated, truncated, info = env.truncate()
    require(not messages and truncated and not terminated, f"truncate() gives {short(messages)}, {info}")
    outcome = info.get("outcome")
    exempt = task in set(env.silence_solves)
    require(exempt or outcome == 0.0, f"task {task!r}: cut off at its opening, it earns {outcome}")


def _leaves_global_randomness(bench: Bench) -> str:
    before = random.getstate(), str(np.random.get_state())
    for task in bench.ids(2):
        play(bench.make(), task, bench.wander(task))
    require(before == (random.getstate(), str(np.random.get_state())), "a global random generator moved")
    return "`random` and `numpy.random` are not touched"


_PROMISES: dict[str, Callable[[Bench], str]] = {
    "gymnasium": _keeps_gymnasium,
    "tasks": _names_tasks,
    "gold": _gold_wins,
    "silence": _silence_loses,
    "any text": _survives_any_text,
    "same seed": _same_seed_same_episode,
    "fresh reset": _reset_is_fresh,
    "opening": _opening_ignores_seed,
    "no leaks": _nothing_leaks,
    "rewards": _rewards_add_up,
    "snapshots": _snapshots_continue,
    "ending": _ends_cleanly,
    "global state": _leaves_global_randomness,
    **border.PROMISES,
}
