"""Waiting in line is nobody's own time: for threads, a seat in process, room on a server, a full endpoint."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import pytest

from forge_train.clock import Clock, current, in_line, queue_up, running
from forge_train.config import RolloutConfig, load
from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine
from forge_train.play.curriculum import Draw
from forge_train.play.episode import TokenPlayer, gather, play
from forge_train.play.local_runner import LocalRunner
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import MOST_THREADS, World
from forge_train.trajectory import Trajectory
from tests.train.models import qwen3_of
from tests.train.tokens import Script, tokenizer
from tests.train.worlds import Slow
from tests.vllm.double import Double
from tests.vllm.test_engine import PATIENT, ask, fleet

RENDERER = ChatML(tokenizer())


DEADLINE, HELD = 1.5, 1.8
"""Seconds of an episode, and for how long the place it waits for is taken: its own time is next to none."""


class Late(Slow):
    """Calls what a test gave to `MEET` at every reset and step."""

    def __init__(self) -> None:
        super().__init__(turns=1)

    def reset(self, **how: Any) -> Any:
        MEET.call()
        return super().reset(**how)

    def step(self, action: str) -> Any:
        MEET.call()
        return super().step(action)


MEET = SimpleNamespace(call=lambda: None)
if "Test/Late-v0" not in gym.registry:
    gym.register("Test/Late-v0", entry_point=Late)


def player(engine: Any = None) -> TokenPlayer:
    engine = engine or Script(lambda tokens, seed: RENDERER.encode_action("7"))
    return TokenPlayer(engine, RENDERER, Sampling(max_tokens=4))


async def played(world: World, count: int, deadline: float, who: Any = None) -> list[Trajectory]:
    try:
        return await gather(
            play(world, who or player(), "train/7", seed=i, group=f"g{i}", deadline=deadline)
            for i in range(count)
        )
    finally:
        world.close()


def test_as_many_threads_as_episodes_in_flight_wait_for_their_worlds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on before all are in their worlds, at reset and at their action."""
    count = RolloutConfig().in_flight
    monkeypatch.setattr(MEET, "call", threading.Barrier(count, timeout=60).wait)
    ended = asyncio.run(played(World("Test/Late-v0"), count, 120.0))
    assert Counter(t.ending for t in ended) == {"terminated": count}
    assert count <= MOST_THREADS


def test_a_thread_is_waited_for_outside_the_deadline() -> None:
    async def story() -> list[Trajectory]:
        world, gate = World("Test/Late-v0", threads=1), threading.Event()
        world.threads.submit(gate.wait)
        asyncio.get_running_loop().call_later(HELD, gate.set)
        return await played(world, 6, DEADLINE)

    ended = asyncio.run(story())
    assert [t.ending for t in ended] == ["terminated"] * 6
    assert min(t.info["seconds"] for t in ended) > DEADLINE


def test_who_got_a_thread_at_last_has_the_deadline_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(MEET, "call", lambda: gate.wait(60))
    try:
        ended = asyncio.run(played(World("Test/Late-v0", threads=1), 3, 0.2))
        assert [t.ending for t in ended] == ["deadline"] * 3
    finally:
        gate.set()


def test_a_seat_of_the_engine_in_process_is_waited_for_outside_the_deadline() -> None:
    """One seat, and who has it needs longer than the others' deadline."""
    engine = LocalEngine(qwen3_of(tokenizer()), max_context=400, slots=1)
    loop, steps = engine._step, iter(range(10**9))

    def slow() -> None:
        time.sleep(HELD / 18 if next(steps) < 18 else 0)
        loop()

    engine._step = slow  # type: ignore[method-assign]

    async def story() -> tuple[list[Trajectory], float]:
        first = asyncio.create_task(
            engine.complete([1], Sampling(max_tokens=18), conversation="first", seed=0)
        )
        await asyncio.sleep(0)
        async with Clock(None) as clock:
            ended = await played(World("tests.train.worlds:Test/Coin-v0"), 3, DEADLINE, player(engine))
        await first
        return ended, clock.stood

    ended, stood = asyncio.run(story())
    assert {t.ending for t in ended} <= {"terminated", "tokens"} and stood > DEADLINE


def test_room_on_a_server_is_waited_for_outside_both_deadlines(tmp_path: Path) -> None:
    async def story() -> list[bool]:
        limits = {**PATIENT, "deadline_s": DEADLINE, "in_flight": 1, "health_s": 60.0}
        async with fleet(tmp_path, **limits) as (engine, [_]):
            (server,) = engine._servers.up
            await server.room.acquire()

            async def one(i: int) -> bool:
                async with Clock(DEADLINE) as clock:
                    await ask(engine, f"c{i}")
                return clock.stood > DEADLINE

            asyncio.get_running_loop().call_later(HELD, server.room.release)
            return await asyncio.gather(*(one(i) for i in range(5)))

    assert all(asyncio.run(story()))


def test_a_server_that_is_full_ends_a_request_and_no_episode(tmp_path: Path) -> None:
    """The request has its deadline, and the episode fails by a machine: it is no loss of the policy's."""

    async def full() -> Trajectory:
        async with fleet(tmp_path, deadline_s=HELD) as (engine, [double]):
            double.mood, engine.max_context = "busy", 400
            (ended,) = await played(World("Test/Late-v0"), 1, DEADLINE, player(engine))
            return ended

    assert asyncio.run(full()).ending == "failed"


def test_a_function_as_an_agent_waits_for_its_thread_outside_the_deadline() -> None:
    from forge_train.agents.program import Brief, Function

    gate = threading.Event()
    function = Function(lambda brief: gate.wait(60), threads=1)
    brief = Brief("t", "p", "", "", "", ())

    async def one(deadline: float) -> int:
        async with Clock(deadline):
            return (await function.run(brief)).code

    async def crowd() -> list[int]:
        asyncio.get_running_loop().call_later(HELD, gate.set)
        first = asyncio.create_task(one(60.0))
        await asyncio.sleep(0)
        return await asyncio.gather(first, *(one(DEADLINE) for _ in range(5)))

    assert asyncio.run(crowd()) == [0] * 6
    function.close()


def test_an_endpoint_that_is_full_is_no_loss_of_time_of_the_episode() -> None:
    from forge_train.play.chat_player import ChatEndpoint, ChatPlayer

    async def busy(path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        return 429, "", b'{"error": {"message": "slow down"}}'

    async def story() -> Trajectory:
        double = await Double().start()
        double._answer = busy  # type: ignore[method-assign]
        who = ChatPlayer(ChatEndpoint("m", double.url, deadline=HELD), Sampling())
        try:
            (ended,) = await played(World("Test/Late-v0"), 1, DEADLINE, who)
            return ended
        finally:
            await who.close()
            await double.stop()

    ended = asyncio.run(story())
    assert (ended.ending, ended.info["error"]["kind"]) == ("failed", "engine")


def test_a_group_in_line_may_take_longer_than_its_members_deadline() -> None:
    """What a worker of Ray tells whoever waits for a group: how long its members stood."""

    async def story() -> tuple[list[Trajectory], float]:
        world, gate = World("Test/Late-v0", threads=1), threading.Event()
        world.threads.submit(gate.wait)
        asyncio.get_running_loop().call_later(HELD, gate.set)
        runner = LocalRunner({"w": world}, player(), seed=0, group_size=5, deadline=DEADLINE, in_flight=9)
        async with Clock(None) as clock:
            group = await runner(Draw(0, "w", "train/7", 0))
        world.close()
        return group, clock.stood

    group, stood = asyncio.run(story())
    assert {t.ending for t in group} == {"terminated"} and stood > DEADLINE


def test_where_not_all_are_served_at_once_one_waits_longer_for_a_batch() -> None:
    world = 'worlds=[{id = "a:b-v0"}]'
    few = load(None, [world, "rollout.engine=vllm", "vllm.in_flight=64", "rollout.in_flight=512"])
    many = load(None, [world, "rollout.engine=vllm", "vllm.in_flight=512", "rollout.in_flight=256"])
    assert few.patience == 8 * few.rollout.patience and many.patience == many.rollout.patience


# ------------------------------------------------------------------------------------------- the clock


def test_it_runs_out_as_a_timeout_does_and_says_whose_it_was() -> None:
    async def late() -> list[bool]:
        async with Clock(60) as outer:
            try:
                async with Clock(0.01) as clock:
                    await asyncio.Event().wait()
            except TimeoutError:
                return [clock.expired(), outer.expired(), current() is outer]
        raise AssertionError

    assert asyncio.run(late()) == [True, False, True]


def test_it_goes_on_with_what_was_left() -> None:
    async def late() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with Clock(0.5) as clock:
                with in_line(), in_line():
                    await asyncio.sleep(0.6)
                assert clock.stood > 0.59
                await asyncio.Event().wait()
        return time.monotonic() - began

    assert asyncio.run(late()) > 1.09


def test_another_task_and_another_thread_can_stop_it() -> None:
    async def late() -> bool:
        async with Clock(0.8) as clock:
            over = queue_up()
            asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.9), over()))

            async def someone() -> None:
                with running(clock), in_line():
                    await asyncio.sleep(1.0)

            await asyncio.create_task(someone())
        return clock.expired()

    assert asyncio.run(late()) is False


def test_a_bounded_wait_stops_only_the_clocks_around() -> None:
    async def late() -> tuple[bool, bool]:
        async with Clock(0.05) as outer:
            try:
                async with Clock(0.1) as inner:
                    with in_line(bounded=True):
                        await asyncio.Event().wait()
            except TimeoutError:
                return outer.expired(), inner.expired()
        raise AssertionError

    assert asyncio.run(late()) == (False, True)
