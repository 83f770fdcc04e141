"""The word lists of words.toml."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources


@functools.cache
def vocabulary() -> dict[str, dict[str, tuple[str, ...]]]:
    """Section -> list -> its words."""
    text = resources.files(__package__).joinpath("words.toml").read_text(encoding="utf-8")
    return {
        section: {name: tuple(words.split()) for name, words in lists.items()}
        for section, lists in tomllib.loads(text).items()
    }
