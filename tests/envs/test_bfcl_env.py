"""BFCL's entries as a world, over a few of our own: what is said, when it ends, what it is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.testing import check_world
from forge_envs.worlds.bfcl.env import STEPS, BfclEnv
from forge_envs.worlds.bfcl.leaderboard import MORE_FUNCTIONS
from tests.envs.bfcl_small import ask, function, talk, write

BOX, NOTES, SUM = "mkdir", "mv", "add"


def made(tmp_path: Path, *entries: Any, category: str = "multi_turn_base", **arguments: Any) -> BfclEnv:
    path = write(tmp_path / category, "v4", category, entries or [talk(n) for n in range(4)])
    env = gym.make("Forge/BFCL-v0", path=path, category=category, **arguments).unwrapped
    assert isinstance(env, BfclEnv)
    return env


def calls(env: BfclEnv, *given: tuple[str, dict[str, Any]]) -> str:
    return env.grammar.write(calls=[ToolCall(name, arguments) for name, arguments in given])


def solve(n: int = 0) -> list[tuple[str, dict[str, Any]]]:
    return [
        (BOX, {"dir_name": f"box{n}"}),
        (NOTES, {"source": "notes.txt", "destination": f"box{n}"}),
        (SUM, {"a": 2, "b": 3}),
    ]


def played(env: BfclEnv, *actions: str, id: str = "multi_turn_base_0") -> dict[str, Any]:
    env.reset(options={"task": id})
    info: dict[str, Any] = {}
    for action in actions:
        *_, info = env.step(action)
    return info


def outcome(env: BfclEnv, *actions: str, id: str = "multi_turn_base_0") -> Any:
    return played(env, *actions, id=id).get("outcome")


# -- dialogues -------------------------------------------------------------------------------------------


def test_a_dialogue_is_opened_with_its_functions_and_goes_on_at_a_word(tmp_path: Path) -> None:
    env = made(tmp_path)
    (system, user), _ = env.reset(options={"task": "multi_turn_base_1"})
    names = [tool["function"]["name"] for tool in system["tools"]]
    assert names == ["mkdir", "mv", "touch", "ls", "cat", "rm", "add"] and "box1" in user["content"]
    (told,), *_ = env.step(calls(env, ("ls", {})))
    assert told == {"role": "tool", "name": "ls", "content": '{"current_directory_content": ["notes.txt"]}'}
    (said,), _, terminated, _, info = env.step("It is there.")
    assert said == {"role": "user", "content": "What is 2 + 3?"} and not terminated and "outcome" not in info
    messages, _, terminated, _, info = env.step("Five.")
    assert messages == () and terminated and info["outcome"] == 0.0


def test_state_and_results_decide_and_order_steps_and_reads_do_not(tmp_path: Path) -> None:
    env = made(tmp_path)
    box, notes, add = solve()
    steps = [calls(env, box), calls(env, ("ls", {})), calls(env, notes), "Done.", calls(env, add), "Done."]
    assert outcome(env, *steps) == 1.0
    assert outcome(env, calls(env, add, box, notes), "Done.", calls(env, ("ls", {})), "Done.") == 1.0
    assert outcome(env, calls(env, add, box, notes), "Done.", "Done.") == 0.0  # nothing called in a turn
    assert outcome(env, calls(env, box, notes), "Done.", calls(env, ("ls", {})), "Done.") == 0.0  # no result
    assert (
        outcome(env, calls(env, box, notes, box), "Done.", calls(env, add), "Done.") == 1.0
    )  # it is refused
    more = ("touch", {"file_name": "x"})
    assert outcome(env, calls(env, box, notes, more), "Done.", calls(env, add), "Done.") == 0.0
    undone = [calls(env, box, notes, more), "Done.", calls(env, add, ("rm", {"file_name": "x"})), "Done."]
    assert outcome(env, *undone) == 0.0  # right at the end, wrong after the first turn


def test_functions_held_back_come_along_with_the_official_words(tmp_path: Path) -> None:
    env = made(tmp_path, *(talk(n, "miss_func") for n in range(4)), category="multi_turn_miss_func")
    (system, _), _ = env.reset(options={"task": "multi_turn_miss_func_0"})
    assert "mkdir" not in [tool["function"]["name"] for tool in system["tools"]]
    (said,), *_ = env.step("I cannot make folders.")
    assert said["role"] == "user" and said["content"] == MORE_FUNCTIONS
    assert [tool["function"]["name"] for tool in said["tools"]] == ["mkdir"]
    for id in env.task_ids():
        assert outcome(env, *env.gold_actions(id), id=id) == 1.0
    # The official runner calls it before it comes along, too.
    assert outcome(env, calls(env, *solve()[:2]), "Done.", calls(env, ("ls", {})), "Done.", id=id) is None


@pytest.mark.parametrize(("checked", "worth"), [(False, 1.0), (True, 0.0)])
def test_a_turn_without_gold_is_looked_at_only_if_asked(tmp_path: Path, checked: bool, worth: float) -> None:
    entries = [talk(n, "miss_func") for n in range(4)]
    env = made(tmp_path, *entries, category="multi_turn_miss_func", check_empty_turns=checked)
    look, work = calls(env, ("ls", {})), calls(env, *solve()[:2])
    acts = [look, "No.", work, "Done.", calls(env, solve()[2]), "Done."]
    id = "multi_turn_miss_func_0"
    assert outcome(env, *acts, id=id) == worth and outcome(env, *acts[1:], id=id) == 1.0


def test_the_step_after_the_twentieth_of_a_turn_ends_it(tmp_path: Path) -> None:
    env = made(tmp_path)
    box, notes, add = solve()
    idle = [calls(env, ("ls", {}))] * (STEPS - 1)
    assert outcome(env, *idle, calls(env, box, notes), "Done.", *idle, calls(env, add), "Done.") == 1.0
    info = played(env, *idle, calls(env, box, notes), "<tool_call>")
    assert info["outcome"] == 0.0 and info["turn"] == STEPS + 1


def test_what_cannot_be_called_is_told_in_the_official_words(tmp_path: Path) -> None:
    env = made(tmp_path, turn_weight=1.0)
    env.reset(options={"task": "multi_turn_base_0"})
    odd = [
        ("no_such", {}), ("kill", {}), ("ls", {"x": 1}), ("mkdir", {}), ("mkdir", {"dir name": "x"}),
        ("state", {}), ("__class__", {}), ("_start", {"config": {}}),
    ]  # fmt: skip
    messages, *_, info = env.step(calls(env, *odd))
    texts = [message["content"].removeprefix("Error during execution: ") for message in messages]
    assert texts[:4] == [
        "name 'no_such' is not defined",
        "Function call kill is not allowed.",
        "GorillaFileSystem.ls() got an unexpected keyword argument 'x'",
        "GorillaFileSystem.mkdir() missing 1 required positional argument: 'dir_name'",
    ]
    assert texts[5:] == [f"name {name!r} is not defined" for name in ("state", "__class__", "_start")]
    assert info["parts"] == {"malformed": -0.5}  # no more than five count


@pytest.mark.parametrize("bad", [("no_such", {}), ("ls", {"x": 1}), ("mkdir", {})])
def test_strict_ends_at_what_no_function_takes(tmp_path: Path, bad: tuple[str, dict[str, Any]]) -> None:
    env = made(tmp_path, strict=True)
    box, notes, add = solve()
    info = played(env, calls(env, box, bad, notes))
    assert info["outcome"] == 0.0 and len(env.playing.results) == 2  # what comes after it is not run
    again = [calls(env, box, notes, box, ("add", {"a": "x", "b": 1})), "Done.", calls(env, add), "Done."]
    assert outcome(env, *again) == 1.0  # what a function refuses is no malformed call


def test_tools_and_grammar_are_those_of_the_task_in_play(tmp_path: Path) -> None:
    entries = [ask(f"simple_python_{n}", function(f"f{n}"), answer=[{f"f{n}": {}}]) for n in range(4)]
    env = made(tmp_path, *entries, category="simple_python")
    for n in (0, 3):
        env.reset(options={"task": f"simple_python_{n}"})
        assert list(env.tools) == [f"f{n}"] == [tool["function"]["name"] for tool in env.schemas]
        assert env.action_space.tools == tuple(env.schemas)


def test_texts_that_look_like_calls_are_changed_as_by_the_official_runner(tmp_path: Path) -> None:
    env = made(tmp_path)
    env.reset(options={"task": "multi_turn_base_0"})
    _, told = env.step(calls(env, ("touch", {"file_name": "a (b)"}), ("ls", {})))[0]
    assert '"a(b)"' in told["content"]
    (told,), *_ = env.step(calls(env, ("cat", {"file_name": "ls (x)"})))
    assert "forge_eval_multi_turn_base_0_GorillaFileSystem_instance.ls(x)" in told["content"]


def test_progress_is_the_share_of_turns_and_of_results_within_one(tmp_path: Path) -> None:
    env = made(tmp_path, turn_weight=1.0)
    box, notes, add = solve()
    env.reset(options={"task": "multi_turn_base_0"})
    rewards = []
    for action in (
        calls(env, box),
        calls(env, notes),
        "Done.",
        calls(env, ("ls", {})),
        calls(env, add),
        "Done.",
    ):
        rewards.append(env.step(action)[4]["turn_reward"])
    assert rewards == [0.25, 0.25, 0.0, 0.0, 0.5, 0.0]


def test_an_episode_goes_on_from_a_snapshot_elsewhere(tmp_path: Path) -> None:
    env, other = made(tmp_path), made(tmp_path)
    played(env, calls(env, *solve()[:2]), "Done.")
    other.restore(env.snapshot())
    for one in (env, other):
        one.step(calls(env, solve()[2]))
        assert one.step("Done.")[4]["outcome"] == 1.0


def test_halves_keep_what_belongs_together(tmp_path: Path) -> None:
    env = made(tmp_path, *(talk(n) for n in range(8)))
    numbers = {split: [int(id.rsplit("_", 1)[1]) for id in env.task_ids(split)] for split in env.splits}
    assert numbers == {"train": [0, 1, 4, 5], "test": [2, 3, 6, 7]} and len(env.task_ids()) == 8
    questions = [
        ask(f"live_simple_{n}-{n // 3}-{n % 3}", function("f"), answer=[{"f": {}}]) for n in range(12)
    ]
    env = made(tmp_path, *questions, category="live_simple")
    groups = [{env.find(id).group for id in env.task_ids(split)} for split in env.splits]
    assert groups == [{0, 1}, {2, 3}]


def test_what_nobody_can_win_is_left_out_unless_it_is_played(tmp_path: Path) -> None:
    (entry, answer), *rest = [talk(n) for n in range(4)]
    answer["ground_truth"].append([])
    env = made(tmp_path, (entry, answer), *rest)
    assert env.gaps == {"bfcl_v4/multi_turn_base_0": "its answer has 3 turns, its question 2"}
    assert len(env.task_ids()) == 3
    with pytest.raises(TaskError, match=r"cannot be won: its answer has 3 turns.*wrong_gold='play'"):
        env.find("multi_turn_base_0")
    env = made(tmp_path, (entry, answer), *rest, wrong_gold="play")
    assert outcome(env, *env.gold_actions("multi_turn_base_0")) == 0.0


# -- questions -------------------------------------------------------------------------------------------

WEATHER = function("weather.now", ["city"], city="string", days="integer")
RIGHT = [{"weather.now": {"city": ["Paris, France", "Paris"], "days": ["", 1]}}]


def test_one_action_answers_a_question(tmp_path: Path) -> None:
    env = made(
        tmp_path,
        *(ask(f"simple_python_{n}", WEATHER, answer=RIGHT) for n in range(4)),
        category="simple_python",
    )
    id = "simple_python_0"
    messages, _, terminated, _, info = (env.reset(options={"task": id}), env.step("paris"))[1]
    assert (messages, terminated, info["outcome"]) == ((), True, 0.0)
    right = calls(env, ("weather.now", {"city": "paris"}))
    assert outcome(env, right, id=id) == 1.0 and played(env, right, id=id)["parts"]["progress"] == 1.0
    assert outcome(env, calls(env, ("weather.now", {"city": "Rome"})), id=id) == 0.0
    assert outcome(env, "<tool_call>{", id=id) == 0.0
    assert outcome(env, *env.gold_actions(id), id=id) == 1.0


@pytest.mark.parametrize(
    ("category", "silent", "calling"), [("irrelevance", 1.0, 0.0), ("live_relevance", 0.0, 1.0)]
)
def test_whether_to_call_at_all(tmp_path: Path, category: str, silent: float, calling: float) -> None:
    ids = [f"{category}_{n}-{n}-0" if "live" in category else f"{category}_{n}" for n in range(4)]
    env = made(tmp_path, *(ask(id, WEATHER) for id in ids), category=category)
    assert [outcome(env, text, id=ids[0]) for text in ("", "No function serves.")] == [silent] * 2
    assert outcome(env, calls(env, ("anything", {})), id=ids[0]) == calling
    assert outcome(env, "<tool_call>{", id=ids[0]) == 0.0  # neither a call nor an answer
    assert env.silence_solves == ({f"bfcl_v4/{id}" for id in ids} if silent else set())
    assert outcome(env, *env.gold_actions(ids[0]), id=ids[0]) == 1.0


def test_a_grammar_of_bare_texts_reads_them_by_the_functions_of_the_task(tmp_path: Path) -> None:
    kinds = {"integer": 7, "string": "7"}
    entries = [
        ask(f"simple_python_{n}", function("f", ["x"], x=kind), answer=[{"f": {"x": [value]}}])
        for n, (kind, value) in enumerate(kinds.items())
    ]
    env = made(tmp_path, *entries, category="simple_python", grammar="qwen_xml")
    for id in env.task_ids():
        assert outcome(env, *env.gold_actions(id), id=id) == 1.0
    text = env.gold_actions("simple_python_0")[0]
    assert [outcome(env, text, id=id) for id in env.task_ids()] == [1.0, 1.0]


def test_other_languages_are_given_as_text(tmp_path: Path) -> None:
    document = function("Box.fill", ["n", "items"], n="long", items="ArrayList")
    entries = [
        ask(f"simple_java_{n}", document, answer=[{"Box.fill": {"n": [5], "items": [["a", "b"]]}}])
        for n in range(4)
    ]
    env = made(tmp_path, *entries, category="simple_java")
    (system, _), _ = env.reset(options={"task": "simple_java_0"})
    (tool,) = system["tools"]
    assert {value["type"] for value in tool["function"]["parameters"]["properties"].values()} == {"string"}
    items = 'new ArrayList<String>(Arrays.asList("a", "b"))'
    assert outcome(env, calls(env, ("Box.fill", {"n": "5L", "items": items})), id="simple_java_0") == 1.0
    assert outcome(env, calls(env, ("Box.fill", {"n": "5", "items": items})), id="simple_java_0") == 0.0
    assert outcome(env, calls(env, ("Box.fill", {"n": 5, "items": items})), id="simple_java_0") == 0.0


@pytest.mark.parametrize("category", ["multi_turn_miss_func", "simple_python", "parallel", "irrelevance"])
def test_categories_keep_every_promise(tmp_path: Path, category: str) -> None:
    answer = RIGHT * 2 if category == "parallel" else None if category == "irrelevance" else RIGHT
    entries = [
        talk(n, "miss_func") if "turn" in category else ask(f"{category}_{n}", WEATHER, answer=answer)
        for n in range(4)
    ]
    check_world("Forge/BFCL-v0", tasks=2, path=write(tmp_path, "v4", category, entries), category=category)
