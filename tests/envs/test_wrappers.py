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


# -- step-wise reward: 1 iff FormatCorrect(a_t) and Match(a_t, a*_t) ---------------------------------------


class Paired(Counter):
    """Its gold makes two calls in one action, after a word to the customer."""

    def gold(self, task):
        looks, sale = ToolCall("look", {}), ToolCall("sell", {"item": task.item, "count": task.count})
        return ["One moment, please.", self.grammar.write(calls=[looks, sale]), "Here you are, goodbye."]

    def hear(self, text):
        return ({"role": "user", "content": "Yes?"},) if "moment" in text else super().hear(text)


APPLE = "train/apple/1"
SALE = {"item": "apple", "count": 1}


@pytest.mark.parametrize(
    ("arguments", "format_correct", "match"),
    [
        (SALE, True, True),
        ({"item": "apple", "count": 2}, True, False),
        ({"item": "apple"}, True, False),  # the default is 1: the call would do the same, and says less
        ({"item": "apple", "count": 1.0}, False, True),  # the same JSON, which the tool does not take
        ({"item": "pear", "count": 1}, False, False),
        ({**SALE, "surplus": None}, False, False),
    ],
)
def test_the_step_wise_reward_is_format_times_match(arguments, format_correct, match):
    env = NextTurn(Counter(), turn_weight=0.0)
    (gold,) = env.find(f"{APPLE}@0").gold
    assert same_calls([ToolCall("sell", arguments)], [gold]) == match
    env.reset(options={"task": f"{APPLE}@0"})
    action = env.grammar.write(calls=[ToolCall("sell", arguments)])
    _, reward, terminated, _, info = env.step(action)
    assert terminated and reward == info["outcome"] == float(format_correct and match)
    assert ("malformed" in info["parts"]) is not format_correct


def test_a_call_of_a_tool_that_is_not_there_is_malformed():
    env = NextTurn(Counter())
    env.reset(options={"task": f"{APPLE}@0"})
    info = env.step(env.grammar.write(calls=[ToolCall("steal", SALE)]))[4]
    assert info["parts"] == {"malformed": -0.1, "match": 0.0}


@pytest.mark.parametrize(("ordered", "swapped"), [(True, 0.0), (False, 1.0)])
def test_several_calls_come_in_order_or_in_any(ordered, swapped):
    env = NextTurn(Paired(), ordered=ordered)
    task = f"{APPLE}@1"
    one, two = env.find(task).gold
    for calls, earned in (
        ([one, two], 1.0), ([two, one], swapped), ([one], 0.0), ([one, two, two], 0.0), ([one, one], 0.0),
    ):  # fmt: skip
        assert outcome(env, task, env.grammar.write(calls=calls)) == earned, calls


@pytest.mark.parametrize(
    ("prose", "turns", "same", "other"),
    [("skip", [1], None, None), ("any", [0, 1, 2], 1.0, 1.0), ("exact", [0, 1, 2], 1.0, 0.0)],
)
def test_what_gold_says_is_a_turn_where_it_is_asked_for(prose, turns, same, other):
    env = NextTurn(Paired(), prose=prose)
    assert [i for i in env.task_ids("train") if i.startswith(APPLE)] == [f"{APPLE}@{n}" for n in turns]
    if same is None:
        return
    task = f"{APPLE}@2"
    call = env.grammar.write(calls=[ToolCall("look", {})])
    for action, earned in (
        ("Here you are, goodbye.", same), (" Here you are, goodbye.\n", same), ("Bye.", other),
        ("", 0.0), (" ", 0.0), (call, 0.0), ("Here you are, goodbye.\n" + call, 0.0), ("<tool_call>", 0.0),
    ):  # fmt: skip
        assert outcome(env, task, action) == earned, action
    assert outcome(env, f"{APPLE}@1", "Here you are, goodbye.") == 0.0, "gold calls there"


@pytest.mark.parametrize("args", [{"prose": "any"}, {"prose": "exact", "ordered": False}])
def test_every_promise_is_kept_whatever_counts(args):
    check_world("Forge/NextTurn-v0", tasks=2, size="tiny", level=3, **args)


@pytest.mark.parametrize("args", [{"prose": "all"}, {"ordered": 1}])
def test_an_argument_that_is_not_known_is_named(args):
    with pytest.raises(ValueError, match=next(iter(args))):
        NextTurn(Counter(), **args)


@given(
    st.lists(
        st.sampled_from([ToolCall("a", {"n": 1}), ToolCall("a", {"n": 1.0}), ToolCall("b", {})]), max_size=5
    ),
    st.randoms(),
)
def test_in_any_order_is_the_same_for_every_order(calls, dice):
    mixed = list(calls)
    dice.shuffle(mixed)
    assert same_calls(mixed, calls, ordered=False)
    assert not same_calls(mixed, [*calls, ToolCall("c", {})], ordered=False)
    assert not same_calls([*mixed, ToolCall("c", {})], [*calls, ToolCall("b", {"x": 0})], ordered=False)


def test_the_tools_are_those_of_the_task_in_play():
    env = gym.make("Forge/NextTurn-v0", world="Forge/ToolUse-v0", size="tiny", level=2).unwrapped
    for task in env.task_ids("train", 12):
        assert outcome(env, task, env.gold_actions(task)[0]) == 1.0
        assert set(env.tools) == {t["function"]["name"] for t in env.schemas} == set(env.inner.tools)
