"""Calls as `invoke` elements that hold `parameter` elements, as three families spell them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from forge_envs.grammars.reading import (
    Malformed,
    encodable,
    require_few,
    require_reversible,
    skip_space,
    without_end,
)
from forge_envs.grammars.registry import message_by_message
from forge_envs.grammars.tagged import Tagged
from forge_envs.grammars.values import ANYTHING, TEXT, Kinds, write_value
from forge_envs.messages import Action, ToolCall


class Invoked(Tagged):
    """Calls in a section: `<invoke name="…">` with `<parameter name="…">value</parameter>` for each argument.

    A call whose section was not opened is read, and a section that is not closed at the end of the text, as
    an engine may stop there.
    """

    prefix: ClassVar[str]
    """What stands before the names of tags."""
    section: ClassVar[str]
    """Name of the section's tag, as it is written."""
    sections: ClassVar[re.Pattern[str]]
    """The opening tag of a section, in any spelling that is read."""
    joint = "\n"

    def __init_subclass__(cls) -> None:
        own = re.escape(cls.prefix)
        key = rf'<{own}parameter name="([^"\n]{{1,200}})"([^>\n]{{0,40}})>'
        cls.key = re.compile(key)
        cls.closing = re.compile(rf"</{own}parameter>(?=\s*(?:{key}|</{own}invoke>))")
        cls.shard = re.compile(rf"</{own}parameter>\s*</{own}invoke>")
        cls.shape = (
            f'a call is <{cls.prefix}invoke name="TOOL">, <{cls.prefix}parameter name="KEY"> with '
            f"</{cls.prefix}parameter> for each argument, and </{cls.prefix}invoke>"
        )
        cls._name = re.compile(rf'<{own}invoke name="([^"\n]{{1,200}})">')
        cls._call = re.compile(rf"{cls.sections.pattern}|<{own}invoke name=")
        cls._closed = re.compile(rf"</{cls.sections.pattern[1:]}")

    _name: ClassVar[re.Pattern[str]]
    _call: ClassVar[re.Pattern[str]]
    _closed: ClassVar[re.Pattern[str]]

    def find(self, text: str, at: int) -> int:
        """Where the next section begins, or the next call if its section was not opened."""
        found = self._call.search(text, at)
        return -1 if found is None else found.start()

    def read(self, text: str, at: int) -> tuple[list[ToolCall], int]:
        """The calls of one section. Raises Malformed."""
        opened = self.sections.match(text, at)
        if opened is None:
            return super().read(text, at)
        calls: list[ToolCall] = []
        at = skip_space(text, opened.end())
        while self._name.match(text, at):
            found, at = super().read(text, at)
            calls += found
            require_few(calls)
            at = skip_space(text, at)
        if not calls:
            raise Malformed(f'after {opened[0]} stands <{self.prefix}invoke name="TOOL">', at)
        closed = self._closed.match(text, at)
        if closed is None and at < len(text):
            raise Malformed(f"the calls are not closed with </{opened[0][1:]}", at)
        return calls, at if closed is None else closed.end()

    def read_name(self, text: str, at: int) -> tuple[str, int]:
        """The tool's name, and where the arguments begin. Raises Malformed."""
        name = self._name.match(text, at)
        if name is None:
            raise Malformed(self.shape, at)
        return name[1], name.end()

    def read_end(self, text: str, start: int, at: int) -> int:
        """Where the call ends; -1 for nowhere."""
        end = f"</{self.prefix}invoke>"
        return at + len(end) if text.startswith(end, at) else -1

    def write_calls(self, calls: Sequence[ToolCall]) -> str:
        """One section."""
        own = self.prefix
        return f"<{own}{self.section}>\n{''.join(map(self.block, calls))}</{own}{self.section}>"

    def block(self, call: ToolCall) -> str:
        """The text of one call."""
        own = self.prefix
        values = "".join(
            f'<{own}parameter name="{key}"{self.kind(value)}>{write_value(value)}</{own}parameter>\n'
            for key, value in call.arguments.items()
        )
        return f'<{own}invoke name="{call.name}">\n{values}</{own}invoke>\n'

    def kind(self, value: object) -> str:
        """What a tag says of its value's type."""
        return ""


class Dsml(Invoked):
    """DeepSeek V3.2 and V4; each value says whether it is a string, so schemas are not needed.

    >>> print(DSML.write(calls=[ToolCall("add", {"a": 1, "b": "2"})]))
    <｜DSML｜tool_calls>
    <｜DSML｜invoke name="add">
    <｜DSML｜parameter name="a" string="false">1</｜DSML｜parameter>
    <｜DSML｜parameter name="b" string="true">2</｜DSML｜parameter>
    </｜DSML｜invoke>
    </｜DSML｜tool_calls>
    """

    name = "dsml"
    prefix, section = "｜DSML｜", "tool_calls"
    sections = re.compile("<｜DSML｜(?:tool_calls|function_calls)>")
    mark = "<｜DSML｜tool_calls>"
    marks = ("<｜DSML｜",)
    example = (
        '<｜DSML｜tool_calls>\n<｜DSML｜invoke name="tool">\n<｜DSML｜parameter name="key" string="true">'
        "value</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls>"
    )
    ends = ("<｜end▁of▁sentence｜>",)
    starts = ("<｜Assistant｜>",)
    joint = "\n\n"

    def kinds_at(self, found: re.Match[str], kinds: Kinds) -> Kinds:
        """What the tag says; the schema's where it says nothing."""
        if 'string="true"' in found[2]:
            return TEXT
        return ANYTHING - TEXT if 'string="false"' in found[2] else kinds

    def kind(self, value: object) -> str:
        """Whether it is a string."""
        return f' string="{"true" if isinstance(value, str) else "false"}"'


class Minimax(Invoked):
    """MiniMax M2.

    >>> print(MINIMAX.write(calls=[ToolCall("add", {"a": 1})]))
    <minimax:tool_call>
    <invoke name="add">
    <parameter name="a">1</parameter>
    </invoke>
    </minimax:tool_call>
    """

    name = "minimax"
    prefix, section = "", "minimax:tool_call"
    sections = re.compile("<minimax:tool_call>")
    mark = "<minimax:tool_call>"
    marks = ("<minimax:tool_call>", "<invoke name=")
    example = (
        '<minimax:tool_call>\n<invoke name="tool">\n<parameter name="key">value</parameter>\n</invoke>\n'
        "</minimax:tool_call>"
    )
    ends = ("[e~[",)
    starts = ("]~b]ai",)


_MESSAGE = "<|message|>"
_WHOM = re.compile(r"\bto=([^\s<]{1,200})\s*\Z")
_STOP = re.compile(r"<\|(?:eom|eot|start)\|>")


class Muse(Invoked):
    """Muse: each message says whom it is for: `to=user` is prose, `to=self` thought, a tool's name a call.

    Text without such a header is prose and calls, as servers return it.

    >>> print(MUSE.write("Let me see.", [ToolCall("look", {})]).lstrip())
    to=user<|message|>Let me see.<|eom|><|start|>assistant to=look<|message|><atem:function_calls>
    <atem:invoke name="look">
    </atem:invoke>
    </atem:function_calls>
    """

    name = "muse"
    prefix, section = "atem:", "function_calls"
    sections = re.compile("<atem:function_calls>")
    mark = "<atem:function_calls>"
    marks = ("<atem:",)
    example = (
        ' to=tool<|message|><atem:function_calls>\n<atem:invoke name="tool">\n<atem:parameter name="key">'
        "value</atem:parameter>\n</atem:invoke>\n</atem:function_calls>"
    )
    ends = ("<|eot|>", "<|eom|>")
    starts = ("<|start|>assistant",)

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        text = without_end(encodable(text).removeprefix("\ufeff"), self.ends)
        first = text.find(_MESSAGE)
        if first < 0 or 0 <= self.find(text, 0) < first:
            return super().parse(text)
        action = message_by_message(text, self._message, self)
        return action if action.error else self._said(action.prose, action.calls)

    def _message(self, text: str, at: int, prose: list[str], calls: list[ToolCall]) -> int:
        """Read one message into `prose` or `calls`; where it ends. Raises Malformed."""
        start = text.find(_MESSAGE, at)
        if start < 0:
            if text[at:].strip() in ("", *self.starts):
                return len(text)
            raise Malformed(f"a message begins with to=WHOM{_MESSAGE}", at)
        if "<|" in text[at:start].replace(self.starts[0], ""):
            raise Malformed(f"a message begins with to=WHOM{_MESSAGE}", at)
        whom, first = _WHOM.search(text[max(at, start - 250) : start]), start + len(_MESSAGE)
        to = "user" if whom is None else whom[1]
        if to not in ("user", "self"):
            found, at = self.read(text, skip_space(text, first))
            calls += found
            require_few(calls)
            at = skip_space(text, at)
            stop = _STOP.match(text, at)
        else:
            stop = _STOP.search(text, first)
            at = len(text) if stop is None else stop.start()
            if to == "user":
                prose.append(text[first:at].strip())
        return at if stop is None or stop[0] == "<|start|>" else stop.end()

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError for what it has no words for."""
        messages = [f" to=user<|message|>{prose}"] if prose else []
        messages += [f" to={call.name}<|message|>{self.write_calls([call])}" for call in calls]
        text = "<|eom|><|start|>assistant".join(messages)
        what = "the muse format cannot say this (its tokens in prose, or a value that reads as another)"
        return require_reversible(text, self.parse(text), prose, calls, what)


DSML, MINIMAX, MUSE = Dsml(), Minimax(), Muse()
