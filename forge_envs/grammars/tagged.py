"""What the two formats with tags around bare values share: how the end of a value is found."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

from forge_envs.grammars.marked import Marked
from forge_envs.grammars.reading import Malformed
from forge_envs.grammars.values import ANYTHING, Kinds, kinds_of_tools, read_value
from forge_envs.messages import ToolCall


class Tagged(Marked):
    """Calls with a tag for each argument, whose value is text of a type that the tool's schema knows.

    A value ends at the first closing tag after which the call goes on as it must; so code that holds such
    tags is a value.
    """

    def __init__(self, kinds: Mapping[str, Mapping[str, Kinds]] | None = None) -> None:
        self.kinds = kinds or {}

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Self:
        """The grammar that knows the types of these tools' arguments."""
        return type(self)(kinds_of_tools(tools))

    @abstractmethod
    def read_call(self, text: str, at: int) -> tuple[str, dict[str, str], int]:
        """The name and the values as text, and where the call ends. Raises Malformed."""

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The call of one block. Raises Malformed."""
        name, values, end = self.read_call(text, at)
        kinds = self.kinds.get(name, {})
        arguments = {}
        for key, value in values.items():
            try:
                arguments[key] = read_value(value, kinds.get(key, ANYTHING))
            except Malformed as error:
                raise Malformed(f"the value of {key[:60]!r} {error}", end) from None
        return [ToolCall(name, arguments)], end


def end_of_value(text: str, at: int, closing: re.Pattern[str], tag: str) -> re.Match[str]:
    """The closing tag of a value that begins at `at`. Raises Malformed."""
    found = closing.search(text, at)
    if found is None:
        raise Malformed(f"a value is not closed with {tag}", len(text))
    return found


def add(values: dict[str, str], key: str, value: str, at: int) -> None:
    """One more value. Raises Malformed for a key that stands twice."""
    if key in values:
        raise Malformed(f"the argument {key[:60]!r} stands twice in one call", at)
    values[key] = value
