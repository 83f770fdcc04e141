"""What is to be programmed, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from forge_envs.task import Task


@dataclass(frozen=True)
class Puzzle(Task):
    """What is asked and what the agent is given: it sees `prompt` and `stubs`, and nothing else."""

    language: str
    name: str
    """Name of its folder; the build files of C++ take it for the program's name."""
    prompt: str
    stubs: Mapping[str, str]
    """The files to edit, by path inside the folder, as the agent is given them."""
    example: Mapping[str, str]
    """A solution by path; empty where none is known to pass."""

    def files(self, edited: Mapping[str, str]) -> dict[str, str]:
        """The agent's files after its edits: stubs where it changed nothing, plus files it added."""
        return {**self.stubs, **edited}


@dataclass(frozen=True)
class Exercise(Puzzle):
    """An exercise in the manner of Exercism: files to complete, and hidden tests in the same language."""

    tests: Mapping[str, str]
    """The hidden tests by path, as published."""
    support: Mapping[str, bytes] = field(default_factory=dict)
    """Everything else that lies in the folder while tests run: build files, helpers. Never editable."""
