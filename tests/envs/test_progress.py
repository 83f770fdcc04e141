"""Progress over the writes of gold: in any order in which they are valid it grows, and it ends at 1."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.env import AgentEnv
from forge_envs.grammars import HERMES
from forge_envs.worlds.tau.env import TauEnv
from tests.envs.desks import DESKS, DeskWorld, call
from tests.envs.official import DATA, pending, rows, task, write_tau2


def is_write(env: AgentEnv[Any, Any], action: str) -> bool:
    """Whether an action changes the world."""
    return any(env.tools[made.name].writes for made in HERMES.parse(action).calls)


def climb(env: AgentEnv[Any, Any], text: str, actions: Sequence[str]) -> tuple[list[float], dict[str, Any]]:
    """Progress after each action until the episode ends, and the last info; no call may be refused."""
    env.reset(options={"task": text})
    heights = [env.playing.progress]
    info: dict[str, Any] = {}
    for action in actions:
        *_, terminated, truncated, info = env.step(action)
        assume("refused" not in info["parts"])
        heights.append(env.playing.progress)
        if terminated or truncated:
            break
    return heights, info


def grows(heights: Sequence[float]) -> bool:
    """Whether no step falls back."""
    return all(before <= after + 1e-12 for before, after in itertools.pairwise(heights))


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(list(DESKS.values())),
    st.sampled_from(["full", "small", "tiny"]),
    st.sampled_from([3, 4, 5]),
    st.integers(0, 500),
    st.booleans(),
    st.data(),
)
def test_generated_tasks_in_any_valid_order(
    desk: DeskWorld, size: str, level: int, n: int, at_once: bool, data: st.DataObject
) -> None:
    env = desk.make(size=size, prompt="compact")
    text = desk.task_id(size, "train", level, n)
    gold = env.gold_actions(text)
    places = [at for at, action in enumerate(gold) if is_write(env, action)]
    order = data.draw(st.permutations(places))
    if at_once:  # all writes first, then the conversation without them
        actions = [gold[at] for at in order] + [a for at, a in enumerate(gold) if at not in places]
    else:  # one write where another was
        actions = list(gold)
        for at, other in zip(places, order, strict=True):
            actions[at] = gold[other]
    heights, info = climb(env, text, actions)
    # Two writes on one row may be valid in another order and leave another row: then gold's order counts.
    assume(info["parts"].get("rows") == 1.0)
    assert grows(heights), (text, heights)
    assert heights[-1] == 1.0 and info["outcome"] == 1.0, (text, info)


@pytest.mark.parametrize("name", DESKS)
def test_most_orders_are_valid(name: str) -> None:
    """Else the property above would say little."""
    desk = DESKS[name]
    env = desk.make(size="full", prompt="compact")
    won = 0
    for n in range(60):
        text = desk.task_id("full", "train", 5, n)
        gold = env.gold_actions(text)
        writes = [action for action in gold if is_write(env, action)]
        assert len(writes) == 2
        rest = [action for action in gold if action not in writes]
        env.reset(options={"task": text})
        for action in [*writes[::-1], *rest]:
            info = env.step(action)[-1]
        won += info["outcome"] == 1.0
    assert won >= 55


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> TauEnv:
    """One published task with four writes on three orders and a profile, and two texts to be said."""
    order = rows()["orders"][pending(3)]
    home = {key: order["address"][key] for key in ("address1", "address2", "city", "state", "country")}
    cancels = [{"order_id": pending(n), "reason": "no longer needed"} for n in (0, 1)]
    named = [("cancel_pending_order", arguments) for arguments in cancels]
    named.append(("modify_pending_order_address", {"order_id": pending(2), **home, "zip": "00000"}))
    named.append(("modify_user_address", {"user_id": order["user_id"], **home, "zip": "00000"}))
    gold = [{"action_id": str(n), "name": name, "arguments": a} for n, (name, a) in enumerate(named)]
    made = task("a", actions=gold, communicate_info=["17.5", "two"])
    path = write_tau2(tmp_path_factory.mktemp("progress"), [made])
    env = gym.make("Forge/Tau2-v0", path=path, split="base").unwrapped
    assert isinstance(env, TauEnv)
    return env


@given(st.permutations([*range(4), "It is 17.5, right?", "There are two, right?"]))
def test_a_published_task_in_any_order(official: TauEnv, order: list[Any]) -> None:
    gold = official.gold_actions("a")
    actions = [gold[step] if isinstance(step, int) else step for step in order]
    heights, info = climb(official, "a", [*actions, "Bye."])
    assert all(before < after for before, after in itertools.pairwise(heights[:-1])), heights
    assert heights[-1] == 1.0 and info["outcome"] == 1.0
    back = call("modify_user_address", **HERMES.parse(gold[3]).calls[0].arguments | {"zip": "11111"})
    heights, info = climb(official, "a", [*actions, back, "Bye."])
    assert heights[-2] < heights[-3] == 1.0 and info["outcome"] == 0.0, "what was right was spoilt"


@pytest.mark.skipif(not (DATA / "tau2" / "retail" / "oracle.json").exists(), reason=f"no data at {DATA}")
@pytest.mark.parametrize(("domain", "world"), [("retail", "Tau2"), ("retail", "Tau1"), ("airline", "Tau2")])
def test_official_gold_backwards(domain: str, world: str) -> None:
    path = str(DATA / world.lower())
    env: Any = gym.make(f"Forge/{world}-v0", domain=domain, path=path, gaps="play").unwrapped
    played = 0
    for text in env.task_ids(n=150):
        gold = env.gold_actions(text)
        places = [at for at, action in enumerate(gold) if is_write(env, action)]
        actions = list(gold)
        for at, other in zip(places, reversed(places), strict=True):
            actions[at] = gold[other]
        env.reset(options={"task": text})
        heights = [env.playing.progress]
        for action in actions:
            info = env.step(action)[-1]
            heights.append(env.playing.progress)
        if info["outcome"] == 1.0:
            assert heights[-1] == 1.0 and grows(heights), (text, heights)
            played += len(places) > 1
    assert played >= 3
