"""What DeepSeek and Kimi share: the calls of an action stand in one section."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import Malformed, require_few, skip_space
from forge_envs.messages import ToolCall


class Sectioned(Marked):
    """Calls that begin with `call` and stand between `mark` and `closing`, which an engine may stop on."""

    joint = ""
    call: ClassVar[str]
    closing: ClassVar[str]

    @abstractmethod
    def read_one(self, text: str, at: int) -> tuple[ToolCall, int]:
        """The call whose mark ends at `at`, and where it ends. Raises Malformed."""

    @abstractmethod
    def write_one(self, call: ToolCall, n: int) -> str:
        """The text of the call with index n. Raises ValueError."""

    separator: ClassVar[str] = ""

    def find(self, text: str, at: int) -> int:
        """Where the next section begins, or the next call if its section was not opened."""
        section, call = text.find(self.mark, at), text.find(self.call, at)
        return call if section < 0 or 0 <= call < section else section

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one section. Raises Malformed."""
        at = skip_space(text, at + len(self.mark)) if text.startswith(self.mark, at) else at
        calls: list[ToolCall] = []
        while text.startswith(self.call, at):
            call, at = self.read_one(text, at + len(self.call))
            calls.append(call)
            require_few(calls)
            at = skip_space(text, at)
        if not calls:
            raise Malformed(f"after {self.mark} stands {self.call}", at)
        if text.startswith(self.closing, at):
            return calls, at + len(self.closing)
        if at < len(text):
            raise Malformed(f"the calls are not closed with {self.closing}", at)
        return calls, at

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """One section."""
        written = self.separator.join(self.write_one(call, n) for n, call in enumerate(calls))
        return f"{self.mark}{written}{self.closing}"
