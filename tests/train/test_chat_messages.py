"""Replies of a chat endpoint: native calls always run, and what came goes back as it came."""

from __future__ import annotations

import copy
import json
import time
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.grammars import HERMES, grammar_of
from forge_train.engine import Sampling
from forge_train.engines.vllm_http import retry_after
from forge_train.play.chat_messages import beside_calls, in_grammar, read_reply, with_native_calls
from forge_train.play.chat_requests import rejected
from forge_train.play.world_pool import World
from tests.endpoint import Raw
from tests.train.test_chat_player import ARGS, RETAIL, calls, run

LOOK = ("find_user_id_by_email", '{"email": "no@body.x"}')
TASK = "retail/tiny/train/1/0"


def shop(answer: Any, turns: int = 3, **settings: Any) -> tuple[Any, list[dict[str, Any]]]:
    """An episode at a desk, whose tools the endpoint calls."""
    return run(answer, world=World(RETAIL, {**ARGS, "max_turns": turns}), task=TASK, **settings)


def action(message: Any) -> str:
    return read_reply({"choices": [{"message": message}]}, 0).action


# -- native calls run ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "<think>I look.",
        "<think>I look.</think>One moment.",
        "I look.</think>One moment.",
        "I look.</think> and </think> again",
        "One moment.<think>",
        "a </think> b <think> c",
        "<tool_call>",
        "</tool_call>",
        '<tool_call>{"name": "other", "arguments": {}}</tool_call>',
        "<tool_call>{oops</tool_call>",
        "<|python_tag|>",
        "[TOOL_CALLS][{}]",
        "<function=other>",
        "<｜tool▁calls▁begin｜>",
        [{"type": "text", "text": "<think>I "}, {"type": "text", "text": "look."}],
        [{"type": "thinking", "thinking": "I look."}],
    ],
)
def test_native_calls_run_whatever_the_text_beside_them(text: Any) -> None:
    message = {**calls(("a", *LOOK)), "content": text}
    found = HERMES.parse(action(message))
    assert found.error is None and [call.name for call in found.calls] == [LOOK[0]]
    assert "I look" not in found.prose or text == "<think>I look." or isinstance(text, list)
    script = iter([message, "Bye."])
    _, asked = shop(lambda body: next(script), turns=2)
    assert "Error: no user has t" in asked[1]["messages"][-1]["content"]
    assert asked[1]["messages"][-2] == message


@given(st.text(alphabet="</>think[]TOOL_CALSfunction=tool_call|\n ") | st.text())
def test_no_text_hides_a_native_call_or_makes_one(text: str) -> None:
    found = HERMES.parse(action({**calls(("a", *LOOK)), "content": text}))
    assert found.error is None and [call.name for call in found.calls] == [LOOK[0]]


def test_words_beside_a_call_stay_what_they_are() -> None:
    assert (
        beside_calls("You get $12 back, if 3 < 4 and [1] holds.")
        == "You get $12 back, if 3 < 4 and [1] holds."
    )


@pytest.mark.parametrize("arguments", ['{"email": "x"}', {"email": "x"}, '  {"email":"x"}\n'])
def test_arguments_may_be_text_or_an_object(arguments: Any) -> None:
    (call,) = HERMES.parse(action(calls(("a", "f", arguments)))).calls
    assert call.arguments == {"email": "x"}


@pytest.mark.parametrize("arguments", [None, "", " ", "null", "{}", {}])
def test_no_arguments_are_an_empty_object(arguments: Any) -> None:
    assert HERMES.parse(action(calls(("a", "f", arguments)))).calls[0].arguments == {}


@pytest.mark.parametrize(
    "arguments",
    [
        '{"email": ',
        "[1]",
        "3",
        '"x"',
        "null",
        [1],
        3,
        True,
        "</tool_call>",
        '{"a": 1} {"b": 2}',
        "1" * 5000,
        "[" * 9999,
    ],
)
def test_arguments_that_are_no_object_are_told_to_the_agent(arguments: Any) -> None:
    script = iter([calls(("a", LOOK[0], arguments)), "Bye."])
    t, asked = shop(lambda body: next(script), turns=2)
    assert t.info["parts"].get("malformed", 0) <= 0 and t.ending in ("terminated", "max_turns")
    sent, result = asked[1]["messages"][-2:]
    assert sent["tool_calls"][0]["function"]["arguments"] == "{}"
    assert result["tool_call_id"] == "a" and result["content"].startswith("Error")


def test_calls_have_ids_of_their_own_whatever_came() -> None:
    message = calls(("x", *LOOK), ("x", *LOOK), (None, *LOOK), ("", *LOOK), (7, *LOOK), text="Hm.")
    del message["tool_calls"][2]["id"], message["tool_calls"][1]["type"]
    script = iter([message, copy.deepcopy(message), "Bye."])
    _, asked = shop(lambda body: next(script))
    history = asked[-1]["messages"]
    lines = [m for m in history if m["role"] == "assistant"]
    ids = [[call["id"] for call in line["tool_calls"]] for line in lines]
    assert all(len(set(one)) == 5 and all(isinstance(id, str) for id in one) for one in ids)
    assert ids[0][0] == "x" and ids[0][4] == "7" and not {*ids[0][2:4]} & {*ids[1][2:4]}
    answered = [m["tool_call_id"] for m in history if m["role"] == "tool"]
    assert answered == ids[0] + ids[1]


# -- what came goes back -------------------------------------------------------------------------------

FIELDS = {
    "reasoning_content": "I look them up.",
    "reasoning": "I look them up.",
    "reasoning_details": [{"type": "reasoning.encrypted", "data": "gAAAA", "index": 0}],
    "provider_specific_fields": {"thought_signature": "abc"},
    "x_new_in_2031": [1, {"deep": None}],
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("native", [True, False])
def test_an_endpoint_that_wants_its_fields_back_gets_them(field: str, native: bool) -> None:
    message = {**(calls(("a", *LOOK)) if native else {"role": "assistant", "content": "Who are you?"})}
    message[field] = FIELDS[field]

    def answer(body: dict[str, Any]) -> Any:
        said = [m for m in body["messages"] if m["role"] == "assistant"]
        if any(m.get(field) != FIELDS[field] for m in said):
            return ("status", 400, f"The `{field}` in the thinking mode must be passed back to the API.")
        return copy.deepcopy(message)

    t, asked = shop(answer)
    assert t.ending in ("terminated", "max_turns") and len(asked) == 3
    assert [m for m in asked[-1]["messages"] if m["role"] == "assistant"] == [message, message]
    assert "look them up" not in json.dumps(t.info["messages"])


def test_fields_inside_calls_go_back_too_and_calls_in_text_keep_theirs() -> None:
    message = calls(("a", *LOOK), text="")
    message["tool_calls"][0] |= {"index": 0, "extra_content": {"google": {"thought_signature": "abc"}}}
    text = f'So. <tool_call>{{"name": "{LOOK[0]}", "arguments": {LOOK[1]}}}</tool_call>'
    spoken = {"role": "assistant", "reasoning": "Hm.", "content": text}
    script = iter([message, spoken, "Bye."])
    _, asked = shop(lambda body: copy.deepcopy(next(script)))
    first, second = (m for m in asked[-1]["messages"] if m["role"] == "assistant")
    assert first == message
    assert (second["content"], second["reasoning"], len(second["tool_calls"])) == ("So.", "Hm.", 1)


@pytest.mark.parametrize(
    ("message", "back"),
    [
        ({"content": None}, {"content": ""}),
        ({"content": None, "refusal": "I cannot."}, {"content": "I cannot.", "refusal": "I cannot."}),
        ({"content": "Hi.", "tool_calls": []}, {"content": "Hi."}),
        ({"content": "Hi.", "tool_calls": None, "audio": None}, {"content": "Hi.", "audio": None}),
        ({"content": [{"type": "text", "text": "Hi."}]}, {"content": [{"type": "text", "text": "Hi."}]}),
    ],
)
def test_messages_without_calls_go_back_in_a_form_that_servers_take(message: Any, back: Any) -> None:
    script = iter([message, "Bye."])
    _, asked = shop(lambda body: next(script), turns=2)
    (line,) = (m for m in asked[1]["messages"] if m["role"] == "assistant")
    assert line == {"role": "assistant", **back}


def test_what_json_and_utf8_have_no_words_for_does_not_come_back() -> None:
    odd = b'{"choices": [{"message": {"content": "a", "reasoning": "\\ud800"}}]}'
    nan = b'{"choices": [{"message": {"content": "a", "score": NaN}}]}'
    script = iter([odd, nan, "Bye."])
    t, asked = shop(lambda body: next(script), turns=2)
    assert t.ending in ("terminated", "max_turns") and len(asked) == 3
    assert asked[2]["messages"][-2]["reasoning"] == "?"


def test_a_value_with_a_closing_tag_does_not_keep_a_call_text() -> None:
    text = '<tool_call>\n{"name": "f", "arguments": {"a": "</tool_call>"}}\n</tool_call>'
    found = with_native_calls({"role": "assistant", "content": text}, 4)
    assert json.loads(found["tool_calls"][0]["function"]["arguments"]) == {"a": "</tool_call>"}
    for wrong in (text[:-4], text.replace('"f"', "3"), text.replace('{"a"', '[{"a"'), "<tool_call>" * 3):
        assert with_native_calls({"content": wrong}, 4) == {"content": wrong}


# -- again, and when -----------------------------------------------------------------------------------


def test_every_attempt_is_the_same_request_until_the_deadline() -> None:
    script = iter([500, 502, 503, 429, *["7"] * 3])
    t, asked = run(lambda body: next(script), deadline=20)
    assert t.outcome == 1.0 and all(body == asked[0] for body in asked[:5])
    before = time.monotonic()
    t, asked = run(lambda body: 500, deadline=2.5)
    assert t.ending == "failed" and t.info["error"]["retryable"] and len(asked) > 4
    assert time.monotonic() - before > 1.2


@pytest.mark.parametrize(
    "answer", [b"<html>", {"choices": [{"message": {"content": 3}}]}, calls(("a", 7, "{}"))]
)
def test_answers_without_sense_are_given_up_before_the_deadline(answer: Any) -> None:
    t, asked = run(lambda body: answer, deadline=60)
    assert (t.ending, len(asked)) == ("failed", 4) and t.info["error"]["retryable"]


@pytest.mark.parametrize(
    ("answer", "told"),
    [(404, "status 404"), (("status", 429, "insufficient_quota"), "insufficient_quota"),
     (Raw(status=503, headers={"Retry-After": "3600"}), "status 503")],
)  # fmt: skip
def test_what_no_pause_mends_fails_at_once(answer: Any, told: str) -> None:
    t, asked = run(lambda body: answer, deadline=60)
    assert (t.ending, len(asked)) == ("failed", 1) and told in t.info["error"]["message"]


def test_an_endpoint_is_left_alone_for_as_long_as_it_asks() -> None:
    script = iter([Raw(status=429, headers={"Retry-After": "1.2"}), *["7"] * 3])
    before = time.monotonic()
    t, asked = run(lambda body: next(script))
    assert t.outcome == 1.0 and len(asked) == 4 and time.monotonic() - before > 1.1
    until = "Wed, 18 May 2033 03:33:22 GMT"
    assert retry_after({"retry-after": until, "date": "Wed, 18 May 2033 03:33:20 GMT"}) == 2


@pytest.mark.parametrize("name", ["temperature", "top_p", "seed", "max_completion_tokens"])
def test_a_parameter_that_a_model_refuses_is_left_out_from_then_on(name: str) -> None:
    def answer(body: dict[str, Any]) -> Any:
        return ("status", 400, f"Unsupported parameter: '{name}'") if name in body else "7"

    with pytest.warns(UserWarning, match=f"does not take '{name}'"):
        t, asked = run(answer, attempts=1)
    assert t.outcome == 1.0 and len(asked) == 4 and name in asked[0]
    assert all(("max_tokens" in body) is (name == "max_completion_tokens") for body in asked[1:])
    with warnings.catch_warnings(action="error"):
        t, asked = run(answer, attempts=1, without=name)
    assert t.outcome == 1.0 and len(asked) == 3
    assert rejected(f"{name} must be at most 3", [name]) == ""


def test_fields_of_messages_are_left_out_by_name() -> None:
    def answer(body: dict[str, Any]) -> Any:
        return 400 if "reasoning_content" in str(body) else {"content": "7", "reasoning_content": "Hm."}

    t, _ = run(answer, without="reasoning_content")
    assert t.outcome == 1.0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Raw(b'{"choices": [', length=999), "the answer broke off"),
        (b'{"error": {"code": 502, "message": "upstream"}}', "status 502"),
        (b"[" * 100_000, "no JSON"),
    ],
)
def test_answers_that_are_none_are_named(answer: Any, told: str) -> None:
    t, asked = run(lambda body: answer, attempts=2, sampling=Sampling(max_tokens=9))
    assert (t.ending, len(asked)) == ("failed", 2) and told in t.info["error"]["message"]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen_xml", "gemma", "deepseek", "hermes"])
@pytest.mark.parametrize(
    "text", [None, "I look.", "<think>Hm.</think>I look.", "[TOOL_CALLS]x <tool_call> {"]
)
def test_native_calls_are_written_as_the_world_reads_them(name: str, text: str | None) -> None:
    function = {"name": "look", "arguments": json.dumps({"at": "é [ARGS]", "many": 2})}
    message = {"content": text, "tool_calls": [{"id": "a", "type": "function", "function": function}]}
    grammar = grammar_of(name)
    reply = in_grammar(read_reply({"choices": [{"message": message}]}, 0), grammar)
    action = grammar.parse(reply.action)
    assert action.error is None
    assert [(c.name, c.arguments) for c in action.calls] == [("look", {"at": "é [ARGS]", "many": 2})]
    assert reply.message["content"] == text, "what goes back is as it came"
