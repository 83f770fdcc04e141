"""Messages to tokens, append-only; sampled tokens to the text of an action.

A conversation is rendered once and then only grows: `open(messages)`, the sampled tokens verbatim,
`extend(new messages)`, the next sampled tokens, and so on. Nothing the policy wrote is ever encoded
again. What a world or a user says is data: a spelling such as `<|im_end|>` inside it is encoded as
ordinary text and can never become a control token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from forge_train.play import probes
from forge_train.play.chat_template import ChatTemplate
from forge_train.play.chatml import ChatML
from forge_train.play.encoding import Message, backend_of, cached_encoder
from forge_train.play.format import Format, Kind, format_of
from forge_train.play.plain_template import PlainTemplate, shows_no_tools
from forge_train.play.template import Template
from forge_train.play.thoughts import Thoughts, thoughts_of
from forge_train.play.wording import END, START, FittedWording, OwnWording

__all__ = ["ChatML", "Message", "Renderer", "Template", "renderer_for"]


class Renderer(Protocol):
    """Turns messages into tokens that are only ever appended."""

    stop: tuple[int, ...]
    """Token ids that end an action; the first one is what ends a line of prose."""
    thoughts: Thoughts
    """What becomes of thoughts."""

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the header that starts an action."""
        ...

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: the rest of its line, new messages, the next header."""
        ...

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, its stop token included."""
        ...

    def written(self, message: Message) -> str:
        """The text of an assistant message, its calls included, as the policy would say it."""
        ...

    def remembered(self, heard: Sequence[int], said: Sequence[int]) -> list[int]:
        """Tokens of a prompt and its action as they stand in later turns, when thoughts are left out."""
        ...

    def interrupt(self, said: Sequence[int]) -> list[int]:
        """Tokens that end the thought in which an action still is; none where it is in none."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its stop token."""
        ...


def renderer_for(tokenizer: Any, kind: Kind | None = None, format: Format | None = None) -> Renderer:
    """Renderer of a Hugging Face tokenizer, under the settings it carries unless others are given.

    ChatML where it has the tokens and its own template, if any, is ChatML; else that template, and where it
    shows no tools, our words for them on its plain lines. Raises ValueError with the fix for one that cannot
    carry an episode.
    """
    format = format or format_of(tokenizer)
    kind = kind or format.renderer
    if kind == "template":
        return _template(tokenizer, format)
    if kind == "chatml":
        return _chatml(tokenizer, format, plain=(False, True))
    if kind != "auto":
        raise ValueError(f"renderer kind={kind!r}: choose 'auto', 'chatml' or 'template'")
    if not {START, END} <= tokenizer.get_vocab().keys():
        return _template(tokenizer, format)
    try:
        return _chatml(tokenizer, format, plain=(False,))
    except ValueError:
        try:
            return Template(tokenizer, format=format)
        except ValueError:
            try:
                return _chatml(tokenizer, format, plain=(True,))
            except ValueError:
                return _template(tokenizer, format)


def _template(tokenizer: Any, format: Format) -> Template:
    """The tokenizer's own template; one that shows no tools is told of them in our words."""
    try:
        return Template(tokenizer, format=format)
    except ValueError:
        if not shows_no_tools(ChatTemplate(tokenizer, format=format)):
            raise
        return Template(tokenizer, format=format, kind=PlainTemplate)


def _chatml(tokenizer: Any, format: Format, plain: Sequence[bool]) -> ChatML:
    """ChatML in the words of the tokenizer's template, the first way that is equal; in ours without one."""
    if not getattr(tokenizer, "chat_template", None):
        return ChatML(tokenizer, format, wording=OwnWording(format))
    template = ChatTemplate(tokenizer, format=format)
    errors: list[ValueError] = []
    for only in plain:
        try:
            wording = FittedWording(template, thoughts_of(template, format), plain=only)
            found = ChatML(tokenizer, format, wording=wording)
            require_equal(found, template, tokenizer, tools=wording.shows_tools)
            return found
        except ValueError as error:
            errors.append(error)
    raise ValueError(f"ChatML is not what the model's own template writes ({errors[0]}): use kind='template'")


def require_equal(renderer: ChatML, template: ChatTemplate, tokenizer: Any, *, tools: bool) -> None:
    """Raise ValueError unless `renderer` gives the template's tokens, wherever that only grows."""
    encode = cached_encoder(backend_of(tokenizer, data=False))
    system: Message = {"role": "system", "content": " Probe rule 0."}
    user: list[Message] = [{"role": "user", "content": text} for text in ("Probe question 0.", "\n 9 ")]
    result: Message = {"role": "tool", "name": "probe", "content": "\nProbe result 0. "}
    shown = [{"tools": probes.TOOLS}] if tools else []
    openings: list[list[Message]] = [[user[0]], [user[1]], [system, user[1]], [system, *user]]
    openings += [[{**m[0], **t}, *m[1:]] for t in shown for m in ([*user], [system, user[0]])]
    for opening in openings:
        if (text := _rendered(template, opening)) is not None and renderer.open(opening) != list(
            encode(text)
        ):
            raise ValueError(f"it differs on an opening of {_roles(opening)}")
    extensions: list[list[Message]] = [[user[0]], [user[1]], user]
    follow = [[result], [result, result], [result, user[1]]] if tools else []
    for said, news in ((probes.exchange(), extensions), (probes.exchange(("probe",)), follow)):
        for new in news:
            text = _rendered(template, [*said, *new])
            if text is None:
                continue
            rest = text[text.index(END, text.rindex(probes.SAID)) + len(END) :]
            if renderer.extend(new) != list(encode(rest)):
                raise ValueError(f"it differs on what follows: {_roles(new)}")


def _rendered(template: ChatTemplate, messages: Sequence[Message]) -> str | None:
    """The template's text; None where it has no words for it."""
    try:
        return template(messages, prompt=True)
    except ValueError:
        return None


def _roles(messages: Sequence[Message]) -> str:
    return ", ".join(message["role"] for message in messages)
