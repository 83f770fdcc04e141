import copy
import json
import math
import pickle
import re

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs import AgentEnv, MachineError, TaskError, ToolCall, opening
from forge_envs.grammars import HERMES
from tests.envs.worlds import STOCK, Counter, Shell

APPLES = "train/apple/1"
BREAD = "test/bread/3"


def call(name: str, **arguments: object) -> str:
    return HERMES.write(calls=[ToolCall(name, arguments)])


SELL = call("sell", item="apple", count=1)


def started(task: str = APPLES, kind: type[Counter] = Counter, **kwargs) -> Counter:
    env = kind(**kwargs)
    env.reset(seed=0, options={"task": task})
    return env


def texts(messages) -> list[str]:
    return [m["content"] for m in messages]


# -- reset -------------------------------------------------------------------------------------------


def test_reset_gives_the_opening_of_the_task_that_was_asked_for():
    messages, info = Counter().reset(seed=1, options={"task": BREAD})
    assert [m["role"] for m in messages] == ["system", "user"]
    assert [t["function"]["name"] for t in messages[0]["tools"]] == ["look", "sell", "close_shop"]
    assert texts(messages)[1] == "3 bread, please."
    assert info == {"task": BREAD, "turn": 0}


def test_without_a_task_the_seed_draws_one():
    drawn = [Counter().reset(seed=seed)[1]["task"] for seed in range(20)]
    assert drawn == [Counter().reset(seed=seed)[1]["task"] for seed in range(20)]
    assert len(set(drawn)) > 2 and all(task.startswith("train/") for task in drawn)
    env = Counter()
    env.reset(seed=0)
    assert len({env.reset()[1]["task"] for _ in range(30)}) > 2  # the generator goes on without a seed


@pytest.mark.parametrize("task", ["nowhere", 3, 2.5, b"x", True])
def test_an_unknown_task_is_named_and_no_episode_is_left_in_play(task):
    env = started()
    with pytest.raises(TaskError, match=re.escape(str(task))):
        env.reset(options={"task": task})
    with pytest.raises(gym.error.ResetNeeded):
        env.step("hello")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"level": 3}, "options ['level'] are unknown"),
        ({"tsk": 1, 5: 1}, "options ['tsk', 5] are unknown"),
        ("task", "options 'task': reset takes a dict"),
        (["task"], "options ['task']: reset takes a dict"),
    ],
)
def test_an_unknown_option_is_named(options, told):
    with pytest.raises(ValueError, match=re.escape(told) + '.*options={"task": id}'):
        Counter().reset(options=options)


@pytest.mark.parametrize(
    ("kwargs", "hint"),
    [
        ({"max_turns": 1}, "max_turns=1"),
        ({"max_turns": 2.5}, "max_turns=2.5"),
        ({"turn_weight": math.nan}, "turn_weight=nan"),
        ({"turn_weight": "0.1"}, "turn_weight='0.1'"),
        ({"grammar": "xml"}, "grammar='xml': known are hermes, bash"),
        ({"grammar": "bash"}, "grammar='bash'.*sell"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(kwargs, hint):
    with pytest.raises(ValueError, match=hint):
        Counter(**kwargs)


def test_a_world_that_lacks_a_part_cannot_be_made():
    class Half(Counter):
        gold = AgentEnv.gold

    with pytest.raises(TypeError, match="gold"):
        Half()


# -- what an action does -----------------------------------------------------------------------------


def test_prose_reaches_the_other_party_and_may_end_the_episode():
    env = started()
    env.step(SELL)
    assert env.step("Goodbye") == (
        (),
        1.0,
        True,
        False,
        {"task": APPLES, "turn": 2, "turn_reward": 0.0, "parts": {"sold": 1.0}, "outcome": 1.0},
    )


def test_an_empty_action_is_a_turn_like_any_other():
    assert started().step("") == (
        ({"role": "user", "content": "Hello?"},),
        0.0,
        False,
        False,
        {"task": APPLES, "turn": 1, "turn_reward": 0.0, "parts": {}},
    )


def test_several_calls_run_in_order_and_prose_beside_them_reaches_nobody():
    env = started("train/apple/5")
    calls = [
        ToolCall("sell", {"item": "apple", "count": 2}),
        ToolCall("look", {}),
        ToolCall("sell", {"item": "apple"}),
    ]
    messages, _, terminated, _, info = env.step(HERMES.write("Goodbye", calls))
    assert not terminated
    assert [m["name"] for m in messages] == ["sell", "look", "sell"]
    assert texts(messages) == ["2 apple sold", '{"apple": 3, "bread": 3, "cheese": 1}', "1 apple sold"]
    assert {m["role"] for m in messages} == {"tool"}
    assert env.state.transcript[2] == {"role": "assistant", "content": HERMES.write("Goodbye", calls)}
    assert info["parts"] == {}  # three apples are not the five that were asked for


def test_a_malformed_call_among_good_ones_runs_none():
    env = started()
    messages, _, _, _, info = env.step(SELL + "<tool_call>{</tool_call>")
    assert env.playing.stock == STOCK
    assert len(messages) == 1 and messages[0]["role"] == "tool" and "Nothing was run" in texts(messages)[0]
    assert info["parts"] == {"malformed": -0.1} and info["turn_reward"] == -0.1


@pytest.mark.parametrize(
    ("action", "told", "fault"),
    [
        (call("steal"), "there is no tool 'steal'. Tools: look, sell, close_shop", "malformed"),
        (call("x" * 10_000), "xxx", "malformed"),
        (call("sell"), "item is missing", "malformed"),
        (call("sell", item="apple", count="1"), "count='1'", "malformed"),
        (call("sell", item="gold bar"), "item='gold bar'", "malformed"),
        (call("sell", item="cheese", count=2), "there are 1 cheese, you cannot sell 2", "refused"),
    ],
)
def test_a_call_that_cannot_run_is_told_and_costs(action, told, fault):
    env = started(turn_weight=2.0)
    messages, reward, terminated, truncated, info = env.step(action)
    assert told in texts(messages)[0] and texts(messages)[0].startswith("Error: ")
    assert len(texts(messages)[0]) < 300
    assert info["parts"] == {fault: {"malformed": -0.1, "refused": -0.05}[fault]}
    assert reward == 2 * info["turn_reward"] < 0 and not (terminated or truncated)
    assert env.playing.stock == STOCK


def test_faults_of_one_turn_add_up():
    calls = [ToolCall("steal", {}), ToolCall("sell", {}), ToolCall("sell", {"item": "bread", "count": 9})]
    info = started().step(HERMES.write(calls=[*calls, ToolCall("sell", {"item": "apple", "count": 1})]))[4]
    assert info["parts"] == {"malformed": -0.2, "refused": -0.05, "progress": 1.0}
    assert info["turn_reward"] == pytest.approx(0.75)


def test_a_tool_can_end_the_episode_and_later_calls_do_not_run():
    env = started()
    calls = [ToolCall("close_shop", {}), ToolCall("sell", {"item": "apple"})]
    messages, reward, terminated, _, info = env.step(HERMES.write(calls=calls))
    assert (texts(messages), reward, terminated, info["outcome"]) == (["closed"], 0.0, True, 0.0)
    assert env.playing.stock == STOCK


def test_bash_blocks_are_the_other_grammar():
    env = started(kind=Shell, grammar="bash")
    assert texts(env.step("Selling.\n```bash\nsell apple 1\n```")[0]) == ["ok"]
    assert "exactly one" in texts(env.step("Goodbye")[0])[0]
    assert "command not found" in texts(env.step("```bash\nrm -rf /\n```")[0])[0]
    assert env.step("```bash\nbye\n```")[1:4] == (1.0, True, False)


# -- rewards and the end -----------------------------------------------------------------------------


def test_at_the_turn_limit_the_world_grades_then_truncates():
    env = started(max_turns=2)
    assert env.step(SELL)[2:4] == (False, False)
    _, reward, terminated, truncated, info = env.step("")
    assert (reward, terminated, truncated, info["outcome"]) == (1.0, False, True, 1.0)


def test_an_episode_that_ends_at_the_limit_by_itself_is_terminated_not_truncated():
    env = started(max_turns=2)
    env.step("")
    assert env.step("Goodbye")[2:4] == (True, False)


def test_step_returns_the_outcome_and_weighted_turn_rewards():
    env = started(turn_weight=0.5)
    rewards = [env.step(action)[1] for action in (call("sell", item="bread"), SELL, call("steal"), "Goodbye")]
    assert rewards == [0.0, 0.25, -0.05, 0.0]


def test_with_weight_zero_a_turn_is_worth_plain_zero():
    assert str(started().step(call("steal"))[1]) == "0.0"


@given(st.lists(st.sampled_from([SELL, call("sell", item="bread"), call("steal"), "", "<tool_call>"])))
def test_progress_rewards_telescope(actions):
    env = started("train/apple/3", max_turns=50, turn_weight=1.0)
    turns = [env.step(action) for action in [*actions, "Goodbye"]]
    gained = sum(turn[4]["parts"].get("progress", 0.0) for turn in turns)
    assert gained == pytest.approx(env.progress())
    outcome = turns[-1][4]["outcome"]
    assert sum(turn[1] for turn in turns) == pytest.approx(outcome + sum(t[4]["turn_reward"] for t in turns))


@pytest.mark.parametrize("how", ["never began", "ended", "closed", "failed"])
def test_a_step_outside_an_episode_asks_for_reset(how):
    env = Counter(fails="hear") if how == "failed" else Counter()
    if how != "never began":
        env.reset(options={"task": APPLES})
    if how in ("ended", "failed"):
        env.step("Goodbye")
    if how == "closed":
        env.close()
        env.close()
    with pytest.raises(gym.error.ResetNeeded, match="reset"):
        env.step("Goodbye")


def test_an_action_that_is_no_text_is_the_callers_mistake():
    with pytest.raises(TypeError, match="one str, not list"):
        started().step(["hello"])


# -- failures of the machine -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "actions"), [("look", [call("look")]), ("hear", ["Goodbye"]), ("grade", [SELL, "Goodbye"])]
)
def test_a_machine_that_fails_in_a_step_truncates_without_a_verdict(stage, actions):
    env = started(fails=stage)
    *_, last = (env.step(action) for action in actions)
    error = {"kind": "fire", "stage": stage, "retryable": True, "message": "the till is on fire"}
    assert last == ((), 0.0, False, True, {"task": APPLES, "turn": len(actions), "error": error})
    env.fails = ""
    env.reset()
    assert "error" not in env.step(SELL)[4]


def test_a_machine_that_fails_in_reset_raises():
    with pytest.raises(MachineError) as caught:
        started(fails="reset")
    assert (caught.value.kind, caught.value.stage, caught.value.retryable) == ("fire", "reset", True)
    twin = pickle.loads(pickle.dumps(caught.value))
    assert twin.as_dict() == caught.value.as_dict() and isinstance(twin, MachineError)


def test_a_bug_is_not_dressed_up_as_anything_else():
    class Buggy(Counter):
        def hear(self, text):
            return 1 / 0

    with pytest.raises(ZeroDivisionError):
        started(kind=Buggy).step("hello")


# -- what is kept and handed out ---------------------------------------------------------------------


@given(
    st.lists(st.sampled_from([SELL, call("look"), call("steal"), "", "<tool_call>"]), max_size=6),
    st.lists(st.sampled_from([SELL, call("look"), ""]), max_size=4),
)
def test_a_snapshot_continues_as_if_nothing_had_happened(before, after):
    env, other = started("train/apple/3"), Counter()
    for action in before:
        env.step(action)
    snapshot, said = env.snapshot(), list(env.state.transcript)
    first = [env.step(action) for action in [*after, "Goodbye"]]
    drawn = env.reset()
    for again in (env, other):
        again.restore(snapshot)
        assert again.state.transcript == said
        assert [again.step(action) for action in [*after, "Goodbye"]] == first
        assert again.reset() == drawn  # its random numbers go on as well


def test_there_is_no_snapshot_without_an_episode():
    with pytest.raises(gym.error.ResetNeeded):
        Counter().snapshot()


def test_whoever_changes_an_observation_changes_nothing_else():
    env = started()
    messages, _ = env.reset(options={"task": APPLES})
    messages[0]["tools"][0]["function"]["parameters"]["properties"]["x"] = {}
    messages[1]["content"] = "changed"
    env.step("")[0][0]["content"] = "changed"
    assert "changed" not in json.dumps(env.state.transcript)
    assert Counter().schemas[0]["function"]["parameters"]["properties"] == {}


def ruin(value) -> None:
    for item in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    ):
        ruin(item)
    if isinstance(value, dict):
        value.clear()
    elif isinstance(value, list):
        value[:] = ["ruined"]


@pytest.mark.parametrize("world", ["Forge/Retail-v0", "Forge/Airline-v0", "Forge/NextTurn-v0"])
def test_nothing_that_an_agent_can_reach_is_part_of_the_next_episode(world):
    env = gym.make(world, size="tiny")
    want = copy.deepcopy(env.reset(seed=7)), copy.deepcopy(env.action_space.tools)
    for seed in (7, 7, 8):
        messages, info = env.reset(seed=seed)
        messages[0]["tools"][0]["function"]["name"] = "X"
        ruin([messages, info, env.action_space.tools, env.unwrapped.schemas])
        ruin(env.step("")[0::4])
    assert (env.reset(seed=7), env.action_space.tools) == want
    assert gym.make(world, size="tiny").reset(seed=7) == want[0]


def test_calls_in_an_opening_are_the_agents_own_too():
    said = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "look"}}]}

    class Recalls(Counter):
        def begin(self, task):
            state, messages = super().begin(task)
            return state, (*messages, said)

    env = started(kind=Recalls)
    first = env.reset(options={"task": APPLES})[0]
    first[-1]["tool_calls"][0]["function"]["name"] = "X"
    assert said["tool_calls"][0]["function"]["name"] == "look"
    assert env.state.transcript[-1] == said
    assert env.reset(options={"task": APPLES})[0][-1] == said


def test_render_shows_the_conversation():
    env = started(render_mode="ansi")
    env.step("")
    assert env.render().splitlines()[1:] == [
        "     user: 1 apple, please.",
        "assistant: ",
        "     user: Hello?",
    ]
    assert started().render() is None and Counter(render_mode="ansi").render() == ""


def test_release_lets_go_of_an_episode_before_the_next_and_at_close():
    released = []

    class Holding(Counter):
        def release(self):
            released.append(self.state and self.state.task.id)

    env = started(kind=Holding)
    snapshot = env.snapshot()
    env.reset(options={"task": BREAD})
    env.restore(snapshot)
    env.close()
    assert released == [None, APPLES, BREAD, APPLES]


def test_gold_is_found_by_task():
    assert Counter().gold_actions(APPLES) == [SELL, "Here you are, goodbye."]
    with pytest.raises(TaskError, match="nowhere"):
        Counter().gold_actions("nowhere")


def test_an_opening_carries_tools_only_where_there_are_any():
    assert "tools" not in opening("Rules.", [])[0]
    assert opening("Rules.", [], [{"a": 1}])[0]["tools"] == [{"a": 1}]


# -- Gymnasium's vectors -----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_vectors_of_worlds_play(mode):
    envs = gym.make_vec(
        "tests.envs.worlds:Shop/Counter-v0",
        num_envs=3,
        vectorization_mode=mode,
        max_turns=4,
    )
    try:
        observations, infos = envs.reset(seed=5, options={"task": APPLES})
        assert [texts(o)[1] for o in observations] == ["1 apple, please."] * 3
        assert list(infos["task"]) == [APPLES] * 3
        observations, rewards, _, _, infos = envs.step((SELL, "", "<tool_call>"))
        assert [texts(o)[0][:7] for o in observations] == ["1 apple", "Hello?", "Error: "]
        assert list(infos["turn"]) == [1, 1, 1] and list(rewards) == [0, 0, 0]
        _, rewards, terminated, _, infos = envs.step(("Goodbye", "Goodbye", ""))
        assert list(rewards) == [1, 0, 0] and list(terminated) == [True, True, False]
        assert list(infos["outcome"])[:2] == [1.0, 0.0]
        observations, *_ = envs.step(("", "", ""))  # those that ended begin anew
        assert [len(o) for o in observations] == [2, 2, 1]
        for _ in range(10):
            envs.step(envs.action_space.sample())
    finally:
        envs.close()
