"""A model's chat template as a function of messages: its clock stands still, and its faults are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge_train.play.encoding import Message, arguments_of, to_json
from forge_train.play.format import Format

REFUSAL = "this chat template cannot carry an episode"
FIX = (
    "Name a training template as model.chat_template (for example one that TRL ships: "
    "trl/chat_templates/*_training.jinja), "
    "or kind='chatml' where the tokenizer has <|im_start|> and <|im_end|>."
)


class ChatTemplate:
    """The template `source`, or else the tokenizer's own, under the settings of `format`.

    Raises ValueError without any.
    """

    plain = False
    """Whether tools, calls and results are told in our words."""

    def __init__(self, tokenizer: Any, source: str | None = None, format: Format | None = None) -> None:
        format = format or Format()
        found = source or getattr(tokenizer, "chat_template", None)
        if isinstance(found, Mapping):  # several by name: ours must show tools
            found = found.get("tool_use") or found.get("default")
        if not found:
            raise ValueError("the tokenizer has no chat template: pass chat_template, or use kind='chatml'")
        self.source = str(found)
        self._tokenizer = tokenizer
        # What a template is given stands before what transformers lends it, its clock for example.
        self._args = {"strftime_now": format.moment().strftime, **format.args}

    def __call__(self, messages: Sequence[Message], *, prompt: bool) -> str:
        """The text of a conversation, with the header of the next action if `prompt`. Raises ValueError."""
        if any("tools" in message for message in messages[1:]):
            raise ValueError("a chat template shows tools of the first message only: use kind='chatml'")
        tools = (messages[0].get("tools") if messages else None) or None
        # Some templates want arguments as JSON; some, made for tools alone, an empty list of these.
        ways: list[tuple[bool, Any]] = [(False, tools), (True, tools)]
        ways += [(False, []), (True, [])] if tools is None else []
        errors: list[Exception] = []
        for as_json, shown in ways:
            try:
                return self._rendered(_numbered(messages, as_json=as_json), shown, prompt)
            except Exception as error:  # whatever its code runs into
                errors.append(error)
                if not isinstance(error, TypeError):
                    break
        roles = ", ".join(message["role"] for message in messages)
        raise ValueError(f"{REFUSAL}: it cannot render {roles} ({errors[0]}). {FIX}") from errors[0]

    def _rendered(self, messages: list[dict[str, Any]], tools: Any, prompt: bool) -> str:
        rendered = self._tokenizer.apply_chat_template(
            messages,
            tools=tools,
            chat_template=self.source,
            tokenize=False,
            add_generation_prompt=prompt,
            **self._args,
        )
        assert isinstance(rendered, str)
        return rendered


def _numbered(messages: Sequence[Message], *, as_json: bool = False) -> list[dict[str, Any]]:
    """Messages as templates take them: arguments as objects, each call and its result with one id."""
    plain: list[dict[str, Any]] = []
    waiting: list[str] = []
    count = 0
    for message in messages:
        bare = {key: value for key, value in message.items() if key != "tools"}
        if bare.get("content") is None:
            bare["content"] = ""
        if not bare.get("tool_calls"):
            bare.pop("tool_calls", None)  # some templates ask whether the key is there
        else:
            waiting, calls = [], []
            for call in bare["tool_calls"]:
                name, arguments = arguments_of(call)
                if as_json and not isinstance(arguments, str):
                    arguments = to_json(arguments)
                waiting.append(
                    call.get("id") or f"call{count:05d}"
                )  # nine letters and digits, as Mistral wants
                function = {"name": name, "arguments": arguments}
                calls.append({"type": "function", **call, "id": waiting[-1], "function": function})
                count += 1
            bare["tool_calls"] = calls
        if bare["role"] == "tool":
            bare.setdefault("tool_call_id", waiting.pop(0) if waiting else "call00000")
        plain.append(bare)
    return plain
