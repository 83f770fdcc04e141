"""ChatML: `<|im_start|>role`, the content, `<|im_end|>`; in the words of the model's own template."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from forge_train.play import probes
from forge_train.play.action_codec import ActionCodec, Ends, Spelling
from forge_train.play.encoding import Message, backend_of, cached_encoder, content_of, decode
from forge_train.play.format import Format
from forge_train.play.wording import END, START, FittedWording, OwnWording, Wording


class ChatML:
    """ChatML blocks, appended for ever; tools in the words of the tokenizer's template, or in ours.

    What a world says is one block each, as a template encodes it; an action is encoded by itself, for that is
    how it is sampled. Spellings of control tokens in what is said are text.
    """

    def __init__(
        self, tokenizer: Any, format: Format | None = None, *, wording: Wording | None = None
    ) -> None:
        format = format or Format()
        vocabulary = tokenizer.get_vocab()
        for token in (START, END):
            if token not in vocabulary:
                raise ValueError(f"the tokenizer has no {token}: add it as special, or use kind='template'")
        start, end = vocabulary[START], vocabulary[END]
        self._data = cached_encoder(backend_of(tokenizer, data=True))
        if {start, end} & set(self._data(f"{START}{END}")):
            raise ValueError(
                "<|im_start|> or <|im_end|> is an ordinary added token here, so text that spells it would "
                "become control: add both with special=True"
            )
        self._wording = wording or OwnWording(format)
        self.thoughts = self._wording.thoughts
        self._start, self._end = start, end
        spelling = Spelling(tokenizer)
        self._tokenizer = spelling.tokenizer
        self._lead = list(spelling.encode(self._wording.lead))
        header = f"{START}assistant\n{self.thoughts.opening}"
        self._header = list(spelling.encode(header))
        self._newline = list(self._data("\n"))
        self.stop: tuple[int, ...] = tuple(dict.fromkeys([end, *format.ends]))
        spoken = [self._wording.said(message, last=True) for message in probes.SPOKEN]
        ends = Ends(end, end, self.stop)
        self._actions = ActionCodec(spelling, self.thoughts, ends, prompt=header, spoken=spoken, opener="")
        self._sections: deque[tuple[Sequence[Any], str | None, str]] = deque(maxlen=8)

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the header that starts an action."""
        return self._lead + self._blocks(self._opening(messages)) + self._header

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: its newline, new messages, the next header."""
        return self._newline + self._blocks(self._bodies(messages)) + self._header

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, `<|im_end|>` included; see `ActionCodec`."""
        return self._actions.encode(text)

    def written(self, message: Message) -> str:
        """The text of an assistant message as the policy would say it."""
        return self._wording.said(message, last=True)

    def remembered(self, heard: Sequence[int], said: Sequence[int]) -> list[int]:
        """Tokens of a prompt and its action as they stand in later turns, the thought left out."""
        return self._actions.remembered(heard, said)

    def interrupt(self, said: Sequence[int]) -> list[int]:
        """Tokens that end the thought in which an action still is; none where it is in none."""
        return self._actions.interrupt(said)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its `<|im_end|>`."""
        return decode(self._tokenizer, tokens, self.stop)

    def _blocks(self, bodies: Sequence[tuple[str, str]]) -> list[int]:
        tokens: list[int] = []
        for role, body in bodies:
            tokens.append(self._start)
            if role == "assistant":  # as it was sampled: by itself
                tokens += self._data("assistant\n")
                tokens += self._actions.tokens(body)
            else:
                tokens += self._data(f"{role}\n{body}")
            tokens.append(self._end)
            tokens += self._newline
        return tokens

    def _opening(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Role and body of each block of an opening, whose first message may bring tools."""
        if not messages:
            return []
        first = messages[0]
        tools = first.get("tools") or ()
        own = first["role"] == "system"
        wording = self._wording
        if not own and isinstance(wording, FittedWording) and (tools or wording.default is not None):
            rest = [{**first, "tools": ()}, *messages[1:]]
            return [("system", self._system(None, tools)), *self._bodies(rest)]
        if own and tools:
            return [("system", self._system(self._content(first), tools)), *self._bodies(messages[1:])]
        return self._bodies(messages)

    def _bodies(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Role and body of each block; consecutive tool results may share one."""
        blocks: list[tuple[str, str]] = []
        results, previous = self._wording.results, ""
        for message in messages:
            role = message["role"]
            if role not in ("system", "user", "assistant", "tool"):
                raise ValueError(f"message role {role!r}: it must be system, user, assistant or tool")
            body = self._body(message)
            if role == "tool" and previous == "tool" and results.shared:
                blocks[-1] = (results.role, f"{blocks[-1][1]}{results.joint}{body}")
            else:
                blocks.append((results.role if role == "tool" else role, body))
            previous = role
        return blocks

    def _body(self, message: Message) -> str:
        role, tools = message["role"], message.get("tools")
        if role == "assistant":
            body = self._wording.said(message, last=False)
        elif role == "tool":
            results = self._wording.results
            body = f"{results.before}{self._content(message)}{results.after}"
        else:
            body = self._content(message)
        return "\n\n".join(filter(None, [body, self._section(tools)])) if tools else body

    def _content(self, message: Message) -> str:
        content = content_of(message)
        return content.strip() if message["role"] in self._wording.stripped else content

    def _section(self, tools: Sequence[Any]) -> str:
        return self._worded(tools, None, lambda: self._wording.section(tools))

    def _system(self, content: str | None, tools: Sequence[Any]) -> str:
        return self._worded(tools, f"system {content}", lambda: self._wording.system(content, tools))

    def _worded(self, tools: Sequence[Any], what: str | None, word: Any) -> str:
        """What the policy reads about its tools; every episode of a world asks for the same few."""
        for known, kind, section in self._sections:
            if kind == what and known == tools:  # comparing is ten times faster than writing JSON
                return section
        section = str(word())
        self._sections.append((deepcopy(tools), what, section))
        return section
