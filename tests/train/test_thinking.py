"""Thoughts: a budget whose end nobody is trained on, and earlier ones that are left out in a new segment."""

import asyncio

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from forge_train.config import ConfigError, load
from forge_train.engine import Sampling
from forge_train.engines.local import LocalEngine
from forge_train.play.episode import OutOfRoom, TokenPlayer
from forge_train.play.format import Format
from forge_train.play.renderer import renderer_for
from forge_train.play.stretches import Stretches
from forge_train.play.template import Template
from forge_train.trajectory import WORLD, Trajectory
from tests.train.models import qwen3_of
from tests.train.template_table import tokenizer_of
from tests.train.tokens import Script

STOP = "That is enough."
HELLO = [{"role": "system", "content": "Rules."}, {"role": "user", "content": "Hi"}]


def player(made, say, **format):
    renderer = renderer_for(made, "auto", Format(early_stop=STOP, **format))
    return TokenPlayer(Script(say(renderer)), renderer, Sampling(max_tokens=400))


def conversation(player, answers=()):
    """Play actions with these answers between them."""

    async def talk():
        one = player.open(HELLO, task="t", name="t", seed=3)
        actions = [await one.act()]
        for answer in answers:
            one.hear(answer)
            actions.append(await one.act())
        return one, actions

    return asyncio.run(talk())


def decode(made, tokens):
    return made.decode(tokens, skip_special_tokens=False)


@pytest.fixture(scope="module")
def qwen() -> PreTrainedTokenizerFast:
    return tokenizer_of("qwen3")


def thinker(renderer):
    """Thinks without end until it is stopped, then answers."""
    thought = renderer.encode_action("<think>\nI wonder, and wonder, and wonder again" + ", again" * 30)[:-1]
    answer = renderer.encode_action("Four.")
    ending = renderer.interrupt(thought[:40])

    def say(tokens, seed):
        return answer if tokens[-len(ending) :] == ending else thought

    return say


def test_a_spent_budget_ends_the_thought_and_is_never_trained(qwen):
    one, actions = conversation(player(qwen, thinker, budget=40))
    segment = one.segments[0]
    assert actions[0].endswith(f"\n\n{STOP}\n</think>\n\nFour.") and actions[0].startswith(
        "<think>\nI wonder"
    )
    own = [a == 0 for a in segment.action]
    begin = own.index(True)
    injected = [t for t, mine in zip(segment.tokens[begin:], own[begin:], strict=True) if not mine]
    assert decode(qwen, injected) == f"\n\n{STOP}\n</think>\n\n"
    assert sum(own) == 40 + len(one._player.renderer.encode_action("Four."))
    assert len(one.versions) == 1 and segment.tokens[-1] in one._player.renderer.stop
    assert all(p == 0.0 for p, mine in zip(segment.logprobs, own, strict=True) if not mine)
    assert all(p == -0.5 for p, mine in zip(segment.logprobs, own, strict=True) if mine)


@pytest.mark.parametrize(
    "text", ["No thought, but many words" + ", many" * 20, "<think>\nHm.\n</think>\n\nYes" + "!" * 90]
)
def test_a_budget_is_no_limit_for_what_is_no_thought(qwen, text):
    def say(renderer):
        said = renderer.encode_action(text)
        opened = len(renderer.open(HELLO))
        return lambda tokens, seed: said[len(tokens) - opened :]

    one, actions = conversation(player(qwen, say, budget=20))
    assert actions == [text]
    assert {a for a in one.segments[0].action[len(one._player.renderer.open(HELLO)) :]} == {0}


def test_a_prompt_that_opens_the_thought_counts_as_thinking():
    made = tokenizer_of("qwen3_5_think")

    def say(renderer):
        thought = renderer.encode_action("wondering" * 40 + "</think>")[:30]
        answer, ending = renderer.encode_action("</think>Four."), renderer.interrupt(thought)
        return lambda tokens, seed: answer if tokens[-len(ending) :] == ending else thought

    _, actions = conversation(player(made, say, budget=30))
    assert STOP in actions[0]


def test_two_requests_draw_what_one_would(qwen):
    model = qwen3_of(qwen).eval()
    found = []
    for budget in (0, 5):
        renderer = renderer_for(qwen, "auto", Format(budget=budget, early_stop=STOP))
        engine = LocalEngine(model, max_context=600)
        try:
            with torch.no_grad():
                one, _ = conversation(TokenPlayer(engine, renderer, Sampling(max_tokens=60)))
        except OutOfRoom:
            pytest.skip("this model does not stop")
        found.append((one.segments[0].tokens, one.segments[0].action))
    assert found[0] == found[1], "a model that does not think is not stopped"


def test_no_room_for_the_end_of_a_thought_is_out_of_context(qwen):
    small = player(qwen, thinker, budget=40)
    small.engine.max_context = len(small.renderer.open(HELLO)) + 45
    with pytest.raises(OutOfRoom) as out:
        conversation(small)
    assert out.value.ending == "context"


def acts(*texts):
    def of(renderer):
        said = iter([renderer.encode_action(text) for text in texts])
        return lambda tokens, seed: next(said)

    return of


CALL = '<tool_call>\n{"name": "look", "arguments": {"at": "here"}}\n</tool_call>'
THOUGHTS = [
    f"<think>\nI look.\n</think>\n\n{CALL}",
    "<think>\nA dog.\n</think>\n\nA dog.",
    "<think>\nBye.\n</think>\n\nBye.",
]
ANSWERS = [[{"role": "tool", "name": "look", "content": "a dog"}], [{"role": "user", "content": "Thanks."}]]


def test_old_thoughts_are_left_out_in_a_new_segment_as_the_template_does(qwen):
    one, actions = conversation(player(qwen, acts(*THOUGHTS), past="drop"), ANSWERS)
    assert actions == THOUGHTS
    first, second = one.segments
    assert "I look." in decode(qwen, first.tokens), "within a chain of calls they stay"
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": "here"}}}
    talk = [
        *HELLO,
        {"role": "assistant", "content": "<think>\nI look.\n</think>\n\n", "tool_calls": [call]},
        *ANSWERS[0],
        {"role": "assistant", "content": THOUGHTS[1]},
        *ANSWERS[1],
    ]
    expected = qwen.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    heard = [t for t, a in zip(second.tokens, second.action, strict=True) if a == WORLD]
    assert decode(qwen, heard) == expected
    said = [a for s in one.segments for a in s.action if a != WORLD]
    assert sorted(set(said)) == [0, 1, 2] and said == sorted(said)
    whole = Trajectory("g", one.segments, versions=one.versions)
    assert whole.sampled == sum(len(one._player.renderer.encode_action(t)) for t in THOUGHTS)


def test_old_thoughts_stay_where_they_are_kept(qwen):
    one, _ = conversation(player(qwen, acts(*THOUGHTS)), ANSWERS)
    assert len(one.segments) == 1 and "I look." in decode(qwen, one.segments[0].tokens)


def test_without_thoughts_nothing_is_rewritten(qwen):
    one, _ = conversation(player(qwen, acts(CALL, "A dog.", "Bye."), past="drop"), ANSWERS)
    assert len(one.segments) == 1


def test_a_prompt_that_opens_thoughts_is_rewritten_too():
    made = tokenizer_of("qwen3_5_think")
    said = [t.removeprefix("<think>\n") for t in THOUGHTS[1:]]
    one, _ = conversation(player(made, acts(*said), past="drop"), [[{"role": "user", "content": "Thanks."}]])
    talk = [*HELLO, {"role": "assistant", "content": "A dog."}, {"role": "user", "content": "Thanks."}]
    expected = made.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
    second = one.segments[1]
    assert (
        decode(made, [t for t, a in zip(second.tokens, second.action, strict=True) if a == WORLD]) == expected
    )


def test_a_template_that_drops_thoughts_is_refused_unless_they_are_to_be_dropped(qwen):
    with pytest.raises(ValueError, match="leaves out 'Probe thought 0'"):
        Template(qwen)
    assert Template(qwen, format=Format(past="drop")).thoughts.within


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["thinking.budget=128"], "below rollout.max_action"),
        (["thinking.early_stop=Stop"], "set thinking.budget"),
        (["thinking.past=drop", 'agent.command=["x"]'], "agent program"),
        (["thinking.past=lose"], "keep"),
        (["model.chat_template=/no/such.jinja"], "no such file"),
        (["model.template_args={tools = 1}"], "filled in by the run"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(said, why):
    with pytest.raises(ConfigError, match=why):
        load(None, ["worlds.0.id=forge_envs:Forge/Retail-v0", *said])


@pytest.mark.parametrize(
    ("name", "thought", "ends"),
    [("gptoss", "thinking", ["<|return|>", "<|call|>"]),
     ("glm4moe", "reasoning_content", ["<|user|>", "<|observation|>"])],
)  # fmt: skip
def test_templates_that_rewrite_the_end_of_an_answer_are_followed_to_the_token(name, thought, ends):
    """gpt-oss ends a conversation with a token of its own, GLM a message with the beginning of the next."""
    made = tokenizer_of(name)
    renderer = renderer_for(made, "auto", Format(past="drop"))
    assert made.convert_ids_to_tokens(renderer.stop) == ends
    look = {"type": "function", "id": "call00000", "function": {"name": "look", "arguments": {"at": "it"}}}
    talk = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", thought: "Greet."},
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": "", thought: "At what?", "tool_calls": [look]},
        {"role": "tool", "name": "look", "content": "found", "tool_call_id": "call00000"},
        {"role": "assistant", "content": "It is found.", thought: "So."},
        {"role": "user", "content": "Thanks."},
    ]
    stretches = Stretches(renderer, talk[:1])
    for i in (1, 3, 5):
        said = renderer.encode_action(renderer.written(talk[i]))
        assert said[-1] == renderer.stop[i == 3] and talk[i][thought] in made.decode(said)
        start = len(stretches.segments[-1].tokens)
        stretches.segments[-1].hear(said)
        stretches.said(start)
        stretches.hear([talk[i + 1]])
        assert decode(made, stretches.segments[-1].tokens) == renderer.template(talk[: i + 2], prompt=True)
    assert len(stretches.segments) == 3  # thoughts stay while tools are called
    if name == "gptoss":
        assert renderer.thoughts.interruption.endswith("<|end|><|start|>assistant")
        with pytest.raises(ValueError, match=r'<\|return\|> only while nothing follows.*past = "drop"'):
            renderer_for(made, "auto", Format(past="keep"))
