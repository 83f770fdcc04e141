"""In waves a run ends in the same weights to the bit, however long its worlds and its engine take."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

from forge_train.config import ConfigError, load
from forge_train.engines.local import LocalEngine
from forge_train.play.waves import Waves
from forge_train.record.checkpoint import latest
from forge_train.run import train
from tests.train.worlds import Coin

DELAYS = random.Random()
"""Of nobody's seed."""


class Dawdling(Coin):
    """A coin that answers when it likes."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def step(self, action: str) -> Any:
        time.sleep(DELAYS.choice((0, 0, 0.001, 0.01)))
        answer, _, done, _, info = super().step(action)
        return answer, float(len(action) % 2), done, False, info


if "Test/Dawdling-v0" not in gym.registry:
    gym.register("Test/Dawdling-v0", entry_point=Dawdling)

SETTINGS = [
    "run.steps=3", "run.threads=1", 'worlds=[{id = "tests.train.test_waves:Test/Dawdling-v0", tasks = 8}]',
    "model.tiny.hidden=16", "model.tiny.layers=1", "model.tiny.heads=2", "model.tiny.kv_heads=1",
    "model.tiny.vocab=300", "sft.episodes=0", "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
    "run.eval_every=1", "rollout.groups=2", "rollout.group_size=3", "rollout.max_action=200",
    "rollout.max_context=500", "rollout.refill=2", "algorithm.masked=[]", "optim.lr=0.01",
]  # fmt: skip


@pytest.mark.parametrize(
    "more", [[], pytest.param(["model.lora_rank=2"], marks=pytest.mark.matrix)], ids=["all weights", "lora"]
)
def test_runs_a_step_late_end_in_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """Evaluations between the steps take what they take, too; groups are refilled in between."""
    step = LocalEngine._step

    def late(engine: LocalEngine) -> None:
        time.sleep(DELAYS.choice((0, 0, 0.0005)))
        step(engine)

    monkeypatch.setattr(LocalEngine, "_step", late)
    ends = []
    for i in range(2):
        lag = ["rollout.max_lag=1", "rollout.deterministic=true", f"run.out={tmp_path / str(i)}"]
        train(load(None, [*SETTINGS, *more, *lag]))
        saved = latest(tmp_path / str(i) / "checkpoints")
        assert saved is not None
        ends.append((saved.path / "model.safetensors").read_bytes())
    assert len(set(ends)) == 1
    first = latest(tmp_path / "0" / "checkpoints")
    assert first is not None and first.step == 3


def test_what_waves_cannot_keep_apart_from_clocks_is_refused() -> None:
    world = 'worlds=[{id = "a:b-v0"}]'
    with pytest.raises(ConfigError, match='set engine = "local"'):
        load(None, [world, "rollout.deterministic=true", "rollout.engine=vllm"])
    with pytest.raises(ConfigError, match="set in_flight = 36"):
        load(None, [
            world, "rollout.deterministic=true", "rollout.max_lag=1", "rollout.groups=4", "rollout.refill=1",
            "rollout.group_size=4", "rollout.in_flight=35",
        ])  # fmt: skip
    with pytest.raises(ConfigError, match=r"deterministic = true with \[agent\]"):
        load(None, [world, "rollout.deterministic=true", "agent.command=['true']"])


def test_a_wave_is_answered_in_the_order_of_names_and_heard_when_all_are_there() -> None:
    async def story() -> list[str]:
        waves, told = Waves(3), list[str]()
        seat = waves.seat()
        order = list("abc")
        random.Random(1).shuffle(order)

        async def member(name: str) -> None:
            async with seat:
                for turn in range(2):
                    await asyncio.sleep(DELAYS.uniform(0, 0.01))
                    async with waves.turn(name):
                        told.append(f"asks {name}{turn}")
                        await asyncio.sleep(DELAYS.uniform(0, 0.01))
                    told.append(f"hears {turn}")

        async def group() -> None:
            await asyncio.gather(*(member(name) for name in order))
            await waves.ended(0)

        waves.begin()
        playing = asyncio.create_task(group())
        await asyncio.sleep(0.05)
        assert not told, "the trainer is not waiting"
        async with waves.turn("an evaluation"):
            told.append("others are let through")
        waves.go()
        await playing
        return told

    told = asyncio.run(story())
    assert told == [
        "others are let through",
        *("asks a0", "asks b0", "asks c0", "hears 0", "hears 0", "hears 0"),
        *("asks a1", "asks b1", "asks c1", "hears 1", "hears 1", "hears 1"),
    ]


def test_groups_that_end_between_two_waves_are_looked_at_in_order() -> None:
    async def story() -> list[int]:
        waves, looked = Waves(1), list[int]()

        async def group(index: int) -> None:
            async with waves.seat():
                async with waves.turn(str(index)):
                    pass
                await asyncio.sleep(0.02 * (3 - index))
            await waves.ended(index)
            looked.append(index)

        for _ in range(3):
            waves.begin()
        waves.go()
        await asyncio.gather(*(group(i) for i in range(3)))
        return looked

    assert asyncio.run(story()) == [0, 1, 2]
