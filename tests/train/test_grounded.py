"""Plays that make nothing up: what is replaced, what becomes of its tokens, and who is judged by them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train import tiny
from forge_train.config import ConfigError
from forge_train.engine import Sampling
from forge_train.engines.scripted import ScriptedEngine
from forge_train.learn.kept import kept
from forge_train.play.curriculum import Draw
from forge_train.play.episode import TokenPlayer
from forge_train.play.grounded import VALUE, Grounding, form, ground
from forge_train.play.local_runner import LocalRunner
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.played import Played
from forge_train.record.step_metrics import summary
from forge_train.trajectory import Trajectory
from tests.train.test_distill import KEPT, rounds_of

SAID = ["an", "order", "#W12", "#W4477", "ana.b1@x.org", "bob@y.com", "2025-01-31", "is", "10:30", "q7"]
WORDS = st.lists(st.sampled_from(SAID))


@given(WORDS, WORDS, st.integers(0, 9))
def test_what_nobody_said_gives_way_to_what_somebody_said(
    said: list[str], heard: list[str], seed: int
) -> None:
    text, known = " ".join(said), " ".join(heard)
    found, count = ground(text, known, known, random.Random(seed))
    assert (found, count) == ground(text, known, known, random.Random(seed))
    values = set(VALUE.findall(known))
    forms = {form(value) for value in values}
    for before, after in zip(said, found.split(" ") if said else [], strict=True):
        replaceable = VALUE.fullmatch(before) and before not in known and form(before) in forms
        assert after in values and form(after) == form(before) if replaceable else after == before
    assert count == len({word for word in said if word not in found.split(" ")})


def test_a_value_stands_for_itself_and_for_no_part_of_another() -> None:
    heard = "order #W4023085 of ana.lee12@example.com"
    said = 'find("#W402", "ada.lee@example.com") and "#W4023085x", at 12'
    found, count = ground(said, heard, heard, random.Random(0))
    assert found == 'find("#W402", "ada.lee@example.com") and "#W4023085x", at 12'
    assert count == 0, "a beginning of what was said was said; an address without digits has another form"
    assert ground("to #W77", heard, heard, random.Random(0)) == ("to #W4023085", 1)


def played(
    script: list[str], *, size: int = 2, plays: int = 3
) -> tuple[ChatML, ScriptedEngine, list[Trajectory]]:
    """A group of the task to say "12" three times, by a policy that says `script`, and what follows it."""
    renderer = ChatML(tiny.train_tokenizer(["You repeat. Say 12."], 300))
    engine = ScriptedEngine([renderer.encode_action(text) for text in script], logprob=-0.5)
    runner = LocalRunner(
        {"w": World("tests.train.worlds:Test/Echo-v0", {}, "w")},
        TokenPlayer(engine, renderer, Sampling(max_tokens=32)),
        seed=0,
        group_size=size,
        deadline=60.0,
        in_flight=4,
        grounding=Grounding(plays, KEPT.flawless),
    )
    return renderer, engine, asyncio.run(runner(Draw(0, "w", "train/12", 0)))


def test_a_group_that_made_something_up_is_played_again_with_what_it_heard() -> None:
    renderer, engine, group = played(["99", "7034", "12"])
    own, more = group[:2], group[2:]
    assert [t.outcome for t in own] == [0.0] * 2 and [t.is_grounded for t in own] == [False] * 2
    assert len(more) == 3 and all(t.is_grounded for t in more)
    for t in more:
        [segment] = t.segments
        said = [
            renderer.text([x for x, a in zip(segment.tokens, segment.action, strict=True) if a == turn])
            for turn in range(3)
        ]
        assert said == ["12", "12", "12"]
        opening = renderer.open(t.info["messages"][: t.info["opening"]])
        assert segment.tokens[: len(opening)] == opening
        replaced = [lp for lp, a in zip(segment.logprobs, segment.action, strict=True) if a in (0, 1)]
        sampled = [lp for lp, a in zip(segment.logprobs, segment.action, strict=True) if a == 2]
        assert set(replaced) == {0.0} and set(sampled) == {-0.5}, "nobody sampled what was replaced"
        assert len(t.versions) == 3
    assert not engine.turns, "every conversation was given back"


def test_a_group_with_something_to_keep_is_left_alone() -> None:
    _, _, group = played(["12", "12", "12"])
    assert len(group) == 2 and not any(t.is_grounded for t in group)


def test_they_teach_and_nobody_is_judged_by_them() -> None:
    _, _, group = played(["99", "99", "99"])
    rows = kept(group, KEPT)
    assert [any(row) for row in rows] == [False, False, True, False, False], "what says the same counts once"
    told = summary([group])
    assert told["success"] == 0.0 and told["episodes"] == 2
    assert told["sampled_tokens"] == sum(t.sampled for t in group), "its tokens were paid for"
    assert Played.of(group) == Played.of(group[:2])


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (["algorithm.advantage=rloo"], 'keeps nothing; use "kept"'),
        (["context.kind=recent"], 'was heard is not all there any more; use "full"'),
        (["rollout.workers=ray", "rollout.engine=vllm"], 'set rollout.workers = "local"'),
        (["distill.epochs=0"], "only rounds learn it; set epochs"),
    ],
)
def test_what_does_not_go_with_it_is_refused(tmp_path: Path, said: list[str], why: str) -> None:
    plain = ["distill.amend=false", "distill.past=0", "distill.demonstrations=false", "distill.grounded=2"]
    with pytest.raises(ConfigError, match=why):
        rounds_of(tmp_path, *plain, *said)
