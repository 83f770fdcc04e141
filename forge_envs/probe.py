"""How a world is probed: by gold, by silence, and by wandering.

Wandering mixes gold of this and of other tasks with random calls and hostile text, because random calls
alone hardly ever leave the entrance. Whatever a world gives back is validated here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from forge_envs.env import AgentEnv
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.schemas import sample_schema

World = AgentEnv[Any, Any]

ALWAYS = {"task", "turn"}
SCORED = {*ALWAYS, "turn_reward", "parts"}
FAILED = {*ALWAYS, "error"}
LABEL = "protocol"
"""By whose rules a model plays the other party, where there is more than one way; beside any of these."""
"""Keys of `info`: after reset; after a step, and `outcome` at the end; when a machine failed."""

HOSTILE = (
    " ",
    "\x00\x1b[31m",
    "é数🙂 \u202e\u0301",
    "\ud800",
    "a" * 100_000,
    "%s {0} {x} \\ ' \" ; -- <b> $(rm -rf /) ../../etc/passwd",
    "<think>",
    "no end</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_call></tool_call>",
    "<tool_call>{</tool_call>",
    "<tool_call>[]</tool_call>",
    "<tool_call>null</tool_call>",
    '<tool_call>{"name": 1}</tool_call>',
    '<tool_call>{"name": "no such tool"}</tool_call>',
    '<tool_call>{"name": "__class__", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": "b"}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"b": NaN}}</tool_call>',
    '<tool_call>{"name": "a", "arguments": {"b": "\\ud800"}}</tool_call>',
    "<tool_call>" + "[" * 20_000,
    '<tool_call>{"name": "a", "arguments": ' + '{"a":' * 500 + "1" + "}" * 501 + "</tool_call>",
    '<tool_call>{"name": "' + "a" * 10_000 + '"}</tool_call>' * 2,
    "```bash\n",
    "```bash\n```",
    "```bash\nls\n```\n```bash\nls\n```",
)
ODD_VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    0.5,
    1e308,
    "",
    "\x00é数",
    "x" * 10_000,
    [],
    [[]],
    {},
    {"a": [None]},
)


class WorldError(AssertionError):
    """A world broke a promise; the text says which, where and how."""


class Bench:
    """A world under test."""

    def __init__(self, env_id: str, kwargs: dict[str, Any], tasks: int, seed: int) -> None:
        self.env_id, self.kwargs, self.tasks, self.seed = env_id, kwargs, tasks, seed
        self.env = self.make()
        self.deterministic = self.env.spec is None or not self.env.spec.nondeterministic

    def make(self, **override: Any) -> World:
        """A new world, without wrappers."""
        env = gym.make(self.env_id, **{**self.kwargs, **override}).unwrapped
        if not isinstance(env, AgentEnv):
            raise WorldError(f"{type(env).__name__} is no AgentEnv")
        return env

    def ids(self, each: int | None = None) -> list[str]:
        """Task ids, `each` of every split."""
        n = self.tasks if each is None else min(each, self.tasks)
        return [task for split in self.env.splits for task in self.env.task_ids(split, n)]

    def wander(self, task: str, length: int = 12, *, gold: bool = True) -> list[str]:
        """Actions that get around in a task, always the same; without `gold`, only what anybody could say."""
        rng = np.random.default_rng([self.seed, *task.encode()])
        self.env.action_space.seed(int(rng.integers(2**31)))
        own = self.env.gold_actions(task)
        others = self.env.gold_actions(str(rng.choice(self.ids(2))))
        actions: list[str] = []
        for _ in range(length):
            dice = rng.random()
            if dice < 0.5 and gold:  # mostly forward, so that wandering reaches the end of some tasks
                at = int(rng.integers(len(own))) if dice < 0.1 else len(actions) % len(own)
                actions.append(own[at])
            elif dice < 0.6 and gold:
                actions.append(others[int(rng.integers(len(others)))])
            elif dice > 0.8:
                actions.append("" if dice > 0.9 else HOSTILE[int(rng.integers(len(HOSTILE)))])
            else:
                actions.append(self.env.action_space.sample())
        return actions


@dataclass
class Seen:
    """What one `reset` (action None) or `step` gave back."""

    action: str | None
    messages: Observation
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    progress: float

    @property
    def over(self) -> bool:
        """Whether the episode ended here."""
        return self.terminated or self.truncated


def play(env: World, task: str | None, actions: Iterable[str], seed: int = 0) -> list[Seen]:
    """Reset, then act until the episode or the actions end; everything that comes back is validated."""
    messages, info = env.reset(seed=seed, options=None if task is None else {"task": task})
    turns = [Seen(None, messages, 0.0, False, False, info, env.playing.progress)]
    validate(env, turns[0])
    return turns + go_on(env, actions)


def go_on(env: World, actions: Iterable[str]) -> list[Seen]:
    """Act until the episode or the actions end. Raises WorldError where a step raises or returns nonsense."""
    turns: list[Seen] = []
    for action in actions:
        try:
            turns.append(Seen(action, *env.step(action), env.playing.progress))
        except Exception as error:
            place = f"task {env.task.id!r}, turn {env.playing.turn}, action {short(action)}"
            raise WorldError(f"{place}: step raised {type(error).__name__}: {error}") from error
        validate(env, turns[-1])
        if turns[-1].over:
            break
    return turns


def validate(env: World, turn: Seen) -> None:
    """Types, keys and ranges of what came back."""
    where = f"task {turn.info.get('task')!r}, after {short(turn.action)}: "
    keys = set(turn.info)
    failed = keys == FAILED and turn.truncated and turn.reward == 0.0 and turn.messages == ()
    expected = ALWAYS if turn.action is None else SCORED | ({"outcome"} if turn.over else set())
    require(keys - {LABEL} == expected or failed, f"{where}info has {sorted(keys)}")
    require(type(turn.reward) is float and bool(np.isfinite(turn.reward)), f"{where}reward {turn.reward!r}")
    require(type(turn.terminated) is bool and type(turn.truncated) is bool, f"{where}flags are no bools")
    require(turn.messages in env.observation_space, f"{where}not messages: {short(turn.messages)}")
    for message in turn.messages:
        odd = set(message) - set(Message.__annotations__)
        require(not odd, f"{where}a message has unknown keys {sorted(odd)}")
        late = turn.action is not None and message["role"] in ("assistant", "system")
        require(not late, f"{where}the world spoke as {message['role']!r} after the opening")
    for name, value in (("info", turn.info), ("messages", list(turn.messages))):
        try:
            text = json.dumps(value, ensure_ascii=False, allow_nan=False)
            text.encode()
        except (TypeError, ValueError) as error:
            raise WorldError(f"{where}{name} cannot be written as JSON: {error}") from error
        require(json.loads(text) == value, f"{where}{name} changes when written as JSON: {short(value)}")
    outcome = turn.info.get("outcome", 0.0)
    require(type(outcome) is float and 0.0 <= outcome <= 1.0, f"{where}outcome {outcome!r} is not in [0, 1]")


def require(condition: bool, message: str) -> None:
    """Raise WorldError unless the condition holds."""
    if not condition:
        raise WorldError(message)


def short(value: object) -> str:
    """The value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}… ({len(text)} characters)"


def same(got: list[Seen], want: list[Seen], what: str) -> None:
    """Raise WorldError unless two plays are equal in every turn."""
    for i, (a, b) in enumerate(zip(got, want, strict=False)):
        require(a == b, f"{what}: turn {i} of task {b.info['task']!r} is {short(a)}, not {short(b)}")
    require(len(got) == len(want), f"{what}: {len(got)} turns, not {len(want)}")


def bent_calls(env: World, rng: np.random.Generator) -> list[str]:
    """For every tool and argument, a valid call with one value replaced by an odd one, in random order."""
    if not env.grammar.prose_alone:
        return []
    actions = []
    for schema in env.schemas:
        name, parameters = schema["function"]["name"], schema["function"]["parameters"]
        for key in [*parameters["properties"], "surplus"]:
            for odd in ODD_VALUES:
                call = ToolCall(name, {**sample_schema(parameters, rng), key: odd})
                with contextlib.suppress(ValueError):  # a grammar without types says no null for a string
                    actions.append(env.grammar.write(calls=[call]))
    return [actions[int(i)] for i in rng.permutation(len(actions))]
