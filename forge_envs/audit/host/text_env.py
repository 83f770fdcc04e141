"""What envs that take one text have in common: random words to say."""

from __future__ import annotations

import random
from typing import Any

from forge_envs.audit.host.source import Env

LINES = (
    "hello",
    "yes",
    "no",
    "1",
    "7",
    "\\boxed{1}",
    "\\boxed{7}",
    "<answer>1</answer>",
    "<answer>yes</answer>",
    "[1]",
    "[0 1]",
    "[crane]",
    "look",
    "help",
    "go north",
    "[up]",
    "[Submit] 1",
    "```python\nprint(1)\n```",
)


class TextEnv(Env):
    """An env of texts alone."""

    def sample(self, seed: int) -> Any:
        return random.Random(seed).choice(LINES)
