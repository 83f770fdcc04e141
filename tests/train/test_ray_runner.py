"""Groups played by Ray actors are those played here, also when actors die or hang under them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from transformers import PreTrainedTokenizerFast

from forge_train import sft, tiny
from forge_train.config import (
    AlgorithmConfig,
    Config,
    LossConfig,
    OptimConfig,
    RolloutConfig,
    RunConfig,
    TinyConfig,
    VLLMConfig,
    WorldConfig,
)
from forge_train.config.sections import WORKER_START_S
from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine
from forge_train.engines.scripted import ScriptedEngine
from forge_train.engines.vllm import VLLMEngine
from forge_train.learn.learner import Learner
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum, Draw
from forge_train.play.episode import TokenPlayer
from forge_train.play.local_runner import LocalRunner
from forge_train.play.ray_runner import AnnouncedEngine, RayRunner, Recipe, WorkersFailed, hired, vllm_player
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.trainer import Trainer
from forge_train.trajectory import Trajectory
from tests.train.faulty import dies, dies_later, echoing
from tests.train.served import Served, Talker
from tests.train.tokens import tokenizer

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
QUICK = WorldConfig(id="tests.train.worlds:Test/Echo-v0", name="quick")
SLOW = WorldConfig(id="tests.train.faulty:Test/Faulty-v0", name="slow", args={"machine": 0.1})
SIZE = 3

pytestmark = pytest.mark.filterwarnings("ignore:a rollout worker")


def recipe(
    *worlds: WorldConfig, player: Callable[[], Awaitable[TokenPlayer]] = echoing, deadline: float = 60.0
) -> Recipe:
    return Recipe(worlds, player, seed=7, group_size=SIZE, deadline=deadline)


def draws(world: str, count: int) -> list[Draw]:
    return [Draw(i, world, f"train/{i}", 0) for i in range(count)]


def told(group: list[Trajectory]) -> list[dict[str, Any]]:
    """Everything about a group but the clock."""
    items = [t.as_dict() for t in group]
    for item in items:
        item["info"] = {k: v for k, v in item["info"].items() if "seconds" not in k}
    return items


async def play_here(made: Recipe, wanted: list[Draw]) -> list[Any]:
    worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in made.worlds}
    rollouts = LocalRunner(
        worlds, await made.player(), seed=made.seed, group_size=SIZE, deadline=made.deadline, in_flight=6
    )
    groups = await asyncio.gather(*(rollouts(draw) for draw in wanted))
    for world in worlds.values():
        world.close()
    return [told(group) for group in groups]


async def play_there(
    made: Recipe, wanted: list[Draw], count: int = 2, **options: Any
) -> tuple[list[Any], int]:
    """The groups, and how many workers were lost on the way; two groups at a time in each worker."""
    workers = RayRunner(made, count, in_flight=2 * count * SIZE, **options)
    await workers.start()
    try:
        groups = await asyncio.gather(*(workers(draw) for draw in wanted))
        assert all(worker.load == 0 for worker in workers._workers)
        return [told(group) for group in groups], workers.lost
    finally:
        await workers.close()


@pytest.fixture(scope="module")
def pool() -> Iterator[tuple[Run[Any], RayRunner]]:
    """Workers that started a cluster of their own, which other tests use too; and the loop they live in."""
    pytest.importorskip("ray", reason='needs pip install "forge-envs[ray]"')
    workers = RayRunner(recipe(QUICK, SLOW), 2, in_flight=4 * SIZE)
    with asyncio.Runner() as runner:
        runner.run(workers.start())
        yield runner.run, workers
        runner.run(workers.close())
        runner.run(workers.close())
        assert not sys.modules["ray"].is_initialized()


def test_the_same_groups_as_here(pool: tuple[Run[Any], RayRunner]) -> None:
    run, workers = pool
    curriculum = Curriculum(
        {name: [f"train/{i}" for i in range(5)] for name in ("quick", "slow")},
        {"quick": 1.0, "slow": 1.0},
        seed=3,
    )
    wanted = [curriculum.draw(i) for i in range(16)]

    async def there() -> list[Any]:
        return [told(group) for group in await asyncio.gather(*(workers(draw) for draw in wanted))]

    groups = run(there())
    assert groups == run(play_here(workers.recipe, wanted)) == run(there())
    members = [member for group in groups for member in group]
    assert {m["ending"] for m in members} == {"terminated", "failed"} and len(members) == 16 * SIZE
    assert {m["outcome"] for m in members} == {0.0, 1.0, None}
    assert len(set(workers.pids)) == 2 and os.getpid() not in workers.pids


def test_new_weights_are_told_to_every_worker(pool: tuple[Run[Any], RayRunner]) -> None:
    run, workers = pool
    engine = AnnouncedEngine(ScriptedEngine([]), workers)
    run(engine.weights_changed(4))
    assert engine.version == workers.version == 4

    async def versions() -> set[int]:
        groups = await asyncio.gather(*(workers(draw) for draw in draws("quick", 8)))
        return {version for group in groups for t in group for version in t.versions}

    assert run(versions()) == {4}

    async def replaced() -> None:
        old = workers.pids
        os.kill(old[0], signal.SIGKILL)
        await workers.weights_changed(5)
        async with asyncio.timeout(120):
            while len(workers.pids) < 2:
                await asyncio.sleep(0.05)
        assert old[1] in workers.pids and old[0] not in workers.pids and workers.lost == 1

    run(replaced())
    assert run(versions()) == {5}, "a replacement begins with the version of now"
    run(workers.weights_changed(0))


def test_what_a_worker_raises_is_raised_here(pool: tuple[Run[Any], RayRunner]) -> None:
    run, workers = pool
    with pytest.raises(KeyError, match="nowhere"):
        run(workers(Draw(0, "nowhere", "train/0", 0)))
    leaking = QUICK.model_copy(update={"args": {"fault": "opening"}})
    with pytest.raises(ValueError, match="different openings"):
        run(play_there(recipe(leaking), draws("quick", 1), 1))


def test_a_cancelled_group_leaves_its_worker(pool: tuple[Run[Any], RayRunner]) -> None:
    run, _ = pool

    async def cancelled() -> None:
        slow = RayRunner(recipe(QUICK, player=partial(echoing, 600.0)), 1, in_flight=SIZE)
        await slow.start()
        try:
            # One place: were the first group still playing, the second could never be cancelled in it.
            for draw in draws("quick", 2):
                task = asyncio.create_task(slow(draw))
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await task
            assert slow._workers[0].load == 0 and slow.lost == 0
        finally:
            await slow.close()

    run(cancelled())


@pytest.mark.parametrize("how", ["kill", "hang"])
def test_a_worker_that_dies_or_hangs_is_replaced_and_its_groups_played_again(
    how: str, pool: tuple[Run[Any], RayRunner], tmp_path: Path
) -> None:
    run, _ = pool
    args = {"log": str(tmp_path / "deaths"), "how": how}
    world = WorldConfig(id="tests.train.faulty:Test/Deadly-v0", name="deadly", args=args)
    wanted = draws("deadly", 8)
    played = run(play_there(recipe(world, deadline=10.0), wanted, grace=5.0))
    assert (tmp_path / "deaths").read_text().count("\n") == 1
    assert played == (run(play_here(recipe(world), wanted)), 1)


def test_a_group_that_always_kills_fails_alone(pool: tuple[Run[Any], RayRunner], tmp_path: Path) -> None:
    run, _ = pool
    args: dict[str, Any] = {"log": str(tmp_path / "deaths"), "times": 1000}
    world = WorldConfig(id="tests.train.faulty:Test/Deadly-v0", name="deadly", args=args)
    wanted = draws("deadly", 8)
    # It dies at its first step, when its neighbour is still at its own: the neighbour is lost with it once.
    groups, lost = run(play_there(recipe(world, player=partial(echoing, 0.3)), wanted, attempts=2))
    harmless = world.model_copy(update={"args": args | {"times": 0}})
    healthy = run(play_here(recipe(harmless), wanted))
    assert [g for g in groups if g != groups[1]] == [g for i, g in enumerate(healthy) if i != 1]
    assert lost == 2 == (tmp_path / "deaths").read_text().count("\n")
    for member, whole in zip(groups[1], healthy[1], strict=True):
        assert (member["ending"], member["outcome"], member["segments"]) == ("failed", None, [])
        assert {k: member["info"][k] for k in ("world", "task", "seed")} == {
            k: whole["info"][k] for k in ("world", "task", "seed")
        }
        error = member["info"]["error"]
        assert (error["kind"], error["retryable"]) == ("worker", True)
        assert "2 workers were lost" in error["message"] and "died" in error["message"]
        assert Trajectory.from_dict(member).as_dict() == member


def test_workers_are_hired_as_the_config_says_and_reach_its_servers(
    pool: tuple[Run[Any], RayRunner],
) -> None:
    run, _ = pool
    rollout = RolloutConfig(
        workers="ray",
        engine="vllm",
        worker_count=2,
        group_size=SIZE,
        in_flight=4 * SIZE,
        max_action=8,
        max_context=2048,
    )
    wanted = draws("quick", 6)

    async def scene() -> None:
        server = await Talker().start()
        server.version = "3"
        config = Config(
            run=RunConfig(seed=7), worlds=(QUICK,), rollout=rollout, vllm=VLLMConfig(urls=(server.url,))
        )
        engine = VLLMEngine([server.url], config.vllm, max_context=rollout.max_context)
        player = partial(
            vllm_player, [server.url], config.vllm, tokenizer(), "chatml", Sampling(max_tokens=8), 2048
        )
        try:
            await engine.start()
            async with hired(config, engine, tokenizer()) as (announced, workers):
                assert workers is not None and (workers.count, workers.places) == (2, 2)
                groups = [told(group) for group in await asyncio.gather(*(workers(draw) for draw in wanted))]
                await announced.weights_changed(4)
                assert workers.version == engine.version == 4 and workers.lost == 0
            assert not workers.pids, "they are let go"
            asked = sorted(body["sampling_params"]["seed"] for body in server.asked)
            server.asked.clear()
            assert groups == await play_here(recipe(QUICK, player=player), wanted)
            assert asked == sorted(body["sampling_params"]["seed"] for body in server.asked)
            members = [member for group in groups for member in group]
            assert {m["outcome"] for m in members} == {0.0, 1.0}
            assert {version for m in members for version in m["versions"]} == {3}
        finally:
            await engine.close()
            await server.stop()

    run(scene())


def test_without_workers_the_engine_is_the_run_s_own() -> None:
    async def scene() -> None:
        engine = ScriptedEngine([])
        async with hired(Config(worlds=(QUICK,)), engine, tokenizer()) as (same, workers):
            assert same is engine and workers is None

    asyncio.run(scene())


def imitator() -> tuple[Learner, PreTrainedTokenizerFast]:
    """A tiny policy that has seen how one answers in the quick world."""
    world = World(QUICK.id)
    episodes = sft.gold_episodes(world, world.tasks("train", 8))
    words = tiny.train_tokenizer(tiny.texts_of(episodes), 300)
    learner = Learner(
        tiny.tiny_model(words, TinyConfig(hidden=32, layers=1, vocab=300), seed=0), OptimConfig(lr=1e-2)
    )
    gold = [sft.trajectory_of(messages, ChatML(words)) for messages in episodes]
    for _ in range(15):
        learner.update(gold, [[1.0] * len(t.versions) for t in gold], LossConfig(objective="nll"))
    return learner, words


def test_a_policy_learns_from_what_workers_play(pool: tuple[Run[Any], RayRunner]) -> None:
    run, _ = pool

    async def scene() -> None:
        learner, words = imitator()
        engine = LocalEngine(learner.model, max_context=1024, version=learner.version)
        server = await Served(engine).start()
        player = partial(
            vllm_player, [server.url], VLLMConfig(), words, "chatml", Sampling(max_tokens=6), 1024
        )
        workers = RayRunner(recipe(QUICK, player=player), 2, in_flight=4 * SIZE)
        begins = learner.version
        await workers.weights_changed(begins)
        await workers.start()
        trainer = Trainer(
            runner=workers,
            engine=AnnouncedEngine(engine, workers),
            learner=learner,
            algorithm=AlgorithmConfig(masked=("deadline",)),
            curriculum=Curriculum({"quick": [f"train/{i}" for i in range(8)]}, {"quick": 1.0}, seed=0),
            admission=Admission(groups=6, max_lag=0),
            temperature=1.0,
            identity_tolerance=1e-3,
            patience=120.0,
        )
        try:
            for step in range(2):
                server.salts.clear()
                metrics, groups, _ = await trainer.step(step)
                version = begins + step
                assert {v for group in groups for t in group for v in t.versions} == {version}
                assert len(set(server.salts)) == 1 and str(version) in server.salts[0]
                assert metrics["episodes"] == 6 * SIZE == sum(metrics["endings"].values())
                assert metrics["trained"] > 0 and metrics["logprob_gap"] < 1e-4
            assert engine.version == learner.version == workers.version == begins + 2
        finally:
            await trainer.close()
            await workers.close()
            await engine.close()
            await server.stop()

    run(scene())


def test_workers_that_cannot_start_say_why(pool: tuple[Run[Any], RayRunner]) -> None:
    run, _ = pool
    with pytest.raises(WorkersFailed, match="did not start"):
        run(play_there(recipe(QUICK, player=dies), [], 1, attempts=2))
    nowhere = QUICK.model_copy(update={"id": "tests.train.worlds:Test/Nowhere-v0"})
    with pytest.raises(ValueError, match="cannot make world"):
        run(play_there(recipe(nowhere), [], 1))


def test_when_no_worker_is_left_it_says_so(pool: tuple[Run[Any], RayRunner], tmp_path: Path) -> None:
    run, _ = pool

    async def alone() -> None:
        workers = RayRunner(
            recipe(QUICK, player=partial(dies_later, tmp_path)), 1, in_flight=SIZE, attempts=2
        )
        await workers.start()
        os.kill(workers.pids[0], signal.SIGKILL)
        try:
            await workers(draws("quick", 1)[0])
        finally:
            await workers.close()

    with pytest.raises(WorkersFailed, match="no worker is left"):
        run(alone())


def test_each_worker_needs_room_for_a_group() -> None:
    with pytest.raises(ValueError, match=r"raise rollout\.in_flight to 6"):
        RayRunner(recipe(QUICK), 2, in_flight=5)
    with pytest.raises(ValueError, match="at least one worker"):
        RayRunner(recipe(QUICK), 0, in_flight=5)


def test_the_config_says_what_workers_need() -> None:
    for problem, told in (
        ({"engine": "local"}, 'set engine = "vllm", or workers = "local"'),
        ({"engine": "vllm", "worker_count": 4, "group_size": 8, "in_flight": 31}, "set in_flight = 32"),
    ):
        with pytest.raises(ValueError, match=told):
            RolloutConfig(workers="ray", **problem)  # type: ignore[arg-type]
    roomy = RolloutConfig(workers="ray", engine="vllm", worker_count=4, group_size=8, in_flight=32)
    with pytest.raises(ValueError, match=r'set vllm\.transfer = "folder"'):
        Config(worlds=(QUICK,), rollout=roomy, vllm=VLLMConfig(transfer="adapter"))
    assert Config(worlds=(QUICK,), rollout=roomy).rollout.worker_count == 4


def test_a_group_that_always_hangs_has_failed_before_the_run_gives_up() -> None:
    rollout = RolloutConfig(workers="ray", engine="vllm", group_size=SIZE)
    workers = RayRunner(
        recipe(QUICK, deadline=rollout.deadline_s), rollout.worker_count, in_flight=rollout.in_flight
    )
    longest = workers.attempts * (rollout.deadline_s + workers.grace + WORKER_START_S)
    assert rollout.patience > longest + rollout.deadline_s, "it has its worker to itself at last: others end"


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"forge-envs\[ray\]"):
        asyncio.run(RayRunner(recipe(QUICK), 1, in_flight=SIZE).start())
