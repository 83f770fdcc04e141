"""Gymnasium spaces for language: what an agent may say, and what it may be told."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from forge_envs.grammars import Grammar
from forge_envs.messages import Message, Observation, ToolCall

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
        if self.tools and (rng.random() < 0.75 or not self.grammar.prose_alone):
            function = self.tools[int(rng.integers(len(self.tools)))]["function"]
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


def sample_schema(schema: dict[str, Any], rng: np.random.Generator) -> Any:
    """A random value that fits a JSON schema of the kinds that tools use.

    Raises ValueError for a `pattern` or a `multipleOf`, which it cannot hit.
    """
    for key in ("pattern", "multipleOf"):
        if key in schema:
            raise ValueError(
                f"cannot draw a value with {key}={schema[key]!r}; use an enum, or check it in the tool"
            )
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
        return [sample_schema(schema.get("items", {}), rng) for _ in range(_size(schema, "Items", 0, 3, rng))]
    if kind in ("integer", "number"):
        return _number(schema, kind, rng)
    if kind == "boolean":
        return bool(rng.random() < 0.5)
    if kind == "null":
        return None
    return "".join(chr(int(c)) for c in rng.integers(97, 123, size=_size(schema, "Length", 1, 9, rng)))


def _size(schema: dict[str, Any], of: str, low: int, high: int, rng: np.random.Generator) -> int:
    low = schema.get(f"min{of}", low)
    return int(rng.integers(low, max(min(schema.get(f"max{of}", high), max(high, low)), low) + 1))


def _number(schema: dict[str, Any], kind: str, rng: np.random.Generator) -> int | float:
    """A number within the bounds; where one is open, it lies within 100 of the other."""
    step = 1 if kind == "integer" else 0.001
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    low = (-100 if high is None else min(-100, high - 100)) if low is None else low
    high = max(100, low + 100) if high is None else high
    if kind == "integer":
        return int(rng.integers(math.ceil(low), math.floor(high) + 1))
    return min(max(round(float(rng.uniform(low, high)), 3), low), high)
