"""Messages to tokens, append-only; sampled tokens to the text of an action.

A conversation is rendered once and then only grows: `open(messages)`, the sampled tokens verbatim,
`extend(new messages)`, the next sampled tokens, and so on. Nothing the policy wrote is ever encoded
again. What a world or a user says is data: a spelling such as `<|im_end|>` inside it is encoded as
ordinary text and can never become a control token.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, Protocol

from jinja2 import TemplateError
from tokenizers import Tokenizer

Message = Mapping[str, Any]
"""One message in the OpenAI form; tool schemas ride on its "tools" key."""


class Renderer(Protocol):
    """Turns messages into tokens that are only ever appended."""

    stop: tuple[int, ...]
    """Token ids that end an action."""

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the header that starts an action."""
        ...

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: the rest of its line, new messages, the next header."""
        ...

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, its stop token included."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its stop token."""
        ...


def renderer_for(tokenizer: Any, kind: Literal["auto", "chatml", "template"] = "auto") -> Renderer:
    """Renderer of a Hugging Face tokenizer: ChatML where it has the tokens, else its own chat template."""
    if kind == "auto":
        kind = "chatml" if {"<|im_start|>", "<|im_end|>"} <= tokenizer.get_vocab().keys() else "template"
    if kind == "chatml":
        return ChatML(tokenizer)
    if kind == "template":
        return Template(tokenizer)
    raise ValueError(f"renderer kind={kind!r}: choose 'auto', 'chatml' or 'template'")


# ---------------------------------------------------------------------------------------------- ChatML

TOOLS = """# Tools

These functions are yours to call. Their JSON schemas, one a line:
<tools>
{schemas}
</tools>

To call one, write its name and arguments as a JSON object between these tags:
<tool_call>
{{"name": <function-name>, "arguments": <arguments-object>}}
</tool_call>"""


class ChatML:
    """ChatML blocks with Hermes tools: `<|im_start|>role`, the content, `<|im_end|>`.

    Each piece (role line, content, end of block) is encoded by itself, so that no token spans two of
    them; a whole conversation is by definition the concatenation of its pieces.
    """

    def __init__(self, tokenizer: Any) -> None:
        vocabulary = tokenizer.get_vocab()
        for token in ("<|im_start|>", "<|im_end|>"):
            if token not in vocabulary:
                raise ValueError(f"the tokenizer has no {token}: add it as special, or use kind='template'")
        start, end = vocabulary["<|im_start|>"], vocabulary["<|im_end|>"]
        self._tokenizer = _backend(tokenizer, data=True)
        self._data = _cached_encoder(self._tokenizer)
        if {start, end} & set(self._data("<|im_start|><|im_end|>")):
            raise ValueError(
                "<|im_start|> or <|im_end|> is an ordinary added token here, so text that spells it would "
                "become control: add both with special=True"
            )
        self._headers = {role: [start, *self._data(f"{role}\n")] for role in ("system", "user", "assistant")}
        self._newline = list(self._data("\n"))
        self._end = end
        self.stop: tuple[int, ...] = (end,)
        self._sections: deque[tuple[Sequence[Any], str]] = deque(maxlen=8)

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the header that starts an action."""
        return self._blocks(messages) + self._headers["assistant"]

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: its newline, new messages, the next header."""
        return self._newline + self._blocks(messages) + self._headers["assistant"]

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, `<|im_end|>` included."""
        return [*self._data(text), self._end]

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its `<|im_end|>`."""
        return _decode(self._tokenizer, tokens, self.stop)

    def _blocks(self, messages: Sequence[Message]) -> list[int]:
        tokens: list[int] = []
        for role, body in self._bodies(messages):
            tokens += self._headers[role]
            tokens += self._data(body)
            tokens.append(self._end)
            tokens += self._newline
        return tokens

    def _bodies(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Role and body of each block; consecutive tool results share one block of role user."""
        blocks: list[tuple[str, str]] = []
        previous = ""
        for message in messages:
            role, body = message["role"], self._body(message)
            if role == "tool" and previous == "tool":
                blocks[-1] = ("user", f"{blocks[-1][1]}\n{body}")
            elif role in ("system", "user", "assistant", "tool"):
                blocks.append(("user" if role == "tool" else role, body))
            else:
                raise ValueError(f"message role {role!r}: it must be system, user, assistant or tool")
            previous = role
        return blocks

    def _body(self, message: Message) -> str:
        content = _content(message)
        if message["role"] == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
        calls = [_hermes_call(call) for call in message.get("tool_calls") or ()]
        spoken = "\n".join(filter(None, [content, *calls]))
        tools = message.get("tools")
        return "\n\n".join(filter(None, [spoken, self._section(tools) if tools else ""]))

    def _section(self, tools: Sequence[Any]) -> str:
        """What the policy reads about its tools; every episode of a world asks for the same few."""
        for known, section in self._sections:
            if known == tools:  # comparing is ten times faster than writing JSON
                return section
        section = TOOLS.format(schemas="\n".join(map(_json, tools)))
        self._sections.append((deepcopy(tools), section))
        return section


def _hermes_call(call: Mapping[str, Any]) -> str:
    """An OpenAI tool call as the policy would have written it."""
    function = call.get("function", call)
    arguments = function["arguments"]  # OpenAI sends them as a JSON string, templates as an object
    written = arguments if isinstance(arguments, str) else _json(arguments)
    return f'<tool_call>\n{{"name": {_json(function["name"])}, "arguments": {written}}}\n</tool_call>'


# -------------------------------------------------------------------------------------------- Template


class Template:
    """Any Hugging Face chat template whose earlier text never changes when messages are added.

    That property is checked with probe conversations when the renderer is built; a template without it
    is refused. Tool schemas are taken from the first message. The action is encoded as it stands: a
    template that would wrap an assistant line (an empty thinking block) wraps only history.
    """

    def __init__(self, tokenizer: Any, chat_template: str | None = None) -> None:
        self._template = chat_template or tokenizer.chat_template
        if not self._template:
            raise ValueError("the tokenizer has no chat template: pass chat_template, or use kind='chatml'")
        self._hf = tokenizer
        self._tokenizer = _backend(tokenizer, data=False)
        self._markup = _cached_encoder(self._tokenizer)
        added = tokenizer.added_tokens_decoder
        self._special = {token.content: id for id, token in added.items() if token.special}
        longest_first = sorted((s for s in self._special if len(s) > 1), key=len, reverse=True)
        self._spelling = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")
        prompt = self._render([{"role": "user", "content": "Probe question 9."}], prompt=True)
        # A prompt that closes thinking itself never has thoughts to preserve.
        thinks = "<think>" in self._template and "</think>" not in prompt
        for name, probe in _probes(thinks).items():
            self._check(name, probe)
        # What stands before an extension, by whether the extension begins with a tool result.
        self._said = {False: self._up_to_stop(calls=False), True: self._up_to_stop(calls=True)}
        ends = [self._spelling.findall(said)[-1] for said in self._said.values()]
        self.stop: tuple[int, ...] = tuple(dict.fromkeys(self._special[end] for end in ends))

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the template's generation prompt."""
        return self._encode(messages, lambda shielded: self._render(shielded, prompt=True))

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: what the template puts after the stop token."""
        calls = messages[0]["role"] == "tool" if messages else False
        said = self._said[calls]

        def delta(shielded: Sequence[Message]) -> str:
            text = self._render([*_exchange(calls), *shielded], prompt=True)
            if not text.startswith(said):
                raise ValueError(f"{_REFUSAL}: {list(shielded)!r} changed the text before it. {_FIX}")
            return text[len(said) :]

        return self._encode(messages, delta)

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, the template's stop token included."""
        stop = self.stop[-1] if "<tool_call>" in text else self.stop[0]  # some models end calls their own way
        return [*self._pieces(*self._shield_text(text)), stop]

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its stop token."""
        return _decode(self._tokenizer, tokens, self.stop)

    def _render(self, messages: Sequence[Message], prompt: bool) -> str:
        if any("tools" in message for message in messages[1:]):
            raise ValueError("a chat template shows tools of the first message only: use kind='chatml'")
        bare = [{key: value for key, value in m.items() if key != "tools"} for m in messages]
        try:
            rendered = self._hf.apply_chat_template(
                bare,
                tools=messages[0].get("tools") or None,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=prompt,
            )
        except (TemplateError, TypeError) as error:
            roles = ", ".join(message["role"] for message in messages)
            raise ValueError(f"{_REFUSAL}: it cannot render {roles} ({error}). {_FIX}") from error
        assert isinstance(rendered, str)
        return rendered

    def _encode(self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]) -> list[int]:
        shielded, mark = self._shield(messages)
        return self._pieces(render(shielded), mark)

    def _pieces(self, text: str, mark: str) -> list[int]:
        return [token for piece in text.split(mark) for token in self._markup(piece)]

    def _shield(self, messages: Sequence[Message]) -> tuple[list[Message], str]:
        """Break every spelling of a special token in the messages with a mark no message contains.

        The template still sees (and may trim, test or quote) the content itself; the encoder splits at
        the mark, so neither half can be read as the token.
        """
        for message in messages:
            _content(message)
        mark = _unused(_json(list(messages)))
        return [_mapped(m, lambda text: self._broken(text, mark)) for m in messages], mark

    def _shield_text(self, text: str) -> tuple[str, str]:
        mark = _unused(text)
        return self._broken(text, mark), mark

    def _broken(self, text: str, mark: str) -> str:
        while found := self._spelling.search(text):
            text = text[: found.start() + 1] + mark + text[found.start() + 1 :]
        return text

    def _check(self, name: str, probe: Sequence[Message]) -> None:
        """Every text a policy is shown is a prefix of every later one, and nothing said is left out."""
        cuts = [i for i, message in enumerate(probe) if message["role"] == "assistant"] + [len(probe)]
        shown = [self._render(probe[:cut], prompt=True) for cut in cuts]
        for cut, (earlier, later) in zip(cuts, pairwise(shown), strict=False):
            if not later.startswith(earlier):
                at = next(i for i in range(len(earlier)) if earlier[: i + 1] != later[: i + 1])
                raise ValueError(
                    f"{_REFUSAL}: probe {name!r}, it is not prefix-preserving: what was shown before message "
                    f"{cut} changes later, from {earlier[at : at + 40]!r} to {later[at : at + 40]!r}. {_FIX}"
                )
        for part in re.findall(r"Probe \w+ \d", _json(list(probe))):
            if part not in shown[-1]:
                raise ValueError(f"{_REFUSAL}: probe {name!r}, it leaves out {part!r}. {_FIX}")

    def _up_to_stop(self, calls: bool) -> str:
        """Text of a probe exchange up to and with the token that ends its action."""
        exchange = _exchange(calls)
        follow: Message = {"role": "tool" if calls else "user", "name": "probe", "content": "Probe follow 0."}
        alone = self._render(exchange, prompt=False).rstrip()
        text = self._render([*exchange, follow], prompt=True)
        ends = [e.end() for e in self._spelling.finditer(text, text.find(_SAID)) if e.end() <= len(alone)]
        if not ends or not text.startswith(alone[: ends[-1]]):
            kind = "a tool call" if calls else "an answer"
            raise ValueError(f"{_REFUSAL}: no special token ends {kind}, so an action could not stop. {_FIX}")
        return text[: ends[-1]]


_REFUSAL = "this chat template cannot carry an episode"
_FIX = (
    "Use a training template (for example those TRL ships: trl/chat_templates/*_training.jinja), "
    "or kind='chatml' where the tokenizer has <|im_start|> and <|im_end|>."
)
_SAID = "Probe answer 9."


def _exchange(calls: bool) -> list[Message]:
    """A question and an answer: what stands before an extension."""
    said: Message = _call(_SAID) if calls else {"role": "assistant", "content": _SAID}
    return [{"role": "user", "content": "Probe question 9."}, said]


def _call(text: str, content: str = "") -> dict[str, Any]:
    function = {"name": "probe", "arguments": {"text": text}}
    call = {"type": "function", "id": "call00000", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [call]}


def _probes(thinks: bool) -> dict[str, list[Message]]:
    """Conversations in which templates are known to rewrite or lose something."""

    def thought(i: int) -> str:
        return f"<think>\nProbe thought {i}.\n</think>\n\n" if thinks else ""

    def user(i: int) -> Message:
        return {"role": "user", "content": f"Probe question {i}."}

    def prose(i: int) -> Message:
        return {"role": "assistant", "content": f"{thought(i)}Probe answer {i}."}

    def look(i: int) -> list[Message]:
        result = {"role": "tool", "name": "probe", "content": f"Probe result {i}."}
        return [_call(f"Probe argument {i}.", thought(i)), {**result, "tool_call_id": "call00000"}]

    parameters = {"type": "object", "properties": {"text": {"type": "string", "description": "Any."}}}
    function = {"name": "probe", "description": "Probe tool 0.", "parameters": parameters}
    tools = [{"type": "function", "function": function}]
    system: Message = {"role": "system", "content": "Probe rule 0.", "tools": tools}
    return {
        "chat": [user(0), prose(0), user(1), prose(1), user(2)],
        "tools": [system, user(0), *look(0), prose(1), user(1), *look(2), *look(3), prose(4), user(2)],
    }


# ---------------------------------------------------------------------------------------------- shared


def _backend(tokenizer: Any, *, data: bool) -> Tokenizer:
    """A copy of the Rust tokenizer; with `data` the spellings of special tokens are ordinary text.

    A copy, because Hugging Face tokenizers switch that flag (and truncation) of the shared one.
    """
    shared = getattr(tokenizer, "backend_tokenizer", None)
    if shared is None:
        raise ValueError(f"{type(tokenizer).__name__} is not a fast tokenizer: load it with use_fast=True")
    backend = Tokenizer.from_str(shared.to_str())
    backend.no_truncation()
    backend.no_padding()
    backend.encode_special_tokens = data
    return backend


def _cached_encoder(tokenizer: Tokenizer) -> Callable[[str], tuple[int, ...]]:
    """Encode, remembering what is said again and again: policies, tool schemas, role lines."""

    @lru_cache(maxsize=1024)
    def encode(text: str) -> tuple[int, ...]:
        try:
            text.encode()
        except UnicodeEncodeError:  # half a surrogate pair, for example out of an agent's JSON escapes
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    return encode


def _decode(tokenizer: Tokenizer, tokens: Sequence[int], stop: tuple[int, ...]) -> str:
    body = tokens[:-1] if tokens and tokens[-1] in stop else tokens
    return str(tokenizer.decode(list(body), skip_special_tokens=False))


def _content(message: Message) -> str:
    content = message.get("content")
    if content is None:
        return ""
    if not isinstance(content, str):
        raise ValueError(f"message content {content!r}: it must be text")
    return content


_json = json.JSONEncoder(ensure_ascii=False).encode


def _unused(text: str) -> str:
    """A character of the private use area that `text` does not contain."""
    return next(mark for mark in map(chr, range(0xE000, 0xF900)) if mark not in text)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """`value` with every string in it changed, dictionary keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return value
