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

    >>> action = HERMES.parse('One moment. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>')
    >>> action.prose, action.calls, action.error
    ('One moment.', (ToolCall(name='add', arguments={'a': 1}, requestor='assistant'),), None)
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
    prose_alone: bool
    """Whether an action may do without a call."""

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        ...

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for what it has no words for."""
        ...


_THINKING = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
_THOUGHT_TAG = re.compile(r"</?think>")
_TAG = re.compile(r"</?(?:tool_call|think)>")
_EXAMPLE = '<tool_call>\n{"name": "tool", "arguments": {"key": "value"}}\n</tool_call>'


class Hermes:
    """Calls as JSON between `<tool_call>` tags, several allowed; all other text is prose.

    Text between `<think>` tags is the agent's own and reaches nobody, in every grammar. Templates that open
    the thought in the prompt leave only its end in the action: what comes before a lone `</think>` is
    thought as well.
    """

    name = "hermes"
    prose_alone = True

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        first, *blocks = _spoken(text).split("<tool_call>")
        if not blocks:
            return Action(first.strip())
        prose, calls = [first], []
        for block in blocks:
            body, end, after = block.partition("</tool_call>")
            if not end:
                return Action("".join(prose).strip(), error="a <tool_call> is not closed with </tool_call>")
            prose.append(after)
            call = _read_call(body)
            if isinstance(call, str):
                return Action("".join(prose).strip(), error=call)
            calls.append(call)
        return Action("".join(prose).strip(), tuple(calls))

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for prose that has tags in it.

        >>> print(HERMES.write(calls=[ToolCall("add", {"a": 1})]))
        <tool_call>
        {"name": "add", "arguments": {"a": 1}}
        </tool_call>
        """
        if _TAG.search(prose):
            raise ValueError(f"prose cannot hold the tags of a call or a thought: {prose!r}")
        blocks = [f"<tool_call>\n{_write_call(call)}\n</tool_call>" for call in calls]
        return "\n".join([prose, *blocks] if prose else blocks)


def _spoken(text: str) -> str:
    """What is left of an action without its thoughts, as text that can be encoded."""
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()  # no tokenizer writes half a surrogate pair
    if "think>" in text:
        before, end, after = text.partition("</think>")
        text = _THINKING.sub("", after if end and "<think>" not in before else text)
    return text


def _write_call(call: ToolCall) -> str:
    text = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False, allow_nan=False)
    # A tag inside a value would end the call; in JSON, "<" occurs in strings only, where \u003c is the same.
    return text.replace("<", "\\u003c") if _TAG.search(text) else text


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_DEEPEST = 32  # what walks over a call's arguments may recurse


def _read_call(body: str) -> ToolCall | str:
    """The call in one block, or why there is none."""
    try:
        body = body.strip()
        data, end = _DECODER.raw_decode(body)  # `decode` would look for spaces twice more
        if end < len(body):
            raise json.JSONDecodeError("Extra data", body, end)
        if "\\u" in body:
            json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return f"the text in <tool_call> has half a surrogate pair; write {_EXAMPLE}"
    except (ValueError, RecursionError) as error:
        return f"the text in <tool_call> is not JSON ({error}); write {_EXAMPLE}"
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        return f'a tool call needs a "name"; write {_EXAMPLE}'
    arguments = data.get("arguments", {})
    if not isinstance(arguments, dict):
        return f'"arguments" of a tool call must be an object; write {_EXAMPLE}'
    if body.count("{") + body.count("[") > _DEEPEST and _depth(arguments) > _DEEPEST:
        return f"the arguments of a tool call are nested more than {_DEEPEST} deep"
    return ToolCall(data["name"], arguments)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, counted level by level."""
    level, depth = [value], 0
    while level := [v for v in level if isinstance(v, (dict, list))]:
        depth += 1
        level = [v for node in level for v in (node.values() if isinstance(node, dict) else node)]
    return depth


_OPENING = re.compile(r"```bash[ \t]*\n")


class Bash:
    """One ```bash block a turn, read as a call of the tool `bash`; the rest is thought and reaches nobody.

    The form of mini-swe-agent: the block ends at the first line that starts with ```, and a reply without
    exactly one block is an error that is told to the agent.
    """

    name = "bash"
    prose_alone = False

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        text = _spoken(text)
        blocks, thought, at = [], [], 0
        while opening := _OPENING.search(text, at):
            end = text.find("\n```", opening.end() - 1)
            if end < 0:
                return Action(text.strip(), error="the ```bash block is not closed with ``` on its own line")
            blocks.append(text[opening.end() : end])
            thought.append(text[at : opening.start()])
            at = end + len("\n```")
        prose = "".join([*thought, text[at:]]).strip()
        if len(blocks) != 1:
            found = "no" if not blocks else str(len(blocks))
            return Action(prose, error=f"write exactly one ```bash block in a reply; this one has {found}")
        return Action(prose, (ToolCall("bash", {"command": blocks[0]}),))

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError unless it is one `bash` call."""
        if len(calls) != 1 or calls[0].name != "bash" or set(calls[0].arguments) != {"command"}:
            raise ValueError(f"the bash grammar writes exactly one call bash(command=…), not {list(calls)!r}")
        command = calls[0].arguments["command"]
        if "\n```" in f"\n{command}" or "```bash" in prose or _THOUGHT_TAG.search(f"{prose}{command}"):
            raise ValueError(f"the bash grammar cannot write a fence or a thought: {prose!r}, {command!r}")
        block = f"```bash\n{command}\n```"
        return f"{prose}\n\n{block}" if prose else block


HERMES = Hermes()
BASH = Bash()
GRAMMARS: dict[str, Grammar] = {"hermes": HERMES, "bash": BASH}
