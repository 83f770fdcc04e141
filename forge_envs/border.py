"""What a world promises at its border: to callers who change what they got, mistype, or write without bound.

Each function is a promise of `check_world`: it returns a note on what it saw and raises WorldError.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from forge_envs.arguments import arguments_of
from forge_envs.messages import ToolCall
from forge_envs.probe import HOSTILE, Bench, Seen, World, go_on, play, require, same, short
from forge_envs.schemas import sample_schema
from forge_envs.spaces import Utterance

TAGS = (
    "</think>",
    "<think>",
    "</tool_call>",
    "<tool_call>",
    "```\n",
    "[TOOL_CALLS]",
    "<|python_tag|>",
    "\r\n",
)
"""What grammars mark calls and thoughts with; inside a value it is text like any other."""
BOMBS = ("9" * 100_000, "9" * 4_300, "9" * 90, "-" + "9" * 90, "1e999", "1e308", "-0.0", "0." + "3" * 5_000)
"""Numbers as they are written; Python refuses to read or write the longest, and no table holds the others."""
MANY = 2_000
MOST_ANSWERS = 256
"""Messages with which a world may answer one action."""
MOST_LOST = 10.0
"""What the mistakes of one action may cost at most, in turn reward."""


def shares_nothing(bench: Bench) -> str:
    """Whoever changes all that a world hands out changes no episode, neither this one nor the next."""
    for task in bench.ids(2):
        actions = bench.env.gold_actions(task) if bench.deterministic else []
        env = bench.make()
        env.reset(seed=0, options={"task": task})  # which tools there are may depend on the task
        before = play(bench.make(), task, actions), _told(env, task)
        spoilt: list[Seen] = []
        messages, info = env.reset(seed=0, options={"task": task})
        spoilt.append(_spoil(Seen(None, messages, 0.0, False, False, info, env.playing.progress)))
        for action in actions:
            spoilt.append(_spoil(Seen(action, *env.step(action), env.playing.progress)))
            if spoilt[-1].over:
                break
        _ruin([_sampled(env), env.schemas, env.gold_actions(task), env.task_ids(env.splits[0], 2)])
        same(spoilt, before[0], "after its observations were changed")
        again = play(env, task, actions), _told(env, task)
        same(again[0], before[0], "in the episode after one whose observations were changed")
        require(again[1] == before[1], f"task {task!r}: tools or gold are not as they were before a change")
    return "changing observations, info, tools and gold changes nothing else"


def _sampled(env: World) -> tuple[dict[str, Any], ...]:
    """The tools of which the action space draws calls."""
    assert isinstance(env.action_space, Utterance)
    return env.action_space.tools


def _told(env: World, task: str) -> str:
    env.reset(seed=0, options={"task": task})  # in some worlds each task has tools of its own
    return json.dumps([_sampled(env), env.schemas, env.gold_actions(task)])


def _spoil(turn: Seen) -> Seen:
    """The turn as it was, after which what the world handed out is ruined."""
    kept = Seen(
        turn.action,
        tuple(json.loads(json.dumps(turn.messages))),
        turn.reward,
        turn.terminated,
        turn.truncated,
        json.loads(json.dumps(turn.info)),
        turn.progress,
    )
    _ruin([turn.messages, turn.info])
    return kept


def _ruin(value: Any) -> None:
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    ):
        _ruin(item)
    if isinstance(value, dict):
        value.clear()
        value["spoilt"] = "spoilt"
    elif isinstance(value, list):
        value[:] = ["spoilt"]


def stays_apart(bench: Bench) -> str:
    """Two episodes played in turns are each as if they were alone."""
    if not bench.deterministic:
        return "not asked: registered as nondeterministic"
    ids = bench.ids(4)
    for one, two in zip(ids, ids[1:] + ids[:1], strict=True):
        scripts = [["", *bench.env.gold_actions(task)] for task in (one, two)]
        alone = [play(bench.make(), task, acts) for task, acts in zip((one, two), scripts, strict=True)]
        envs = [bench.make(), bench.make()]
        mixed = [play(env, task, []) for env, task in zip(envs, (one, two), strict=True)]
        for turn in range(max(map(len, scripts))):
            for env, acts, turns in zip(envs, scripts, mixed, strict=True):
                if not turns[-1].over:
                    turns += go_on(env, acts[turn : turn + 1])
        for got, want in zip(mixed, alone, strict=True):
            same(got, want, "beside another episode")
    return f"{len(ids)} pairs of episodes do not see each other"


def survives_numbers(bench: Bench) -> str:
    """A number of any length, in every argument, is told to the agent."""
    actions = [text for text in _with_values(bench.env, "NUMBER") if "NUMBER" in text]
    bombs = [text.replace('"NUMBER"', bomb).replace("NUMBER", bomb) for text in actions for bomb in BOMBS]
    return f"{_say_all(bench, bombs)} actions with numbers that no table holds"


def reads_values_whole(bench: Bench) -> str:
    """What marks calls and thoughts is text where it stands inside a value."""
    grammar, read = bench.env.grammar, 0
    for tag in TAGS:
        for call in _calls_with(bench.env, f"a {tag} b"):
            with contextlib.suppress(ValueError):  # a grammar may have no words for it
                text = grammar.write(calls=[call])
                for form in {text, text.replace("\\u003c", "<")}:
                    action = grammar.parse(form)
                    require(action.calls == (call,), f"{tag!r} in a value: {short(form)} is read as {action}")
                    read += 1
    return f"{read} calls with tags in their values are read byte for byte"


def _calls_with(env: World, value: str) -> Iterator[ToolCall]:
    """For every argument that takes any text, a call that gives it `value`."""
    rng = np.random.default_rng(0)
    for schema in env.schemas:
        name, parameters = schema["function"]["name"], schema["function"]["parameters"]
        for key, kind in parameters["properties"].items():
            if kind.get("type") == "string" and "enum" not in kind and "const" not in kind:
                yield ToolCall(name, {**sample_schema(parameters, rng), key: value})


def _with_values(env: World, value: str) -> Iterator[str]:
    """For every argument of whatever type, a written call that gives it `value`."""
    rng = np.random.default_rng(0)
    for schema in env.schemas:
        name, parameters = schema["function"]["name"], schema["function"]["parameters"]
        for key in parameters["properties"]:
            with contextlib.suppress(ValueError):
                call = ToolCall(name, {**sample_schema(parameters, rng), key: value})
                yield env.grammar.write(calls=[call])


def bounds_an_action(bench: Bench) -> str:
    """However many calls stand in one action, answers and penalties are bounded."""
    env = bench.make()
    task = bench.ids(1)[0]
    env.action_space.seed(bench.seed)
    for text in (env.action_space.sample(), '<tool_call>{"name": "no such tool"}</tool_call>'):
        turn = play(env, task, ["\n".join([text] * MANY)])[-1]
        lost = turn.info.get("turn_reward", 0.0)
        require(
            len(turn.messages) <= MOST_ANSWERS, f"{MANY} calls in one action: {len(turn.messages)} answers"
        )
        require(lost >= -MOST_LOST, f"{MANY} calls in one action: the turn reward is {lost}")
    return f"{MANY} calls in one action are answered within bounds"


def _say_all(bench: Bench, actions: list[str]) -> int:
    task, said, rest = bench.ids(1)[0], 0, actions
    while rest:
        played = len(play(bench.env, task, rest)) - 1
        said, rest = said + played, rest[played:]
    return said


def halts_when_strict(bench: Bench) -> str:
    """With `strict` a malformed action, and no action of gold, ends the episode with outcome 0."""
    env, halted = bench.make(strict=True), 0
    bad = next((text for text in HOSTILE if env.grammar.parse(text).error is not None), "")
    for task in bench.ids(1):
        gold = bench.env.gold_actions(task)
        for before in {0, len(gold) - 1} if bad and task not in env.silence_solves else ():
            last = play(env, task, [*gold[:before], bad, *gold])[-1]
            where = f"task {task!r}: strict, after {before} gold actions and {short(bad)}"
            require(last.action == bad and last.terminated, f"{where}: it ended with {short(last.action)}")
            require(last.info["outcome"] == 0.0, f"{where}: the outcome is {last.info['outcome']}")
            halted += 1
    return f"{halted} episodes end at what is malformed, with outcome 0"


def refuses_misuse(bench: Bench) -> str:
    """A caller's mistake is an error at once and changes nothing."""
    env, task = bench.make(), bench.ids(1)[0]
    play(env, task, [])
    wrong: tuple[Any, ...] = (None, 1, b"hello", ["hello"], {"content": "hello"})
    for action in wrong:
        _raises(TypeError, partial(env.step, action), f"step({action!r})")
        require(env.playing.turn == 0, f"step({action!r}) took a turn")
    unknown: tuple[dict[str, Any], ...] = ({"no_such_option": 1}, {"task": 3}, {"task": ["x"]})
    for options in unknown:
        _raises(ValueError, partial(env.reset, options=options), f"reset(options={options})")
    play(env, task, [])
    return "actions that are no text, and options that are unknown, are errors that change nothing"


class _Odd:
    def __repr__(self) -> str:
        return "something odd"


def checks_arguments(bench: Bench) -> str:
    """Every argument is checked when the world is made, and an unknown one is named."""
    world: Callable[..., object] = type(bench.env)
    taken, _ = arguments_of(type(bench.env))
    for name, argument in taken.items():
        require(argument.kind is not Any, f"argument {name!r} has no type that can be read: annotate it")
        told = _raises(ValueError, partial(world, **{name: _Odd()}), f"{name}=something odd")
        require(name in told, f"{name}=something odd: the error does not name the argument: {told}")
    for typo in ("no_such_argument", "max_trns"):
        told = _raises(ValueError, partial(bench.make, **{typo: 1}), f"{typo}=1")
        require(typo in told, f"{typo}=1: the error does not name it: {told}")
    return f"{len(taken)} arguments are checked by their types; unknown ones are named"


def _raises(kind: type[Exception], call: Callable[[], object], what: str) -> str:
    try:
        call()
    except kind as error:
        return str(error)
    require(False, f"{what} raises no {kind.__name__}")
    raise AssertionError


PROMISES: dict[str, Callable[[Bench], str]] = {
    "shared objects": shares_nothing,
    "side by side": stays_apart,
    "numbers": survives_numbers,
    "tags": reads_values_whole,
    "many calls": bounds_an_action,
    "strict": halts_when_strict,
    "misuse": refuses_misuse,
    "arguments": checks_arguments,
}
