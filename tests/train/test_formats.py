"""Models as they come: their templates, the grammars that hear them, their ends, their clocks."""

import json
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_envs.grammars import grammar_of
from forge_train import sft
from forge_train.config import load
from forge_train.play import format as formats
from forge_train.play.chatml import ChatML
from forge_train.play.format import Format, ends_of, format_of, read_template, settle
from forge_train.play.hearing import readers_of, renderer_of, require_heard
from forge_train.play.renderer import renderer_for
from forge_train.play.template import Template
from forge_train.play.wording import OwnWording
from forge_train.play.world_pool import World
from forge_train.record.checkpoint import load_model
from forge_train.run import train
from tests.train.models import qwen3_of
from tests.train.template_table import BEGIN, END, PAGE, TRL, replaced, tokenizer_of
from tests.train.tokens import CHATML, tokenizer

RETAIL = "forge_envs:Forge/Retail-v0"
SCHEMA = {
    "type": "function",
    "function": {
        "name": "look",
        "description": "See <what> is there.",
        "parameters": {"type": "object", "properties": {"at": {"type": "string", "description": "Where."}}},
    },
}
SMOL = """{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{
'<|im_start|>system
You are kind.<|im_end|>
' }}{% endif %}{{'<|im_start|>' + message['role'] + '
' + message['content'] + '<|im_end|>' + '
'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant
' }}{% endif %}"""
BOS = "{{ bos_token }}" + SMOL
CLOCK = SMOL.replace("You are kind.", "Today is {{ strftime_now('%d %b %Y') }}.").replace(
    "'<|im_start|>system\nToday is {{ strftime_now('%d %b %Y') }}.<|im_end|>\n'",
    "'<|im_start|>system\nToday is ' + strftime_now('%d %b %Y') + '.<|im_end|>\n'",
)


def worded(source, special=CHATML):
    """A byte-level tokenizer with this template."""
    made = tokenizer([*special, "<s>"])
    made.chat_template = source
    return made


def decode(tokens, of):
    return of.decode(tokens, skip_special_tokens=False)


class Configured:
    """A model of which only the ends of its turns matter."""

    def __init__(self, eos):
        self.generation_config = type("G", (), {"eos_token_id": eos})()


# -- the model's own words ------------------------------------------------------------------------------

texts = st.text(alphabet=" \nab<é数", max_size=6)
CHATS = {
    "smol": SMOL,
    "bos": BOS,
    **{
        n: (TRL / f"{n}.jinja").read_text()
        for n in ("qwen2_5", "qwen3", "qwen3_vl", "qwen3_5_think", "nemotron_3_nano")
    },
}
MADE = {name: worded(source) for name, source in CHATS.items()}
RENDERERS = {name: renderer_for(made) for name, made in MADE.items()}


@pytest.mark.parametrize("name", CHATS)
@settings(max_examples=15)
@given(system=st.none() | texts, user=texts, tools=st.booleans(), more=st.lists(texts, max_size=2))
def test_chatml_is_what_the_template_writes_token_by_token(name, system, user, tools, more):
    made, renderer = MADE[name], RENDERERS[name]
    assert isinstance(renderer, ChatML)
    shown = tools and renderer._wording.shows_tools
    opening = [] if system is None else [{"role": "system", "content": system}]
    opening += [{"role": "user", "content": text} for text in (user, *more)]
    expected = made.apply_chat_template(
        opening, tools=[SCHEMA] if shown else None, add_generation_prompt=True, return_dict=False
    )
    given_tools = {"tools": [SCHEMA]} if shown else {}
    assert renderer.open([{**opening[0], **given_tools}, *opening[1:]]) == expected


@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_5_think"])
@settings(max_examples=15)
@given(results=st.lists(texts, min_size=1, max_size=3), follow=st.none() | texts)
def test_results_of_tools_stand_as_the_template_puts_them(name, results, follow):
    made, renderer = MADE[name], RENDERERS[name]
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "here"}}}
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    new = [{"role": "tool", "name": "look", "content": text} for text in results]
    new += [] if follow is None else [{"role": "user", "content": follow}]
    whole = made.apply_chat_template([*talk, *new], add_generation_prompt=True, return_dict=False)
    extension = renderer.extend(new)
    assert whole[-len(extension) :] == extension


def test_a_bos_and_a_system_prompt_of_the_template_are_there():
    text = decode(RENDERERS["bos"].open([{"role": "user", "content": "Hi"}]), MADE["bos"])
    assert text.startswith("<s><|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nHi")
    qwen = decode(
        RENDERERS["qwen3"].open([{"role": "user", "content": "Hi", "tools": [SCHEMA]}]), MADE["qwen3"]
    )
    assert "You may call one or more functions to assist with the user query." in qwen


def test_history_is_written_as_the_template_writes_it():
    call = {"type": "function", "function": {"name": "look", "arguments": '{"at": "here"}'}}
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "Nothing."},
        {"role": "assistant", "content": "Nothing is there."},
        {"role": "user", "content": "Oh."},
    ]
    plain = [{**m, "content": m["content"] or ""} for m in history]
    plain[1] = {
        **plain[1],
        "tool_calls": [{"type": "function", "function": {"name": "look", "arguments": {"at": "here"}}}],
    }
    for name in ("qwen2_5", "qwen3", "qwen3_5_think"):
        expected = MADE[name].apply_chat_template(plain, add_generation_prompt=True, return_dict=False)
        assert decode(RENDERERS[name].open(history), MADE[name]) == decode(expected, MADE[name])


def test_tools_that_come_later_are_shown_in_the_same_words():
    later = [{"role": "user", "content": "More:", "tools": [SCHEMA]}]
    shown = decode(RENDERERS["qwen3"].extend(later), MADE["qwen3"])
    assert "More:\n\n# Tools\n\nYou may call one or more functions" in shown


def test_a_template_that_is_no_chatml_is_used_itself():
    made = tokenizer_of("llama3_1")
    assert isinstance(renderer_for(made), Template)
    other = worded(
        SMOL.replace("<|im_start|>' + message['role']", "<|im_start|>from: ' + message['role']").replace(
            "<|im_start|>assistant", "<|im_start|>from: assistant"
        )
    )
    opening = renderer_for(other).open([{"role": "user", "content": "Hi"}])
    assert "<|im_start|>from: user\nHi" in other.decode(opening)
    with pytest.raises(ValueError, match="not what the model's own template writes"):
        renderer_for(other, "chatml")


def test_several_templates_by_name_are_those_with_tools():
    made = worded(None)
    made.chat_template = {"default": SMOL, "tool_use": CHATS["qwen2_5"]}
    assert renderer_for(made)._wording.shows_tools


# -- hearing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "grammar"),
    [("llama3_1", "llama"), ("llama3_2", "llama"), ("gemma4", "gemma"), ("lfm2_v2", "lfm2"),
     ("lfm2_2_5", "lfm2"), ("muse_glimmer", "muse"),
     ("qwen3_5_think_training", "qwen_xml"), ("nemotron_3_nano", "qwen_xml"), ("qwen3", "hermes")],
)  # fmt: skip
def test_a_world_must_hear_what_the_template_writes(name, grammar):
    renderer = renderer_for(tokenizer_of(name))
    world, deaf = World(RETAIL, {"grammar": grammar}), World(RETAIL, {"grammar": "mistral"})
    require_heard(renderer, readers_of([world]))
    with pytest.raises(ValueError, match=rf'worlds\.1\.args\.grammar = "{grammar}"') as refusal:
        require_heard(renderer, readers_of([world, deaf]))
    assert "mistral" in str(refusal.value) and "one call" in str(refusal.value)


def test_a_template_made_for_tools_alone_is_given_an_empty_list_of_them():
    made = tokenizer_of("qwen3")
    made.chat_template = "{% for tool in tools %}{% endfor %}" + made.chat_template
    with pytest.raises(Exception, match="not iterable"):
        made.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    hi = [{"role": "user", "content": "Hi"}]
    assert renderer_for(made).open(hi) == renderer_for(tokenizer_of("qwen3")).open(hi)


@pytest.mark.parametrize(
    ("name", "takes_system"),
    [("phi3_5", True), ("gemma3", True), ("gemma", False), ("llama3", True), ("cohere2", True)],
)  # fmt: skip
def test_a_template_that_shows_no_tools_is_told_of_them_on_its_plain_lines(name, takes_system):
    made = tokenizer_of(name)
    renderer, theirs = renderer_for(made), made.apply_chat_template
    require_heard(renderer, readers_of([World(RETAIL)]))
    tools = OwnWording().section([SCHEMA])
    assert '"name":"look"' in tools.replace(" ", "")
    opening = [{"role": "system", "content": "Rules.", "tools": [SCHEMA]}, {"role": "user", "content": "Hi"}]
    call = '<tool_call>\n{"name": "look", "arguments": {"at": "it"}}\n</tool_call>'
    rules = f"Rules.\n\n{tools}"
    plain = [{"role": "system", "content": rules}, {"role": "user", "content": "Hi"}]
    if not takes_system:
        plain = [{"role": "user", "content": f"{rules}\n\nHi"}]
    tokens = renderer.open(opening)
    result = {"role": "tool", "name": "look", "content": "found"}
    turns = [
        (call, [result, result], "<tool_response>\nfound\n</tool_response>\n" * 2),
        ("It is there.", [{"role": "user", "content": "Thanks."}], "Thanks."),
    ]
    for said, heard, shown in turns:
        tokens += renderer.encode_action(said) + renderer.extend(heard)
        plain += [{"role": "assistant", "content": said}, {"role": "user", "content": shown.rstrip()}]
        assert made.decode(tokens) == theirs(plain, tokenize=False, add_generation_prompt=True)


def test_a_template_that_no_grammar_reads_is_refused():
    made = tokenizer_of("llama3_2")
    made.chat_template = made.chat_template.replace('{"name": ', 'Calling {"tool": ')
    with pytest.raises(ValueError, match="no grammar that is known reads it"):
        require_heard(renderer_for(made), readers_of([World(RETAIL)]))


def test_a_model_to_be_judged_is_refused_with_the_argument_to_give():
    made = tokenizer_of("llama3_1")
    with pytest.raises(ValueError, match=r"--arg grammar=llama"):
        renderer_of(Configured(None), made, World(RETAIL))


def test_special_tokens_that_spell_calls_are_tokens_and_those_in_what_is_said_are_text():
    made = tokenizer_of("gemma4_v5")
    renderer, grammar = renderer_for(made), grammar_of("gemma")
    call = type("C", (), {"name": "look", "arguments": {"at": "a"}})()
    text = grammar.write("", [call])
    tokens = renderer.encode_action(text)
    begin, quote = made.convert_tokens_to_ids(["<|tool_call>", '<|"|>'])
    assert tokens[0] == begin and tokens.count(quote) == 2
    assert renderer.text(tokens) == text and tokens[-1] in renderer.stop
    heard = renderer.extend([{"role": "user", "content": text}])
    assert begin not in heard


# -- ends, clocks, files ---------------------------------------------------------------------------------


def test_every_end_of_a_turn_stops_and_the_template_s_own_is_trained():
    made = tokenizer_of("llama3_1")
    made.add_special_tokens({"additional_special_tokens": ["<|eom_id|>", "<|end_of_text|>"]})
    eot, eom, end = made.convert_tokens_to_ids(["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>"])
    settle(made, Configured([end, eom, eot]), Format())
    renderer = renderer_for(made)
    assert set(renderer.stop) >= {eot, eom, end} and renderer.stop[0] == eot
    assert renderer.encode_action("Hi")[-1] == eot
    assert renderer.text([*renderer.encode_action("Hi")[:-1], eom]) == "Hi"
    assert ends_of(Configured(eom), made)[0] == eom and ends_of(Configured(None), made) == (
        made.eos_token_id,
    )


def test_the_settings_travel_with_the_tokenizer(tmp_path):
    from transformers import AutoTokenizer

    made = worded(CLOCK)
    told = Format(began=1e9, past="drop", budget=7, early_stop="Stop.", args={"enable_thinking": False})
    settle(made, Configured([1, 2]), told)
    made.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert format_of(loaded) == format_of(made) and loaded.chat_template == CLOCK
    assert format_of(loaded).ends[:2] == (1, 2) and format_of(loaded).budget == 7
    hello = [{"role": "user", "content": "Hi"}]
    assert renderer_for(loaded).open(hello) == renderer_for(made).open(hello)


def test_a_template_s_clock_stands_still(monkeypatch):
    made = worded(CLOCK)
    settle(made, Configured(None), Format(began=datetime(2026, 11, 30, 23, 59).timestamp()))
    renderer = renderer_for(made)
    hello = [{"role": "user", "content": "Hi"}]
    before = renderer.open(hello)
    assert "Today is 30 Nov 2026." in decode(before, made)
    monkeypatch.setattr(formats.time, "time", lambda: datetime(2026, 12, 1, 0, 1).timestamp())
    assert renderer.open(hello) == before == renderer_for(made).open(hello)  # after midnight, and resumed
    glimmer = tokenizer_of("muse_glimmer")
    settle(glimmer, Configured(None), Format(began=datetime(2026, 11, 30).timestamp()))
    text = decode(Template(glimmer, format=format_of(glimmer)).open(hello), glimmer)
    assert "Current date: 2026-11-30" in text
    settle(made := worded(SMOL), Configured(None), Format(began=5.0))
    assert format_of(made).began is None, "a template without a clock is told no time"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b" \n", "empty"),
        (b"a\n{% for %}", "line 2"),
    ],
)
def test_a_file_that_is_no_template_is_one_error(tmp_path, content, why):
    path = tmp_path / "chat.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"model.chat_template.*{why}"):
        read_template(str(path))


def test_a_template_that_fails_when_it_is_used_is_one_error():
    with pytest.raises(ValueError, match=r"cannot render user \(integer division or modulo by zero\)"):
        Template(worded("{{ 1 // 0 }}"))


# -- supervised training -----------------------------------------------------------------------------------


def spoken_by(tokens, segment_action, made):
    return decode([t for t, a in zip(tokens, segment_action, strict=True) if a >= 0], made)


CALL = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"at": "é"}'}}


@pytest.mark.parametrize("content", ["", None, "I look."])
@pytest.mark.parametrize("name", ["own", "qwen2_5", "llama3_1", "qwen3_5_think_training"])
def test_stored_calls_are_trained_as_the_model_writes_them(name, content):
    made = tokenizer() if name == "own" else tokenizer_of(name)
    grammar = grammar_of({"own": "hermes", "qwen2_5": "hermes", "llama3_1": "llama"}.get(name, "qwen_xml"))
    episode = [
        {"role": "user", "content": "Hi", "tools": [SCHEMA]},
        {"role": "assistant", "content": content, "tool_calls": [CALL]},
        {"role": "tool", "content": "Nothing."},
        {"role": "assistant", "content": "Nothing is there."},
    ]
    trajectory = sft.trajectory_of(episode, renderer_for(made), [grammar])
    segment = trajectory.segments[0]
    first = [t for t, a in zip(segment.tokens, segment.action, strict=True) if a == 0]
    action = grammar.for_tools([SCHEMA]).parse(renderer_for(made).text(first))
    assert [(call.name, call.arguments) for call in action.calls] == [("look", {"at": "é"})]
    assert action.prose == (content or "") and action.error is None


def test_what_an_episode_may_hold(tmp_path):
    path = tmp_path / "episodes.jsonl"

    def read(*messages, **more):
        path.write_text(json.dumps({"messages": messages, **more}))
        return sft.read_episodes(path)[0]

    user = {"role": "user", "content": "Hi"}
    calls = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    assert read(user, calls)[1]["content"] == ""
    assert read(user, {k: v for k, v in calls.items() if k != "content"})[1]["tool_calls"] == [CALL]
    parts = {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}
    assert read(user, parts)[1]["content"] == "Yes"
    assert read(user, calls, tools=json.dumps([SCHEMA]))[0]["tools"] == [SCHEMA]
    broken = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "[1"}}
    for bad, why in [
        ({"role": "assistant", "content": None}, "null"),
        ({"role": "assistant"}, "role and content"),
        ({**calls, "tool_calls": [broken]}, "no object"),
    ]:
        with pytest.raises(ValueError, match=f"episodes.jsonl:1: not an episode.*{why}"):
            read(user, bad)


# -- the page ------------------------------------------------------------------------------------------------


def test_the_table_of_templates_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page and END in page
    assert replaced(page) == page, "python -m tests.train.template_table writes it anew"


# -- a run -------------------------------------------------------------------------------------------------


def config_of(folder, out, *more):
    return load(
        None,
        [
            f"model.path={folder}",
            f"run.out={out}",
            "run.threads=1",
            "run.steps=0",
            "worlds.0.id=tests.train.worlds:Test/Echo-v0",
            "sft.episodes=2",
            "sft.epochs=1",
            "eval.tasks=1",
            "eval.repeats=1",
            "eval.k=[1]",
            "rollout.max_context=2000",
            "rollout.max_action=4",
            *more,
        ],
    )


def test_a_named_template_is_in_the_trained_folder_and_a_deaf_world_stops_the_run(tmp_path):
    made = tokenizer_of("llama3_1")
    source, made.chat_template = made.chat_template, None
    made.save_pretrained(tmp_path / "model")
    qwen3_of(made).save_pretrained(tmp_path / "model")
    file = tmp_path / "chat.jinja"
    file.write_text(source)
    retail = f"worlds.0.id={RETAIL}"
    deaf = config_of(tmp_path / "model", tmp_path / "runs", f"model.chat_template={file}", retail)
    with pytest.raises(ValueError, match=r'worlds\.0\.args\.grammar = "llama"'):
        train(deaf)
    heard = config_of(tmp_path / "model", tmp_path / "runs", f"model.chat_template={file}")
    train(heard)
    _, loaded = load_model(heard.run.folder)
    assert loaded.chat_template == source and format_of(loaded).ends[-1] == made.eos_token_id
