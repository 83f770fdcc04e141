"""`strict`: one in every turn well formed and the task done, or nothing (arXiv 2511.05951, eq. 7)."""

from __future__ import annotations

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs import Score, ToolCall, world_ids
from forge_envs.adapters.session import Session
from forge_envs.arguments import arguments_of
from forge_envs.cli import _kind
from forge_envs.grammars import HERMES
from forge_envs.testing import promises
from tests.envs.worlds import SPARE, Counter, Shell

APPLE = "train/apple/1"
LOOK, SELL = (
    HERMES.write(calls=[ToolCall("look", {})]),
    HERMES.write(calls=[ToolCall("sell", {"item": "apple", "count": 1})]),
)
BYE = "Here you are, goodbye."
UNREADABLE = "<tool_call>{oops</tool_call>"
UNKNOWN = HERMES.write(calls=[ToolCall("steal", {})])
UNFIT = HERMES.write(calls=[ToolCall("sell", {"item": "pear"})])
REFUSED = HERMES.write(calls=[ToolCall("sell", {"item": "apple", "count": 9})])


def played(actions: list[str], **args: object) -> tuple[int, dict]:
    """The number of turns, and what the last one told."""
    env = Counter(**args)
    env.reset(options={"task": APPLE})
    for turn, action in enumerate(actions, 1):
        _, reward, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            assert reward == info["outcome"] and terminated
            return turn, info
    raise AssertionError("the episode goes on")


@pytest.mark.parametrize(
    ("actions", "completed", "well_formed"),
    [
        ([SELL, BYE], True, True),
        ([LOOK, SELL, BYE], True, True),
        ([LOOK, BYE], False, True),
        ([SELL, UNREADABLE, BYE], True, False),
        ([UNKNOWN, SELL, BYE], True, False),
        ([SELL, UNFIT, BYE], True, False),
        ([REFUSED, SELL, BYE], True, True),
        ([UNREADABLE, BYE], False, False),
    ],
)
def test_the_outcome_is_format_in_all_turns_times_completion(actions, completed, well_formed):
    assert played(actions)[1]["outcome"] == float(completed), "by default the agent is told and goes on"
    turns, info = played(actions, strict=True)
    assert info["outcome"] == float(completed and well_formed)
    assert ("malformed" in info["parts"]) is not well_formed
    wrong = next((n for n, a in enumerate(actions, 1) if a in (UNREADABLE, UNKNOWN, UNFIT)), len(actions))
    assert turns == wrong, "the episode ends at the first of them"


def test_after_a_malformed_call_no_other_of_the_action_is_run():
    action = HERMES.write(
        calls=[ToolCall("sell", {"item": "apple"}), ToolCall("steal", {}), ToolCall("look", {})]
    )
    for strict, heard in ((False, 3), (True, 2)):
        env = Counter(strict=strict, turn_weight=1.0)
        env.reset(options={"task": APPLE})
        messages, reward, terminated, truncated, info = env.step(action)
        assert (len(messages), terminated, truncated) == (heard, strict, False)
        assert reward == pytest.approx(0.9) and info["parts"] == {"progress": 1.0, "malformed": -0.1}
    with pytest.raises(gym.error.ResetNeeded):
        env.step(BYE)


def test_a_halted_episode_is_not_graded():
    class Proud(Counter):
        def grade(self) -> Score:
            raise AssertionError("nobody is asked about an outcome that is known")

    env = Proud(strict=True)
    env.reset(options={"task": APPLE})
    assert env.step(UNREADABLE)[4]["outcome"] == 0.0


def test_in_the_grammar_of_bash_a_reply_without_a_block_is_malformed():
    env = Shell(strict=True, grammar="bash")
    env.reset(options={"task": APPLE})
    assert env.step("I am done.")[2:4] == (True, False)


@given(st.lists(st.sampled_from([LOOK, SELL, BYE, "", UNREADABLE, UNKNOWN, UNFIT, REFUSED]), max_size=6))
def test_strict_changes_nothing_where_nothing_is_malformed(actions):
    loose, strict = Counter(), Counter(strict=True)
    told = [env.reset(options={"task": APPLE}) for env in (loose, strict)]
    assert told[0] == told[1]
    for action in actions:
        (*heard, over, _, info), (*same, ended, cut, strictly) = loose.step(action), strict.step(action)
        if "malformed" in info["parts"]:
            assert (ended, cut, strictly["outcome"]) == (True, False, 0.0)
            assert strictly["turn_reward"] == info["turn_reward"]
            return
        assert (heard, over, info) == (same, ended, strictly)
        if over:
            return


def test_every_world_takes_it():
    for world in world_ids():
        taken = arguments_of(_kind(world))[0]
        assert taken["strict"].default is False and taken["strict"].kind is bool, world


@pytest.mark.parametrize("world", ["Forge/Retail-v0", "Forge/NextTurn-v0", "Forge/Tau2-v0"])
def test_a_world_with_strict_keeps_every_promise(world):
    found = {p.name: p for p in promises(world, tasks=2, strict=True, **SPARE.get(world, {}))}
    for name in ("gold", "silence", "any text", "rewards", "ending", "strict"):
        assert found[name].kept, found[name]


class Lenient(Counter):
    """Says that it is strict, and goes on."""

    def _halts(self, penalties):
        return False


def test_a_world_that_goes_on_breaks_a_promise():
    gym.register("Shop/Lenient-v0", Lenient, disable_env_checker=True)
    found = {p.name: p for p in promises("Shop/Lenient-v0", tasks=2)}
    assert not found["strict"].kept and "it ended with" in found["strict"].note


def test_behind_a_door_it_is_an_argument_like_any_other():
    with Session("tests.envs.worlds:Shop/Counter-v0", {"strict": True}) as door:
        door.begin(APPLE)
        door.call("sell", {"item": "apple", "count": 1})
        assert not door.over
        assert "no tool" in door.call("steal", {})
        assert door.over and door.reward == 0.0
