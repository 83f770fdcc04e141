import doctest
import importlib.util
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.play.renderer import ChatML, Template, renderer_for
from tests.train.tokens import CHATML, special_tokens_of, tokenizer

TRL = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
TOKENIZER = tokenizer()
START, END = (TOKENIZER.convert_tokens_to_ids(t) for t in CHATML[:2])
HERMES = ChatML(TOKENIZER)

# Text as worlds, users and policies may send it: any unicode, and every trick with control spellings.
tricky = st.sampled_from(
    [*CHATML, "<|im_", "end|>", "\n", " ", "<tool_call>", "</tool_response>", "\ue000", "\ud800"]
)
texts = st.lists(tricky | st.text(max_size=8), max_size=6).map("".join)
clean = texts.filter(lambda t: "\ud800" not in t)
heard = st.lists(
    st.builds(
        lambda role, content: {"role": role, "content": content}, st.sampled_from(["user", "tool"]), texts
    ),
    max_size=4,
)
calls = st.builds(
    lambda content, value: {
        "role": "assistant",
        "content": content,
        "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": value}}}],
    },
    texts,
    texts,
)


def decode(tokens):
    return TOKENIZER.decode(tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def template(name, special=None):
    text = (TRL / f"{name}.jinja").read_text(encoding="utf-8")
    special = [*(special or special_tokens_of(text)), "<s>"]
    return Template(tokenizer(special, eos=special[0]), text)


# -------------------------------------------------------------------------------------------- ChatML


def test_a_conversation_reads_as_chatml_with_hermes_tools():
    schema = {"type": "function", "function": {"name": "look"}}
    opening = [
        {"role": "system", "content": "Be kind.", "tools": [schema]},
        {"role": "user", "content": "Hi."},
    ]
    text = decode(HERMES.open(opening))
    assert text.startswith("<|im_start|>system\nBe kind.\n\n# Tools\n")
    assert f"\n<tools>\n{json.dumps(schema)}\n</tools>\n" in text
    assert text.endswith("<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n")


def test_neighbouring_tool_results_share_one_user_block():
    results = [
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "user", "content": "?"},
    ]
    assert decode(HERMES.extend(results)) == (
        "\n<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"
    )


def test_calls_in_history_are_written_as_the_policy_writes_them():
    function = {"name": "look", "arguments": '{"at": "é"}'}
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": function}],
    }
    as_object = {**said, "tool_calls": [{"function": {"name": "look", "arguments": {"at": "é"}}}]}
    expected = '<tool_call>\n{"name": "look", "arguments": {"at": "é"}}\n</tool_call><|im_end|>'
    assert expected in decode(HERMES.open([said]))
    assert HERMES.open([said]) == HERMES.open([as_object])


@given(opening=heard, turns=st.lists(st.tuples(texts, heard), max_size=4))
def test_appending_gives_the_tokens_of_the_whole_conversation(opening, turns):
    grown, whole = HERMES.open(opening), list(opening)
    for action, answer in turns:
        grown += HERMES.encode_action(action) + HERMES.extend(answer)
        whole += [{"role": "assistant", "content": action}, *answer]
    assert grown == HERMES.open(whole)


@given(messages=heard, call=calls)
def test_only_the_renderer_writes_control_tokens(messages, call):
    tools = [{"type": "function", "function": {"name": "<|im_end|>", "description": "<|im_start|>system"}}]
    conversation = [{"role": "system", "content": "<|im_end|>", "tools": tools}, *messages, call]
    plain = [{**m, "content": "x"} for m in conversation]
    plain[0]["tools"] = [{"type": "function"}]
    plain[-1]["tool_calls"] = [{"function": {"name": "x", "arguments": {}}}]
    control = {START, END, TOKENIZER.convert_tokens_to_ids("<|endoftext|>")}
    frame = [t for t in HERMES.open(plain) if t in control]
    assert [t for t in HERMES.open(conversation) if t in control] == frame


@given(clean)
def test_an_action_comes_back_as_it_was_said(text):
    tokens = HERMES.encode_action(text)
    assert tokens[-1:] == list(HERMES.stop) and END not in tokens[:-1]
    assert HERMES.text(tokens) == text
    assert HERMES.text(tokens[:-1]) == text  # cut off before the stop token


def test_half_a_surrogate_pair_is_shown_as_the_replacement_character():
    assert HERMES.text(HERMES.encode_action("a\ud800b")) == "a\ufffdb"
    assert HERMES.text(HERMES.encode_action("a\ud83d\ude00b")) == "a😀b"


def test_the_renderer_is_not_touched_by_what_others_do_with_the_tokenizer():
    shared = tokenizer()
    renderer = ChatML(shared)
    before = renderer.encode_action("x<|im_end|>" * 9)
    shared.encode("<|im_end|>", split_special_tokens=False, truncation=True, max_length=3)
    shared.backend_tokenizer.enable_padding(length=64)
    renderer._data.cache_clear()
    assert renderer.encode_action("x<|im_end|>" * 9) == before


def test_tools_that_change_in_place_are_shown_as_they_are_now():
    tools = [{"type": "function", "function": {"name": "gaze"}}]
    before = HERMES.open([{"role": "system", "content": "", "tools": tools}])
    tools[0]["function"]["name"] = "listen"
    after = HERMES.open([{"role": "system", "content": "", "tools": tools}])
    assert '"name": "gaze"' in decode(before) and '"name": "listen"' in decode(after)


def test_what_chatml_cannot_do_is_refused_with_the_fix():
    with pytest.raises(ValueError, match=r"no <\|im_start\|>.*template"):
        ChatML(tokenizer(("<s>",), eos="<s>"))
    ordinary = tokenizer(("<s>",), eos="<s>")
    ordinary.add_tokens(["<|im_start|>", "<|im_end|>"], special_tokens=False)
    with pytest.raises(ValueError, match="special=True"):
        ChatML(ordinary)
    with pytest.raises(ValueError, match="role 'narrator'"):
        HERMES.open([{"role": "narrator", "content": "x"}])
    with pytest.raises(ValueError, match="must be text"):
        HERMES.open([{"role": "user", "content": [{"type": "text"}]}])


def test_renderer_for_chooses_chatml_where_its_tokens_exist():
    assert isinstance(renderer_for(TOKENIZER), ChatML)
    other = tokenizer(("<|eot|>", "<s>"), eos="<|eot|>")
    with pytest.raises(ValueError, match="no chat template"):
        renderer_for(other)
    other.chat_template = (TRL / "muse_glimmer_training.jinja").read_text()
    with pytest.raises(ValueError, match="kind='jinja'"):
        renderer_for(other, "jinja")


def test_the_numbers_on_the_page_about_token_flow_are_true():
    page = Path(__file__).parents[2] / "docs" / "token_flow.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.failed == 0 and result.attempted > 10


# ------------------------------------------------------------------------------------------ Template

KEEPING = [
    "qwen2_5_training",
    "qwen3_training",
    "qwen3_instruct_2507_training",
    "qwen3_vl_training",
    "lfm2_v2_training",
]
CLOSED = ["qwen3_5_nothink_training", "qwen3_5_think_training", "qwen3_6_training", "qwen3_8_training"]
REFUSED = {
    "qwen3": "leaves out 'Probe thought 0'",
    "qwen3_5_think": "not prefix-preserving",
    "qwen3_6": "not prefix-preserving",
    "deepseekv3": "not prefix-preserving",
    "nemotron_3_nano": "not prefix-preserving",
    "phi3": "leaves out",
    "llama3": "leaves out 'Probe tool 0'",
    "gemma3": r"cannot render system, user, assistant, tool",
    "llava_next": "cannot render user",
}


@pytest.mark.parametrize("name", KEEPING + CLOSED)
def test_training_templates_are_accepted(name):
    assert decode_with(template(name), list(template(name).stop)) == "<|im_end|>"


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_templates_that_rewrite_or_lose_what_was_said_are_refused(name, reason):
    with pytest.raises(ValueError, match=reason) as refusal:
        template(name)
    assert "_training.jinja" in str(refusal.value) and "chatml" in str(refusal.value)


def decode_with(renderer, tokens):
    return renderer._tokenizer.decode(tokens, skip_special_tokens=False)


RENDERERS = {name: template(name, CHATML) for name in ("qwen2_5_training", "qwen3_instruct_2507_training")}
ends = st.fixed_dictionaries({"role": st.just("user"), "content": texts})
tool_then_user = st.lists(st.fixed_dictionaries({"role": st.just("tool"), "content": texts}), max_size=3)


@pytest.mark.parametrize("name", RENDERERS)
@given(user=ends, turns=st.lists(st.tuples(texts, tool_then_user, ends), max_size=3))
def test_a_template_grown_turn_by_turn_reads_as_the_template_reads_it_whole(name, user, turns):
    renderer = RENDERERS[name]
    opening = [{"role": "system", "content": "Rules."}, user]
    grown, whole = renderer.open(opening), list(opening)
    for action, results, follow in turns:
        grown += renderer.encode_action(action) + renderer.extend([*results, follow])
        whole += [{"role": "assistant", "content": action}, *results, follow]
    assert decode_with(renderer, grown) == decode_with(renderer, renderer.open(whole))
    frame = [t for t in grown if t < len(CHATML)]
    assert frame == [t for t in renderer.open(whole) if t < len(CHATML)]


@given(content=clean)
def test_content_is_data_for_a_template_too(content):
    renderer = RENDERERS["qwen2_5_training"]
    plain = renderer.extend([{"role": "user", "content": "x"}])
    said = renderer.extend([{"role": "user", "content": content}])
    assert [t for t in said if t < len(CHATML)] == [t for t in plain if t < len(CHATML)]
    assert f"<|im_start|>user\n{content}<|im_end|>" in decode_with(renderer, said)


@given(user=ends, results=tool_then_user, call=calls)
def test_chatml_is_the_template_of_qwen_where_there_are_no_tool_schemas(user, results, call):
    conversation = [{"role": "system", "content": "Rules."}, user, call, *results, user]
    reference = RENDERERS["qwen2_5_training"]
    assert decode(HERMES.open(conversation)) == decode_with(reference, reference.open(conversation))


def test_stops_of_prose_and_of_calls_may_differ():
    renderer = template("gemma4")
    prose, call = renderer.encode_action("hi"), renderer.encode_action("<|tool_call>call:look{}<tool_call|>")
    assert prose[-1] != call[-1] and {prose[-1], call[-1]} == set(renderer.stop)
    assert renderer.text(prose) == "hi"


def test_tools_that_arrive_later_are_refused_by_a_template_and_shown_by_chatml():
    later = [{"role": "user", "content": "More:", "tools": [{"type": "function"}]}]
    with pytest.raises(ValueError, match="first message"):
        RENDERERS["qwen2_5_training"].extend(later)
    assert '<tools>\n{"type": "function"}\n</tools>' in decode(HERMES.extend(later))
