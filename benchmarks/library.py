"""The world of versus_trl.py, and the script of everything that is said in it.

A policy asks a library (a tool call), the library answers after a while, the policy asks again, and at
last it says something that is no call, which ends the episode. One class holds what happens; thin ones
give it the shape that Forge and TRL want.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from counters import COUNTS
from transformers.utils import get_json_schema

from forge_train.play.curriculum import Curriculum
from forge_train.play.renderer import renderer_for

WORLD, NAME, SEED = "Bench/Library-v0", "Library", 0
SYLLABLES = ("ba", "de", "fi", "go", "ku", "lan", "mor", "tesh")
WORDS = [a + b + c for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES]


@dataclass(frozen=True)
class Load:
    """What is played. Ranges are inclusive; a word is one to three tokens."""

    name: str
    policy: int
    """Words of the system prompt, which all tasks share."""
    latency: tuple[float, float] = (0.02, 0.14)
    """Seconds of one answer."""
    groups: int = 4
    """Tasks of a step."""
    size: int = 8
    """Episodes of a task."""
    calls: tuple[int, int] = (1, 4)
    """Questions of an episode; what comes after them ends it."""
    asked: tuple[int, int] = (4, 30)
    """Words of one question."""
    answered: tuple[int, int] = (10, 60)
    """Words of one answer."""

    def tasks(self, steps: int) -> list[str]:
        """The tasks of a run in the order in which Forge's curriculum draws them."""
        ids = [f"shelf {i}" for i in range(steps * self.groups)]
        curriculum = Curriculum({NAME: ids}, {NAME: 1.0}, seed=SEED)
        return [curriculum.draw(i).task for i in range(len(ids))]


LOADS = {
    "long": Load("long", policy=280),
    "short": Load("short", policy=4),
    "instant": Load("instant", policy=280, latency=(0.0, 0.0)),
}


def spell(count: int, *seed: object) -> str:
    """`count` words, the same for the same seed."""
    rng = random.Random(repr(seed))
    return " ".join(rng.choice(WORDS) for _ in range(count))


def between(bounds: tuple[int, int], *seed: object) -> int:
    return random.Random(repr(seed)).randint(*bounds)


class Library:
    """One episode, whoever plays it. What it says depends on the task and on what was asked."""

    def __init__(self, load: Load) -> None:
        self.load = load

    def open(self, task: str) -> None:
        self.task = task
        self.asked: list[str] = []

    def prompt(self, task: str) -> list[dict[str, Any]]:
        rules = f"You keep the library. {spell(self.load.policy, 'rules')}."
        about = f"About {task}: {spell(12, task)}?"
        return [{"role": "system", "content": rules}, {"role": "user", "content": about}]

    def latency(self) -> float:
        return random.Random(repr((self.task, len(self.asked)))).uniform(*self.load.latency)

    def answer(self, words: str) -> str:
        self.asked.append(words)
        key = (self.task, len(self.asked), words)
        return f"Found {spell(between(self.load.answered, key), 'answer', key)}."

    def reward(self) -> float:
        """Depends on all that was asked, so no two members of a group earn the same."""
        return random.Random(repr((self.task, self.asked))).random()


class ForgeLibrary(gym.Env[tuple[dict[str, Any], ...], str]):
    """The library as a Gymnasium world; its steps wait on threads of Forge's."""

    metadata = {"render_modes": []}  # noqa: RUF012
    observation_space = gym.spaces.Discrete(1)  # type: ignore[assignment]
    action_space = gym.spaces.Text(100_000)  # type: ignore[assignment]

    def __init__(self, load: str) -> None:
        self.library = Library(LOADS[load])
        self.tools = [get_json_schema(TrlLibrary(self.library.load).look)]

    def task_ids(self, split: str, n: int) -> list[str]:
        # Held-out shelves are others: a run that would be judged on what it trains on is refused.
        return [f"shelf {i}" if split == "train" else f"{split} shelf {i}" for i in range(n)]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.library.open((options or {})["task"])
        system, user = self.library.prompt(self.library.task)
        return ({**system, "tools": self.tools}, user), {}

    def step(self, action: str) -> Any:
        if "<tool_call>" not in action:
            reward = self.library.reward()
            return (), reward, True, False, {"outcome": reward}
        call = json.loads(action.partition("<tool_call>")[2].partition("</tool_call>")[0])
        with COUNTS.world.open():
            time.sleep(self.library.latency())
        answer = self.library.answer(**call["arguments"])
        return ({"role": "tool", "name": "look", "content": answer},), 0.0, False, False, {}


class TrlLibrary:
    """The library as TRL's `environment_factory` makes it: public methods are tools."""

    def __init__(self, load: Load) -> None:
        self._library = Library(load)

    def reset(self, task: str, **row: Any) -> None:
        self._library.open(task)

    def get_reward(self) -> float:
        return self._library.reward()

    async def look(self, words: str) -> str:
        """
        Look something up in the library.

        Args:
            words: What to look for.

        Returns:
            What was found.
        """
        with COUNTS.world.open():
            await asyncio.sleep(self._library.latency())
        return self._library.answer(words)


gym.register(WORLD, entry_point=ForgeLibrary)


@dataclass
class Episode:
    """One member of one group, word for word."""

    opening: list[int]
    tokens: list[int]
    """All of it, the opening included."""
    turns: int
    sampled: int = 0
    """How many of its tokens are the policy's."""
    seconds: float = 0.0
    """Sum of its latencies."""


class Script:
    """What is sampled after which tokens; and, counted from it, the least that any trainer must forward."""

    def __init__(self, load: Load, steps: int, tokenizer: Any) -> None:
        self._renderer = renderer_for(tokenizer, "template")
        self._after: dict[tuple[int, ...], deque[list[int]]] = {}
        world = ForgeLibrary(load.name)
        self.steps = [
            [self._play(world, task, member) for task in batch for member in range(load.size)]
            for batch in _cut(load.tasks(steps), load.groups)
        ]

    def _play(self, world: ForgeLibrary, task: str, member: int) -> Episode:
        messages, _ = world.reset(options={"task": task})
        tokens = self._renderer.open(messages)
        calls = between(world.library.load.calls, task, member)
        episode = Episode(list(tokens), tokens, turns=calls + 1)
        for turn in range(episode.turns):
            key = (task, member, turn)
            words = spell(between(world.library.load.asked, key), key)
            call = {"name": "look", "arguments": {"words": words}}
            text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>" if turn < calls else f"I say {words}."
            action = self._renderer.encode_action(text)
            self._after.setdefault(tuple(tokens), deque()).append(action)
            tokens += action
            episode.sampled += len(action)
            if turn < calls:
                episode.seconds += world.library.latency()
                answer = world.library.answer(words)
                tokens += self._renderer.extend([{"role": "tool", "name": "look", "content": answer}])
        return episode

    def next(self, tokens: Sequence[int]) -> list[int]:
        """The action after `tokens`; members that still share a history take theirs in turn.

        KeyError when the script knows no such prompt: then the sides do not render the same conversation.
        """
        actions = self._after[tuple(tokens)]
        actions.rotate(-1)
        return actions[-1]

    def least(self) -> dict[str, float]:
        """What no trainer can do without, summed over steps: the denominators."""
        later = sum(len(e.tokens) - 1 - len(e.opening) for batch in self.steps for e in batch)
        return {
            "train": sum(trie_size([e.tokens[:-1] for e in batch]) for batch in self.steps),
            "sample": sum(trie_size([e.opening for e in batch]) for batch in self.steps) + later,
            "critical_path": sum(max(e.seconds for e in batch) for batch in self.steps),
        }

    def describe(self) -> dict[str, float]:
        """What is played, in means over episodes."""
        episodes = [e for batch in self.steps for e in batch]
        return {
            "episodes_a_step": len(self.steps[0]),
            "opening_tokens": round(statistics.mean(len(e.opening) for e in episodes)),
            "tokens": round(statistics.mean(len(e.tokens) for e in episodes)),
            "sampled_tokens": round(statistics.mean(e.sampled for e in episodes)),
            "turns": round(statistics.mean(e.turns for e in episodes), 2),
            "latency_s": round(statistics.mean(e.seconds for e in episodes), 3),
        }


def trie_size(sequences: Sequence[Sequence[int]]) -> int:
    """Nodes of the sequences' prefix tree.

    >>> trie_size([[1, 2, 3], [1, 2, 4], [2]])
    5
    """
    nodes: dict[tuple[int, int], int] = {}
    for sequence in sequences:
        at = 0
        for token in sequence:
            at = nodes.setdefault((at, token), len(nodes) + 1)
    return len(nodes)


def _cut(items: list[str], size: int) -> list[list[str]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
