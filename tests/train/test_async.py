"""Training beside rollouts: lag, refilling, stale weights, and continuing after a kill."""

from __future__ import annotations

import asyncio
import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from forge_train import tiny
from forge_train.config import AlgorithmConfig, Config, OptimConfig, TinyConfig
from forge_train.engine import Sampling
from forge_train.engines.copied import CopiedEngine
from forge_train.engines.identity import IdentityError
from forge_train.engines.local import LocalEngine
from forge_train.learn.learner import Learner
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum, Draw
from forge_train.play.episode import TokenPlayer, play_group
from forge_train.play.renderer import renderer_for
from forge_train.play.world_pool import World
from forge_train.record.journal import Journal
from forge_train.record.run_folder import RunFolder
from forge_train.seeds import derive_seed
from forge_train.trainer import Trainer
from forge_train.trajectory import Trajectory
from tests.train import worlds  # noqa: F401  registers Test/...

GROUPS, SIZE, MAX_ACTION = 2, 4, 300


class OwnWeights(CopiedEngine):
    """An engine as a server is one: a copy of the weights, which it is sent after updates."""

    def __init__(self, model: PreTrainedModel, *, stale: bool = False) -> None:
        sent = lambda: [] if stale else [model.state_dict()]  # noqa: E731
        super().__init__(copy.deepcopy(model), sent, max_context=400)


class Desk:
    """A trainer on the coin world, with what a test wants to look at."""

    def __init__(
        self,
        *,
        max_lag: int = 0,
        refill: int = 0,
        spare: int = 0,
        stale: bool = False,
        own: bool = True,
        seed: int = 0,
    ) -> None:
        self.world = World("Test/Coin-v0", {"turns": 1})
        tokenizer = tiny.train_tokenizer(["Task train/0. On. abc"] * 20, 300)
        self.model = tiny.tiny_model(
            tokenizer, TinyConfig(hidden=16, layers=1, heads=2, kv_heads=1, vocab=300), seed=seed
        )
        self.engine = OwnWeights(self.model, stale=stale) if own else LocalEngine(self.model, max_context=400)
        self.learner = Learner(self.model, OptimConfig(lr=3e-3))
        self.renderer = renderer_for(tokenizer)
        self.played: Counter[str] = Counter()
        self.max_lag, self.refill, self.spare = max_lag, refill, spare

    async def run_group(self, draw: Draw) -> list[Trajectory]:
        self.played[draw.group] += 1
        player = TokenPlayer(self.engine, self.renderer, Sampling(max_tokens=MAX_ACTION))
        return await play_group(
            self.world, player, draw.task, group=draw.group, size=SIZE,
            seed=derive_seed(0, draw.group), deadline=30,
        )  # fmt: skip

    def trainer(self, journal: Journal | None = None, step: int = 0) -> Trainer:
        admission = Admission(GROUPS, self.max_lag, spare=self.spare)
        if journal is not None:
            admission = Admission(
                GROUPS,
                self.max_lag,
                spare=self.spare,
                version=step,
                started=journal.started,
                waiting=journal.began,
            )
        trainer = Trainer(
            runner=self.run_group,
            engine=self.engine,
            learner=self.learner,
            algorithm=AlgorithmConfig(masked=("deadline",)),
            curriculum=Curriculum({"w": self.world.tasks("train", 50)}, {"w": 1.0}, seed=0),
            admission=admission,
            temperature=1.0,
            identity_tolerance=1e-4,
            patience=60.0,
            refill=self.refill,
            journal=journal,
        )
        for index, group, useful in journal.finished() if journal else ():
            trainer.settle(index, group, useful=useful)
        return trainer


def timeless(metrics: dict[str, Any]) -> dict[str, Any]:
    """Metrics of a step without the clock, and without the sum that `Run` tells a trainer when it goes on."""
    return {k: v for k, v in metrics.items() if not k.endswith("seconds") and k != "sampled_so_far"}


async def run(trainer: Trainer, steps: range) -> list[dict[str, Any]]:
    try:
        return [(await trainer.step(step))[0] for step in steps]
    finally:
        await trainer.close()


@pytest.mark.parametrize("lag", [0, 1, 3])
def test_groups_are_late_by_at_most_max_lag_and_counted_once(lag: int) -> None:
    desk = Desk(max_lag=lag)
    metrics = asyncio.run(run(desk.trainer(), range(6)))
    assert max(m["lag"]["group_max"] for m in metrics) == lag
    assert all(m["lag"]["mean"] <= m["lag"]["group_max"] <= lag for m in metrics)
    assert all(m["episodes"] == GROUPS * SIZE == sum(m["endings"].values()) for m in metrics)
    assert set(desk.played.values()) == {1}


def test_refilling_trains_only_on_groups_that_teach() -> None:
    desk = Desk(refill=3)
    metrics = asyncio.run(run(desk.trainer(), range(6)))
    assert sum(m["refilled"] for m in metrics) > 0, "the coin gave no equal group: the test shows nothing"
    for m in metrics:
        assert m["episodes"] == (GROUPS + m["refilled"]) * SIZE
        assert m["zero_groups"] == m["refilled"] or m["refilled"] == 3, (
            "only out of refills a group may be flat"
        )


def test_what_is_trained_does_not_depend_on_whether_weights_are_shared() -> None:
    """With no lag an engine of its own, sent the weights, is the engine in process."""
    shared, own = Desk(own=False), Desk(own=True)
    ours, theirs = (asyncio.run(run(d.trainer(), range(3))) for d in (shared, own))
    for a, b in zip(ours, theirs, strict=True):
        assert timeless(a) == timeless(b)


def test_a_stale_load_is_caught_at_once() -> None:
    with pytest.raises(IdentityError, match="version 1"):
        asyncio.run(run(Desk(max_lag=1, stale=True).trainer(), range(3)))


def withhold_the_first(desk: Desk, trainer: Trainer) -> tuple[asyncio.Event, str]:
    """Let the first group wait for its verdict; the event that brings it, and the group's name."""
    verdict, late = asyncio.Event(), trainer.curriculum.draw(0).group

    async def withheld(draw: Draw) -> list[Trajectory]:
        group = await desk.run_group(draw)
        if draw.group == late:
            await verdict.wait()
        return group

    trainer.runner = withheld
    return verdict, late


def test_a_verdict_that_comes_late_holds_up_no_other_group() -> None:
    desk = Desk(max_lag=1)
    trainer = desk.trainer()
    verdict, late = withhold_the_first(desk, trainer)

    async def play() -> None:
        step = asyncio.create_task(trainer.step(0))
        while set(trainer.finished) != {1, 2, 3}:
            await asyncio.sleep(0.001)
        assert not step.done(), "the oldest is waited for, and trained first"
        verdict.set()
        _, groups, _ = await step
        assert groups[0][0].group == late
        await trainer.close()

    asyncio.run(play())


def test_with_a_spare_group_a_late_one_is_left_over_and_then_waited_for() -> None:
    desk = Desk(spare=1)
    trainer = desk.trainer()
    verdict, late = withhold_the_first(desk, trainer)

    async def play() -> None:
        metrics, groups, _ = await trainer.step(0)
        assert [g[0].group for g in groups] == [trainer.curriculum.draw(i).group for i in (1, 2)]
        assert metrics["lag"]["group_max"] == 0
        second = asyncio.create_task(trainer.step(1))
        while set(trainer.finished) != {3, 4}:
            await asyncio.sleep(0.001)
        assert not second.done(), "it would be two updates late"
        verdict.set()
        metrics, groups, _ = await second
        assert groups[0][0].group == late and metrics["lag"]["group_max"] == 1
        await trainer.close()

    asyncio.run(play())
    assert set(desk.played.values()) == {1}, "nothing is played twice, nothing thrown away"


def test_a_runner_that_raises_ends_the_step_with_its_error() -> None:
    desk = Desk()
    trainer = desk.trainer()

    async def broken(draw: Draw) -> list[Trajectory]:
        raise RuntimeError("no worker is left")

    trainer.runner = broken
    with pytest.raises(RuntimeError, match="no worker is left"):
        asyncio.run(run(trainer, range(1)))


def test_a_batch_that_does_not_come_is_an_error_with_names() -> None:
    desk = Desk()
    trainer = desk.trainer()

    async def hangs(draw: Draw) -> list[Trajectory]:
        await asyncio.Event().wait()
        raise AssertionError

    trainer.runner, trainer.patience = hangs, 0.05
    with pytest.raises(TimeoutError, match=r"step 0.*0/w/train"):
        asyncio.run(run(trainer, range(1)))


def folder(path: Path) -> RunFolder:
    return RunFolder.create(
        Config.model_validate({"run": {"out": str(path)}, "worlds": [{"id": "Test/Coin-v0"}]})
    )


def weights(desk: Desk) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in desk.model.named_parameters()}


@pytest.mark.parametrize(("lag", "refill", "spare"), [(0, 0, 0), (0, 3, 0), (2, 0, 0), (2, 3, 0), (0, 1, 2)])
def test_a_killed_run_repeats_its_updates_without_playing_again(
    tmp_path: Path, lag: int, refill: int, spare: int
) -> None:
    first = Desk(max_lag=lag, refill=refill, spare=spare)
    with folder(tmp_path) as run_folder:
        journal = Journal(run_folder)
        saved: dict[str, Any] = {}

        async def until_killed() -> list[dict[str, Any]]:
            trainer = first.trainer(journal)
            told = []
            try:
                for step in range(5):
                    if step == 2:
                        saved.update(first.learner.state_dict())
                        journal.saved(2)
                    told.append((await trainer.step(step))[0])
                return told
            finally:
                await trainer.close()

        whole = asyncio.run(until_killed())
    at_five = weights(first)

    again = Desk(max_lag=lag, refill=refill, spare=spare)
    again.learner.load_state_dict(saved)
    with folder(tmp_path) as run_folder:
        journal = Journal(run_folder, step=2)
        assert journal.replayed == 5
        trainer = again.trainer(journal, step=2)

        async def continued() -> list[dict[str, Any]]:
            await again.engine.weights_changed(2)
            try:
                told = [(await trainer.step(step))[0] for step in (2, 3, 4)]
                for name, value in weights(again).items():
                    assert torch.equal(value, at_five[name]), name
                assert not again.played, "what was played is not played again"
                told.append((await trainer.step(5))[0])
                return told
            finally:
                await trainer.close()

        told = asyncio.run(continued())
    assert again.learner.version == 2 + sum("idle" not in metrics for metrics in told)
    for before, after in zip(whole[2:], told, strict=False):
        assert timeless(after) == timeless(before)
    assert told[-1]["version"] == 2 + sum("idle" not in metrics for metrics in told[:-1])
    assert told[-1]["lag"]["group_max"] <= lag + bool(spare)


def test_a_damaged_group_is_played_again(tmp_path: Path) -> None:
    desk = Desk(max_lag=1)
    with folder(tmp_path) as run_folder:
        asyncio.run(run(desk.trainer(Journal(run_folder)), range(2)))
    next((tmp_path / "finished").glob("00000002.json.gz")).write_bytes(b"torn")
    with folder(tmp_path) as run_folder, pytest.warns(UserWarning, match="played again"):
        journal = Journal(run_folder)
        assert journal.replayed == 1, "the first update can be repeated, the second cannot"
        again = Desk(max_lag=1)
        metrics = asyncio.run(run(again.trainer(journal), range(3)))
    assert [m["version"] for m in metrics] == [0, 1, 2]
    assert max(again.played.values()) == 1
