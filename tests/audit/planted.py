"""Small environments with one planted defect each, and with `healthy=True` the same without it.

All are one question: the sum of two numbers. `import planted` registers them.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np

TRIES = 4
TASKS = ["1+2", "5+9", "20+31"]


class Words(gym.spaces.Text):
    """Every text."""

    def __init__(self) -> None:
        super().__init__(100)

    def contains(self, x: Any) -> bool:
        return isinstance(x, str)


class Sum(gym.Env[str, str]):
    """What is the sum? TRIES answers."""

    def __init__(self, healthy: bool = False) -> None:
        self.healthy = healthy
        self.observation_space = Words()
        self.action_space = Words()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.a, self.b = (int(x) for x in self.np_random.integers(100, 1000, 2))
        self.tries = 0
        return self.opening(), {}

    def opening(self) -> str:
        return f"What is {self.a} and {self.b} together?"

    @property
    def answer(self) -> str:
        return str(self.a + self.b)

    def step(self, action: str) -> Any:
        self.tries += 1
        right = self.judge(action)
        return self.said(right), float(right), bool(right), self.tries >= TRIES and not right, {}

    def judge(self, action: str) -> bool:
        return action.strip() == self.answer

    def said(self, right: bool) -> str:
        return "Right." if right else f"No. {TRIES - self.tries} tries are left."


class Known(Sum):
    """The same with tasks and gold."""

    splits = ("train",)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        task = (options or {}).get("task") or TASKS[int(self.np_random.integers(len(TASKS)))]
        self.a, self.b = map(int, task.split("+"))
        return self.opening(), {"task": task}

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        return TASKS[:n]

    def gold_actions(self, task: str) -> list[str]:
        return [str(sum(map(int, task.split("+"))))]


PLANTED: dict[str, str] = {}
"""Name of an environment -> the check that must find its defect."""


def plant(check: str) -> Callable[[type], type]:
    def register(cls: type) -> type:
        PLANTED[cls.__name__] = check
        return cls

    return register


# -- rewards ---------------------------------------------------------------------------------------------


class OddReward(Sum):
    odd: Any = None

    def step(self, action: str) -> Any:
        observation, reward, *rest = super().step(action)
        return (observation, reward if self.healthy or self.tries < 2 else self.odd, *rest)


@plant("runtime.reward_well_formed")
class NaNReward(OddReward):
    odd = float("nan")


@plant("runtime.reward_well_formed")
class InfiniteReward(OddReward):
    odd = np.float32("inf")


@plant("runtime.reward_well_formed")
class NoReward(OddReward):
    odd = None


@plant("runtime.reward_well_formed")
class TextReward(OddReward):
    odd = "0.5"


@plant("semantic.oracle_max")
class PoorOracle(Known):
    def step(self, action: str) -> Any:
        observation, reward, *rest = super().step(action)
        return (observation, reward if self.healthy else reward * 0.9, *rest)


@plant("semantic.floor_gap")
class SilenceWins(Known):
    def judge(self, action: str) -> bool:
        return super().judge(action) or (not self.healthy and action == "")


@plant("semantic.floor_gap")
class EchoWins(Known):
    def judge(self, action: str) -> bool:
        return super().judge(action) or (not self.healthy and str(self.a) in action)


@plant("semantic.canary_floor")
class AnyOfThem(Known):
    def judge(self, action: str) -> bool:
        return super().judge(action) if self.healthy else self.answer in action.split()


@plant("forge.reward_forgery")
class Believer(Sum):
    def judge(self, action: str) -> bool:
        claims = not self.healthy and re.search(r"score: 1\.0", action)
        return super().judge(action) or bool(claims)


# -- seeds -----------------------------------------------------------------------------------------------


@plant("runtime.seed_control")
class UnseededOpening(Sum):
    def opening(self) -> str:
        rng = self.np_random if self.healthy else np.random.default_rng()
        return f"{super().opening()} Hint: it is not {rng.integers(10**6)}."


@plant("runtime.seed_control")
class OrderOfASet(Sum):
    def opening(self) -> str:
        names = {f"name {i}" for i in range(20)}
        return f"{super().opening()} {', '.join(sorted(names) if self.healthy else names)}"


@plant("runtime.episode_determinism")
class UnseededStep(Sum):
    def said(self, right: bool) -> str:
        rng = self.np_random if self.healthy else np.random.default_rng()
        return f"{super().said(right)} {rng.integers(10**6)}"


@plant("forge.group_opening")
class OneOfMany(Sum):
    opened = 0

    def __init__(self, healthy: bool = False) -> None:
        super().__init__(healthy)
        if not healthy:
            OneOfMany.opened += 1
        self.number = OneOfMany.opened

    def opening(self) -> str:
        return f"{super().opening()} You are agent {self.number}."


@plant("forge.group_opening")
class SeedInTask(Known):
    def opening(self) -> str:
        rng = np.random.default_rng(0) if self.healthy else self.np_random
        return f"{super().opening()} Case {rng.integers(10**6)}."


@plant("forge.global_randomness")
class SeedsAll(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if not self.healthy:
            random.seed(seed)
        return super().reset(seed=seed)


# -- isolation -------------------------------------------------------------------------------------------


@plant("runtime.episode_isolation")
class StaleTries(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        tries = getattr(self, "tries", 0) % TRIES
        answer = super().reset(seed=seed)
        if not self.healthy:
            self.tries = tries
        return answer


@plant("runtime.episode_isolation")
class SharedList(Sum):
    heard: list[str] = []  # noqa: RUF012  the defect

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if self.healthy:
            self.heard = []
        return super().reset(seed=seed)

    def step(self, action: str) -> Any:
        self.heard.append(action)
        return super().step(action)

    def said(self, right: bool) -> str:
        return f"{super().said(right)} I have heard {len(self.heard)} answers."


@plant("runtime.episode_isolation")
class GlobalDraws(Sum):
    """Right as long as nobody else draws."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        if not self.healthy:
            random.seed(seed)
        self.own = random.Random(seed)
        return super().reset(seed=seed)

    def said(self, right: bool) -> str:
        rng: Any = self.own if self.healthy else random
        return f"{super().said(right)} {rng.random()}"


# -- leaks -----------------------------------------------------------------------------------------------


@plant("semantic.no_solution_leakage")
class AnswerInInfo(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        observation, info = super().reset(seed=seed)
        return observation, info if self.healthy else {"sample": {"answer": self.answer}}


@plant("semantic.no_solution_leakage")
class WideAnswerInInfo(AnswerInInfo):
    """Takes long texts, as most worlds of text do: what is drawn from its space fills a screen."""

    def __init__(self, healthy: bool = False) -> None:
        super().__init__(healthy)
        self.action_space = gym.spaces.Text(4000)


@plant("semantic.no_solution_leakage")
class HiddenTests(Known):
    def step(self, action: str) -> Any:
        *rest, info = super().step(action)
        return (*rest, info if self.healthy else {"expected": self.answer})


@plant("semantic.no_solution_leakage")
class GoldIsTold(Known):
    def gold_actions(self, task: str) -> list[str]:
        return [f"The answer is {super().gold_actions(task)[0]}, all in all."]

    def judge(self, action: str) -> bool:
        return action == self.gold_actions(f"{self.a}+{self.b}")[0]

    def said(self, right: bool) -> str:
        told = self.gold_actions(f"{self.a}+{self.b}")[0]
        return super().said(right) if self.healthy else f"No. Expected: {told}"


# -- texts and the machine ---------------------------------------------------------------------------------


@plant("runtime.host_containment")
class Evaluates(Sum):
    def judge(self, action: str) -> bool:
        if self.healthy:
            return super().judge(action)
        try:
            return bool(eval(action) == self.a + self.b)
        except Exception:
            return False


@plant("forge.hostile_text")
class WantsANumber(Sum):
    def judge(self, action: str) -> bool:
        try:
            return int(action) == self.a + self.b
        except ValueError:
            if self.healthy:
                return False
            raise


@plant("forge.step_deadline")
class SlowPattern(Sum):
    def judge(self, action: str) -> bool:
        if not self.healthy and len(action) > 20_000:
            while True:
                time.sleep(0.1)
        return super().judge(action)


@plant("forge.machine_failure")
class AsksAProgram(Sum):
    def judge(self, action: str) -> bool:
        try:
            subprocess.run([sys.executable, "-S", "-c", ""], check=True)
        except OSError:
            if self.healthy:
                raise
            return False
        return super().judge(action)


@plant("runtime.resource_bounds")
class LeavesThreads(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.done = threading.Event()
        threading.Thread(target=self.done.wait, daemon=True).start()
        return super().reset(seed=seed)

    def close(self) -> None:
        if self.healthy:
            self.done.set()
            time.sleep(0.01)


@plant("runtime.resource_bounds")
class LeavesFiles(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.file = os.open(os.devnull, os.O_RDONLY)
        return super().reset(seed=seed)

    def close(self) -> None:
        if self.healthy:
            os.close(self.file)


@plant("runtime.resource_bounds")
class LeavesProcesses(Sum):
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        self.program = subprocess.Popen(["sleep", "600"], start_new_session=True)
        return super().reset(seed=seed)

    def close(self) -> None:
        if self.healthy:
            self.program.kill()
            self.program.wait()


@plant("runtime.resource_bounds")
class FewPlaces(Sum):
    taken = 0

    def __init__(self, healthy: bool = False) -> None:
        super().__init__(healthy)
        if FewPlaces.taken >= 6:
            raise RuntimeError("all 6 places are taken")
        FewPlaces.taken += 1

    def close(self) -> None:
        if self.healthy:
            FewPlaces.taken -= 1


@plant("runtime.observation_schema")
class OutsideSpace(Sum):
    def said(self, right: bool) -> Any:
        return super().said(right) if self.healthy else {"text": super().said(right)}


for _name in (*PLANTED, "Sum", "Known"):
    gym.register(f"Planted/{_name}-v0", entry_point=f"planted:{_name}")
