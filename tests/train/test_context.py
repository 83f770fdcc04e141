"""What the policy sees of its past: each action trained once, where it was sampled, on what it saw then."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.config import AlgorithmConfig, ConfigError, ContextConfig, load
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.batch import samples, token_weights, unique_tokens
from forge_train.play.context import beside
from forge_train.play.episode import TokenPlayer
from forge_train.play.format import Format
from forge_train.play.past import Limits, with_words
from forge_train.play.renderer import ChatML, renderer_for
from forge_train.sft import trajectory_of
from forge_train.show.transcript import episode
from forge_train.trajectory import WORLD, Trajectory
from tests.train.reader import AGAIN, ASK, CALL, RENDERER, SHORT, player, read, shown
from tests.train.template_table import fate, tokenizer_of
from tests.train.tokens import tokenizer

KINDS = {
    "full": {"kind": "full", "max_tokens": 1 << 20},
    "resum": {"kind": "resum", "last_call": CALL, "summary_tokens": 110, **SHORT},
    "iterresearch": {"kind": "iterresearch", "rules": "Report.", "note": "Notes: {text}", "last_call": CALL},
    "recent": {"kind": "recent", "keep": 1, "stub": "(old)"},
}


def go(someone: TokenPlayer, **options) -> Trajectory:
    return asyncio.run(read(someone, **options))


def text(tokens) -> str:
    return RENDERER.text([*tokens, -1][:-1])


def consistent(t: Trajectory, someone: TokenPlayer, *, untrained: int = 0) -> None:
    """What holds for every trajectory, whatever its policy sees of its past."""
    actions = len(t.versions)
    assert len(t.rewards) == len(t.turn_rewards) == actions
    seen, asked = shown(t), someone.engine.asked
    assert len(seen) == actions == len(asked) - untrained
    if not untrained:
        for (prompt, said), (asked_with, completion) in zip(seen, asked, strict=True):
            assert prompt == asked_with, "an action is trained on what it was sampled after"
            assert said == completion.tokens
    for s in t.segments:
        assert len(s.tokens) == len(s.logprobs) == len(s.action)
        assert len(s.tokens) <= someone.engine.max_context or t.ending == "context"
        assert all((p == 0.0) == (a == WORLD) for p, a in zip(s.logprobs, s.action, strict=True))
    assert Trajectory.from_dict(json.loads(json.dumps(t.as_dict()))) == t


# --- the kinds -------------------------------------------------------------------------------------


def test_an_episode_longer_than_the_context_ends_there_and_with_summaries_does_not():
    full = player(520)
    t = go(full, pages=8)
    assert (t.ending, t.outcome) == ("context", None) and len(t.segments) == 1
    resum = player(520, **KINDS["resum"])
    t = go(resum, pages=8)
    consistent(t, resum)
    assert (t.ending, t.outcome, t.trainable) == ("terminated", 1.0, True)
    seen = t.info["context"]
    assert seen["summaries"] == 2 and seen["segments"] == len(t.segments) == 3
    assert seen["longest"] <= 520 < seen["history"] and not seen["last_call"]
    assert len(t.versions) == 9 + 2, "each summary is an action of its own"
    assert t.rewards == [0.0] * 10 + [1.0], "the world's reward is that of the action it answered"
    asks = [text(prompt) for prompt, _ in shown(t) if "Note all" in text(prompt)]
    assert [ask.count(ASK) for ask in asks] == [1, 0] and [ask.count(AGAIN) for ask in asks] == [0, 1]
    heard = [m["content"] for m in t.info["messages"] if m["role"] == "assistant"]
    assert len(heard) == 9 and not any("is" in said for said in heard), "the world hears no summary"


def test_a_new_segment_is_the_task_with_the_summary_in_it():
    someone = player(520, **KINDS["resum"])
    t = go(someone, pages=8)
    opening = t.info["messages"][: t.info["opening"]]
    summaries = [m["content"] for m in t.info["conversation"] if m.get("summary")]
    for segment, summary in zip(t.segments[1:], summaries, strict=True):
        begins = RENDERER.open(with_words(opening, f"Notes: {summary}"))
        assert segment.tokens[: len(begins)] == begins and set(segment.action[: len(begins)]) == {WORLD}
    assert text(t.segments[0].tokens).startswith(text(RENDERER.open(opening))[:40])


def test_summaries_that_are_not_trained_are_heard():
    trained, heard = player(520, **KINDS["resum"]), player(520, train_summaries=False, **KINDS["resum"])
    one, other = go(trained, pages=8), go(heard, pages=8)
    consistent(other, heard, untrained=2)
    assert [s.tokens for s in one.segments] == [s.tokens for s in other.segments]
    assert len(other.versions) == 9 and other.rewards == [0.0] * 8 + [1.0] and other.outcome == 1.0
    assert sum("Note all" in text(prompt) for prompt, _ in shown(other)) == 0
    assert one.sampled > other.sampled


def test_a_summary_too_long_is_cut_and_taken_as_it_stands():
    someone = player(520, **KINDS["resum"] | {"summary_tokens": 6})
    t = go(someone, pages=8)
    consistent(t, someone)
    cut = [said for prompt, said in shown(t) if "Note all" in text(prompt)]
    assert len(cut) > 1 and all(len(said) == 6 and said[-1] not in RENDERER.stop for said in cut)
    assert t.ending == "terminated"


def test_results_of_tools_but_the_newest_are_left_out():
    someone = player(700, **KINDS["recent"])
    t = go(someone, pages=8, noise=20)
    consistent(t, someone)
    assert t.ending == "terminated" and len(t.segments) > 1
    for segment in t.segments[1:]:
        begins = text(segment.tokens[: segment.action.index(next(a for a in segment.action if a != WORLD))])
        results = begins.split("tool\n")[1:] if "tool\n" in begins else begins.split("<tool_response>\n")[1:]
        assert [r.startswith("(old)") for r in results] == [True] * (len(results) - 1) + [False]
        assert begins.count("next") == len(results) + 1, "what was said stays (the task says it too)"
    talk = go(player(700, **KINDS["recent"]), pages=8, noise=20, talk=True)
    assert talk.ending == "context", "what people say is never left out"


def test_a_workspace_holds_the_task_the_report_the_last_action_and_its_result():
    thought = "<think>\nHm.\n</think>\n\n"
    someone = player(900, max_action=120, thinks=thought, **KINDS["iterresearch"])
    t = go(someone, pages=8)
    consistent(t, someone)
    assert t.ending == "terminated" and len(t.segments) == len(t.versions) == 9
    heard = [m["content"] for m in t.info["messages"]]
    assert not any("<report>" in said for said in heard), "the world hears no report"
    messages, opening = t.info["messages"], t.info["messages"][:2]
    for turn, (prompt, said) in enumerate(shown(t)[1:], start=1):
        report = text(shown(t)[turn - 1][1]).partition("<report>")[2].partition("</report>")[0]
        known = with_words(opening, "Report." + (f"\n\nNotes: {report}" if report else ""))
        last = [{"role": "assistant", "content": "next"}, messages[2 * turn + 1]]
        assert text(prompt) == text(RENDERER.open([*known, *last])), "thought and older turns are gone"
        assert text(said).startswith(thought)


def test_who_reports_nothing_keeps_the_report_before():
    someone = player(900, max_action=60, **KINDS["iterresearch"])
    said = iter(["<report>A is 07.</report>next", "next", "<report>unclosed", "07"])
    someone.engine.words = lambda shown: next(said)
    t = go(someone, pages=3)
    prompts = [text(prompt) for prompt, _ in shown(t)]
    assert ["Notes: A is 07." in prompt for prompt in prompts] == [False, True, True, True]
    heard = [m["content"] for m in t.info["messages"] if m["role"] == "assistant"]
    assert heard == ["next", "next", "<report>unclosed", "07"]


# --- room --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("talk", [False, True])
def test_an_answer_without_room_for_more_asks_for_the_last_action(talk):
    someone = player(200, **KINDS["resum"])
    t = go(someone, pages=2, noise=150, talk=talk)  # the first page alone is more than there is
    consistent(t, someone)
    assert (t.ending, t.outcome) == ("max_turns", 0.0) and t.info["context"]["last_call"]
    prompts = [text(prompt) for prompt, _ in shown(t)]
    assert len(prompts) == 2 and CALL in prompts[1] and "(left out)" in prompts[1]
    ended = go(player(200, **KINDS["resum"] | {"overflow": "end", "last_call": ContextConfig().last_call}),
               pages=2, noise=150)  # fmt: skip
    assert (ended.ending, ended.outcome) == ("context", None)


def test_all_of_the_past_may_end_with_a_last_action_too():
    someone = player(520, overflow="answer", last_call=CALL)
    t = go(someone, pages=8)
    consistent(t, someone)
    assert t.ending == "max_turns" and len(t.segments) == 1
    assert [CALL in text(prompt) for prompt, _ in shown(t)].index(True) == len(t.versions) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_budget_is_told_once_and_ends_in_a_last_action(kind):
    given = KINDS[kind] | {"max_tokens": 800, "warn_at": 0.4, "warning": "{left} of {budget} left!",
                           "overflow": "answer", "last_call": CALL}  # fmt: skip
    someone = player(5200, max_action=60, **given)
    t = go(someone, pages=8)
    consistent(t, someone)
    assert t.info["context"]["last_call"] and t.ending == "max_turns"
    assert t.info["context"]["history"] <= 800
    told = [
        p.partition("of 800 left!")[0].split()[-1] for p in (text(x) for x, _ in shown(t)) if "left!" in p
    ]
    assert told and all(0 < int(n.split("\n")[-1]) <= 480 for n in told[:1])
    assert kind == "iterresearch" or len(set(told)) == 1


def test_a_budget_without_a_last_action_ends_as_tokens():
    t = go(player(5200, max_tokens=200), pages=8)
    assert t.ending == "tokens" and t.outcome is None and sum(map(len, (x for _, x in shown(t)))) < 200


def test_room_beside_an_opening_is_told_before_anything_is_played():
    for kind, keys in KINDS.items():
        need = beside(ContextConfig(**keys), RENDERER, 24)
        assert (need > 0) == (kind in ("resum", "iterresearch"))


# --- with one segment, and over several ---------------------------------------------------------------


@given(
    kind=st.sampled_from(sorted(KINDS)),
    pages=st.integers(1, 8),
    noise=st.integers(0, 20),
    context=st.integers(150, 500),
    task=st.integers(0, 99).map("train/{}".format),
    data=st.data(),
)
def test_each_action_is_trained_once_on_what_it_was_sampled_after(kind, pages, noise, context, task, data):
    given = dict(KINDS[kind])
    if kind in ("resum", "recent"):
        given["trigger"] = data.draw(st.sampled_from([0.3, 0.6, 0.9, 1.0]))
    someone = player(context, max_action=60 if kind == "iterresearch" else 24, **given)
    t = go(someone, pages=pages, noise=noise, task=task)
    unfinished = t.ending in ("context", "tokens")
    if not unfinished:
        consistent(t, someone)
    if kind == "resum" and not unfinished:
        assert len(t.segments) == 1 + t.info["context"]["summaries"]
    taught = [dict(m) for m in t.info["conversation"]]
    if t.ending == "terminated" and not t.info["context"]["last_call"]:
        lesson = trajectory_of(taught[:-1] if taught[-1]["role"] != "assistant" else taught, RENDERER, (),
                               someone.context, Limits(context, someone.sampling.max_tokens))  # fmt: skip
        assert [(s.tokens, s.action) for s in lesson.segments] == [(s.tokens, s.action) for s in t.segments]


@pytest.mark.parametrize("kind", ["resum", "recent"])
def test_a_past_that_is_never_rewritten_is_that_of_full(kind):
    one, other = go(player(2000)), go(player(2000, **KINDS[kind]))
    assert one.segments == other.segments and one.rewards == other.rewards
    assert "context" not in one.info and other.info["context"]["segments"] == 1


def test_every_estimator_counts_a_summary_as_a_turn_that_earned_nothing():
    group = [go(player(520, **KINDS["resum"]), pages=8, task=f"train/{i}", seed=i) for i in range(2)]
    group.append(go(player(520, **KINDS["resum"] | {"summary_tokens": 1}), pages=8))
    assert [t.outcome for t in group] == [1.0, 1.0, 0.0]
    for name, estimator in ESTIMATORS.items():
        rows = estimator(group, _algorithm(name))
        assert [len(row) for row in rows] == [len(t.versions) for t in group], name
    rows = ESTIMATORS["grpo"](group, _algorithm("grpo"))
    assert all(len(set(row)) == 1 for row in rows), "the trajectory's advantage, over all its segments"
    assert sum(row[0] for row in rows) == pytest.approx(0.0), "over trajectories, however many segments"
    rows = ESTIMATORS["turn_rloo"](group, _algorithm("turn_rloo"))
    summary = next(i for i, (prompt, _) in enumerate(shown(group[0])) if "Note all" in text(prompt))
    assert rows[0][summary] > 0, "a summary's credit is what followed"


def _algorithm(name):
    return AlgorithmConfig(advantage=name)


def test_segments_share_their_beginnings_in_a_tree():
    for kind in ("resum", "recent", "iterresearch"):
        t = go(player(520, max_action=60, **KINDS[kind]), pages=8)
        rows = samples([t], [[1.0] * len(t.versions)])
        assert len(rows) == len({id(s) for s in t.segments if max(s.action) != WORLD})
        prefixes = {tuple(s.tokens[:i].tolist()) for s in rows for i in range(1, len(s.tokens))}
        assert unique_tokens(rows) == len(prefixes) < sum(s.forwarded for s in rows)
        weights = token_weights(rows, "trajectory")
        assert sum(w.sum().item() for w in weights) == pytest.approx(1.0)


# --- templates, lessons, people ------------------------------------------------------------------------


NAMES = ["qwen3", "qwen3_training", "qwen3_5_think", "qwen2_5", "llama3_2", "gptoss_training"]
NAMES += ["glm4moe_training", "deepseekv3_training", "nemotron_3_nano_training", "lfm2_training"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["resum", "recent", "iterresearch"])
def test_templates_write_what_is_rewritten(name, kind):
    renderer = fate(name)[0] or fate(name, "drop")[0]
    if renderer is None:
        pytest.skip("refused for any conversation")
    long = len(renderer.open([{"role": "system", "content": "x"}, {"role": "user", "content": "x"}]))
    someone = player(700 + 2 * long, renderer=renderer, max_action=100, **KINDS[kind])
    t = go(someone, pages=8)
    consistent(t, someone)
    assert t.ending == "terminated" and len(t.segments) > 1
    assert t.outcome == 1.0 or kind == "recent"


def test_thoughts_are_dropped_where_results_are_left_out():
    made = tokenizer_of("qwen3")
    renderer = renderer_for(made, "auto", Format(past="drop"))
    someone = player(420, renderer=renderer, thinks="<think>\nHm.\n</think>\n\n", max_action=40,
                     **KINDS["recent"])  # fmt: skip
    t = go(someone, pages=8, talk=True, noise=4)
    consistent(t, someone)
    last = made.decode(t.segments[-1].tokens[: t.segments[-1].action.index(len(t.versions) - 1)])
    assert "Hm." not in last.replace("assistant\n<think>\nHm.", "") and len(t.segments) > 3


def test_gold_is_taught_where_no_summary_would_be_written_and_refused_elsewhere():
    world = [{"role": "user", "content": "Begin."}, {"role": "assistant", "content": "next"},
             {"role": "tool", "name": "read", "content": "sun " * 60},
             {"role": "assistant", "content": "07"}]  # fmt: skip
    resum = ContextConfig(**KINDS["resum"])
    plain, noted = trajectory_of(world, RENDERER), [*world[:3], {**world[3], "summary": True}, world[3]]
    assert trajectory_of(world, RENDERER, (), resum, Limits(2000, 24)).segments == plain.segments
    with pytest.raises(ValueError, match=r"from \d+ on the policy writes a summary.*sft.path"):
        trajectory_of(world, RENDERER, (), resum, Limits(len(plain.segments[0].tokens) + 165, 24))
    early = trajectory_of(noted, RENDERER, (), resum, Limits(2000, 24))
    assert len(early.segments) == 2 and ASK in text(early.segments[0].tokens)
    with pytest.raises(ValueError, match=r'imitated with context\.kind = "resum" alone'):
        trajectory_of(noted, RENDERER)
    with pytest.raises(ValueError, match="goes on after the last action"):
        trajectory_of([*world, *world[2:]], RENDERER, (), ContextConfig(overflow="answer"), Limits(200, 24))


def test_full_renders_what_it_hears_once():
    made = ChatML(tokenizer())
    counts = {"open": 0, "extend": 0, "encode_action": 0, "remembered": 0, "text": 0}

    def counted(name, whole):
        def call(*args):
            counts[name] += 1
            return whole(*args)

        return call

    someone = player(2000)
    for name in counts:
        setattr(made, name, counted(name, getattr(made, name)))
    someone.renderer = made
    go(someone, pages=5)
    assert counts == {"open": 1, "extend": 5, "encode_action": 0, "remembered": 0, "text": 6}


def test_people_see_summaries_segments_and_what_each_turn_earned():
    t = go(player(520, **KINDS["resum"]), pages=8)
    record = t.as_dict() | {"advantages": list(range(len(t.versions)))}
    found = episode(record)
    own = [line for line in found["lines"] if line["own"]]
    assert [line["advantage"] for line in own] == list(range(len(t.versions)))
    assert [line["summary"] for line in own].count(True) == 2 and own[-1]["reward"] == 1.0
    assert found["context"]["segments"] == 1 + max(span["segment"] for span in found["spans"]) or 1
    t = go(player(700, **KINDS["recent"]), pages=8, noise=20)
    marks = [line["segment"] for line in episode(t.as_dict())["lines"] if line["segment"]]
    assert marks == list(range(2, len(t.segments) + 1))


def test_the_page_says_what_a_config_may_say(tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "algorithms" / "context.md").read_text()
    blocks = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    for block in blocks:
        (tmp_path / "c.toml").write_text(block + '\n[[worlds]]\nid = "a:B-v0"\n')
        load(tmp_path / "c.toml", ["rollout.max_action=256"])
    assert len(blocks) == 2


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        (["keep=2"], r'context.keep = 2: kind = "full" keeps all .* use "recent"'),
        (["trigger=0.5", "kind=iterresearch"], "rewrites nothing by size"),
        (["summary_tokens=9", "kind=recent"], 'no summaries; use "resum"'),
        (["rules=Report.", "kind=resum"], 'no reports; use "iterresearch"'),
        (["note=Notes.", "kind=resum"], r"it has no \{text\}"),
        (["note=A {text}"], "has no notes"),
        (["warn_at=0.5"], "no budget to come near to; set max_tokens"),
        (["warning=Soon.", "max_tokens=500"], "nobody is warned; set warn_at"),
        (["last_call=Now."], 'no last action is asked for; set overflow = "answer"'),
        (["stub=x"], "leaves nothing out"),
        (["max_tokens=100"], "no opening and action of up to rollout.max_action = 128 tokens fit"),
        (["kind=resum", "summary_tokens=900"], "it is all of rollout.max_context = 1000"),
    ],
)
def test_keys_that_nothing_reads_and_room_that_is_not_there_are_refused(keys, why):
    given = [f"context.{key}" for key in keys]
    with pytest.raises(ConfigError, match=why):
        load(None, ["worlds.0.id=a:B-v0", "rollout.max_context=1000", *given])


def test_gold_cannot_teach_reports_and_an_agent_program_shows_what_it_likes():
    world = "worlds.0.id=a:B-v0"
    with pytest.raises(ConfigError, match=r"gold of worlds writes no reports.*set sft.path"):
        load(None, [world, "context.kind=iterresearch", "sft.episodes=8"])
    assert load(None, [world, "context.kind=iterresearch", "sft.episodes=8", "sft.path=x.jsonl"])
    with pytest.raises(ConfigError, match=r"context.kind with \[agent\]: an agent program plays and decides"):
        load(None, [world, "context.kind=resum", 'agent.command=["true"]'])


def test_the_last_exchange_may_stay_beside_a_summary():
    plain, kept = player(560, **KINDS["resum"]), player(560, keep_last=True, **KINDS["resum"])
    for someone in (plain, kept):
        words = someone.engine.words
        someone.engine.words = lambda shown, words=words: words(shown).partition(" What")[0]
    t = go(kept, pages=5, talk=True)
    consistent(t, kept)
    answers = [m["content"] for m in t.info["messages"][2:] if m["role"] == "user"]
    begins = [text(s.tokens[: next(i for i, a in enumerate(s.action) if a != WORLD)]) for s in t.segments[1:]]
    assert begins and all(b.count("next") == 2 and sum(a in b for a in answers) == 1 for b in begins)
    assert t.outcome == 1.0 and go(plain, pages=5, talk=True).outcome == 0.0, "the question was lost"
