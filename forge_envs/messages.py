"""What is said in a world: messages to the agent, and the grammars in which the agent acts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Required, TypeAlias, TypedDict

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


@dataclass(frozen=True, slots=True)
class Action:
    """One string of the agent, understood.

    >>> HERMES.parse('One moment. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    Action(prose='One moment.', calls=(ToolCall(name='add', arguments={'a': 1}, requestor='assistant'),), error=None)
    >>> HERMES.parse("<tool_call>{oops</tool_call>").calls
    ()
    """

    prose: str
    calls: tuple[ToolCall, ...] = field(default=())
    error: str | None = None
    """Why the calls could not be read; then `calls` is empty: none of them runs."""


class Grammar(Protocol):
    """How an action is written as one string."""

    name: str

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        ...

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it."""
        ...


_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_CALL = re.compile(r"<tool_call>(.*?)(</tool_call>|\Z)", re.DOTALL)
_EXAMPLE = '<tool_call>\n{"name": "tool", "arguments": {"key": "value"}}\n</tool_call>'


class Hermes:
    """Calls as JSON between `<tool_call>` tags, several allowed; all other text is prose.

    Text between `<think>` tags is the agent's own and reaches nobody.
    """

    name = "hermes"

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        if "<think>" in text:
            text = _THINKING.sub("", text)
        if "<tool_call>" not in text:
            return Action(text.strip())
        calls: list[ToolCall] = []
        for body, end in _CALL.findall(text):
            if not end:
                return Action(_prose(text), error="a <tool_call> is not closed with </tool_call>")
            call = _read_call(body)
            if isinstance(call, str):
                return Action(_prose(text), error=call)
            calls.append(call)
        return Action(_prose(text), tuple(calls))

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it.

        >>> print(HERMES.write(calls=[ToolCall("add", {"a": 1})]))
        <tool_call>
        {"name": "add", "arguments": {"a": 1}}
        </tool_call>
        """
        blocks = [
            "<tool_call>\n"
            + json.dumps({"name": c.name, "arguments": c.arguments}, ensure_ascii=False)
            + "\n</tool_call>"
            for c in calls
        ]
        return "\n".join([prose, *blocks] if prose else blocks)


def _prose(text: str) -> str:
    return _CALL.sub("", text).strip()


def _read_call(body: str) -> ToolCall | str:
    """The call in one block, or why there is none."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        return f"the text in <tool_call> is not JSON ({error}); write {_EXAMPLE}"
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return f'a tool call needs a "name"; write {_EXAMPLE}'
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        return f'"arguments" of a tool call must be an object; write {_EXAMPLE}'
    return ToolCall(data["name"], arguments)


_BASH = re.compile(r"```bash[ \t]*\n(.*?)\n?```", re.DOTALL)


class Bash:
    """One ```bash block a turn, read as a call of the tool `bash`; the rest is thought and reaches nobody.

    The form of mini-swe-agent: a reply without exactly one block is an error that is told to the agent.
    """

    name = "bash"

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        blocks = _BASH.findall(text)
        prose = _BASH.sub("", text).strip()
        if len(blocks) != 1:
            found = "no" if not blocks else str(len(blocks))
            return Action(prose, error=f"write exactly one ```bash block in a reply; this one has {found}")
        return Action(prose, (ToolCall("bash", {"command": blocks[0]}),))

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError unless it is one `bash` call."""
        if len(calls) != 1 or set(calls[0].arguments) != {"command"}:
            raise ValueError(f"the bash grammar writes exactly one call bash(command=…), not {calls!r}")
        block = f"```bash\n{calls[0].arguments['command']}\n```"
        return f"{prose}\n\n{block}" if prose else block


HERMES = Hermes()
BASH = Bash()
GRAMMARS: dict[str, Grammar] = {"hermes": HERMES, "bash": BASH}
