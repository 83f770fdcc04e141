"""What stands around messages in ChatML: our own words, or those of a model's template where it is ChatML.

A template is tried on probes. Where all it writes around a message is fixed (what stands before everything,
the system prompt it adds, how it shows tools and results), the words are taken over and ChatML written with
them is what the template writes, wherever that only grows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from forge_train.play import probes
from forge_train.play.chat_template import ChatTemplate
from forge_train.play.encoding import Message, arguments_of, content_of, to_json
from forge_train.play.format import Format
from forge_train.play.thoughts import Thoughts

START, END = "<|im_start|>", "<|im_end|>"

TOOLS = """# Tools

These functions are yours to call. Their JSON schemas, one a line:
<tools>
{schemas}
</tools>

To call one, write its name and arguments as a JSON object between these tags:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-object>}}
</tool_call>"""


@dataclass(frozen=True, slots=True)
class Results:
    """How results of tools are shown: blocks of `role`, each result between two texts.

    With `shared` neighbours stand in one block, `joint` between them.
    """

    role: str = "user"
    before: str = "<tool_response>\n"
    after: str = "\n</tool_response>"
    joint: str = "\n"
    shared: bool = True


class Wording(Protocol):
    """What stands around messages in ChatML."""

    lead: str
    """Before everything: a BOS token, for example."""
    default: str | None
    """The system prompt of a conversation that brings none; None adds none."""
    results: Results
    thoughts: Thoughts
    stripped: frozenset[str]
    """Roles whose content is shown without white space around it."""

    def system(self, content: str | None, tools: Sequence[Any]) -> str:
        """The body of the first system block, with tools; `content` None where no such message came."""
        ...

    def section(self, tools: Sequence[Any]) -> str:
        """What tells of tools that come later."""
        ...

    def said(self, message: Message, *, last: bool) -> str:
        """The body of an assistant message: as history, or `last` as what the policy would say."""
        ...


class OwnWording:
    """Ours, for a tokenizer whose template says nothing: plain blocks, tools and calls as Hermes has them."""

    lead = ""
    default: str | None = None
    results = Results()
    stripped: frozenset[str] = frozenset()

    def __init__(self, format: Format | None = None) -> None:
        format = format or Format()
        self.thoughts = Thoughts(
            dropped=format.past == "drop", within=True, budget=format.budget, early_stop=format.early_stop
        )

    def system(self, content: str | None, tools: Sequence[Any]) -> str:
        """The content, then the tools."""
        return "\n\n".join(filter(None, [content, self.section(tools)]))

    def section(self, tools: Sequence[Any]) -> str:
        """Schemas, one a line."""
        return TOOLS.format(schemas="\n".join(map(to_json, tools))) if tools else ""

    def said(self, message: Message, *, last: bool) -> str:
        """A thought, prose, and a block for each call."""
        content, thought = content_of(message), message.get("reasoning_content")
        calls = [_hermes_call(call) for call in message.get("tool_calls") or ()]
        spoken = "\n".join(filter(None, [content, *calls]))
        return f"<think>\n{thought}\n</think>\n\n{spoken}" if thought else spoken


def _hermes_call(call: Message) -> str:
    """An OpenAI tool call as the policy would have written it."""
    name, arguments = arguments_of(call)
    written = arguments if isinstance(arguments, str) else to_json(arguments)
    return f'<tool_call>\n{{"name": {to_json(name)}, "arguments": {written}}}\n</tool_call>'


class FittedWording(OwnWording):
    """That of a model's own template. Raises ValueError for one that is not ChatML throughout.

    With `plain` only the words around plain lines are taken over; tools, calls and results are shown in ours.
    """

    def __init__(self, template: ChatTemplate, thoughts: Thoughts, *, plain: bool = False) -> None:
        self._template = template
        self.thoughts = thoughts
        self._header = f"{START}assistant\n{thoughts.opening}"
        asked = str(probes.ASKED["content"])
        bare = template([probes.ASKED], prompt=True)
        tail = f"{START}user\n{asked}{END}\n{self._header}"
        self.lead, self.default = self._before(bare, tail)
        self.stripped = frozenset(role for role in ("system", "user") if self._strips(role))
        self.shows_tools, self._writes_calls = False, False
        if not plain:
            shown = template([{**probes.ASKED, "tools": probes.TOOLS}], prompt=True)
            self.shows_tools = "Probe tool 0" in shown
            self.results = self._find_results()
            self._writes_calls = self.shows_tools and self._shows_calls()

    def system(self, content: str | None, tools: Sequence[Any]) -> str:
        """As the template words it."""
        if not tools:
            return self.default or "" if content is None else content
        if not self.shows_tools:
            base = self.default if content is None else content
            return "\n\n".join(filter(None, [base, OwnWording.section(self, tools)]))
        mark = "Probe rule 7." if content else ""
        opening: list[Message] = [] if content is None else [{"role": "system", "content": mark}]
        messages = [*opening, probes.ASKED]
        text = self._template([{**messages[0], "tools": list(tools)}, *messages[1:]], prompt=False)
        head = f"{self.lead}{START}system\n"
        end = text.rfind(f"{END}\n{START}user\n{probes.ASKED['content']}")
        if not text.startswith(head) or end < 0:
            raise ValueError("the template shows tools elsewhere than in the system block")
        return text[len(head) : end].replace(mark, content, 1) if content else text[len(head) : end]

    def section(self, tools: Sequence[Any]) -> str:
        """The words of a system block that holds tools alone."""
        if not tools or not self.shows_tools:
            return OwnWording.section(self, tools)
        return self.system("", tools).strip()

    def said(self, message: Message, *, last: bool) -> str:
        """As the template writes it."""
        if message.get("tool_calls") and not self._writes_calls:
            return super().said(message, last=last)
        after: list[Message] = [] if last else [{"role": "user", "content": "Probe follow 7."}]
        text = self._template([probes.ASKED, message, *after], prompt=False)
        prompt = self._template([probes.ASKED], prompt=True)
        begin = len(prompt) - len(self._header)
        end = text.rfind(f"{END}\n{START}user\nProbe follow 7.") if after else text.rfind(END)
        if end < begin:
            raise ValueError("the template does not end an assistant block")
        if last:
            return self.thoughts.after_prompt(text[:end], prompt)
        return text[begin + len(f"{START}assistant\n") : end]

    # -- looking -----------------------------------------------------------------------------------------

    def _before(self, text: str, tail: str) -> tuple[str, str | None]:
        """What stands before the first message: the lead, and a system prompt that nobody gave."""
        if not text.endswith(tail):
            raise ValueError("the template's blocks are not ChatML")
        head = text[: -len(tail)]
        found = re.fullmatch(r"(.*?)<\|im_start\|>system\n(.*)<\|im_end\|>\n", head, re.DOTALL)
        lead, default = (found[1], found[2]) if found else (head, None)
        if START in lead or START in (default or ""):
            raise ValueError("the template's blocks are not ChatML")
        return lead, default

    def _strips(self, role: str) -> bool:
        given = {"role": role, "content": " Probe space 7. \n"}
        messages = [given, probes.ASKED] if role == "system" else [given]
        return f"{START}{role}\nProbe space 7.{END}" in self._template(messages, prompt=False)

    def _find_results(self) -> Results:
        """How two results, and a question behind them, stand in the template. Without tools: our way."""
        results = [{"role": "tool", "name": "look", "content": f" Probe result {n}. "} for n in (7, 8)]
        follow = {"role": "user", "content": "Probe follow 7."}
        said = {"role": "assistant", "content": probes.SAID} if not self.shows_tools else None
        try:
            messages = [probes.ASKED, said or probes.call("look", {"text": probes.SAID}), *results, follow]
            text = self._template(messages, prompt=False)
            start = text.index(END, text.index(probes.SAID)) + len(f"{END}\n{START}")
            end = text.rindex(f"{END}\n{START}user\nProbe follow 7.")
        except ValueError:
            if self.shows_tools:
                raise
            return Results()
        role, _, block = text[start:end].partition("\n")
        pieces = re.fullmatch(r"(.*?)( ?)Probe result 7\.( ?)(.*?)\2Probe result 8\.\3(.*)", block, re.DOTALL)
        if pieces is None or role not in ("user", "tool"):
            raise ValueError("the template shows results of tools in another way")
        if pieces[2] == "":
            self.stripped |= {"tool"}
        before, between, after = pieces[1], pieces[4], pieces[5]
        apart = f"{after}{END}\n{START}{role}\n{before}"
        shared = between != apart
        joint = between.removeprefix(after)
        joint = joint[: len(joint) - len(before)] if joint.endswith(before) else joint
        if shared and between != after + joint + before:
            raise ValueError("the template shows results of tools in another way")
        return Results(role, before, after, joint, shared)

    def _shows_calls(self) -> bool:
        said = probes.call("look", {"text": probes.SAID})
        return probes.SAID in self._template([probes.ASKED, said], prompt=False)
