"""A shop counter for the tests, and counters that each break one promise."""

from __future__ import annotations

import copy
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np

from forge_envs import (
    AgentEnv,
    Episode,
    MachineError,
    Message,
    Observation,
    Score,
    Task,
    TaskError,
    ToolCall,
    ToolError,
    opening,
    tool,
)
from tests.envs.bfcl_small import small_bfcl
from tests.envs.official import small_benchmark
from tests.envs.tool_files import small_folder

NEEDED: dict[str, dict[str, Any]] = {
    "Forge/Tau1-v0": {"path": small_benchmark("tau1"), "split": "test"},
    "Forge/Tau2-v0": {"path": small_benchmark("tau2"), "split": "test"},
    "Forge/BFCL-v0": {"path": small_bfcl()},
    "Forge/ToolFolder-v0": {"path": small_folder()},
    "Forge/ToolSim-v0": {"path": small_folder()},
}
"""Arguments without which a world cannot be made."""
AWAY: dict[str, dict[str, Any]] = {
    **NEEDED,
    "Forge/SWE-v0": {"sandbox": "process", "max_turns": 20},
    "Forge/Agentless-v0": {"sandbox": "process"},
    "Forge/Polyglot-v0": {"sandbox": "process", "language": "python"},
}
"""Worlds that need a path or a container, with arguments that need neither a daemon nor more."""
SPARE: dict[str, dict[str, Any]] = {
    **AWAY,
    "Forge/Search-v0": {"entities": 300},
    "Forge/Report-v0": {"entities": 150},
}
"""Arguments with which worlds of this package are small and need no container; tests/docker plays those."""

STOCK = {"apple": 5, "bread": 3, "cheese": 1}


@dataclass(frozen=True)
class Wish(Task):
    item: str
    count: int


@dataclass
class Visit(Episode[Wish]):
    stock: dict[str, int] = field(default_factory=lambda: dict(STOCK))


class Counter(AgentEnv[Wish, Visit]):
    """A shop counter: sell what the customer asks for, then say goodbye.

    Args:
        fails: where the counter's machine fails: "", "reset", "look", "hear" or "grade".
        (the rest as in AgentEnv)
    """

    def __init__(self, *, fails: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fails = fails

    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        self.may_fail("reset")
        wish = Message(role="user", content=f"{task.count} {task.item}, please.")
        return Visit(task), opening("Sell what is asked for, then say goodbye.", [wish], self.schemas)

    def hear(self, text: str) -> Observation | None:
        self.may_fail("hear")
        return None if text else (Message(role="user", content="Hello?"),)

    def progress(self) -> float:
        changed = {item for item, left in self.playing.stock.items() if left != STOCK[item]}
        return self.sold_right() / len({self.task.item, *changed})

    def grade(self) -> Score:
        self.may_fail("grade")
        sold = float(self.progress() == 1.0)
        return Score(sold, {"sold": sold})

    def sold_right(self) -> bool:
        return self.playing.stock[self.task.item] == STOCK[self.task.item] - self.task.count

    def gold(self, task: Wish) -> list[str]:
        sell = ToolCall("sell", {"item": task.item, "count": task.count})
        return [self.grammar.write(calls=[sell]), "Here you are, goodbye."]

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        if split not in (None, "train", "test"):
            raise ValueError(f"split={split!r}: known are train, test")
        wishes = [f"{item}/{count}" for item, most in STOCK.items() for count in range(1, most + 1)]
        return [
            f"{part}/{wish}"
            for wish, part in zip(wishes, itertools.cycle(["train", "test"]), strict=False)
            if split in (None, part)
        ][:n]

    def find(self, task_id: str) -> Wish:
        if task_id not in self.task_ids():
            raise TaskError(f"unknown task {task_id!r}; tasks are called like {self.task_ids(n=1)[0]!r}")
        _, item, count = task_id.split("/")
        return Wish(task_id, item, int(count))

    def draw(self, rng: np.random.Generator) -> Wish:
        return self.find(str(rng.choice(self.task_ids("train"))))

    def may_fail(self, stage: str) -> None:
        if self.fails == stage:
            raise MachineError("the till is on fire", kind="fire", stage=stage, retryable=True)

    @tool()
    def look(self) -> dict[str, int]:
        """See what is in stock."""
        self.may_fail("look")
        return self.playing.stock

    @tool(writes=True)
    def sell(self, item: Literal["apple", "bread", "cheese"], count: int = 1) -> str:
        """Sell items from stock.

        Args:
            item: what to sell
            count: how many
        """
        if not 1 <= count <= self.playing.stock[item]:
            raise ToolError(f"there are {self.playing.stock[item]} {item}, you cannot sell {count}")
        self.playing.stock[item] -= count
        return f"{count} {item} sold"

    @tool(writes=True)
    def close_shop(self) -> str:
        """Send the customer away and close."""
        self.playing.over = True
        return "closed"


class Shell(Counter):
    """A counter behind a shell: `sell ITEM COUNT` is the one command."""

    look = sell = close_shop = None  # type: ignore[assignment]

    @tool(writes=True)
    def bash(self, command: str) -> str:
        """Run a command.

        Args:
            command: `sell ITEM COUNT` or `bye`
        """
        match command.split():
            case ["sell", item, count] if item in STOCK and count.isdecimal():
                self.playing.stock[item] -= int(count)
            case ["bye"]:
                self.playing.over = True
            case _:
                raise ToolError(f"{command}: command not found")
        return "ok"

    def gold(self, task: Wish) -> list[str]:
        commands = [f"sell {task.item} {task.count}", "bye"]
        return [self.grammar.write("I will.", [ToolCall("bash", {"command": c})]) for c in commands]


# -- counters that break one promise each ----------------------------------------------------------------


class WarnsGymnasium(Counter):
    def reset(self, *, seed: int | None = 1, options: Any = None) -> Any:
        return super().reset(seed=seed, options=options)


class SharesTasks(Counter):
    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        return super().task_ids("train" if split == "test" else split, n)


class ForgetsUnknownTasks(Counter):
    def find(self, task_id: str) -> Wish:
        return super().find(task_id if task_id in self.task_ids() else self.task_ids()[0])


class WrongGold(Counter):
    def gold(self, task: Wish) -> list[str]:
        return ["Here you are, goodbye."]


class EndlessGold(Counter):
    def gold(self, task: Wish) -> list[str]:
        return super().gold(task)[:1]


class PaysSilence(Counter):
    def grade(self) -> Score:
        return Score(1.0)


class Brittle(Counter):
    def hear(self, text: str) -> Observation | None:
        text.encode("ascii")
        return super().hear(text)


class AssertsArguments(Counter):
    @tool(writes=True)
    def sell(self, item: str, count: int = 1) -> str:
        """Sell items from stock.

        Args:
            item: what to sell
            count: how many
        """
        return super().sell(item, count)  # type: ignore[arg-type]  # KeyError for an unknown item


class Moody(Counter):
    def hear(self, text: str) -> Observation | None:
        return None if text else (Message(role="user", content=f"Hello? {time.perf_counter_ns()}"),)


class Remembers(Counter):
    customers = 0

    def look_around(self) -> str:
        self.customers += 1
        return f"Customer {self.customers}. "

    def hear(self, text: str) -> Observation | None:
        return None if text else (Message(role="user", content=self.look_around()),)


class SeededOpening(Counter):
    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        state, messages = super().begin(task)
        return state, (*messages, Message(role="user", content=str(self.np_random.integers(10**9))))


class ShowsGold(Counter):
    def hear(self, text: str) -> Observation | None:
        return None if text else (Message(role="user", content=f"Say {self.gold(self.task)[0]}"),)


class SaysGold(Counter):
    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        state, messages = super().begin(task)
        return state, (*messages, Message(role="user", content="Then say: Here you are,  goodbye."))


class GoldInInfo(Counter):
    def step(self, action: str) -> Any:
        messages, reward, terminated, truncated, info = super().step(action)
        return messages, reward, terminated, truncated, {**info, "gold": self.gold(self.task)}


class GoldInParts(Counter):
    def gold(self, task: Wish) -> list[str]:
        return [self.grammar.write(calls=[ToolCall("whisper", {"word": "abracadabra"})]), *super().gold(task)]

    @tool()
    def whisper(self, word: str) -> str:
        """Whisper.

        Args:
            word: a word
        """
        return "hush"

    def grade(self) -> Score:
        score = super().grade()
        return Score(score.outcome, {"said abracadabra": 0.0})


class DoubleProgress(Counter):
    def grade(self) -> Score:
        return Score(super().grade().outcome, {"progress": 1.0})


class StateElsewhere(Counter):
    calls = 0

    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        self.calls = 0
        return super().begin(task)

    def hear(self, text: str) -> Observation | None:
        self.calls += 1
        return None if text and self.calls > 1 else (Message(role="user", content=f"{self.calls}?"),)

    def gold(self, task: Wish) -> list[str]:
        return [*super().gold(task), "Goodbye."]


class ClosesOnce(Counter):
    def close(self) -> None:
        self.playing  # noqa: B018  raises when there is none
        super().close()


class RollsGlobalDice(Counter):
    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        random.random()
        return super().begin(task)


class SharesSchemas(Counter):
    """Keeps the messages it hands out, and says them again."""

    lines: ClassVar[dict[str, Any]] = {"role": "user", "content": "Hello?"}

    def step(self, action: str) -> Any:
        messages, *rest = super().step(action)
        return (self.lines, *messages), *rest


class SeesOthers(Counter):
    """All its episodes are sold from one stock."""

    shop: ClassVar[dict[str, int]] = {}

    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        self.shop.clear()
        self.shop.update(STOCK)
        state, messages = super().begin(task)
        state.stock = self.shop
        return state, messages


class CountsOnFingers(Counter):
    @tool(writes=True)
    def sell(self, item: Literal["apple", "bread", "cheese"], count: int = 1) -> str:
        """Sell items from stock.

        Args:
            item: what to sell
            count: how many
        """
        if count == 10**90 - 1:
            raise OverflowError("there are not so many fingers")
        return super().sell(item, count)  # type: ignore[no-any-return]


class CutsValues(Counter):
    """Its grammar takes what looks like a thought out of calls."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        grammar = copy.copy(self.grammar)
        parse = grammar.parse
        grammar.parse = lambda text: parse(text.replace("</think>", ""))  # type: ignore[method-assign]
        self.grammar = grammar

    @tool()
    def note(self, text: str) -> str:
        """Take a note.

        Args:
            text: any text
        """
        return "noted"


class AnswersAll(Counter):
    def step(self, action: str) -> Any:
        messages, *rest = super().step(action)
        return messages * max(1, action.count("<tool_call>")), *rest


class TakesAnything(Counter):
    def step(self, action: Any) -> Any:
        return super().step(action if isinstance(action, str) else str(action))


class Unannotated(Counter):
    def __init__(self, *, colour="red", **kwargs: Any) -> None:  # type: ignore[no-untyped-def]
        super().__init__(**kwargs)


class Swallows(Counter):
    takes_others = True

    def __init__(self, **kwargs: Any) -> None:
        known = ("fails", "max_turns", "turn_weight", "grammar", "render_mode")
        super().__init__(**{name: value for name, value in kwargs.items() if name in known})


class Unpicklable(Counter):
    def begin(self, task: Wish) -> tuple[Visit, Observation]:
        state, messages = super().begin(task)
        state.stock = dict(state.stock)
        state.ring = lambda: "ding"  # type: ignore[attr-defined]
        return state, messages


BROKEN = {
    WarnsGymnasium: "gymnasium",
    SharesTasks: "tasks",
    ForgetsUnknownTasks: "tasks",
    WrongGold: "gold",
    EndlessGold: "gold",
    PaysSilence: "silence",
    Brittle: "any text",
    AssertsArguments: "any text",
    Moody: "same seed",
    Remembers: "fresh reset",
    SeededOpening: "opening",
    ShowsGold: "no leaks",
    SaysGold: "no leaks",
    GoldInInfo: "gold",  # every play looks at the keys of info, and gold is played first
    GoldInParts: "no leaks",
    DoubleProgress: "rewards",
    StateElsewhere: "snapshots",
    ClosesOnce: "ending",
    RollsGlobalDice: "global state",
    Unpicklable: "snapshots",
    SharesSchemas: "shared objects",
    SeesOthers: "side by side",
    CountsOnFingers: "numbers",
    CutsValues: "tags",
    AnswersAll: "many calls",
    TakesAnything: "misuse",
    Unannotated: "arguments",
    Swallows: "arguments",
}

for _kind in (Counter, Shell, *BROKEN):
    gym.register(f"Shop/{_kind.__name__}-v0", f"tests.envs.worlds:{_kind.__name__}", disable_env_checker=True)
gym.register("Shop/Honest-v0", "tests.envs.worlds:Moody", nondeterministic=True, disable_env_checker=True)
