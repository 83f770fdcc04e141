"""What most grammars share: prose, then calls, each of which begins with a mark and is read in place."""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.reading import (
    MOST_CALLS,
    Malformed,
    encodable,
    require_few,
    require_reversible,
    without_end,
)
from forge_envs.grammars.registry import foreign, prose_action, tag_family
from forge_envs.grammars.thoughts import Span, without_thoughts
from forge_envs.messages import Action, ToolCall


class Marked(ABC):
    """Calls that begin with `mark`; all other text is prose.

    A grammar of this kind says how a call is read at a place and how calls are written.
    """

    name: ClassVar[str]
    prose_alone: ClassVar[bool] = True
    mark: ClassVar[str]
    marks: ClassVar[tuple[str, ...]]
    example: ClassVar[str]
    ends: ClassVar[tuple[str, ...]]
    """End-of-turn tokens of the family, which an engine may leave at the end of an action."""
    starts: ClassVar[tuple[str, ...]] = ("<|im_start|>assistant",)
    """What the family's prompts end with: a server may give it back at the beginning of an action."""
    shard: ClassVar[re.Pattern[str] | None] = None
    """What stands inside calls alone: in prose it is left of a value that ended too early, or of a call
    that was not opened."""
    thinking: ClassVar[tuple[tuple[str, str], ...]] = (("<think>", "</think>"),)

    @abstractmethod
    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls that begin with the mark at `at`, and where they end. Raises Malformed."""

    @abstractmethod
    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """The text of calls, one at least. Raises ValueError."""

    joint: ClassVar[str] = "\n"
    """What stands between prose and calls."""

    def __repr__(self) -> str:
        return f"<grammar {self.name}>"

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Grammar:
        """The same: this format needs no schemas."""
        return self

    def find(self, text: str, at: int) -> int:
        """Where the next call begins, -1 for nowhere."""
        return text.find(self.mark, at)

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        if not text.isascii():
            text = encodable(text).removeprefix("\ufeff")
        if text.startswith(self.starts):
            text = next(text.removeprefix(start) for start in self.starts if text.startswith(start))
        if text.endswith(self.ends) or text[-1:].isspace():
            text = without_end(text, self.ends)
        at = self.find(text, 0)
        for tags in self.thinking:
            if tags[1][2:] in text:  # what both tags end with
                text = without_thoughts(text, at, functools.partial(self._spans, text), *tags)
                at = self.find(text, 0)
        if at < 0:
            return self._said(text, ())
        prose = [text[:at]]
        calls: list[ToolCall] = []
        try:
            while at >= 0:
                found, end = self.read(text, at)
                if end == len(text) and not calls:  # most actions: one call, at the end
                    require_few(found)
                    return Action(prose[0].strip(), tuple(found))
                calls += found
                require_few(calls)
                at = self.find(text, end)
                prose.append(text[end:] if at < 0 else text[end:at])
        except Malformed as error:
            return Action("".join(prose).strip(), error=self._explain(text, at, error))
        return self._said("".join(prose), tuple(calls))

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for what it has no words for."""
        parts = [prose] if prose else []
        text = self.joint.join([*parts, self.write_calls(calls)] if calls else parts)
        what = f"the {self.name} format cannot say this (tags in prose, or a value that reads as another)"
        return require_reversible(text, self.parse(text), prose, calls, what)

    def _said(self, prose: str, calls: tuple[ToolCall, ...]) -> Action:
        """The action, unless the prose holds what is left of a call."""
        foreigner = not calls and foreign(prose, self.name) is not None
        if not foreigner and self.shard is not None and (shard := self.shard.search(prose)):
            reason = f"{shard[0]!r} stands outside a call: its value ended before, or it was not opened"
            return Action(prose[: shard.start()].strip(), error=f"{reason}; write {self.example}")
        return Action(prose.strip(), calls) if calls else prose_action(prose, self)

    def _explain(self, text: str, at: int, error: Malformed) -> str:
        other = tag_family(text, at) if text.startswith("<tool_call>", at) else None
        if other in (None, self.name):
            return f"{error}; write {self.example}"
        return f"this is a call in the {other} format, and this world reads {self.name}; write {self.example}"

    def _spans(self, text: str) -> list[Span]:
        """Where calls stand that read well; a tag inside them is a value."""
        spans, at = [], self.find(text, 0)
        for _ in range(MOST_CALLS + 1):  # of more calls none is run
            if at < 0:
                break
            try:
                _, end = self.read(text, at)
                spans.append((at, end))
            except Malformed as error:
                end = max(error.at, at + 1)
            at = self.find(text, end)
        return spans
