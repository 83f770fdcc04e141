"""What a grammar is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from forge_envs.messages import Action, ToolCall


@runtime_checkable
class Grammar(Protocol):
    """How an action is written as one string. Immutable: one grammar serves many worlds and threads."""

    @property
    def name(self) -> str:
        """What `grammar=` calls it: lower-case letters, digits and underscores."""
        ...

    @property
    def prose_alone(self) -> bool:
        """Whether an action may do without a call."""
        ...

    @property
    def example(self) -> str:
        """A call as it is written, shown to an agent that wrote something else."""
        ...

    @property
    def marks(self) -> tuple[str, ...]:
        """Texts that stand in calls of this grammar and not in prose: by them worlds of another grammar
        know such a call and tell the agent, instead of saying it to the customer. May be empty."""
        ...

    def parse(self, text: str) -> Action:
        """Understand any text, in time linear in its length; never raises."""
        ...

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for what it has no words for."""
        ...

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Grammar:
        """The grammar for a world with these tools (schemas in the OpenAI form); most need none of them.

        Formats that write values as bare text learn from the schemas whether `1` is a number or a string.
        """
        ...
