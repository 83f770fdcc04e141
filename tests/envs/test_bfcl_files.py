"""Folders of BFCL that are of another version, or not whole: named, counted, and never taken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forge_envs.errors import NotGiven, TaskError
from forge_envs.messages import ToolCall
from forge_envs.worlds.bfcl.backends.fillers import FILE, NAMES
from forge_envs.worlds.bfcl.categories import CATEGORIES, GROUPS
from forge_envs.worlds.bfcl.env import BfclEnv
from forge_envs.worlds.bfcl.leaderboard import load
from tests.envs.bfcl_small import ask, function, lines, talk, write

BASE = "BFCL_v4_multi_turn_base.json"
F = function("f", ["x"], x="integer")
ANSWER = [{"f": {"x": [1]}}]


def dialogues(folder: Path, *entries: Any) -> str:
    return write(folder, "v4", "multi_turn_base", entries or [talk(n) for n in range(4)])


def refused(path: str | Path, category: str = "multi_turn_base") -> str:
    with pytest.raises(ValueError) as told:
        load(str(path), category)
    return str(told.value)


def test_without_a_folder_or_the_package_it_says_how_to_get_either() -> None:
    with pytest.raises(NotGiven, match=r"path='': give the folder .* pip install --no-deps bfcl-eval"):
        BfclEnv()


def test_what_was_read_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    env = BfclEnv(path=dialogues(tmp_path / "v4"))
    assert env.leaderboard.counts == {"multi_turn_base": (4, 200)}
    source = f"BFCL v4, multi_turn_base 4 of 200, in {tmp_path / 'v4'}"
    assert env.leaderboard.source == source and f"not all entries are here: {source}" in caplog.text


def test_a_clone_and_a_package_are_folders_too(tmp_path: Path) -> None:
    dialogues(tmp_path / "bfcl_eval" / "data")
    for path in (tmp_path, tmp_path / "bfcl_eval", tmp_path / "bfcl_eval" / "data"):
        assert load(str(path), "multi_turn_base").folder == tmp_path / "bfcl_eval" / "data"


def test_the_version_is_read_and_another_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "v3", "v3", "simple", [ask(f"simple_{n}", F, answer=ANSWER) for n in range(3)])
    board = load(str(tmp_path / "v3"), "simple_python")
    assert (board.version, list(board.tasks)[:1]) == ("v3", ["bfcl_v3/simple_0"])
    assert "did you mean the folder 'v3' in it?" in refused(tmp_path)
    write(tmp_path / "new", "v5", "multi_turn_base", [talk(0)])
    assert "holds BFCL v5, of 1 files; known are v3, v4" in refused(tmp_path / "new")
    write(tmp_path / "v3", "v4", "multi_turn_base", [talk(0)])
    assert "mixes versions v3, v4" in refused(tmp_path / "v3")
    assert "no BFCL_v*.json in any of" in refused(tmp_path / "nowhere")


def test_missing_files_and_answers_are_counted(tmp_path: Path) -> None:
    path = Path(dialogues(tmp_path))
    assert f"has no BFCL_v4_simple_python.json, so no simple_python; it has {BASE}" in refused(
        path, "non_live"
    )
    answers = path / "possible_answer" / BASE
    kept = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join(kept[1:]))
    assert "has 3 answers for 4 entries: 1 lack one (multi_turn_base_0), 0 answer no entry" in refused(path)
    answers.write_text("".join([kept[1], kept[0], *kept[2:]]))
    assert "has 4 answers for 4 entries, in another order" in refused(path)
    answers.unlink()
    assert "is the folder whole?" in refused(path)
    answers.write_text("".join(kept))
    (path / "multi_turn_func_doc" / "math_api.json").unlink()
    assert "math_api.json cannot be read" in refused(path)


def test_more_entries_than_were_published_are_another_version(tmp_path: Path) -> None:
    path = dialogues(tmp_path, *(talk(n) for n in range(201)))
    assert "has 201 entries; multi_turn_base of BFCL v4 has 200: it is of another version" in refused(path)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"new_field": 1},
            "line 1: at new_field: extra inputs are not permitted; got 1; is it of another version",
        ),
        ({"question": "hello"}, "at question: input should be a valid list; got 'hello'"),
        ({"involved_classes": ["WebSearchAPI"]}, "its system 'WebSearchAPI' is unknown"),
        ({"id": "multi_turn_other_0"}, "1 entries are not of multi_turn_base (multi_turn_other_0)"),
        ({"missed_function": {"1": ["mkdir"]}}, "functions come along in turn '1', which is none"),
        ({"question": [[], []]}, "nothing is said in turn 0"),
        ({"initial_config": {"GorillaFileSystem": {"root": 1}}}, ""),
    ],
)
def test_entries_of_another_form_are_refused(tmp_path: Path, changed: dict[str, Any], told: str) -> None:
    path = dialogues(tmp_path, talk(0, **changed), talk(1))
    if told:
        assert told in refused(path)
    else:  # the systems say so when they start
        with pytest.raises(TaskError, match="GorillaFileSystem cannot start from its configuration"):
            BfclEnv(path=path).reset(options={"task": "multi_turn_base_0"})


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("mkdir(dir_name='a", "cannot be read"),
        ("mkdir", "it is no call"),
        ("os.system('ls')", "it is no call"),
        ("mkdir(dir_name=name)", "cannot be read: malformed node"),
        ("post(text='a')", "no system has a function 'post'"),
        ("mkdir(**{'dir_name': 'a'})", "an argument has no name"),
    ],
)
def test_calls_of_an_answer_are_read_and_never_run(tmp_path: Path, call: str, told: str) -> None:
    entry, answer = talk(0)
    answer["ground_truth"][0] = [call]
    text = refused(dialogues(tmp_path, (entry, answer)))
    assert f"multi_turn_base_0: the call {call!r} of its answer cannot be read" in text and told in text


def test_documents_of_functions_that_are_not_ours_are_another_version(tmp_path: Path) -> None:
    path = Path(dialogues(tmp_path))
    document = path / "multi_turn_func_doc" / "math_api.json"
    lines(document, [function("add", [], a="float", c="float")])
    assert "add has an argument 'c', here it takes a, b: it is of another version" in refused(path)
    lines(document, [function("integrate"), function("derive")])
    assert "describes 2 functions that MathAPI does not have here (integrate, derive)" in refused(path)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2 is not JSON"),
        ("version https://git-lfs.github.com/spec/v1", "line 2 is not JSON"),
        ('{"id": "multi_turn_base_0"}', "line 2: at question: field required"),
        (json.dumps(talk(0)[0]), "a second entry has the id 'multi_turn_base_0'"),
    ],
)
def test_broken_lines_are_named(tmp_path: Path, line: str, told: str) -> None:
    path = Path(dialogues(tmp_path, talk(0)))
    with (path / BASE).open("a") as file:
        file.write(line + "\n")
    assert told in refused(path)


def test_a_pointer_of_git_lfs_is_told_so(tmp_path: Path) -> None:
    path = Path(dialogues(tmp_path))
    (path / BASE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert "run git lfs pull" in refused(path)


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (ask("simple_python_0", F, answer=[]), "its answer is no list of calls: []"),
        (ask("simple_python_0", F, answer=[{"f": {}, "g": {}}]), "its answer is no list of calls"),
        (ask("simple_python_0", answer=ANSWER), "it has no functions, and an answer that calls one"),
        (
            ask("simple_python_0", {"name": "f"}, answer=ANSWER),
            "this describes no function (KeyError: 'description')",
        ),
        (ask("simple_python_0", {**F, "parameters": 3}, answer=ANSWER), "this describes no function"),
    ],
)
def test_questions_that_cannot_be_judged_are_refused(tmp_path: Path, made: Any, told: str) -> None:
    path = write(tmp_path, "v4", "simple_python", [made])
    assert f"simple_python_0: {told}" in refused(path, "simple_python")


def test_an_answer_that_its_own_rules_refuse_is_a_gap(tmp_path: Path) -> None:
    made = [ask("simple_python_0", F, answer=[{"f": {"y": [1]}}]), ask("simple_python_1", F, answer=ANSWER)]
    env = BfclEnv(path=write(tmp_path, "v4", "simple_python", made), category="simple_python")
    assert env.gaps == {"bfcl_v4/simple_python_0": "its own answer is not accepted: x is missing"}
    assert env.task_ids() == ["bfcl_v4/simple_python_1"]


@pytest.mark.parametrize(
    "category", ["memory", "memory_kv", "web_search", "format_sensitivity", "multi_trun", ""]
)
def test_categories_that_are_not_played_are_refused_with_the_reason(tmp_path: Path, category: str) -> None:
    with pytest.raises(ValueError, match="category="):
        BfclEnv(path=dialogues(tmp_path), category=category)
    if category.startswith(("memory", "web")):
        assert "is not played here" in refused(tmp_path, category)


def test_groups_name_every_category_once() -> None:
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(CATEGORIES)
    assert sum(one.entries["v4"] for one in CATEGORIES.values()) == 800 + 1390 + 2251


def test_an_installed_package_is_found_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogues(tmp_path / "bfcl_eval" / "data")
    (tmp_path / "bfcl_eval" / "__init__.py").write_text("raise RuntimeError('it wants every provider')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert BfclEnv().leaderboard.folder == tmp_path / "bfcl_eval" / "data"


def test_long_contexts_need_the_official_fillers(tmp_path: Path) -> None:
    made = [talk(n, "long_context") for n in range(2)]
    path = write(tmp_path / "bfcl_eval" / "data", "v4", "multi_turn_long_context", made)
    assert "need the official filler data: install bfcl-eval" in refused(path, "multi_turn_long_context")
    place = tmp_path / "bfcl_eval" / FILE
    place.parent.mkdir(parents=True)
    place.write_text(
        "".join(
            f"{name} = {'[]' if name != 'FILE_CONTENT_EXTENSION' else repr('Long.')}\n"
            for name in NAMES.split()
        )
    )
    env = BfclEnv(path=path, category="multi_turn_long_context")
    env.reset(options={"task": "multi_turn_long_context_0"})
    (told,), *_ = env.step(env.grammar.write(calls=[ToolCall("cat", {"file_name": "notes.txt"})]))
    assert told["content"] == '{"file_content": "Milk and bread.Long."}'
