"""Gymnasium spaces for language: what an agent may say, and what it may be told."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import create_shared_memory, read_from_shared_memory, write_to_shared_memory

from forge_envs.grammars import Grammar
from forge_envs.messages import Message, Observation, ToolCall
from forge_envs.schemas import Packed, sample_schema

_WORDS = (
    "hello",
    "please",
    "yes",
    "no",
    "order",
    "item",
    "thanks",
    "tell",
    "me",
    "the",
    "ok",
    "42",
    "é",
    "数",
)
_ROLES = ("system", "user", "tool", "assistant")


class Utterance(gym.Space[str]):
    """Every string is an action. `sample()` draws prose or calls that fit the tools' schemas."""

    def __init__(
        self, grammar: Grammar, tools: Sequence[dict[str, Any]] = (), seed: int | None = None
    ) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)
        self.equip(grammar, Packed(list(tools)))

    def equip(self, grammar: Grammar, tools: Packed) -> None:
        """Say from now on what goes with these tools; what is drawn next follows from the same seed."""
        self.grammar = grammar
        self._tools = tools

    @property
    def tools(self) -> tuple[dict[str, Any], ...]:
        """JSON schemas of the tools in the OpenAI form, the caller's own; used for sampling only."""
        return tuple(self._tools.copy())

    @property
    def is_np_flattenable(self) -> bool:
        """Strings have no fixed width."""
        return False

    def contains(self, x: object) -> bool:
        """True for every `str`."""
        return isinstance(x, str)

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A random action: a valid call three times in four where there are tools, else a few words."""
        rng = self.np_random
        tools = self.tools
        if tools and (rng.random() < 0.75 or not self.grammar.prose_alone):
            function = tools[int(rng.integers(len(tools)))]["function"]
            return self.grammar.write(
                calls=[ToolCall(function["name"], sample_schema(function["parameters"], rng))]
            )
        return _babble(rng)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Utterance)
            and other.tools == self.tools
            and other.grammar.name == self.grammar.name
        )

    def __repr__(self) -> str:
        return f"Utterance({self.grammar.name}, {len(self.tools)} tools)"


class Messages(gym.Space[Observation]):
    """A tuple of messages, possibly empty."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)

    @property
    def is_np_flattenable(self) -> bool:
        """Messages have no fixed width."""
        return False

    def contains(self, x: object) -> bool:
        """True for a tuple of dicts that each have a known role and text."""
        return isinstance(x, tuple) and all(
            isinstance(m, dict) and m.get("role") in _ROLES and isinstance(m.get("content"), str) for m in x
        )

    def sample(self, mask: Any = None, probability: Any = None) -> Observation:
        """One message of the user with a few words."""
        return (Message(role="user", content=_babble(self.np_random)),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Messages)

    def __repr__(self) -> str:
        return "Messages()"


def _babble(rng: np.random.Generator) -> str:
    return " ".join(_WORDS[int(i)] for i in rng.integers(len(_WORDS), size=int(rng.integers(1, 9))))


# -- asynchronous vectors ----------------------------------------------------------------------------------


class Shelf(Sequence[Observation]):
    """The latest observation of each of several worlds, which other processes write and this one reads.

    Gymnasium's asynchronous vectors pass observations in shared memory, which has a fixed width and messages
    have none: here each process leaves them in a file of a folder that goes with the vector.
    """

    def __init__(self, folder: str, n: int) -> None:
        self.folder, self.n = folder, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(self.n)))
        file = Path(self.folder, str(range(self.n)[index]))
        return pickle.loads(file.read_bytes()) if file.exists() else ()

    def __deepcopy__(self, memo: dict[int, Any]) -> tuple[Observation, ...]:
        return tuple(self)


def _clear(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # a forked process must not take it from its parent
        shutil.rmtree(folder, ignore_errors=True)


@create_shared_memory.register(Messages)
def _create(space: Messages, n: int = 1, ctx: Any = None) -> str:
    return tempfile.mkdtemp(prefix="forge-vector-")


@read_from_shared_memory.register(Messages)
def _read(space: Messages, shared_memory: str, n: int = 1) -> Shelf:
    shelf = Shelf(shared_memory, n)
    weakref.finalize(shelf, _clear, shared_memory, os.getpid())
    return shelf


@write_to_shared_memory.register(Messages)
def _write(space: Messages, index: int, value: Observation, shared_memory: str) -> None:
    Path(shared_memory, str(index)).write_bytes(pickle.dumps(value))
