"""Held-out tasks decide which checkpoint is kept and when to stop, also after a kill."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import Config, ConfigError, load
from forge_train.record import checkpoint
from forge_train.record.best import best_checkpoint, best_of, pointed_to, scores, stops, waited
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.run import Run
from forge_train.show.compare import compared

WORLD = "worlds.0.id=tests.train.worlds:Test/Coin-v0"
SMALL = [
    WORLD, "run.threads=1", "run.eval_every=1", "run.checkpoint_every=0", "run.keep_checkpoints=1",
    "model.tiny.hidden=16", "model.tiny.layers=1", "model.tiny.heads=2", "model.tiny.kv_heads=1",
    "model.tiny.vocab=300", "rollout.groups=1", "rollout.group_size=2", "rollout.max_action=4",
    "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
]  # fmt: skip


class Judged(Run):
    """A run whose judge has made up its mind: a score for each update."""

    told: tuple[float, ...] = ()
    dies_at: int = -1

    async def evaluate(self, stage: str, step: int, seconds: float) -> Any:
        if step == self.dies_at:
            raise KeyboardInterrupt
        event = {"world": "w", "pass@1": self.told[step], "low": None, "high": None, "turns": None}
        self.folder.event("evaluation", stage=stage, step=step, seconds=seconds, **event)


def go(folder: Path, told: tuple[float, ...], *more: str, dies_at: int = -1) -> None:
    config = load(None, [*SMALL, f"run.out={folder}", *more])
    with RunFolder.create(config) as opened:
        run = Judged(config, opened)
        run.told, run.dies_at = told, dies_at
        asyncio.run(run.all())


def updates(folder: Path) -> int:
    return len(read_lines(folder / "metrics.jsonl"))


def stages(folder: Path) -> list[str]:
    return [e["stage"] for e in read_lines(folder / "events.jsonl") if e["event"] == "evaluation"]


def test_the_best_stays_and_a_run_that_gets_no_better_stops(tmp_path: Path) -> None:
    told = (0.1, 0.5, 0.3, 0.5, 0.9, 0.1)
    go(tmp_path, told, "run.steps=5", "eval.patience=2")
    assert updates(tmp_path) == 3, "two evaluations in a row were not above that of update 1"
    folder = tmp_path / "checkpoints"
    assert pointed_to(folder) == 1 and best_checkpoint(tmp_path) == folder.resolve() / "step-000001"
    assert [c.step for c in checkpoint.candidates(folder)] == [3, 1], "the newest, and the best"
    assert stages(tmp_path)[-1] == "after RL"
    assert ("best on held-out tasks", f"update 1 of 3 (50.0%): {folder / 'best'}") in compared(tmp_path)
    assert checkpoint.load_model(folder / "best")[0] is not None

    before = (tmp_path / "metrics.jsonl").read_text(), stages(tmp_path)
    go(tmp_path, told, "run.steps=5", "eval.patience=2")
    assert before == ((tmp_path / "metrics.jsonl").read_text(), stages(tmp_path)), "it stays stopped"

    go(tmp_path, told, "run.steps=5", "eval.patience=3")
    assert updates(tmp_path) == 5 and pointed_to(folder) == 4, "with more patience it goes on, and was right"
    assert {c.step for c in checkpoint.candidates(folder)} == {4, 5}


def test_what_a_kill_left_unjudged_is_judged_first(tmp_path: Path) -> None:
    told = (0.1, 0.2, 0.8, 0.3)
    saved = ("run.steps=3", "run.checkpoint_every=1")
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, told, *saved, dies_at=2)
    assert checkpoint.stands(tmp_path / "checkpoints", 2) and pointed_to(tmp_path / "checkpoints") == 1
    go(tmp_path, told, *saved)
    assert stages(tmp_path) == ["untrained", "step 1", "step 2", "after RL"]
    assert pointed_to(tmp_path / "checkpoints") == 2


def test_without_evaluations_on_the_way_nothing_is_called_best(tmp_path: Path) -> None:
    go(tmp_path, (0.9, 0.1), "run.steps=1", "run.eval_every=0")
    assert pointed_to(tmp_path / "checkpoints") is None
    with pytest.raises(ValueError, match=r"no best checkpoint there.*set run\.eval_every"):
        best_checkpoint(tmp_path)
    with pytest.raises(ConfigError, match=r"eval\.patience = 2.*set run\.eval_every"):
        load(None, [WORLD, "eval.patience=2"])
    assert isinstance(load(None, [WORLD, "eval.patience=2", "run.eval_every=5"]), Config)


SCORED = st.dictionaries(st.integers(0, 50), st.integers(0, 4).map(lambda n: n / 4), min_size=1)


@given(SCORED, st.integers(0, 5))
def test_the_best_is_the_first_of_the_highest_and_stopping_counts_from_it(scored, patience):
    best = best_of(scored)
    assert scored[best] == max(scored.values())
    assert all(score < scored[best] for step, score in scored.items() if step < best)
    assert waited(scored) == len([step for step in scored if step > best])
    assert stops(scored, patience) == (patience > 0 and waited(scored) >= patience)
    assert not stops(scored, 0)


def test_scores_are_means_over_worlds_and_of_what_was_judged_last_at_an_update():
    def event(step, world, score):
        return {"step": step, "world": world, "pass@1": score}

    rows = [event(0, "a", 0.0), event(0, "b", 0.0), event(0, "a", 0.5), event(0, "b", 1.0)]
    rows += [event(5, "a", 1.0), event(5, "b", None)]
    assert scores(rows) == {0: 0.75}, "after SFT; and machines that took a world away judge nothing"
    assert best_of({}) is None and waited({}) == 0 and compared(Path("/nowhere")) == []
