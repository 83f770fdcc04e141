"""A chat template for servers that shows a model what the renderer showed it in training.

A model whose own template leaves tools out, or that was never given one, needs one before anybody can have it
call tools through a chat endpoint. The words are the renderer's: they are asked of it, not repeated here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from forge_train.play.renderer import Message, Renderer

_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"probe_{i}",
            "description": "A probe.",
            "parameters": {"type": "object", "properties": {}},
        },
    }
    for i in range(2)
]
_RESULTS = ("A first result.", "A second result.")
_RULE, _QUESTION = "A probing rule.", "A probing question."
_SYSTEM: Message = {"role": "system", "content": _RULE}
_USER: Message = {"role": "user", "content": _QUESTION}


def shows_tools(tokenizer: Any) -> bool:
    """Whether the tokenizer has a chat template, and it writes out the tools that it is given."""
    return bool(tokenizer.chat_template) and "probe_1" in _rendered(tokenizer, [_SYSTEM, _USER], _TOOLS)


def served_template(tokenizer: Any, renderer: Renderer) -> str:
    """A template with which a chat endpoint shows what `renderer` does. Raises ValueError when none does."""

    def shown(messages: Sequence[Message]) -> str:
        return str(tokenizer.decode(renderer.open(messages), skip_special_tokens=False))

    bare, told = shown([_SYSTEM, _USER]), shown([{**_SYSTEM, "tools": _TOOLS}, _USER])
    first, second = (json.dumps(tool, ensure_ascii=False) for tool in _TOOLS)
    start = bare.find(_RULE) + len(_RULE)
    before, found, rest = told[start:].partition(first)
    between, found_too, rest = rest.partition(second)
    after = rest.removesuffix(bare[start:])
    lead = shown([_USER]).partition("<|im_start|>user")[0]
    answered = shown(_probes()[2]).rpartition("</tool_call><|im_end|>\n")[2]
    answered = answered[: answered.find("<|im_start|>assistant")]
    opens, _, rest = answered.partition(_RESULTS[0])
    goes_on, _, closes = rest.partition(_RESULTS[1])
    words = {"BEFORE": before, "BETWEEN": between, "AFTER": after, "LEAD": lead}
    words |= {"OPENS": opens, "GOES_ON": goes_on, "CLOSES": closes}
    template = _TEMPLATE
    for name, text in words.items():
        template = template.replace(name, json.dumps(text, ensure_ascii=False))
    if not (found and found_too) or any(
        _rendered(tokenizer, probe, probe[0].get("tools"), template) != shown(probe) for probe in _probes()
    ):
        raise ValueError(
            "no chat template shows this model what its training did: serve it with one of your own, "
            "-- --chat-template FILE"
        )
    return template


def _probes() -> list[list[Message]]:
    given = {"probe_0": {"text": "é", "numbers": [1, 2.5], "none": None}, "probe_1": {}}
    calls = [
        {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for id, (name, arguments) in zip("ab", given.items(), strict=True)
    ]
    told: Message = {**_SYSTEM, "tools": _TOOLS}
    results: list[Message] = [
        {"role": "tool", "tool_call_id": id, "content": said} for id, said in zip("ab", _RESULTS, strict=True)
    ]
    prose: Message = {"role": "assistant", "content": "An answer."}
    return [
        [_SYSTEM, _USER],
        [_USER, prose, _USER],
        [told, _USER, {**prose, "tool_calls": calls}, *results, prose, _USER],
        [told, _USER, {"role": "assistant", "content": "", "tool_calls": calls[:1]}, results[0]],
    ]


def _rendered(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], tools: Any = None, template: str | None = None
) -> str:
    text = tokenizer.apply_chat_template(
        [{key: value for key, value in message.items() if key != "tools"} for message in messages],
        tools=tools,
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return str(text)


_TEMPLATE = r"""
{%- macro section() %}{{- BEFORE }}
{%- for tool in tools %}{{- tool | tojson }}{% if not loop.last %}{{- BETWEEN }}{% endif %}{% endfor %}
{{- AFTER }}{% endmacro %}
{%- macro written(function) %}
{{- '<tool_call>\n{"name": ' }}{{- function.name | tojson }}{{- ', "arguments": ' }}
{%- if function.arguments is string %}{{- function.arguments }}{% else %}{{- function.arguments | tojson }}
{%- endif %}{{- '}\n</tool_call>' }}{% endmacro %}
{%- if messages[0].role != "system" %}
{%- if tools %}{{- "<|im_start|>system" + section() + "<|im_end|>\n" }}{% else %}{{- LEAD }}{% endif %}
{%- endif %}
{%- for message in messages %}
{%- set content = message.content or "" %}
{%- if message.role == "tool" %}
{%- set first = loop.first or messages[loop.index0 - 1].role != "tool" %}
{%- if first %}{{- OPENS }}{% else %}{{- GOES_ON }}{% endif %}
{{- content }}{% if loop.last or messages[loop.index0 + 1].role != "tool" %}{{- CLOSES }}{% endif %}
{%- else %}
{{- "<|im_start|>" + message.role + "\n" + content }}
{%- for call in message.tool_calls or [] %}
{%- if content or not loop.first %}{{- "\n" }}{% endif %}{{- written(call.function or call) }}
{%- endfor %}
{%- if tools and loop.first and message.role == "system" %}{{- section() }}{% endif %}
{{- "<|im_end|>\n" }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|im_start|>assistant\n" }}{% endif %}
""".lstrip()
