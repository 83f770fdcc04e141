"""Worlds that raise, hang, leak, or take their whole process with them; and a player to meet them."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym

from forge_train.engine import Sampling
from forge_train.engines.scripted import ScriptedEngine
from forge_train.play.episode import TokenPlayer
from forge_train.play.renderer import ChatML
from tests.train.tokens import tokenizer
from tests.train.worlds import Echo

GATE = threading.Event()
"""What a hanging step waits for; a test opens it to let the threads go."""
LEAKED: list[Any] = []
"""Files that leaking steps left open in this process; `Faulty.close` closes its own."""


class Faulty(Echo):
    """Echo on threads, whose steps raise, hang or leak with these chances, drawn by the episode's seed.

    Seed 0, that of gold episodes, meets no fault.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        turns: int = 2,
        raises: float = 0.0,
        machine: float = 0.0,
        hangs: float = 0.0,
        leaks: float = 0.0,
    ) -> None:
        super().__init__(turns)
        self.chances = {"raises": raises, "machine": machine, "hangs": hangs, "leaks": leaks}
        self.held: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.random, self.armed = random.Random(seed), seed != 0
        return super().reset(seed=seed, options=options)

    def step(self, action: str) -> Any:
        happens = {
            fault for fault, chance in self.chances.items() if self.random.random() < chance * self.armed
        }
        if "leaks" in happens:
            self.held.append(tempfile.TemporaryFile())  # noqa: SIM115
            LEAKED.append(self.held[-1])
        if "hangs" in happens:
            GATE.wait(300)
        if "machine" in happens:
            error = {"kind": "sandbox", "stage": "step", "retryable": True}
            return (), 0.0, False, True, {"task": self.task, "error": error}
        if "raises" in happens:
            raise ZeroDivisionError("in the till")
        return super().step(action)

    def close(self) -> None:
        for file in self.held:
            file.close()
        super().close()


class FaultyQuick(Faulty):
    """The same on the event loop, where calls come in the same order in every run; it must not hang."""

    metadata: dict[str, Any] = {"quick": True, "render_modes": []}  # noqa: RUF012


class Deadly(Echo):
    """Echo whose task `victim` kills or blocks its process for the first `times`, counted in `log`."""

    def __init__(self, log: str, how: str = "kill", victim: str = "train/1", times: int = 1) -> None:
        super().__init__(2)
        self.log, self.how, self.victim, self.times = Path(log), how, victim, times

    def step(self, action: str) -> Any:
        if self.task == self.victim and self.turn == 0 and self.deaths() < self.times:
            with self.log.open("a") as log:
                log.write(f"{os.getpid()}\n")
            if self.how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(3600)  # on the event loop: nothing else in this process goes on
        return super().step(action)

    def deaths(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0


async def echoing(latency: float = 0.0) -> TokenPlayer:
    """A player that says the task's number, or, by its seed, another one."""
    renderer = ChatML(tokenizer())

    def say(tokens: Sequence[int], conversation: str, seed: int) -> Sequence[int]:
        number = conversation.split("#")[0].rsplit("/", 1)[1]
        return renderer.encode_action(number if random.Random(seed).random() < 0.7 else f"not {number}")

    return TokenPlayer(ScriptedEngine(say, latency=latency, logprob=-0.5), renderer, Sampling(max_tokens=24))


async def dies() -> TokenPlayer:
    """No player: the process ends."""
    os._exit(1)


async def dies_later(folder: Path) -> TokenPlayer:
    """A player for the first worker only."""
    try:
        (folder / "first").touch(exist_ok=False)
    except FileExistsError:
        os._exit(1)
    return await echoing()


for _name, _class in {"Faulty": Faulty, "FaultyQuick": FaultyQuick, "Deadly": Deadly}.items():
    if f"Test/{_name}-v0" not in gym.registry:
        gym.register(f"Test/{_name}-v0", entry_point=_class)
