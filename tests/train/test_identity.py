"""The identity check: each copy of the weights proves itself after each load, however busy all are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_train import tiny
from forge_train.config import AlgorithmConfig, OptimConfig, TinyConfig, VLLMConfig
from forge_train.engine import Sampling
from forge_train.engines.identity import IdentityError, probe
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.weights import FolderTransfer
from forge_train.learn.comparing import count_actions
from forge_train.learn.learner import Learner
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum
from forge_train.play.episode import TokenPlayer
from forge_train.play.local_runner import LocalRunner
from forge_train.play.renderer import renderer_for
from forge_train.play.world_pool import World
from forge_train.trainer import Trainer
from forge_train.trajectory import Segment, Trajectory
from tests.train import worlds  # noqa: F401  registers Test/...
from tests.train.served import Loaded

CONFIG = VLLMConfig(dtype="float32", health_s=0.05, attempt_s=30.0, deadline_s=60.0)
TOLERANCE = 1e-4


class Nudged(Learner):
    """A learner whose updates move the weights whatever was played, so that few and short episodes do."""

    def update(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        told = super().update(*args, **kwargs)
        with torch.no_grad():
            for weight in self.model.parameters():
                weight *= 1.1
        return told


class Eager(Trainer):
    """Takes every group for a lesson, whatever it earned."""

    def credit(self, group: Sequence[Trajectory]) -> list[list[float]]:
        return [[1.0] * count_actions(t) for t in group]


class Desk:
    """A trainer on the coin world whose engine is servers with weights of their own."""

    def __init__(self, engine: VLLMEngine, learner: Learner, player: TokenPlayer, max_lag: int) -> None:
        self.engine, self.learner, self.player = engine, learner, player
        world = World("Test/Coin-v0", {"turns": 1})
        self.trainer = Eager(
            runner=LocalRunner({"w": world}, player, seed=0, group_size=4, deadline=60.0, in_flight=64),
            engine=engine,
            learner=learner,
            algorithm=AlgorithmConfig(masked=("deadline",)),
            curriculum=Curriculum({"w": world.tasks("train", 50)}, {"w": 1.0}, seed=0),
            admission=Admission(2, max_lag),
            temperature=1.0,
            identity_tolerance=TOLERANCE,
            patience=60.0,
        )

    async def steps(self, count: int) -> None:
        try:
            await self.trainer.update_engine()
            for step in range(count):
                await self.trainer.step(step)
        finally:
            await self.trainer.close()


@asynccontextmanager
async def desk(folder: Path, servers: Sequence[Loaded], max_lag: int = 0) -> AsyncIterator[Desk]:
    words = tiny.train_tokenizer(["Task train/0. On. abc"] * 20, 300)
    model = tiny.tiny_model(words, TinyConfig(hidden=16, layers=1, heads=2, kv_heads=1, vocab=300), seed=0)
    for server in servers:
        await server.start()
    engine = VLLMEngine(
        [server.url for server in servers],
        CONFIG,
        max_context=400,
        transfer=FolderTransfer(model, folder, dtype=torch.float32),
    )
    await engine.start()
    player = TokenPlayer(engine, renderer_for(words), Sampling(max_tokens=4))
    try:
        yield Desk(engine, Nudged(model, OptimConfig()), player, max_lag)
    finally:
        await engine.close()
        for server in servers:
            await server.stop()


def opened() -> list[list[Trajectory]]:
    """Groups of which one has an opening."""
    segment = Segment()
    segment.hear([5, 6, 7])
    return [[Trajectory("failed early")], [Trajectory("g", segments=[segment])]]


@pytest.mark.parametrize(("max_lag", "stale"), [(0, 1), (1, 0), (1, 1), (3, 2)])
def test_one_stale_server_of_three_is_caught_and_named(tmp_path: Path, max_lag: int, stale: int) -> None:
    """With a lag, conversations are dealt to servers between the load and the proof."""

    async def play() -> None:
        servers = [Loaded(stale=i == stale) for i in range(3)]
        async with desk(tmp_path, servers, max_lag) as at:
            for server in servers:
                server.loads.clear()  # the first load of a run has nothing before it to be stale from
                server.loads.append("the beginning")
            with pytest.raises(IdentityError, match=f"{servers[stale].url} and learner disagree.*version 1"):
                await at.steps(3)

    asyncio.run(play())


def test_servers_that_load_pass(tmp_path: Path) -> None:
    async def play() -> None:
        servers = [Loaded() for _ in range(2)]
        async with desk(tmp_path, servers, max_lag=2) as at:
            await at.steps(4)
            assert at.learner.version == at.engine.version == 4

    asyncio.run(play())


def test_each_copy_is_asked_once_after_each_load(tmp_path: Path) -> None:
    async def play() -> None:
        servers = [Loaded() for _ in range(3)]
        async with desk(tmp_path, servers) as at:
            prove = lambda **again: at.engine.prove([[5, 6], [5]], Sampling(max_tokens=4), seed=0, **again)  # noqa: E731
            first = await prove()
            assert list(first) == at.engine.urls
            assert {one.version for said in first.values() for one in said} == {0}
            assert len({str([one.tokens for one in said]) for said in first.values()}) == 1, "the same draw"
            assert await prove() == {}
            assert list(await prove(again=at.engine.urls[1:2])) == at.engine.urls[1:2]
            await at.engine.weights_changed(1)
            assert {one.version for said in (await prove()).values() for one in said} == {1}

    asyncio.run(play())


def test_a_server_that_came_back_between_updates_proves_itself_too(tmp_path: Path) -> None:
    async def play() -> None:
        servers = [Loaded() for _ in range(2)]
        async with desk(tmp_path, servers) as at:
            check = lambda: probe(at.engine, at.learner, opened(), 1.0, TOLERANCE)  # noqa: E731
            assert await check() < TOLERANCE
            at.learner.version = 1
            await at.engine.weights_changed(1)
            assert await check() < TOLERANCE
            back = servers[1]
            await back.die()
            while at.engine.up != [servers[0].url]:
                await asyncio.sleep(0.01)
            back.stale = True  # it says that it took the weights; those that it has are others
            with torch.no_grad():
                for weight in back.engine._model.parameters():
                    weight *= 2
            await back.start()
            while len(at.engine.up) < 2:
                await asyncio.sleep(0.01)
            with pytest.raises(IdentityError, match=f"{back.url} and learner disagree"):
                await check()

    asyncio.run(play())


def test_one_that_cannot_prove_itself_gets_no_requests_and_stops_nothing(tmp_path: Path) -> None:
    async def play() -> None:
        servers = [Loaded() for _ in range(2)]
        async with desk(tmp_path, servers) as at:

            async def breaks(body: object) -> tuple[int, str, bytes]:
                return 500, "", b"{}"

            servers[1]._generate = breaks  # type: ignore[assignment,method-assign]
            assert await probe(at.engine, at.learner, opened(), 1.0, TOLERANCE) < TOLERANCE
            assert servers[0].url in at.engine.up and at.engine.lost >= 1

    asyncio.run(play())


def test_others_play_on_while_the_proof_is_scored(tmp_path: Path) -> None:
    async def play() -> None:
        async with desk(tmp_path, [Loaded()]) as at:
            loop, score = asyncio.get_running_loop(), at.learner.logprobs

            def patient(*args: Any, **kwargs: Any) -> list[list[list[float]]]:
                turn = threading.Event()
                loop.call_soon_threadsafe(turn.set)
                assert turn.wait(30), "nothing else went on while it scored"
                return score(*args, **kwargs)

            at.learner.logprobs = patient  # type: ignore[method-assign]
            assert await probe(at.engine, at.learner, opened(), 1.0, TOLERANCE) < TOLERANCE

    asyncio.run(play())


def test_without_an_opening_there_is_nothing_to_ask(tmp_path: Path) -> None:
    async def play() -> None:
        async with desk(tmp_path, [Loaded()]) as at:
            assert await probe(at.engine, at.learner, [[Trajectory("g")]], 1.0, TOLERANCE) == 0.0
            assert len(await at.engine.prove([[5]], Sampling(max_tokens=2), seed=0)) == 1, (
                "it still owes a proof"
            )

    asyncio.run(play())
