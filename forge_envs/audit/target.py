"""Which target is meant, and the lines of Python that show something about it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.audit.child import NotStarted, Parent

KINDS = ("gymnasium", "openenv", "harbor", "verifiers", "gem", "textarena", "reasoning-gym", "file")
START = 120.0
"""Seconds in which a target must have been loaded."""
FOLDED = 300
"""Characters above which a text is folded."""
RUN = re.compile(r"(.{1,19}?)\1{30,}", re.DOTALL)


@dataclass(frozen=True)
class Target:
    """An environment that somebody made: its kind, its name, and the Python that has it installed."""

    kind: str
    name: str
    args: Mapping[str, Any] = field(default_factory=dict)
    python: str = sys.executable
    start: float = START

    def __str__(self) -> str:
        return self.name if self.kind in ("gymnasium", "openenv", "harbor") else f"{self.kind}:{self.name}"

    def load(self, timeout: float, hashing: int = 0) -> Parent:
        """A process with this target in it. Raises NotStarted."""
        spec = {"name": self.name, "args": dict(self.args)}
        return Parent(self.kind, spec, python=self.python, timeout=timeout, start=self.start, hashing=hashing)

    def opening_lines(self) -> list[str]:
        """Lines of Python after which `env` is a session of it."""
        args = "".join(f", {key}={value!r}" for key, value in self.args.items())
        return {
            "gymnasium": ["import gymnasium", f"env = gymnasium.make({self.name!r}{args})"],
            "gem": ["import gem", f"env = gem.make({self.name!r}{args})"],
            "textarena": ["import textarena", f"env = textarena.make({self.name!r})"],
            "reasoning-gym": [
                "import reasoning_gym",
                f"data = reasoning_gym.create_dataset({self.name!r}, size=10_000, seed=0{args})",
            ],
            "openenv": [
                "from openenv.core.generic_client import GenericEnvClient",
                f"env = GenericEnvClient(base_url={self.name!r}).sync()",
            ],
        }.get(self.kind, [f"# a session of {self}"])


def target_of(text: str, args: Mapping[str, Any], python: str = sys.executable) -> Target:
    """The target that somebody typed: a folder with task.toml, an address, `kind:name`, or a Gymnasium id.

    >>> target_of("gem:game:Wordle-v0", {}).kind, target_of("http://localhost:8000", {}).kind
    ('gem', 'openenv')
    >>> target_of("minigrid:MiniGrid-Empty-5x5-v0", {}).kind
    'gymnasium'

    Raises ValueError.
    """
    kind, _, name = text.partition(":")
    if text.startswith(("http://", "https://", "ws://", "wss://")):
        return Target("openenv", text.rstrip("/"), args, python)
    if Path(text).is_dir():
        if not Path(text, "task.toml").is_file():
            raise ValueError(f"folder {text!r} has no task.toml: a Harbor task folder has one")
        return Target("harbor", text, args, python)
    if ".py:" in text and not text.startswith("file:"):
        kind, name = "file", text
    if kind in KINDS and name:
        return Target(kind, name, args, python)
    if "/" in text and ":" not in text and not text.rpartition("-v")[2].isdigit():
        raise ValueError(f"target {text!r}: there is no such folder, and it is no Gymnasium id")
    return Target("gymnasium", f"forge_envs:{text}" if text.startswith("Forge/") else text, args, python)


def shown(value: Any, most: int = 300) -> str:
    """A value as Python, cut where it is long, and folded where it repeats itself.

    >>> shown("ab" * 1000)
    "'ab' * 1000"
    """
    if isinstance(value, str) and (len(value) <= most or len(folded(value)) <= most):
        return folded(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return _cut(text, value, most)


def folded(text: str) -> str:
    """A text as Python, whole, its long runs of the same folded.

    >>> folded("<a>" + "b" * 30_000 + "!")
    "'<a>' + 'b' * 30000 + '!'"
    """
    if len(text) <= FOLDED:
        return repr(text)
    parts, at = [], 0
    for run in RUN.finditer(text):
        parts += [repr(text[at : run.start()])] if run.start() > at else []
        parts.append(f"{run[1]!r} * {len(run[0]) // len(run[1])}")
        at = run.end()
    return " + ".join([*parts, repr(text[at:])] if at < len(text) else parts)


def _cut(text: str, value: Any, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]!r}… ({len(text)} characters)" if isinstance(value, str) else f"{text[:most]}…"


__all__ = ["NotStarted", "Target", "shown", "target_of"]
