"""What a chat model said: content of every legal form, thoughts of every spelling, native calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.grammars import HERMES
from forge_envs.people.attempts import Failed
from forge_envs.people.replies import content_of, read_reply, spoken


def body(message: Any, **choice: Any) -> bytes:
    return json.dumps({"choices": [{"message": message, **choice}]}).encode()


def native(name: str, arguments: Any) -> dict[str, Any]:
    return {"id": "a", "type": "function", "function": {"name": name, "arguments": arguments}}


@pytest.mark.parametrize(
    "text",
    [
        "<think>a ###STOP### b</think>Said.",
        "<thinking>a</thinking>\nSaid.",
        "<THINKING>a</Thinking> Said.",
        "<thought>a</thought>Said.",
        "<reasoning>a</reasoning>Said.",
        "<reason>a</reason>Said.",
        "<analysis>a</analysis>Said.",
        "<scratchpad>a</scratchpad>Said.",
        "<inner_monologue>a</inner_monologue>Said.",
        "<antThinking>a</antThinking>Said.",
        "<seed:think>a</seed:think>Said.",
        '<think budget="9">a</ think >Said.',
        "< think >a</think>Said.",
        "[THINK]a[/THINK]Said.",
        "◁think▷a◁/think▷Said.",
        "<|begin_of_thought|>a<|end_of_thought|>Said.",
        "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>Said.<|END_RESPONSE|>",
        "<|inner_prefix|>a<|inner_suffix|>Said.",
        "<|channel>thought\na<channel|>Said.",
        "a</think>Said.",
        "<think>a <think> b</think>Said.",
        "<think>a<think>b</think>c</think>Said.",
        "Said.<think>a, and never an end",
        "<think>a</think>Said.<|im_end|>",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Said.<|return|>",
        "<|channel|>analysis<|message|>a<|end|>Said.",
        "<|channel|>analysis<|message|>###STOP###<|start|>assistant<|channel|>final <|constrain|>text"
        "<|message|>Said.",
        "<|channel|>commentary<|message|>Said.<|end|><|start|>assistant<|channel|>analysis<|message|>a",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>"
        "<|channel|>final<|message|>Said.",
        "analysisa user wants###STOP###assistantfinalSaid.",
    ],
)
def test_thoughts_of_any_spelling_are_not_said(text: str) -> None:
    assert spoken(text) == "Said."


@pytest.mark.parametrize(
    "text",
    [
        "I think so.",
        "Is 3 < 4 and 5 > 4?",
        "[thinking] Well, the blue one.",
        "<order> #W1 </order>",
        "My analysis: it is broken.",
        "I <b>think</b> so.",
        "<3 thinking of you>",
        "a <think about it> b",
        '<tool_call>{"name": "note", "arguments": {"text": "a </think> b"}}</tool_call>',
    ],
)
def test_what_is_no_thought_is_said(text: str) -> None:
    assert spoken(text) == text


@given(st.text(alphabet="<>/|[] thinkTHINK\n"))
def test_any_text_can_be_said(text: str) -> None:
    assert "<think>" not in spoken(text) or "<tool_call>" in text
    assert spoken(f"<think>{text}</think>Said.") == spoken(f"{text}</think>Said.") == "Said."


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "Yes."}, "Yes."),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "Yes"}, {"type": "text", "text": "."}]}, "Yes."),
        ({"content": [{"type": "output_text", "text": "Yes.", "annotations": []}]}, "Yes."),
        ({"content": [{"type": "text", "text": {"value": "Yes.", "annotations": []}}]}, "Yes."),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "No."}]},
                      {"type": "text", "text": "Yes."}]}, "Yes."),
        ({"content": [{"type": "reasoning", "text": "No."}, {"type": "text", "text": "Yes."}]}, "Yes."),
        ({"content": [{"type": "image_url", "image_url": {"url": "x"}}]}, ""),
        ({"content": ["Yes", "."]}, "Yes."),
        ({"content": []}, ""),
        ({"content": None, "refusal": "I cannot."}, "I cannot."),
        ({"content": [{"type": "refusal", "refusal": "I cannot."}]}, "I cannot."),
        ({"content": "Yes.", "refusal": None, "reasoning_content": "No.", "tool_calls": None}, "Yes."),
    ],
)  # fmt: skip
def test_content_has_many_legal_forms(message: dict[str, Any], said: str) -> None:
    assert content_of(message) == said == read_reply(body(message), 9)


def test_native_calls_are_written_after_the_prose() -> None:
    calls = [
        native("a", '{"x": "</tool_call> <think>"}'),
        native("b", {"y": 1}),
        native("c", None),
        native("d", ""),
    ]
    found = HERMES.parse(read_reply(body({"content": "So.", "tool_calls": calls}), 9))
    assert found.prose == "So." and [call.name for call in found.calls] == ["a", "b", "c", "d"]
    assert found.calls[0].arguments == {"x": "</tool_call> <think>"} and found.calls[1].arguments == {"y": 1}
    broken = HERMES.parse(read_reply(body({"tool_calls": [native("a", '{"x": ')]}), 9))
    assert broken.error is not None


@pytest.mark.parametrize(
    ("data", "kind", "told"),
    [
        (b"<html>busy</html>", "rubbish", "JSONDecodeError"),
        (b"", "rubbish", "JSONDecodeError"),
        (b"\xff\xfe", "rubbish", "no chat completion"),
        (b"null", "rubbish", "no chat completion"),
        (b'{"choices": [{"message": {"tool_calls": [{}]}}]}', "rubbish", "no chat completion"),
        (body({"content": {"a": 1}}), "rubbish", "content is no text"),
        (body({"content": "I wan"}, finish_reason="length"), "rubbish", "max_tokens=9"),
        (body({"content": "I wan"}, finish_reason="content_filter"), "rubbish", "content filter"),
        (b'{"error": {"code": 429, "message": "slow down"}}', "refused", "status 429"),
        (b'{"error": {"message": "upstream"}}', "refused", "status 502"),
    ],
)
def test_what_is_no_reply_is_told_by_name(data: bytes, kind: str, told: str) -> None:
    with pytest.raises(Failed, match=told) as caught:
        read_reply(data, 9)
    assert (caught.value.kind, caught.value.retryable) == (kind, True)
