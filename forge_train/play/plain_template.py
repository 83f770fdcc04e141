"""A chat template that shows no tools, told of them in our own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forge_train.play import probes
from forge_train.play.chat_template import ChatTemplate
from forge_train.play.encoding import Message, content_of
from forge_train.play.format import Format
from forge_train.play.wording import OwnWording, Results


class PlainTemplate(ChatTemplate):
    """The template on plain lines alone: tools are shown as Hermes has them, in the system message.

    Calls stand in the assistant's line, results in the user's. Neighbouring lines of a user are one, for such
    templates want roles to alternate. Where a template takes no system message, the user's first line begins
    with it.
    """

    plain = True

    def __init__(self, tokenizer: Any, source: str | None = None, format: Format | None = None) -> None:
        super().__init__(tokenizer, source, format)
        self._words, self._results = OwnWording(format), Results()
        try:
            told = super().__call__(
                [{"role": "system", "content": "Probe rule 6."}, probes.ASKED], prompt=True
            )
        except ValueError:
            told = ""
        self._takes_system = "Probe rule 6." in told

    def __call__(self, messages: Sequence[Message], *, prompt: bool) -> str:
        """The text of a conversation, with the header of the next action if `prompt`. Raises ValueError."""
        lines: list[dict[str, Any]] = []
        for message in messages:
            line = self._line(message)
            tools = message.get("tools") or ()
            if tools and line["role"] != "system":
                lines.append({"role": "system", "content": self._words.section(tools)})
            elif tools:
                line["content"] = self._words.system(line["content"], tools)
            lines.append(line)
        return super().__call__(self._merged(lines), prompt=prompt)

    def _line(self, message: Message) -> dict[str, Any]:
        """A message as one of a role that every template knows."""
        role, content = message["role"], content_of(message)
        if role == "tool":
            return {"role": "user", "content": f"{self._results.before}{content}{self._results.after}"}
        line = {"role": role, "content": content}
        if role == "assistant":
            thought = message.get("reasoning_content")
            line["content"] = self._words.said({**message, "reasoning_content": None}, last=False)
            if thought:
                line["reasoning_content"] = thought
        return line

    def _merged(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Lines of alternating roles."""
        merged: list[dict[str, Any]] = []
        for line in lines:
            if line["role"] == "system" and not (self._takes_system and not merged):
                line = {"role": "user", "content": line["content"]}
            if merged and merged[-1]["role"] == line["role"] != "assistant":
                joint = "\n\n" if line["role"] == "system" or len(merged) == 1 else self._results.joint
                line = {"role": line["role"], "content": f"{merged.pop()['content']}{joint}{line['content']}"}
            merged.append(line)
        return merged


def shows_no_tools(template: ChatTemplate) -> bool:
    """Whether a template takes plain lines and says nothing of tools that it is given."""
    try:
        template([probes.ASKED], prompt=True)
        return "Probe tool 0" not in template([{**probes.ASKED, "tools": probes.TOOLS}], prompt=True)
    except ValueError:
        return False
