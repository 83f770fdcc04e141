"""What the formats with tags around bare values share: how values and their ends are found."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

from forge_envs.grammars.literals import read_literal
from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import Malformed, read_json, skip_space
from forge_envs.grammars.values import ANYTHING, TEXT, Kinds, fits, kinds_of_tools, read_value
from forge_envs.messages import ToolCall

MOST_ARGUMENTS = 1000
"""Arguments of one call; no tool takes as many, and each is searched for its end."""


class Tagged(Marked):
    """Calls with a tag for each argument, whose value is text of a type that the tool's schema knows.

    Lists and objects are read in place. Other values end at the first closing tag after which the call
    goes on as it must, so code that holds such tags is a value.
    """

    key: ClassVar[re.Pattern[str]]
    """The key of an argument, up to where its value begins."""
    closing: ClassVar[re.Pattern[str]]
    """The end of a value, if the call goes on as it must."""
    shape: ClassVar[str]
    """In words, what a call is made of."""

    def __init__(self, kinds: Mapping[str, Mapping[str, Kinds]] | None = None) -> None:
        self.kinds = kinds or {}

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Self:
        """The grammar that knows the types of these tools' arguments."""
        return type(self)(kinds_of_tools(tools))

    @abstractmethod
    def read_name(self, text: str, at: int) -> tuple[str, int]:
        """The tool's name, and where the arguments begin. Raises Malformed."""

    @abstractmethod
    def read_end(self, text: str, start: int, at: int) -> int:
        """Where the call that began at `start` ends, `at` being behind its last argument; -1 for nowhere."""

    def kinds_at(self, found: re.Match[str], kinds: Kinds) -> Kinds:
        """The types of the argument whose `key` was found, `kinds` those that the schema allows."""
        return kinds

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The call of one block. Raises Malformed."""
        start = at
        name, at = self.read_name(text, at)
        kinds = self.kinds.get(name, {})
        arguments: dict[str, Any] = {}
        at = skip_space(text, at)
        while found := self.key.match(text, at):
            if len(arguments) == MOST_ARGUMENTS:
                raise Malformed(f"a call has at most {MOST_ARGUMENTS} arguments", at)
            key = found[1].strip()
            if key in arguments:
                raise Malformed(f"the argument {key[:60]!r} stands twice in one call", at)
            try:
                kind = self.kinds_at(found, kinds.get(key, ANYTHING))
                arguments[key], at = self._value(text, found.end(), kind)
            except Malformed as error:
                raise Malformed(f"the value of {key[:60]!r} {error}", error.at) from None
            at = skip_space(text, at)
        end = self.read_end(text, start, at)
        if end < 0:
            raise Malformed(self.shape, at)
        return [ToolCall(name, arguments)], end

    def _value(self, text: str, at: int, kinds: Kinds) -> tuple[Any, int]:
        if kinds != TEXT and text.startswith(("{", "["), skip_space(text, at)):
            try:
                value, end = self._structure(text, at, kinds)
            except Malformed:
                if "string" not in kinds:
                    raise
            else:
                closed = self.closing.match(text, end)
                if closed is not None and ("string" not in kinds or fits(value, kinds)):
                    return value, closed.end()
        closed = self.closing.search(text, at)
        if closed is None:
            raise Malformed("is not closed, or something else stands behind it", len(text))
        value = text[at : closed.start()]
        if text.startswith("\r\n", at - 2):  # whose lines end so, its last one too
            value = value.removesuffix("\r")
        return read_value(value, kinds), closed.end()

    def _structure(self, text: str, at: int, kinds: Kinds) -> tuple[Any, int]:
        """A list or an object; where it can be nothing else, also as Python writes it. Raises Malformed."""
        try:
            return read_json(text, at)
        except Malformed as error:
            if "string" in kinds:
                raise
            try:
                return read_literal(text, skip_space(text, at))
            except Malformed:
                raise error from None
