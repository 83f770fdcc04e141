"""The two ways to work: three tools, or one bash block per turn as mini-swe-agent-plus has it."""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from importlib.resources import files
from shlex import quote
from typing import ClassVar, Protocol

from forge_envs.errors import ToolError
from forge_envs.grammars import Grammar
from forge_envs.messages import ToolCall
from forge_envs.sandbox import Result
from forge_envs.tools import tool
from forge_envs.worlds.swe.patch import PatchError
from forge_envs.worlds.swe.site import EDIT

SENTINELS = ("MINI_SWE_AGENT_FINAL_OUTPUT", "COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
"""First lines of output that submit: mini-swe-agent-plus's, and that of mini-swe-agent."""
LONGEST = 100_000
"""Characters of an edit; a program's arguments cannot be much longer."""
_END = "END_OF_PATCH"


class Workplace(Protocol):
    """What tools need of the world that they work in (`SweEnv`)."""

    command_timeout: float
    """Seconds that a command may take."""

    def execute(self, command: str) -> Result:
        """Run a command of the agent's. Raises SandboxError, and ToolError for what no shell can be told."""

    def shown(self, result: Result) -> str:
        """Output as the agent reads it."""

    def submit(self) -> int:
        """Take the patch and end the episode; returns its size in bytes. Raises PatchError, SandboxError."""


class Scaffold(ABC):
    """Tools, and the words that explain them. Each is made for one world."""

    name: ClassVar[str]
    grammar: ClassVar[str]
    tells_schemas: ClassVar[bool]

    def __init__(self, world: Workplace) -> None:
        self._world = world

    @classmethod
    def policy(cls, *, timeout: float, head: int, tail: int, turns: int) -> str:
        """The system message."""
        text = files(__package__).joinpath(f"{cls.name}.md").read_text(encoding="utf-8").strip()
        return text.format(timeout=timeout, head=head, tail=tail, turns=turns, sentinel=SENTINELS[0])

    @classmethod
    @abstractmethod
    def gold(cls, grammar: Grammar, patch: str) -> list[str]:
        """Actions that apply a patch and submit."""


class Tools(Scaffold):
    """`bash`, `str_replace_edit` and `submit`."""

    name = "tools"
    grammar = "hermes"
    tells_schemas = True

    @tool(writes=True)
    def bash(self, command: str) -> str:
        """Run a bash command in the repository and read its output and exit status.

        Args:
            command: what to run; it starts in the folder of the repository, in a new shell
        """
        result = self._world.execute(command)
        notes = [f"exit status {result.code}"]
        if result.timed_out:
            notes = [f"stopped after {self._world.command_timeout:g} seconds"]
        text = self._world.shown(result)
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[{notes[0]}]"

    @tool(writes=True)
    def str_replace_edit(self, path: str, old: str, new: str) -> str:
        """Replace a text that occurs exactly once in a file, or make a new file.

        Args:
            path: the file, seen from the repository
            old: the text to replace, exactly as it stands there; empty to make a new file
            new: what to put in its place
        """
        if len(path) + len(old) + len(new) > LONGEST:
            raise ToolError(
                f"an edit can have {LONGEST} characters; make several, or write the file with bash"
            )
        result = self._world.execute(f"{EDIT} {quote(path)} {quote(old)} {quote(new)}")
        if result.code != 0:
            raise ToolError(self._world.shown(result).strip() or f"exit status {result.code}")
        return self._world.shown(result)

    @tool(writes=True)
    def submit(self) -> str:
        """Hand in the repository as it is now. This ends the work."""
        try:
            size = self._world.submit()
        except PatchError as error:
            raise ToolError(f"nothing was submitted: {error}") from error
        return f"Submitted: a patch of {size} bytes."

    @classmethod
    def gold(cls, grammar: Grammar, patch: str) -> list[str]:
        """Actions that apply a patch and submit."""
        calls = [ToolCall("bash", {"command": _apply(patch)}), ToolCall("submit", {})]
        return [grammar.write(calls=[call]) for call in calls]


class Mini(Scaffold):
    """One bash block a turn; submitting is a first line of output."""

    name = "mini"
    grammar = "bash"
    tells_schemas = False

    @tool(writes=True)
    def bash(self, command: str) -> str:
        """Run a bash command in the repository.

        Args:
            command: what to run
        """
        result = self._world.execute(command)
        text = f"<returncode>{result.code}</returncode>\n<output>\n{self._world.shown(result)}\n</output>"
        if result.timed_out:
            text += f"\nThe command was stopped after {self._world.command_timeout:g} seconds."
        if _submits(result):
            try:
                self._world.submit()
            except PatchError as error:
                raise ToolError(f"nothing was submitted: {error}") from error
        return text

    @classmethod
    def gold(cls, grammar: Grammar, patch: str) -> list[str]:
        """Actions that apply a patch and submit."""
        submit = f"echo {SENTINELS[0]} && git add -A && git diff --cached"
        commands = [_apply(patch), submit]
        try:
            return [grammar.write(calls=[ToolCall("bash", {"command": c})]) for c in commands]
        except ValueError:  # the patch has a fence in it
            data = base64.b64encode(patch.encode()).decode()
            commands[0] = f"base64 -d <<'{_END}' | git apply --whitespace=nowarn -\n{data}\n{_END}"
            return [grammar.write(calls=[ToolCall("bash", {"command": c})]) for c in commands]


def _submits(result: Result) -> bool:
    first = result.output.lstrip().partition("\n")[0].strip()
    return result.code == 0 and first in SENTINELS


def _apply(patch: str) -> str:
    return f"git apply --whitespace=nowarn - <<'{_END}'\n{patch.rstrip(chr(10))}\n{_END}"


SCAFFOLDS: dict[str, type[Scaffold]] = {kind.name: kind for kind in (Tools, Mini)}
