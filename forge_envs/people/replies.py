"""What a chat model said, read from the body of its answer: any legal form of content, without the thoughts.

A thought is whatever stands between tags that are called so, in any spelling (`<think>`, `<Thinking>`,
`<reasoning>`, `<seed:think>`, `[THINK]`, `◁think▷`, `<|begin_of_thought|>`, …), up to the end of the text if
nothing closes it, and from its beginning if the prompt opened it. Of gpt-oss's channels only what is
meant for others is said.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from forge_envs.people.attempts import Failed, refusal

_TOKEN = re.compile(r"<[^<>]{1,100}>|\[/?(?:THINK(?:ING)?|REASONING)\]|◁[^◁▷]{1,40}▷", re.IGNORECASE)
_NAME = re.compile(
    r"think|thought|reasoning|reflection|scratch_?pad|monologue|deliberation|rationale"
    r"|(?:^|[\W_])(?:reason|analysis|cot|inner)(?:$|[\W_])",
    re.IGNORECASE,
)
_END = re.compile(r"/|end_?of|end_|.*_suffix$", re.IGNORECASE)
_ATTRIBUTES = re.compile(r"""(?:\s+[\w:-]+\s*=\s*(?:"[^"]*"|'[^']*'|\S+))*\s*""")
_SPECIAL = re.compile(r"<\|[^<>|\s]{1,40}\|>")
"""A token of a chat template, which a server left in the text."""
_BODY_ENDS = re.compile(r"<\|(?:end|return|call|start)\|>")
_ROLE = re.compile(r"<\|start\|>[^<]{0,80}")


def read_reply(data: bytes, max_tokens: int) -> str:
    """What the body of an answer says, native calls in the Hermes grammar after the prose; "" for nothing.

    Raises Failed when it is no completion, or one that was cut off.
    """
    try:
        answer = json.loads(data)
        choices = answer.get("choices")
        error = answer.get("error")
        if error and not choices:  # routers answer so when whoever is behind them fails
            code = error.get("code") if isinstance(error, dict) else None
            raise refusal(code if isinstance(code, int) and code >= 400 else 502, {}, data, ())
        choice = choices[0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, calls = content_of(message), list(calls_of(message))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        what = f"no chat completion ({type(error).__name__}: {error!s:.80})"
        raise Failed("rubbish", f"{what}: {data[:80]!r}") from None
    if finish == "length":
        raise Failed("rubbish", f"a reply cut off at max_tokens={max_tokens}", useless=True)
    if finish == "content_filter":
        raise Failed("rubbish", "a reply cut off by the endpoint's content filter", useless=True)
    return "\n".join(filter(None, [spoken(text), *calls])).encode("utf-8", "replace").decode()


def content_of(message: Mapping[str, Any]) -> str:
    """The text of a message in any form of the OpenAI API: text, parts, null; a refusal is said, too.

    Raises TypeError for content that is none.

    >>> content_of({"content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "Yes."}]})
    'Yes.'
    >>> content_of({"content": None, "refusal": "I cannot say that."})
    'I cannot say that.'
    """
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise TypeError(f"content is no text: {content!r:.80}")
    text = "".join(map(_part, content)) if isinstance(content, list) else content or ""
    refused = message.get("refusal")
    return text or (refused if isinstance(refused, str) else "")


def _part(part: Any) -> str:
    """What one part of a list says; pictures and thoughts say nothing."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise TypeError(f"content is no text: {part!r:.80}")
    kind = part.get("type", "text")
    if kind == "refusal":
        return str(part.get("refusal") or "")
    if kind not in ("text", "output_text", "input_text") or part.get("thought") is True:
        return ""
    text = part.get("text") or ""
    if isinstance(text, dict):  # {"value": …, "annotations": …}
        text = text.get("value") or ""
    if not isinstance(text, str):
        raise TypeError(f"content is no text: {part!r:.80}")
    return text


def calls_of(message: Mapping[str, Any]) -> Iterator[str]:
    """Native calls of a message in the Hermes grammar; arguments that are no object stay as they are."""
    for call in message.get("tool_calls") or ():
        function = call["function"]
        name, arguments = function["name"], function.get("arguments")
        if not isinstance(name, str):
            raise TypeError(f"a call without a name: {call!r:.80}")
        yield _hermes(name, arguments)


def _hermes(name: str, arguments: Any) -> str:
    if isinstance(arguments, str):
        try:
            found = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            found = arguments
        arguments = found
    call = {"name": name, "arguments": {} if arguments is None else arguments}
    # In JSON, "<" occurs in strings only, where \u003c is the same: no tag in a value ends the call.
    written = json.dumps(call, ensure_ascii=False).replace("<", "\\u003c")
    return f"<tool_call>\n{written}\n</tool_call>"


def spoken(text: str) -> str:
    """A text without its thoughts and without the tokens of a template.

    >>> spoken("<Thinking>###STOP###?</Thinking> Not yet."), spoken("Is it?</think>Yes."), spoken("A <b> c")
    ('Not yet.', 'Yes.', 'A <b> c')
    >>> spoken("<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.")
    'Hi.'
    """
    text = _for_others(text)
    kept: list[str] = []
    at, inside, look = 0, False, 0
    while token := _TOKEN.search(text, look):
        look = token.end()
        if token[0] == "<tool_call>" and not inside:  # values of a call are nobody's thoughts
            end = text.find("</tool_call>", look)
            look = len(text) if end < 0 else end
            continue
        edge = _edge(token[0])
        if edge == "begins" and not inside and (token[0][0] != "[" or "[/" in text[look:]):
            kept.append(text[at : token.start()])
            inside = True
        elif edge == "ends":
            if not inside:
                kept.clear()  # the prompt had opened the thought
            at, inside = look, False
    if not inside:
        kept.append(text[at:])
    return _SPECIAL.sub("", "".join(kept)).strip()


def _edge(token: str) -> str | None:
    """Whether a tag begins or ends a thought."""
    inner = token[1:-1].strip()
    channel = inner in ("|channel", "channel|")  # Gemma: <|channel>thought … <channel|>
    if channel:
        return "begins" if inner[0] == "|" else "ends"
    inner = re.sub(r"^/\s+", "/", inner.strip("|").strip())
    name, space, rest = inner.partition(" ")
    if inner.endswith("/") or not _NAME.search(name) or not _ATTRIBUTES.fullmatch(space + rest):
        return None
    return "ends" if _END.match(name) else "begins"


def _for_others(text: str) -> str:
    """Of gpt-oss's channels (Harmony) what is for others: `final`, and `commentary` that is no call."""
    if "<|channel|>" not in text:
        if text.startswith("analysis") and "assistantfinal" in text:  # the same without its special tokens
            return text.rpartition("assistantfinal")[2]
        return text
    first, *pieces = text.split("<|channel|>")
    kept = [_ROLE.sub("", first)]
    for piece in pieces:
        header, _, body = piece.partition("<|message|>")
        channel, *told = header.split() or [""]
        end = _BODY_ENDS.search(body)
        said, rest = (body[: end.start()], body[end.start() :]) if end else (body, "")
        if channel == "final" or (channel == "commentary" and not any("to=" in word for word in told)):
            kept.append(said)
        kept.append(_ROLE.sub("", rest))
    return "\n".join(filter(None, (_SPECIAL.sub("", one).strip() for one in kept)))
