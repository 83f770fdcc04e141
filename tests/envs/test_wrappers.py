"""Next turns: the true conversation so far, one action, an exact match."""

from __future__ import annotations

import copy
import json
import re

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.env import AgentEnv
from forge_envs.errors import MachineError, TaskError
from forge_envs.grammars import HERMES
from forge_envs.messages import ToolCall
from forge_envs.testing import check_world
from forge_envs.worlds.retail.env import RetailEnv
from forge_envs.wrappers import NextTurn, same_calls, same_json
from tests.endpoint import Endpoint
from tests.envs.worlds import Counter

ARGS = {"size": "tiny", "level": 3, "prompt": "compact"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def make(**args):
    env = gym.make("Forge/NextTurn-v0", **{**ARGS, **args}).unwrapped
    assert isinstance(env, NextTurn)
    return env


def outcome(env, task, action):
    env.reset(options={"task": task})
    messages, reward, terminated, truncated, info = env.step(action)
    assert (messages, terminated, truncated) == ((), True, False) and reward == info["outcome"]
    return info["outcome"]


@pytest.mark.parametrize("level", range(6))
def test_every_promise_is_kept(level):
    check_world("Forge/NextTurn-v0", tasks=8, size="small", level=level)


def test_the_opening_is_the_gold_episode_up_to_the_turn():
    env, retail = make(), RetailEnv(**ARGS)
    for task in env.task_ids("train", 30):
        base, turn = task.rsplit("@", 1)
        heard, _ = retail.reset(options={"task": base})
        want = list(heard)
        for action in retail.gold_actions(base)[: int(turn)]:
            want += [{"role": "assistant", "content": action}, *retail.step(action)[0]]
        opening, info = env.reset(options={"task": task})
        assert list(opening) == want and info == {"task": task, "turn": 0}
        assert env.gold_actions(task) == [retail.gold_actions(base)[int(turn)]]


def test_every_call_of_gold_is_a_task_and_no_line_is():
    env = make()
    retail = env.inner
    ids = env.task_ids("test")
    assert ids[:7] == env.task_ids("test", 7) and len(set(ids)) == len(ids) > 1000
    base = ids[0].rsplit("@", 1)[0]
    calls = [n for n, a in enumerate(retail.gold_actions(base)) if HERMES.parse(a).calls]
    assert [i for i in ids if i.startswith(f"{base}@")] == [f"{base}@{n}" for n in calls]


def changed(call):
    """A call with one thing about it changed, in every way there is."""
    yield ToolCall(call.name + "s", call.arguments)
    yield ToolCall(call.name, {**call.arguments, "surplus": None})
    for key, value in call.arguments.items():
        yield ToolCall(call.name, {k: v for k, v in call.arguments.items() if k != key})
        odd = [*value, value[0]] if isinstance(value, list) else f"{value} "
        yield ToolCall(call.name, {**call.arguments, key: odd})


def test_only_the_exact_calls_match():
    env, tried = make(), 0
    for task in env.task_ids("train", 25):
        (call,) = env.find(task).gold
        write = env.grammar.write
        assert outcome(env, task, write(calls=[call])) == 1.0
        assert outcome(env, task, "<think>It is this one.</think>" + write("I look.", [call])) == 1.0
        reordered = ToolCall(call.name, dict(reversed(call.arguments.items())))
        assert outcome(env, task, write(calls=[reordered])) == 1.0
        assert outcome(env, task, write(calls=[call, call])) == 0.0
        assert outcome(env, task, json.dumps({"name": call.name, "arguments": call.arguments})) == 0.0
        for other in changed(call):
            assert outcome(env, task, write(calls=[other])) == 0.0, other
            tried += 1
    assert tried > 100


def test_what_cannot_be_read_is_malformed_and_worth_nothing():
    env = make(turn_weight=1.0)
    env.reset(options={"task": env.task_ids("train", 1)[0]})
    _, reward, terminated, _, info = env.step("<tool_call>oops")
    assert terminated and info["parts"] == {"malformed": -0.1, "match": 0.0} and reward == -0.1


KNOWN = "retail/tiny/train/3/0"


@pytest.mark.parametrize("turn", ["@0", "@x", "@01", "@99", "@", "@²"])
def test_a_turn_without_a_call_is_named_with_those_that_have_one(turn):
    env = make()
    (first, *_) = (i for i in env.task_ids("train", 5) if i.startswith(f"{KNOWN}@"))
    with pytest.raises(TaskError, match=re.escape(first)):
        env.find(KNOWN + turn)


@pytest.mark.parametrize("task", ["nowhere", "nowhere@3", "@1", ""])
def test_an_unknown_turn_is_named(task):
    with pytest.raises(TaskError) as caught:
        make().reset(options={"task": task})
    assert (task.rsplit("@", 1)[0] or task) in str(caught.value)


def test_any_world_with_gold_calls_will_do_and_an_env_may_be_given():
    mine = NextTurn(RetailEnv(**ARGS))
    assert mine.task_ids("train", 5) == make().task_ids("train", 5)
    counter = NextTurn(Counter())
    assert isinstance(counter, AgentEnv) and counter.schemas == Counter().schemas
    ids = counter.task_ids("train")
    assert ids and all(outcome(counter, i, counter.gold_actions(i)[0]) == 1.0 for i in ids)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"world": "Forge/NextTurn-v0"}, "takes an AgentEnv"),
        ({"world": "CartPole-v1"}, "takes an AgentEnv"),
        ({"size": "huge"}, "known are full"),
    ],
)
def test_what_is_no_such_world_is_refused(args, told):
    with pytest.raises(ValueError, match=told):
        gym.make("Forge/NextTurn-v0", **args)
    with pytest.raises(ValueError, match="is made"):
        NextTurn(RetailEnv(), size="tiny")


class Silent(Counter):
    """Its gold says everything and calls nothing."""

    def gold(self, task):
        return ["Goodbye."]


def test_a_world_without_turns_to_choose_is_an_error_with_the_reason():
    with pytest.raises(ValueError, match=r"Forge/Polyglot-v0.*no tools"):
        gym.make("Forge/NextTurn-v0", world="Forge/Polyglot-v0")
    with pytest.raises(TaskError, match="makes no call"):
        NextTurn(Silent()).reset(seed=1)


def test_a_prefix_that_cannot_be_played_is_no_opening():
    env = make(max_turns=2)
    late = [i for i in env.task_ids("train", 20) if int(i.rsplit("@", 1)[1]) > 2]
    with pytest.raises(TaskError, match="raise max_turns"):
        env.reset(options={"task": late[0]})
    with Endpoint(lambda body: 400) as endpoint:
        env = make(user=endpoint.spec())
        assert env.metadata["quick"] is False
        with pytest.raises(MachineError, match="status 400"):
            env.reset(options={"task": late[0]})


@given(json_values, json_values)
def test_values_are_the_same_when_they_are_the_same_json(a, b):
    assert same_json(a, json.loads(json.dumps(a))) and same_json(a, copy.deepcopy(a))
    assert same_json(a, b) == same_json(b, a)
    if json.dumps(a, sort_keys=True) == json.dumps(b, sort_keys=True):
        assert same_json(a, b)
    assert not same_json(a, [a]) and not same_json({"k": a}, {"k": a, "l": a})


def test_calls_match_in_their_order():
    one, two = ToolCall("a", {"n": 1}), ToolCall("b", {"n": [1, {"x": True}]})
    assert same_calls([one, two], [one, two]) and not same_calls([two, one], [one, two])
    assert not same_calls([], [one]) and not same_calls([two], [ToolCall("b", {"n": [1, {"x": 1}]})])
