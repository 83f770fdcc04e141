"""Forge/ToolUse-v0: domains drawn from themes, their tools, tasks, customers and splits."""

from __future__ import annotations

import itertools
import json
import pickle
import re
from collections import Counter

import gymnasium as gym
import pytest

from forge_envs.errors import TaskError, ToolError
from forge_envs.testing import check_world
from forge_envs.tools import BadArguments
from forge_envs.worlds.desk.tasks import LEVELS
from forge_envs.worlds.tooluse.customer import Visitor
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.domains import addresses, domain_of, schema, side, themes_of, tool_names
from forge_envs.worlds.tooluse.engine import Office
from forge_envs.worlds.tooluse.goals import ToolUseTask
from forge_envs.worlds.tooluse.gold import asked, office
from forge_envs.worlds.tooluse.graph import communities, edges, flow
from forge_envs.worlds.tooluse.policy import compact_of, policy_of
from forge_envs.worlds.tooluse.tasks import content, find_task, parse_task, task_name
from forge_envs.worlds.tooluse.tools import toolbox_of

SIZES = ("full", "tiny")
SOME = [address for size in SIZES for address in addresses(size, "train", 10)]


def tasks_of(address: str, n: int = 5) -> list[ToolUseTask]:
    return [find_task(task_name(address, 1 + i % 5, i)) for i in range(n)]


# -- domains -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", SOME)
def test_an_address_is_a_domain_for_ever(address):
    domain = domain_of(address)
    first = (
        policy_of(domain),
        tool_names(domain),
        schema(domain),
        repr(domain.bases[domain.person.table].rows),
    )
    domain_of.cache_clear()
    again = domain_of(address)
    assert again is not domain
    assert first == (
        policy_of(again),
        tool_names(again),
        schema(again),
        repr(again.bases[again.person.table].rows),
    )
    assert pickle.loads(pickle.dumps(again)) is again


def test_no_domain_of_one_split_shares_its_tools_or_schema_with_one_of_the_other():
    for size in SIZES:
        sides = {split: [domain_of(one) for one in addresses(size, split, 20)] for split in ("train", "test")}
        for told in (tool_names, schema):
            found = {split: {told(domain) for domain in some} for split, some in sides.items()}
            assert not found["train"] & found["test"]
            assert all(side(text) == split for split, texts in found.items() for text in texts)
    assert set(themes_of("train")) < set(themes_of("test"))


def test_domains_of_one_theme_differ():
    drawn = [domain_of(address) for address in addresses("full", "train", 12, "library")]
    assert len({tool_names(domain) for domain in drawn}) == len({schema(domain) for domain in drawn}) == 12
    assert len({len(domain.specs) for domain in drawn}) > 3
    assert len({domain.person.id_name for domain in drawn}) > 5


def test_a_domain_has_few_tools_where_it_is_tiny_and_some_of_no_use_where_it_is_full():
    assert all(3 <= len(domain_of(address).specs) <= 7 for address in addresses("tiny", "train", 30))
    for address in addresses("full", "train", 20):
        domain = domain_of(address)
        assert 10 <= len(domain.specs) <= 40
        assert any(not spec.needed for spec in domain.specs.values())


def test_prompts_tell_every_tool_and_every_rule():
    for address in SOME:
        domain = domain_of(address)
        assert all(f"{name}(" in compact_of(domain) for name in domain.specs)
        told = (
            policy_of(domain)
            if not domain.asks_rules
            else office(tasks_of(address, 1)[0]).run(domain.tool("rules"), {})
        )
        assert all(law.text in told for law in domain.laws)


@pytest.mark.parametrize("split", ["train", "test"])
def test_no_policy_has_two_articles_before_a_noun(split):
    for theme in themes_of(split):
        [address] = addresses("full", split, 1, theme)
        assert re.findall(r"\b(?:an?|the) (?:an?|the) .{20}", policy_of(domain_of(address))) == []


@pytest.mark.parametrize(
    "text", ["full/train/library", "full/train/library-x", "big/train/library-0", "a/b", ""]
)
def test_an_unknown_domain_or_task_is_named(text):
    with pytest.raises(TaskError, match="unknown"):
        domain_of(text)
    with pytest.raises(TaskError, match="unknown"):
        find_task(f"tooluse/{text}/1/0")


def test_a_theme_that_is_held_out_has_no_domain_to_train_on():
    held_out = next(name for name in themes_of("test") if name not in themes_of("train"))
    with pytest.raises(TaskError):
        domain_of(f"full/train/{held_out}-0")
    with pytest.raises(ValueError, match="held out"):
        gym.make("Forge/ToolUse-v0", theme=held_out)
    gym.make("Forge/ToolUse-v0", theme=held_out, split="test").close()


# -- tasks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_gold_earns_the_outcome_silence_nothing_and_none_comes_twice(size):
    seen = Counter()
    for split in ("train", "test"):
        env = gym.make("Forge/ToolUse-v0", size=size, split=split, disable_env_checker=True).unwrapped
        for address in addresses(size, split, 24):
            for task in tasks_of(address):
                seen[content(task)] += 1
                for actions, outcome in ((env.gold_actions(task.id), 1.0), ([""] * env.max_turns, 0.0)):
                    env.reset(options={"task": task.id})
                    for action in actions:
                        *_, terminated, truncated, info = env.step(action)
                        if terminated or truncated:
                            break
                    assert info["outcome"] == outcome, task.id
                    assert outcome == 0.0 or not set(info["parts"]) & {
                        "refused",
                        "unauthorised",
                        "unconfirmed",
                    }
    assert max(seen.values()) == 1


def test_what_gold_calls_was_said_or_answered_before():
    depths = Counter()
    for address in SOME:
        for task in tasks_of(address, 10):
            found = flow(task)
            assert not found.unexplained, (task.id, found.unexplained)
            depths[found.depth] += 1
    assert max(depths) >= 3


def test_the_customer_says_all_that_gold_does():
    for address in [*SOME, "tiny/train/bakery_orders-0"]:
        for task in tasks_of(address, 10):
            customer = Visitor(task)
            said = "".join(str(customer.reply(action)) for action in task.gold if isinstance(action, str))
            for goal in task.goals:
                for topic in asked(task, goal) if not goal.forbidden else ():
                    assert goal.details[topic] in said, (task.id, topic)


def test_levels_ask_for_what_they_say():
    for address in SOME:
        one, two, three, four, five = tasks_of(address)
        assert [goal.kind for goal in one.goals] == ["fact"]
        assert len(two.goals) == 1 and not two.act(two.goals[0]).told
        assert len(three.goals) == 1 and three.act(three.goals[0]).told
        assert len(four.goals) == 2 or not four.goals[0].knows_subject
        assert len(five.goals) == 3 and sum(goal.forbidden for goal in five.goals) == 1


def test_a_task_pickles_by_its_id():
    task = tasks_of(SOME[0], 5)[4]
    assert pickle.loads(pickle.dumps(task)) is task
    assert parse_task(task.id) == (SOME[0], 5, 4)


def test_tasks_of_all_levels_come_about_in_every_theme():
    for name in themes_of("test"):
        for size in SIZES:
            for level in LEVELS:
                assert find_task(task_name(f"{size}/test/{name}-0", level, 0)).gold


# -- tools -----------------------------------------------------------------------------------------------


def world(address: str, level: int = 3) -> tuple[ToolDomain, ToolUseTask, Office]:
    task = find_task(task_name(address, level, 0))
    return task.domain, task, office(task)


@pytest.mark.parametrize("address", SOME)
def test_tools_refuse_what_is_not_there_and_change_nothing_then(address):
    domain, _, desk = world(address)
    for spec in domain.specs.values():
        arguments = {param.name: _nonsense(param.schema) for param in spec.params}
        if spec.params and spec.op not in ("search", "note", "transfer"):
            with pytest.raises(ToolError):
                desk.run(spec, arguments)
    assert desk.changed_rows() == {}


def _nonsense(schema: dict) -> object:
    return schema.get(
        "enum", [{"string": "nothing", "integer": -5, "number": -5.0, "boolean": True}[schema["type"]]]
    )[0]


def test_arguments_are_checked_by_their_types():
    box = toolbox_of(domain_of(SOME[0]))
    for tool in box.tools.values():
        with pytest.raises(BadArguments, match="is not an argument"):
            tool.call(None, {"colour": "red"})
        for name, kind in tool.parameters["properties"].items():
            with pytest.raises(BadArguments, match=name):
                tool.call(None, {name: None})
            assert kind["description"]


def test_a_tool_that_stumbles_works_when_it_is_called_again():
    stumbling = [task for address in SOME for task in tasks_of(address, 30) if task.stumbles]
    assert stumbling
    for task in stumbling:
        calls = [action for action in task.gold if not isinstance(action, str)]
        assert any(one == two and one.name in task.stumbles for one, two in itertools.pairwise(calls))


def test_the_agent_has_the_tools_of_the_task_in_play():
    env = gym.make("Forge/ToolUse-v0", disable_env_checker=True).unwrapped
    first, second = (find_task(task_name(address, 1, 0)) for address in SOME[:2])
    for task in (first, second, first):
        messages, _ = env.reset(options={"task": task.id})
        assert list(env.tools) == list(task.domain.specs)
        names = [tool["function"]["name"] for tool in messages[0]["tools"]]
        assert (
            names == [tool["function"]["name"] for tool in env.action_space.tools] == list(task.domain.specs)
        )
        assert json.dumps(env.schemas) == json.dumps(messages[0]["tools"])
    kept = env.snapshot()
    env.reset(options={"task": second.id})
    env.restore(kept)
    assert list(env.tools) == list(first.domain.specs)


def test_the_dependency_graph_leads_from_finding_to_writing():
    domain = domain_of(addresses("full", "train", 1)[0])
    found = edges(domain)
    finder = next(iter(domain.finders))
    person = domain.person.id_name
    assert any(edge.source == finder and edge.argument == person for edge in found)
    networkx = pytest.importorskip("networkx")
    assert networkx
    groups = communities(domain)
    assert sorted(name for group in groups for name in group) == sorted(domain.specs)


# -- the world -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{}, {"size": "tiny", "prompt": "compact", "split": "test", "domains": 3}],
    ids=["full", "tiny"],
)
def test_it_keeps_the_contract(arguments):
    check_world("Forge/ToolUse-v0", tasks=4, **arguments)


def test_one_theme_and_few_domains_can_be_asked_for():
    env = gym.make("Forge/ToolUse-v0", theme="library", domains=2, disable_env_checker=True).unwrapped
    assert {task.split("/")[3] for task in env.task_ids(n=40)} == {"library-0", "library-1"}
    for seed in range(8):
        assert env.reset(seed=seed)[1]["task"].split("/")[3] in ("library-0", "library-1")
