"""AgentScaler's filters: what each asks of a play, and that gold passes them all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train import cli
from forge_train.evaluation import filters
from forge_train.evaluation.filters import DEFAULT, FILTERS, alternates, calls_made, repetition, select
from forge_train.play.solution import Solution
from forge_train.play.world_pool import World

COUNTER = World("tests.envs.worlds:Shop/Counter-v0")
RETAIL = World("forge_envs:Forge/Retail-v0", {"size": "tiny", "prompt": "compact"})


def call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def a_play(*messages: str, task: str = "t", opening: int = 2, **more: Any) -> dict[str, Any]:
    """A play from lines like "agent: Hello." after an opening of two."""
    roles = {"agent": "assistant", "user": "user", "tool": "tool"}
    said = [line.split(": ", 1) for line in messages]
    told = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Hi."}]
    told += [{"role": roles[who], "content": text} for who, text in said]
    return {"task": task, "error": None, "graded": True, "outcome": 1.0, "parts": {}, "opening": opening,
            "messages": told, **more}  # fmt: skip


def fate(play: dict[str, Any], told: Any = filters.unknown, names: Any = DEFAULT) -> str:
    counts = select([play], names, 1, told)[1]
    (found,) = (name for name, count in counts.items() if count)
    return found


# -- validity control --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "well_formed"),
    [
        (["agent: A", "user: B", "agent: C"], True),
        (["agent: A", "tool: B", "tool: C", "agent: D", "user: E"], True),
        (["agent: A", "tool: ", "agent: B"], True),  # a tool may have nothing to say
        (["agent: A", "agent: B"], False),
        (["agent: A", "user: B", "agent:  "], False),
        (["agent: A", "user:  ", "agent: C"], False),
    ],
)
def test_turns_alternate_and_say_something(lines: list[str], well_formed: bool) -> None:
    assert alternates(a_play(*lines)) == well_formed
    assert fate(a_play(*lines)) == ("kept" if well_formed else "validity")


def test_what_the_opening_tells_is_not_the_agents() -> None:
    greeted = a_play("agent: Hello!", "agent: A", opening=3)
    assert alternates(greeted) and not alternates({**greeted, "opening": 2})


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("", 0.0),
        ("a b c d e f g h", 0.0),
        ("a b c d e f g h a b c d e f g h", 1 / 9),
        ("no " * 27, 19 / 20),
        ("我" * 12, 4 / 5),
    ],
)
def test_repetition_is_the_share_of_eight_grams_seen_before(text: str, share: float) -> None:
    assert repetition(text) == pytest.approx(share)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.integers(1, 9))
def test_repetition_is_a_share_and_grows_with_a_copy(words: list[str], n: int) -> None:
    text = " ".join(words)
    assert 0.0 <= repetition(text, n) < 1.0
    assert repetition(" ".join(str(i) for i in range(len(words))), n) == 0.0
    if len(words) >= n:
        assert repetition(f"{text} {text}", n) > 0.0


def test_a_line_that_goes_round_in_circles_is_dropped_and_ten_calls_are_not() -> None:
    loop = "agent: I should look at the order first. " + "Let me look at the order again, once more. " * 9
    assert fate(a_play(loop, "user: B")) == "validity"
    calls = "".join(call("get_order_details", order_id=f"#W{i}") for i in range(10))
    assert fate(a_play(f"agent: {calls}", "tool: B")) == "kept"


def test_an_action_that_nobody_can_read_is_no_exchange() -> None:
    task = COUNTER.tasks("train", 1)[0]
    broken = a_play("agent: <tool_call>{oops", "tool: Error: it is not JSON", "agent: Bye", task=task)
    assert fate(broken, COUNTER.solution, ["validity"]) == "validity"
    assert fate(broken, names=["validity"]) == "kept", "a world that tells no grammar is not second-guessed"


# -- state, then calls ---------------------------------------------------------------------------------------


def reading(*gold: str) -> Any:
    """The `told` of a task with this gold in a world where `sell` writes."""
    parse = COUNTER.solution(COUNTER.tasks("train", 1)[0]).parse  # type: ignore[union-attr]
    return lambda task: Solution(parse, gold, frozenset({"sell"}))


LOOK, COUNT, SELL = call("look", n=1), call("count", of=["a", {"b": True}]), call("sell", item="apple")


@pytest.mark.parametrize(
    ("made", "same"),
    [
        ([LOOK, COUNT], True),
        ([call("look", n=1.0), COUNT], True),
        ([LOOK + COUNT], True),
        ([COUNT, LOOK], False),
        ([LOOK], False),
        ([LOOK, COUNT, COUNT], False),
        ([LOOK, LOOK, COUNT], False),
        ([call("look", n=2), COUNT], False),
        ([LOOK, call("count", of=["a", {"b": 1}])], False),
        ([call("look"), COUNT], False),
        ([], False),
    ],
)
def test_on_a_task_that_reads_only_the_calls_are_golds_in_its_order(made: list[str], same: bool) -> None:
    lines = [line for action in made for line in (f"agent: {action}", *["tool: ok"] * action.count("name"))]
    play = a_play(*lines, "agent: It is 3.")
    assert fate(play, reading(LOOK, COUNT, "It is 3.")) == ("kept" if same else "calls")
    assert fate(play, reading(LOOK, COUNT, SELL, "Done.")) == "kept", "where gold writes, the state decides"
    assert fate(play) == "kept", "and where nobody knows gold"
    assert fate({**play, "outcome": 0.0}, reading(LOOK, COUNT)) == "state", "which is asked first"


def test_a_call_that_a_tool_answered_with_an_error_is_no_part_of_the_sequence() -> None:
    told = reading(LOOK, COUNT)
    play = a_play("agent: " + call("look", n=9), "tool: Error: there is no 9", f"agent: {LOOK}{COUNT}",
                  "tool: 1", "tool: 2", "agent: It is 3.", parts={"refused": -0.05})  # fmt: skip
    assert list(calls_made(play, told("t"))) == told("t").calls
    assert fate(play, told) == "kept" and fate(play, told, [*DEFAULT, "unrefused"]) == "unrefused"
    assert fate(play, told, [*DEFAULT, "format"]) == "kept"
    assert fate({**play, "parts": {"malformed": -0.1}}, told, [*DEFAULT, "format"]) == "format"


def test_calls_after_the_one_that_ended_the_episode_were_not_made() -> None:
    play = a_play(f"agent: {LOOK}{COUNT}", "tool: ok")
    assert fate(play, reading(LOOK)) == "kept" and fate(play, reading(LOOK, COUNT)) == "calls"


def test_the_filters_stand_in_agent_scalers_order() -> None:
    assert DEFAULT == ("ending", "validity", "state", "calls") == tuple(FILTERS)[:4]
    assert cli.FILTERS.partition(";")[0].replace(" or ", ", ").split(", ") == list(FILTERS)
    play = a_play("agent: A", "agent: B", graded=False, outcome=0.0, parts={"malformed": -0.1})
    told = reading(LOOK)
    for name, mend in (
        ("ending", {"graded": True}),
        ("validity", {"messages": a_play("agent: A", "user: B", "agent: C")["messages"]}),
        ("state", {"outcome": 1.0}),
        ("calls", {"messages": a_play(f"agent: {LOOK}", "tool: B", "agent: C")["messages"]}),
        ("kept", {}),
    ):
        assert fate(play, told) == name
        play |= mend


# -- what a world tells --------------------------------------------------------------------------------------


def test_a_world_tells_gold_grammar_and_writers_and_its_episode_goes_on() -> None:
    task = RETAIL.tasks("train", 1)[0]
    env = RETAIL.acquire()
    RETAIL.release(env)
    env.reset(options={"task": RETAIL.tasks("train", 2)[1]})
    before = env.unwrapped.snapshot()  # type: ignore[attr-defined]
    solution = RETAIL.solution(task)
    assert solution is not None and list(solution.gold) == RETAIL.gold(task)
    assert "cancel_pending_order" in solution.writers and "get_order_details" not in solution.writers
    assert env.unwrapped.snapshot() == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_gold_passes_every_filter(level: int) -> None:
    world = World("forge_envs:Forge/Retail-v0", {"size": "tiny", "level": level})
    told = [world.solution(task) for task in world.tasks("train", 20)]
    assert {one.reads_only for one in told if one} <= ({True} if level == 1 else {True, False})
    if level == 1:
        assert all(one and one.reads_only for one in told)


def test_a_world_of_somebody_else_tells_nothing() -> None:
    assert World("tests.train.worlds:Test/Echo-v0").solution("train/0") is None
    assert World("tests.train.worlds:Test/Foreign-v0").solution("seed:0") is None


def test_a_task_whose_solution_nobody_has_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Any, task_id: str) -> list[str]:
        raise ValueError(f"task {task_id!r} has no solution to show")

    monkeypatch.setattr("tests.envs.worlds.Counter.gold_actions", lost)
    assert COUNTER.solution(COUNTER.tasks("train", 1)[0]) is None


def test_nothing_of_a_solution_is_written_down(tmp_path: Path) -> None:
    command = ["collect", "gold", "--world", "forge_envs:Forge/Retail-v0", "--arg", "size=tiny"]
    assert cli.main([*command, "--tasks", "3", "--out", str(tmp_path)]) == 0
    for line in (tmp_path / "plays.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {
            "id", "world", "args", "seed", "by", "task", "repetition", "ending", "graded", "outcome", "parts",
            "error", "usage", "opening", "messages", "effect",
        }  # fmt: skip
