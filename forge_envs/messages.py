"""What is said in a world: messages to the agent, and what the agent's actions come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Required, TypeAlias, TypedDict

Role = Literal["system", "user", "tool", "assistant"]


class Message(TypedDict, total=False):
    """One message in the OpenAI form. The agent's own words never come back as a message of the world;
    `assistant` appears only in an opening, as history the agent did not write and is not trained on.

    >>> Message(role="tool", name="add", content="4")
    {'role': 'tool', 'name': 'add', 'content': '4'}
    """

    role: Required[Role]
    content: Required[str]
    name: str
    """On a tool message: the tool that answered."""
    tools: list[dict[str, Any]]
    """JSON schemas of the tools the agent may call from here on; rides on the system message."""
    tool_calls: list[dict[str, Any]]
    """On an assistant message of an opening only."""


Observation: TypeAlias = tuple[Message, ...]
"""What is new since the agent's last action."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the agent (or, in worlds of dual control, the user) makes.

    >>> ToolCall("get_order_details", {"order_id": "#W0000001"}).name
    'get_order_details'
    """

    name: str
    arguments: dict[str, Any]
    requestor: Literal["assistant", "user"] = "assistant"


class Action(NamedTuple):
    """One string of the agent, understood.

    >>> from forge_envs.grammars import HERMES
    >>> action = HERMES.parse('One moment. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    >>> action.prose, action.calls, action.error
    ('One moment.', (ToolCall(name='add', arguments={'a': 1}, requestor='assistant'),), None)
    >>> HERMES.parse("<tool_call>{oops</tool_call>").calls
    ()
    """

    prose: str
    calls: tuple[ToolCall, ...] = ()
    error: str | None = None
    """Why the calls could not be read; then `calls` is empty: none of them runs."""
