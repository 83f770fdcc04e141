"""What a scripted customer understands, whatever the words; end to end at every desk."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.worlds.airline.hearing import EAR as AIRLINE_EAR
from forge_envs.worlds.desk.hearing import Ear, agrees
from forge_envs.worlds.desk.hearing.words import LIMIT, normal, sentences
from forge_envs.worlds.retail.hearing import EAR as RETAIL_EAR
from tests.envs.desks import DESKS, DeskWorld, play

EARS = {"retail": RETAIL_EAR, "airline": AIRLINE_EAR}
PHRASES = Path(__file__).parents[2] / "benchmarks" / "hearing" / "building.jsonl"


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest) -> DeskWorld:
    return DESKS[request.param]


NOS = [
    "Unfortunately we do not allow that.",
    "I am not authorized to do that.",
    "I'm afraid this can no longer be done.",
    "That’s not something I’m able to do for you.",
    "my hands are tied here, sorry",
    "Our policy prohibits this.",
    "Your request has been declined.",
    "No can do.",
    "It is with regret that we must refuse.",
    "I understand your frustration; nevertheless, this is out of the question.",
    "The system won't let me do it.",
    "I'd love to, but the rules don't permit it.",
]
YESES = [
    "May I?",
    "Do I have your go-ahead?",
    "Are you happy for me to do that?",
    "Please reply **YES** to continue.",
    "Just say the word and it's done.",
    "ok with you?",
    "Would that be alright?",
    "Awaiting your approval before I carry this out.",
    "Is everything correct?",
    "If you agree, I'll put it through.",
]
DONES = [
    "Done and dusted!",
    "I've taken care of that for you.",
    "✅ All set.",
    "Your request has been processed successfully.",
    "that's all sorted now",
    "It’s been completed, and you’ll receive an email shortly.",
    "I went ahead and did it. Is there anything else I can help you with?",
]


def gold(desk: DeskWorld, text: str, act: str, phrase: str) -> list[str]:
    """Gold's actions, with all that refuse, want a yes, or report put otherwise."""
    ear = EARS[desk.name]
    actions = []
    for action in desk.make(size="tiny", prompt="compact").gold_actions(text):
        heard = ear.listen(action)
        if "<tool_call>" in action:
            actions.append(action)
        elif (act == "no" and heard.refusals) or (act == "done" and heard.reports):
            actions.append(phrase)
        elif act == "yes" and heard.confirm:
            listed = action.replace(" (yes/no)?", ".").replace(" Proceed.", "")
            assert listed != action
            actions.append(f"{listed} {phrase}")
        else:
            actions.append(action)
    return actions


def texts(desk: DeskWorld) -> Iterator[str]:
    for level in (2, 4, 5):
        for n in range(3):
            yield desk.task_id("tiny", "train", level, n)


@pytest.mark.parametrize(
    ("act", "phrase"),
    [("no", said) for said in NOS] + [("yes", said) for said in YESES] + [("done", said) for said in DONES],
)
def test_gold_in_other_words_earns_all(desk: DeskWorld, act: str, phrase: str) -> None:
    env = desk.make(size="tiny", prompt="compact", max_turns=60)
    changed = 0
    for text in texts(desk):
        actions = gold(desk, text, act, phrase)
        changed += actions != env.gold_actions(text)
        assert play(env, text, actions)[-1][4].get("outcome") == 1.0, (text, actions)
    assert changed


LOOKALIKES = [
    "I cannot find that account.",
    "No problem!",
    "I can't do that without your order number.",
    "I can't thank you enough for your patience.",
    "Once that is done, you will hear from us.",
    "I'm sorry about the wait.",
    "It hasn't been processed yet.",
    "I'll take care of it.",
    "It isn't too late for that.",
    "I don't see why not.",
]


@pytest.mark.parametrize("said", LOOKALIKES)
def test_lookalikes_settle_nothing(desk: DeskWorld, said: str) -> None:
    ear = EARS[desk.name]
    heard = ear.listen(said)
    assert not any(ear.refuses(kind, heard) or ear.finished(kind, heard) for kind in ear.names)
    assert not heard.confirm


@pytest.mark.parametrize("ear", EARS.values(), ids=EARS)
def test_may_i_cancel_wants_a_yes(ear: Ear) -> None:
    for said in ("May I cancel order #W1234567?", "Can I cancel reservation ABC123?", "Mind if I cancel it?"):
        assert ear.listen(said).confirm, said
    for said in ("May I have your name?", "Can I ask why?", "May I know the reason?"):
        heard = ear.listen(said)
        assert heard.questions and not heard.confirm, said


def test_a_bare_question_for_a_yes_means_what_was_listed_before(desk: DeskWorld) -> None:
    env, agreed = desk.make(size="tiny", prompt="compact"), 0
    for text in texts(desk):
        for listed in [a for a in env.gold_actions(text) if EARS[desk.name].listen(a).confirm]:
            env.reset(options={"task": text})
            if env.step(listed)[0][-1]["content"] == "Yes.":
                agreed += 1
                assert env.step("Shall I go ahead?")[0][-1]["content"] == "Yes."
        env.reset(options={"task": text})
        assert env.step("Shall I go ahead?")[0][-1]["content"] != "Yes."
    assert agreed


def test_a_no_to_another_request_is_none_to_this_one() -> None:
    heard = RETAIL_EAR.listen("I have cancelled your order. I can't change the address, though.")
    assert RETAIL_EAR.finished("cancel", heard) and not RETAIL_EAR.refuses("cancel", heard)
    assert RETAIL_EAR.refuses("address", heard) and not RETAIL_EAR.finished("return", heard)
    heard = AIRLINE_EAR.listen("I cannot add insurance to it. The bags have been added.")
    assert AIRLINE_EAR.refuses("insurance", heard) and not AIRLINE_EAR.refuses("bags", heard)
    assert AIRLINE_EAR.finished("bags", heard) and not AIRLINE_EAR.finished("cancel", heard)


@pytest.mark.parametrize(
    "said",
    [
        "Yeah right, no way",
        "sure, as if",
        "Yes, but not with that card.",
        "Only if it's free.",
        "Ok wait",
        "Let me think about it.",
        "What would it cost?",
        "Absolutely not.",
        "I'd rather keep it.",
    ],
)
def test_a_no_in_the_words_of_people_is_no_yes(said: str) -> None:
    assert not agrees(said)


@pytest.mark.parametrize(
    "said",
    [
        "yep",
        "Go for it!",
        "👍",
        "No problem, go ahead.",
        "That’s fine by me.",
        "I confirm.",
        "works for me, thanks",
    ],
)
def test_a_yes_in_the_words_of_people_is_one(said: str) -> None:
    assert agrees(said)


def test_the_phrases_that_built_it_are_understood() -> None:
    hearing = importlib.import_module("benchmarks.hearing")  # a folder has the same name
    rows: list[dict[str, Any]] = [json.loads(line) for line in PHRASES.read_text("utf-8").splitlines()]
    missed = [
        text for act, label, heard, text in hearing.measured(rows) if heard != label and "asks" not in act
    ]
    assert len(missed) < 0.01 * len(rows), missed


def test_every_form_of_row_in_every_file_of_phrases_can_be_measured() -> None:
    hearing = importlib.import_module("benchmarks.hearing")
    for path in sorted(PHRASES.parent.glob("*.jsonl")):
        rows = map(json.loads, path.read_text("utf-8").splitlines())
        forms = {(row["act"], row["label"], *sorted(row)): row for row in rows}
        assert len([*hearing.measured([*forms.values()])]) >= len(forms), path.name


@pytest.mark.parametrize(
    ("said", "same"),
    [
        ("I CAN’T cancel it", "i can't cancel it"),
        ("**Done** — cancelled", "Done - cancelled"),
        ("we cant cancell it", "we can't cancel it"),
        ("Unfortunatly not posible", "unfortunately not possible"),
        ("nooooo", "no"),
    ],
)
def test_marks_and_slips_of_the_pen_change_nothing(said: str, same: str) -> None:
    first, second = ([[w.stem for w in s.words] for s in sentences(normal(text))] for text in (said, same))
    assert first == second


HOSTILE = [
    "a" * 10**6,
    "not " * 250_000,
    "can't you " * 100_000,
    "yes/no" * 170_000,
    "." * 10**6,
    "?!" * 500_000,
]
HOSTILE += [
    "1.1." * 250_000,
    "a@" * 500_000,
    "((((" * 250_000,
    "no-no-" * 170_000,
    "ﷺ" * 10**6,
    "\ud800" * 10**6,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_of_a_hostile_text_only_the_beginning_is_heard(text: str) -> None:
    for ear in EARS.values():
        assert len(ear.listen(text).text) <= 20 * LIMIT
    agrees(text)


@given(st.one_of(st.text(), st.text(alphabet="aenotc'’n .?!-/@$#1\n*_:;,👍")))
def test_any_text_is_listened_to(text: str) -> None:
    for ear in EARS.values():
        assert ear.listen(text) == ear._listen(text)
    assert agrees(text) in (True, False)


SUMS = """
import json, sys
from forge_envs.worlds.desk.hearing.acts import acts
from forge_envs.worlds.desk.hearing.words import normal, sentences
for line in sys.stdin:
    print(acts(sentences(normal(json.loads(line)["text"]))))
"""


def test_what_is_heard_does_not_depend_on_how_a_process_hashes() -> None:
    rows = (PHRASES.parent / "building_fifth.jsonl").read_text("utf-8").splitlines()[::8]
    told = [
        subprocess.run(
            [sys.executable, "-c", SUMS],
            input="\n".join(rows),
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "012"
    ]
    assert told[0] == told[1] == told[2] and len(told[0].splitlines()) == len(rows)


@pytest.mark.parametrize(
    "said",
    [
        "Your order has been cancelled, is there anything else?",
        "I have cancelled your order; anything else I can do?",
        "The order has been cancelled, and is there anything else you need?",
        "Order #W1234567 has been cancelled, what else can I do for you?",
        "Your order has been cancelled, any other questions?",
    ],
)
def test_an_offer_of_more_hides_no_report(said: str) -> None:
    heard = RETAIL_EAR.listen(said)
    assert heard.more and RETAIL_EAR.finished("cancel", heard)
