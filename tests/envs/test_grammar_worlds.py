"""Worlds are played in every grammar, and mistakes of one action cost only so much."""

import gymnasium as gym
import pytest

from forge_envs.env import MOST_FAULTS, PENALTIES
from forge_envs.grammars import GRAMMARS, MOST_CALLS, grammar_of
from forge_envs.messages import ToolCall
from forge_envs.testing import promises
from tests.envs.grammar_cases import as_json

SPEAKING = [name for name in GRAMMARS if name != "bash"]


def retail(**arguments):
    return gym.make("Forge/Retail-v0", size="tiny", **arguments).unwrapped


@pytest.mark.parametrize("name", SPEAKING)
def test_gold_written_in_any_grammar_earns_1(name):
    env = retail(grammar=name)
    for task in env.task_ids("train", 8):
        env.reset(options={"task": task})
        infos = [env.step(action)[4] for action in env.gold_actions(task)]
        assert infos[-1]["outcome"] == 1.0, task


@pytest.mark.parametrize("name", ["qwen_xml", "harmony"])
def test_a_world_keeps_its_promises_in_another_grammar(name):
    broken = [p for p in promises("Forge/Retail-v0", size="tiny", grammar=name, tasks=2) if not p.kept]
    assert not broken


@pytest.mark.parametrize("name", SPEAKING)
def test_what_a_space_draws_is_read(name):
    env = retail(grammar=name)
    env.action_space.seed(1)
    for _ in range(60):
        action = env.grammar.parse(env.action_space.sample())
        assert action.error is None
        for call in action.calls:
            env.tools[call.name].validate(call.arguments)


@pytest.mark.parametrize("name", ["qwen_xml", "glm"])
def test_a_number_in_a_text_is_the_text_that_the_tool_wants(name):
    env = retail(grammar=name)
    call = ToolCall("find_user_id_by_name_zip", {"first_name": "True", "last_name": "null", "zip": "01234"})
    assert as_json(env.grammar.parse(env.grammar.write(calls=[call])).calls) == as_json([call])


def test_a_call_in_another_format_is_not_said_to_the_customer():
    env = retail()
    env.reset(seed=0)
    (message,), _, _, _, info = env.step('{"name": "list_all_product_types", "parameters": {}}')
    assert message["role"] == "tool" and "reads hermes" in message["content"]
    assert info["parts"] == {"malformed": -PENALTIES["malformed"]}


@pytest.mark.parametrize("calls", [20_000, MOST_CALLS + 1, MOST_CALLS])
def test_an_action_costs_only_so_much(calls):
    env = retail(turn_weight=1.0)
    env.reset(seed=0)
    action = grammar_of("hermes").write(calls=[ToolCall("no_such_tool", {})]) * calls
    messages, _, _, _, info = env.step(action)
    assert len(messages) <= MOST_CALLS
    assert -MOST_FAULTS * max(PENALTIES.values()) <= info["turn_reward"] < 0.0


def test_a_world_of_several_tools_refuses_bash():
    with pytest.raises(ValueError, match="nothing but bash"):
        retail(grammar="bash")
