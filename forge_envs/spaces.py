"""Gymnasium spaces for language: what an agent may say, and what it may be told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from forge_envs.messages import Grammar, Message, Observation, ToolCall

_WORDS = [
    "hello",
    "please",
    "yes",
    "no",
    "order",
    "item",
    "thanks",
    "could",
    "you",
    "tell",
    "me",
    "the",
    "status",
    "ok",
    "42",
    "é",
    "数",
]
_ROLES = ("system", "user", "tool", "assistant")


class Utterance(gym.Space[str]):
    """Every string is an action. `sample()` draws prose or calls that fit the tools' schemas."""

    def __init__(
        self, grammar: Grammar, tools: Sequence[dict[str, Any]] = (), seed: int | None = None
    ) -> None:
        super().__init__(shape=None, dtype=None, seed=seed)
        self.grammar = grammar
        self.tools = tuple(tools)
        """JSON schemas of the tools in the OpenAI form; used for sampling only."""

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
        if self.tools and rng.random() < 0.75:
            function = self.tools[int(rng.integers(len(self.tools)))]["function"]
            return self.grammar.write(
                calls=[ToolCall(function["name"], sample_schema(function["parameters"], rng))]
            )
        words = [_WORDS[int(i)] for i in rng.integers(len(_WORDS), size=int(rng.integers(1, 9)))]
        return " ".join(words)

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
        size = int(self.np_random.integers(1, 9))
        words = [_WORDS[int(i)] for i in self.np_random.integers(len(_WORDS), size=size)]
        return (Message(role="user", content=" ".join(words)),)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Messages)

    def __repr__(self) -> str:
        return "Messages()"


def sample_schema(schema: dict[str, Any], rng: np.random.Generator) -> Any:
    """A random value that fits a JSON schema of the kinds that tools use."""
    if "enum" in schema or "const" in schema:
        options = schema.get("enum", [schema.get("const")])
        return options[int(rng.integers(len(options)))]
    if "anyOf" in schema:
        return sample_schema(schema["anyOf"][int(rng.integers(len(schema["anyOf"])))], rng)
    kind = schema.get("type", "string")
    if kind == "object":
        required = set(schema.get("required", ()))
        return {
            key: sample_schema(value, rng)
            for key, value in schema.get("properties", {}).items()
            if key in required or rng.random() < 0.5
        }
    if kind == "array":
        return [sample_schema(schema.get("items", {}), rng) for _ in range(int(rng.integers(0, 4)))]
    if kind == "integer":
        return int(rng.integers(-100, 100))
    if kind == "number":
        return float(np.round(rng.normal(), 3))
    if kind == "boolean":
        return bool(rng.random() < 0.5)
    if kind == "null":
        return None
    letters: NDArray[np.int64] = rng.integers(97, 123, size=int(rng.integers(1, 10)))
    return "".join(chr(int(c)) for c in letters)
