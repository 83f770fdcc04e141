"""The two formats in which files are edited."""

from __future__ import annotations

from forge_envs.worlds.polyglot.edits.answer import Answer
from forge_envs.worlds.polyglot.edits.diff import how_to_write_diff, read_diff, write_diff
from forge_envs.worlds.polyglot.edits.whole import how_to_write_whole, read_whole, write_whole

FORMATS = ("whole", "diff")

__all__ = [
    "FORMATS",
    "Answer",
    "how_to_write_diff",
    "how_to_write_whole",
    "read_diff",
    "read_whole",
    "write_diff",
    "write_whole",
]
