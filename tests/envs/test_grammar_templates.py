"""The oracle of a grammar is its family's chat template: what that writes for a call is read back equal."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from transformers.utils.chat_template_utils import render_jinja_template

from forge_envs.grammars import grammar_of
from forge_envs.messages import ToolCall
from tests.envs.grammar_cases import ARGUMENTS, NAMES, WORDS, schemas_of

TRL = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
CHATML, LLAMA = "<|im_start|>assistant\n", "<|start_header_id|>assistant<|end_header_id|>\n\n"
FAMILIES = {
    "qwen2_5.jinja": ("hermes", CHATML),
    "qwen3.jinja": ("hermes", CHATML),
    "qwen3_instruct_2507.jinja": ("hermes", CHATML),
    "qwen3_5_think.jinja": ("qwen_xml", CHATML),
    "qwen3_8.jinja": ("qwen_xml", CHATML),
    "nemotron_3_ultra.jinja": ("qwen_xml", CHATML),
    "glm4moe.jinja": ("glm", "<|assistant|>"),
    "llama3_1.jinja": ("llama", LLAMA),
    "llama3_2.jinja": ("llama", LLAMA),
    "deepseekv3_training.jinja": ("deepseek", "<｜Assistant｜>"),
    "gptoss.jinja": ("harmony", "<|start|>assistant"),
    "gemma4_v5.jinja": ("gemma", "<|turn>model\n"),
    "lfm2_v2.jinja": ("lfm2", CHATML),
    "muse_glimmer.jinja": ("muse", "<|start|>assistant"),
}
"""Templates that TRL ships: the grammar that reads what they write, and what the prompt ends with."""
ONE_CALL = {"llama", "harmony"}
"""Their templates write one call."""

CALLS_ALONE = ONE_CALL | {"muse"}
"""Their templates leave out prose beside a call."""

CALLS = st.lists(st.builds(ToolCall, NAMES, ARGUMENTS), max_size=3, unique_by=lambda call: call.name)
THOUGHTS = WORDS | st.sampled_from(
    [
        "</think> ends it",
        "<think>",
        '<tool_call>{"name": "f", "arguments": {}}</tool_call>, or not',
        "<tool_call>",
    ]
)


def canonical(calls):
    """Calls to compare; some templates sort arguments."""
    return json.dumps([(call.name, call.arguments) for call in calls], sort_keys=True)


def plain_keys(value):
    """Whether all keys are words."""
    if isinstance(value, dict):
        return all(re.fullmatch(r"\w+", key) for key in value) and all(map(plain_keys, value.values()))
    return all(map(plain_keys, value)) if isinstance(value, list) else True


def written(template, message):
    """What the template writes for the message after the prompt for it, the end of the turn included."""
    source, user = (TRL / template).read_text(), {"role": "user", "content": "Hi"}
    before, whole = (
        render_jinja_template(conversations=[talk], chat_template=source)[0][0]
        for talk in ([user], [user, message])
    )
    assert whole.startswith(before)
    return whole[len(before) :].removeprefix(FAMILIES[template][1])


@pytest.mark.parametrize("template", FAMILIES)
@given(prose=WORDS, calls=CALLS, thought=THOUGHTS)
@example(
    prose="", calls=[ToolCall("f", {"a": "</tool_call></think>\n```\n", "b": None, "c": "1"})], thought=""
)
def test_what_the_family_template_writes_is_read_back(template, prose, calls, thought):
    name = FAMILIES[template][0]
    # The two formats of bare text have no words for their own closing tags in a row.
    assume(not any("</arg_value>" in str(call) and "</tool_call>" in str(call) for call in calls))
    assume(name != "gemma" or all(map(plain_keys, (call.arguments for call in calls))))  # it quotes no key
    calls = calls[:1] if name in ONE_CALL else calls
    message = {"role": "assistant", "content": prose, "reasoning_content": thought}
    if calls:
        functions = [{"name": call.name, "arguments": call.arguments} for call in calls]
        message["tool_calls"] = [{"type": "function", "function": function} for function in functions]
    text = written(template, message)
    grammar = grammar_of(name).for_tools(schemas_of(calls))
    said = "" if calls and name in CALLS_ALONE else prose
    for action in (text, text.removeprefix("<think>"), text.removeprefix("\n<think>")):  # in the prompt
        read = grammar.parse(action)
        assert (read.error, read.prose, canonical(read.calls)) == (None, said, canonical(calls)), action
