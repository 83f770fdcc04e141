"""Tasks that were changed under a run, and tasks that are both trained and judged."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import load
from forge_train.play.run_tasks import check_tasks, held_out, tasks_of
from forge_train.play.world_pool import World
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.record.task_digest import changes, digest_of, digest_of_all, same_content
from forge_train.show.compare import whole_way
from forge_train.show.results import changed
from tests.train.worlds import Coin


@dataclasses.dataclass(frozen=True)
class Shelf:
    id: str
    goal: str
    tags: frozenset[str] = frozenset({"a", "b", "c"})
    table: Any = None


class Listed(Coin):
    """Tasks that somebody wrote down, and may write anew."""

    tasks: dict[str, dict[str, str]] = {}  # noqa: RUF012

    def task_ids(self, split: str, n: int) -> list[str]:
        return list(self.tasks[split])[:n]

    def find(self, task_id: str) -> Shelf:
        return next(
            Shelf(task_id, goals[task_id], table=object())
            for goals in self.tasks.values()
            if task_id in goals
        )


if "Test/Listed-v0" not in gym.registry:
    gym.register("Test/Listed-v0", entry_point=Listed)

BEGAN = {"train": {"t0": "buy", "t1": "sell", "t2": "rent"}, "test": {"e0": "ask", "e1": "tell"}}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Start the run, or start it again, with these tasks."""

    def begin(tasks: dict[str, dict[str, str]], *more: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(Listed, "tasks", tasks)
        config = load(None, ["worlds.0.id=Test/Listed-v0", f"run.out={tmp_path}", "rollout.groups=2", *more])
        worlds = {w.label: World(w.id, w.args, w.label) for w in config.worlds}
        with RunFolder.create(config) as folder:
            check_tasks(config, folder, worlds, worlds, held_out(config, worlds, worlds))
        return [e for e in read_lines(tmp_path / "events.jsonl") if e["event"] == "tasks"]

    return begin


def test_the_same_tasks_go_on_without_a_word(start, tmp_path):
    assert start(BEGAN) == start(BEGAN) == []
    held = json.loads((tmp_path / "tasks.json").read_text())
    assert list(held["train"]["Test/Listed-v0"]) == ["t0", "t1", "t2"]
    assert all(held["eval"]["Test/Listed-v0"].values())


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (
            {"train": BEGAN["train"] | {"t1": "steal"}, "test": BEGAN["test"]},
            "train, .*: t1 of another content",
        ),
        ({"train": BEGAN["train"], "test": BEGAN["test"] | {"e1": "lie"}}, "eval, .*: e1 of another content"),
        ({"train": BEGAN["train"] | {"t3": "x"}, "test": BEGAN["test"]}, "train, .*: t3 new"),
        ({"train": BEGAN["train"], "test": {"e0": "ask"}}, "eval, .*: e1 gone"),
        ({"train": dict(reversed(BEGAN["train"].items())), "test": BEGAN["test"]}, "in another order"),
    ],
    ids=["content", "held-out content", "new", "gone", "order"],
)
def test_changed_tasks_are_named_and_refused_unless_asked_for(start, tmp_path, tasks, said):
    start(BEGAN)
    with pytest.raises(ValueError, match=said) as refusal:
        start(tasks)
    assert "run.changed_tasks = true" in str(refusal.value)
    with pytest.raises(ValueError, match=said):
        start(tasks)  # a refusal changes nothing
    (told,) = start(tasks, "run.changed_tasks=true")
    assert len(told["changed"]) == 1
    assert start(tasks) == [told], "from then on these are the run's tasks"


def test_a_task_of_both_splits_is_refused_and_a_twin_is_told(start):
    with pytest.raises(ValueError, match=r"task 't0' \(1 in all\) is trained on and in eval.split"):
        start({"train": BEGAN["train"], "test": BEGAN["test"] | {"t0": "buy"}})
    with pytest.warns(
        UserWarning, match="1 held-out tasks have the content of trained ones, e.g. e2 that of t1"
    ):
        start({"train": BEGAN["train"], "test": BEGAN["test"] | {"e2": "sell"}})


def test_what_a_longer_run_comes_to_is_no_change(start, tmp_path):
    start(BEGAN, "run.steps=1")
    known = json.loads((tmp_path / "tasks.json").read_text())["train"]["Test/Listed-v0"]
    assert sorted(map(bool, known.values())) == [False, True, True], "an update comes to two of three"
    assert start(BEGAN, "run.steps=9") == []
    assert start(BEGAN, "run.steps=1") == []
    known = json.loads((tmp_path / "tasks.json").read_text())["train"]["Test/Listed-v0"]
    assert all(known.values()), "what was known once stays known"


def test_worlds_that_tell_nothing_are_known_by_id(tmp_path):
    config = load(None, ["worlds.0.id=tests.train.worlds:Test/Coin-v0", "worlds.0.tasks=3", "eval.tasks=2"])
    worlds = {w.label: World(w.id, w.args, w.label) for w in config.worlds}
    found = tasks_of(config, worlds, worlds, held_out(config, worlds, worlds))
    assert found["eval"] == {"Test/Coin-v0": {"test/0": None, "test/1": None}}
    assert same_content(found) == []


def test_our_worlds_tell_all_that_makes_a_task():
    world = World("forge_envs:Forge/Retail-v0", {"size": "tiny", "level": 1, "prompt": "compact"})
    ids = world.tasks("train", 30)
    first = [digest_of(world.content(task)) for task in ids]
    assert None not in first and len(set(first)) > 25
    world.close()


def test_a_digest_is_of_content_and_of_nothing_else():
    one, twin = Shelf("a", "x", table=object()), Shelf("b", "x", table=object())
    assert digest_of(one) == digest_of(twin) != digest_of(Shelf("a", "y"))
    assert digest_of(None) is None and digest_of(dataclasses.make_dataclass("Bare", ["id"])("t")) is None
    assert digest_of({"k": {1, 2}, "b": b"x"}) == digest_of({"b": b"x", "k": {2, 1}})


CONTENTS = st.dictionaries(st.text(max_size=3), st.none() | st.text("ab", min_size=1, max_size=2), max_size=5)


@given(CONTENTS, CONTENTS)
def test_changes_are_told_if_and_only_if_there_are_some(old, new):
    def tasks(contents):
        return {"train": {"w": contents}, "eval": {}}

    assert changes(tasks(old), tasks(old)) == []
    apart = list(old) != list(new) or any(c and new[t] not in (None, c) for t, c in old.items())
    assert bool(changes(tasks(old), tasks(new))) == apart
    assert (digest_of_all(old) == digest_of_all(new)) == (
        {t: c or "" for t, c in old.items()} == {t: c or "" for t, c in new.items()}
    )


def test_evaluations_of_other_tasks_are_not_compared():
    plays = [{"task": "a", "plays": 2, "successes": 1}, {"task": "b", "plays": 2, "successes": 2}]
    better = [plays[0] | {"successes": 2}, plays[1]]
    old = {"digest": "aa", "tasks": plays, "world": "w", "stage": "untrained"}
    new = {"digest": "aa", "tasks": better, "world": "w", "stage": "after RL"}
    assert changed(old, new).mean == 0.25
    assert changed(old, new | {"digest": "bb"}) is None
    ((what, told),) = whole_way([old, old | {"stage": "after SFT"}, new])
    assert what == "w: untrained to after RL"
    assert told.startswith("+25.0 points [") and told.endswith("1 of 2 tasks better, 0 worse")
    assert "not comparable" in whole_way([old, new | {"digest": "bb"}])[0][1]
