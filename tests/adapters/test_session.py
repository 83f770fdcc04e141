"""The episode that every door holds: its end, its failures, its score, and its closing."""

from __future__ import annotations

import ast
import gc
import json
import warnings
from typing import Any

import gymnasium as gym
import pytest

from forge_envs import MachineError, Observation
from forge_envs.adapters import EPISODE_OVER, Session, as_text, chat_messages, split_tools
from forge_envs.adapters.asked import asked_tasks
from forge_envs.adapters.library import need
from forge_envs.errors import NotInstalled, TaskError
from forge_envs.grammars import grammar_of
from tests.adapters.gold import EXAMPLES

WORLD = "Forge/Retail-v0"
TASK = "retail/small/train/2/1"


def test_gold_earns_what_it_earns_in_the_world() -> None:
    env = gym.make(WORLD, turn_weight=0.5).unwrapped
    with Session(WORLD, {"turn_weight": 0.5}) as session:
        assert session.begin(TASK) == env.reset(options={"task": TASK})[0]
        rewards, said = [], session.env.gold_actions(TASK)
        for action in said:
            messages, reward, *_ = env.step(action)
            turn = session.act(action)
            assert (turn.messages, turn.reward) == (messages, reward)
            rewards.append(reward)
        assert session.over and session.outcome == 1.0 and session.reward == sum(rewards)
        record = session.record()
        assert len(record["turn_rewards"]) == len(said) and json.loads(json.dumps(record)) == record
        assert sum(record["turn_rewards"]) * 0.5 + 1.0 == pytest.approx(record["reward"])
        assert record["parts"]["progress"] == pytest.approx(1.0)


def test_what_the_world_tells_beside_is_kept() -> None:
    env = gym.make(WORLD, max_turns=2).unwrapped
    _, info = env.reset(options={"task": TASK})
    with Session(WORLD, {"max_turns": 2}) as session:
        session.begin(TASK)
        assert session.info == info
        for last in (False, True):
            *_, terminated, truncated, info = env.step("Hm.")
            turn = session.act("Hm.")
            assert turn.info == session.info == info
            assert (turn.over, turn.truncated) == (terminated or truncated, truncated) == (last, last)


def test_after_the_end_nothing_counts() -> None:
    with Session(WORLD) as session:
        session.begin(TASK)
        for action in session.env.gold_actions(TASK):
            session.act(action)
        before = session.record()
        late = session.act("Hello?")
        assert late.over and late.reward == 0.0 and late.messages[0]["content"] == EPISODE_OVER
        assert session.call("get_order_details", {"order_id": "#W0000001"}) == EPISODE_OVER
        assert session.finish() == 1.0 and session.record() == before


def test_an_agent_that_stops_is_graded_where_it_stands() -> None:
    with Session(WORLD) as session:
        session.begin(TASK)
        for action in session.env.gold_actions(TASK)[:-1]:
            session.act(action)
        assert not session.over and session.outcome is None
        assert session.finish() in (0.0, 1.0) and session.over
        session.begin(TASK)
        assert session.finish() == 0.0 and session.env.playing.turn == 0


def test_an_episode_goes_on_elsewhere_from_a_snapshot() -> None:
    actions = Session(WORLD).env.gold_actions(TASK)
    with Session(WORLD, {"turn_weight": 0.5}) as here, Session(WORLD, {"turn_weight": 0.5}) as there:
        here.begin(TASK, seed=3)
        here.act(actions[0])
        there.begin("retail/small/train/2/2")
        there.restore(here.snapshot())
        assert there.record() == here.record() and not there.over
        for session in (here, there):
            for action in actions[1:]:
                session.act(action)
        assert there.record() == here.record() and there.outcome == 1.0
        assert not any(turn.truncated for turn in there.turns)
        here.restore(there.snapshot())
        assert here.over and here.act("more").messages[0]["content"] == EPISODE_OVER


def test_native_calls_are_the_same_episode_as_written_ones() -> None:
    with Session(WORLD) as written, Session(WORLD) as native:
        written.begin(TASK)
        native.begin(TASK)
        for action in written.env.gold_actions(TASK):
            prose, calls, _ = written.env.grammar.parse(action)
            if len(calls) > 1 or (calls and prose):
                pytest.fail("gold says one thing a turn")
            told = written.act(action).messages
            answer = native.call(calls[0].name, calls[0].arguments) if calls else native.say(prose)
            assert answer == "\n\n".join(message["content"] for message in told)
        assert native.record() == written.record()
        native.begin(TASK)
        assert "there is no tool" in native.call("no_such_tool", {})
        assert native.record()["parts"]["malformed"] < 0


def test_what_is_said_is_no_call() -> None:
    with Session(WORLD) as session:
        session.begin(TASK)
        told = session.say('<tool_call>{"name": "get_order_details", "arguments": {}}</tool_call>')
        assert told.startswith("Error: ") and not session.turns and not session.over
        session.say("2 < 3, said <b>he</b>")
        assert len(session.turns) == 1 and "malformed" not in session.parts


class Broken:
    """Breaks the machine of a session's world from outside: its judge, its customer or its opening."""

    def __init__(self, session: Session, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        def fail(*_: Any) -> Any:
            raise MachineError("no answer", kind="timeout", stage=name, retryable=True)

        monkeypatch.setattr(type(session.env), name, fail)


@pytest.mark.parametrize("name", ["hear", "grade"])
def test_a_failed_machine_is_no_reward(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(WORLD) as session:
        session.begin(TASK)
        Broken(session, monkeypatch, name)
        first = session.finish if name == "grade" else lambda: session.act("Hello")
        for use in (first, session.finish, lambda: session.say("x"), lambda: session.call("x", {})):
            with pytest.raises(MachineError, match="no answer"):
                use()
        assert session.over and session.outcome is None
        assert session.record()["error"] == {
            "kind": "timeout",
            "stage": name,
            "retryable": True,
            "message": "no answer",
        }
        monkeypatch.undo()
        session.begin(TASK)
        assert session.error is None and not session.over


def test_a_machine_that_fails_at_the_opening_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(WORLD) as session:
        Broken(session, monkeypatch, "begin")
        with pytest.raises(MachineError):
            session.begin(TASK)
        assert session.over and session.outcome is None and session.record()["error"] is not None
        with pytest.raises(MachineError):
            session.act("Hello")


def test_a_session_that_nobody_closes_closes_its_world(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[int] = []
    session = Session(WORLD)
    monkeypatch.setattr(type(session.env), "release", lambda self: closed.append(1))
    session.close()
    session.close()
    assert len(closed) == 1
    dropped = Session(WORLD)
    dropped.begin(TASK)
    closed.clear()
    del dropped
    gc.collect()
    assert closed


def test_bad_input_is_told() -> None:
    with pytest.raises(gym.error.NameNotFound, match=r"`Nothing` doesn't exist .* forge-envs list"):
        Session("Forge/Nothing-v0")
    with pytest.raises(TypeError, match="is no AgentEnv"):
        Session("CartPole-v1")
    with pytest.raises(ValueError, match="max_trns"):
        Session(WORLD, {"max_trns": 3})
    with Session(WORLD) as session:
        assert session.over
        for early in (lambda: session.act("before the beginning"), session.finish):
            with pytest.raises(gym.error.ResetNeeded, match="begin"):  # its 0 would pass for a score
                early()
        with pytest.raises(TaskError, match="nowhere"):
            session.begin("nowhere")
        assert session.over


def test_messages_in_other_forms() -> None:
    opening: Observation = (
        {"role": "system", "content": "Rules.", "tools": [{"type": "function", "function": {"name": "add"}}]},
        {"role": "user", "content": "Hi"},
    )
    messages, tools = split_tools(opening)
    assert messages == [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Hi"}]
    assert tools == opening[0]["tools"]
    told = chat_messages(opening, grammar_of("hermes"))
    assert told[0]["content"].startswith("Rules.\n\n# Tools") and '{"name": "add"}' in told[0]["content"]
    assert grammar_of("hermes").example in told[0]["content"] and set(told[0]) == {"role", "content"}
    assert as_text(opening) == "Rules.\n\nHi"


def test_a_library_that_is_missing_or_of_another_time_is_named() -> None:
    with pytest.raises(NotInstalled, match=r"pip install 'no-such-library>=1'"):
        need("no-such-library", (1, 0), "no-such-library>=1")
    with pytest.warns(UserWarning, match=r"gymnasium .* was tried with 0\.1"):
        need("gymnasium", (0, 1), "gymnasium")
    installed = tuple(int(part) for part in gym.__version__.split(".")[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        need("gymnasium", installed, "gymnasium")


def test_no_example_hides_the_library_that_it_uses() -> None:
    # Run as a script, an example's folder is the first place that Python looks for a module.
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    for path in EXAMPLES.glob("*.py"):
        nodes = ast.walk(ast.parse(path.read_text()))
        asked = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        nodes = ast.walk(ast.parse(path.read_text()))
        asked += [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
        assert {one.partition(".")[0] for one in asked} & names <= {"tiny_random"}, path


def test_what_is_no_mapping_and_no_list_is_named() -> None:
    with pytest.raises(ValueError, match="args='size=small': a dict"):
        Session(WORLD, "size=small")  # type: ignore[arg-type]
    with pytest.raises(TaskError, match=r"tasks='retail.*': a list of ids is needed"):
        asked_tasks(WORLD, {}, TASK)
