"""The airline's scripted customer: facts only when asked, paraphrases understood, wrong plans minded."""

from __future__ import annotations

import dataclasses
import pickle
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.messages import ToolCall
from forge_envs.worlds.airline.customer import AirlineCustomer
from forge_envs.worlds.airline.goals import AirlineTask
from forge_envs.worlds.airline.gold import TOPICS
from forge_envs.worlds.airline.tasks import find_task
from forge_envs.worlds.desk.customer import PATIENCE, lines
from forge_envs.worlds.desk.goals import Goal

ID = "ABC123"
BASE = find_task("airline/tiny/train/1/0")
EVE = {"first_name": "Eve", "last_name": "Sand", "dob": "1990-01-01"}
LEG = {"flight_number": "FG101", "date": "2024-05-20"}
CARD = "credit_card_7654321"
KEYED = {"reservation_id": ID, "payment_id": CARD}
CALLS = {
    "cancel": ToolCall("cancel_reservation", {"reservation_id": ID}),
    "bags": ToolCall("update_reservation_baggages", {**KEYED, "total_baggages": 3, "nonfree_baggages": 1}),
    "cabin": ToolCall("update_reservation_flights", {**KEYED, "cabin": "business", "flights": [LEG]}),
    "flights": ToolCall("update_reservation_flights", {**KEYED, "cabin": "economy", "flights": [LEG]}),
    "passengers": ToolCall("update_reservation_passengers", {"reservation_id": ID, "passengers": [EVE]}),
    "certificate": ToolCall("send_certificate", {"user_id": "ann_lee_1234", "amount": 100}),
    "book": ToolCall(
        "book_reservation",
        {
            "cabin": "economy",
            "flights": [LEG],
            "passengers": [EVE],
            "payment_methods": [{"payment_id": CARD, "amount": 100}],
        },
    ),
}
DETAILS = {
    "reservation": f"It is reservation {ID}.",
    "reason": "I am ill.",
    "flights": "On 2024-05-20, the flight that leaves at 08:00.",
    "cabin": "Business, please.",
    "passengers": "Eve Sand flies.",
    "bags": "Two more bags.",
    "insurance": "No insurance.",
    "payment": "Use my credit card.",
}


def goal(kind: str, **more: Any) -> Goal:
    subject = "" if kind == "book" else ID
    return dataclasses.replace(
        Goal(kind, f"Please do this: {kind}.", subject, DETAILS, CALLS.get(kind)), **more
    )


def fact(name: str, truth: str) -> Goal:
    return goal("fact", fact=name, truth=truth)


def customer(*goals: Goal) -> AirlineCustomer:
    task: AirlineTask = dataclasses.replace(BASE, goals=goals, customer_id="ann_lee_1234")
    return AirlineCustomer(task)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Could I have your user ID?", "My user id is ann_lee_1234."),
        ("Can you verify your identity first?", "My user id is ann_lee_1234."),
        ("What is the reservation number?", DETAILS["reservation"]),
        ("Why do you want to cancel?", "I am ill."),
        ("Could you share the reason for the cancellation?", "I am ill."),
        ("On what date would you like to travel?", DETAILS["flights"]),
        ("Which cabin class would you prefer?", "Business, please."),
        ("Who will be flying?", "Eve Sand flies."),
        ("How many bags will you check?", "Two more bags."),
        ("Do you need travel insurance?", "No insurance."),
        ("How would you like to pay?", "Use my credit card."),
        (
            "Please provide your user id and the reason.",
            "My user id is ann_lee_1234. I am ill.",
        ),
    ],
)
def test_asked_facts_are_given(said: str, answer: str) -> None:
    user = customer(goal("cancel"))
    assert user.reply(said) == answer and user.patience == PATIENCE


def test_nothing_is_given_unasked() -> None:
    for kind in CALLS:
        user = customer(goal(kind))
        said = [user.open(), user.reply("Hello, thank you for writing."), user.reply("One moment.")]
        text = " ".join(line or "" for line in said)
        assert not any(line in text for line in DETAILS.values()) and "ann_lee" not in text


YES = [
    ("cancel", f"I will cancel reservation {ID} and refund your card. Do you confirm (yes/no)?"),
    ("cancel", "Shall I cancel it?"),
    ("cancel", f"May I cancel reservation {ID}?"),
    ("bags", f"Add bags to {ID} so that there are 3 checked bags, $50 on {CARD}. Shall I proceed?"),
    ("cabin", "I can upgrade you from economy to Business for $120. Would you like me to go ahead?"),
    ("flights", "Rebook you on flight FG101 on May 20. Is that right?"),
    ("flights", "I'd change the flight to FG101, 2024-05-20. Is this correct?"),
    ("passengers", "The passenger becomes Eve Sand. Okay?"),
    ("certificate", "I can offer a travel certificate of $100. Is that okay?"),
    ("book", f"Book FG101 on 2024-05-20 in economy for Eve Sand, $100 by {CARD}, yes or no?"),
]
NO = [
    ("cancel", "Cancel reservation XYZ789 (yes/no)?"),
    ("cancel", "I will book a trip for you. Shall I proceed?"),
    ("cancel", "Shall I go ahead?"),
    ("bags", "Add the bags, paid with gift_card_1111111. Shall I proceed?"),
    ("cabin", "Change the cabin to economy (yes/no)?"),
    ("flights", "Move the flight to 2024-05-21 (yes/no)?"),
    ("passengers", "The passenger becomes Eve Stone (yes/no)?"),
    ("certificate", "Send you a certificate of $50 (yes/no)?"),
    ("book", "Book FG101 on 2024-05-20 in business (yes/no)?"),
    ("book", "Book the flight on 2024-05-22 in economy (yes/no)?"),
]


@pytest.mark.parametrize(("kind", "said"), YES)
def test_what_is_right_is_confirmed(kind: str, said: str) -> None:
    assert customer(goal(kind)).reply(said) == "Yes."


@pytest.mark.parametrize(("kind", "said"), NO)
def test_what_is_wrong_or_vague_is_not_confirmed(kind: str, said: str) -> None:
    user = customer(goal(kind))
    answer = user.reply(said)
    assert answer is not None and not answer.startswith("Yes") and user.patience == PATIENCE - 1


DONE = [
    ("cancel", f"Your reservation {ID} has been cancelled."),
    ("bags", "I've added two bags. Is there anything else?"),
    ("cabin", "You have been upgraded to business."),
    ("flights", "Your flight was changed to May 20."),
    ("passengers", "The passengers are updated."),
    ("certificate", "A certificate has been issued to your account."),
    ("book", "All set, your trip is booked."),
]
NOT_DONE = [
    ("cancel", "Your reservation will be cancelled."),
    ("cancel", "I have updated the bags."),
    ("bags", "The bags have not been added yet."),
    ("certificate", "Once it has been sent, you will see it."),
    ("book", "It can be booked."),
]


@pytest.mark.parametrize(("kind", "said"), DONE)
def test_who_hears_that_it_is_done_leaves_or_goes_on(kind: str, said: str) -> None:
    assert customer(goal(kind)).reply(said) is None
    assert customer(goal(kind), goal("cancel")).reply(said) == "Thanks. Please do this: cancel."


@pytest.mark.parametrize(("kind", "said"), NOT_DONE)
def test_what_is_not_done_yet_settles_nothing(kind: str, said: str) -> None:
    user = customer(goal(kind))
    assert user.reply(said) is not None and user.heard == {}


@pytest.mark.parametrize(
    ("name", "truth", "said"),
    [
        ("cabin", "basic_economy", "You fly in Basic Economy."),
        ("cabin", "economy", "It is an economy reservation."),
        ("total", "1234.00", "You paid $1,234 in total."),
        ("flight", "fg101", "Your flight is **FG101**."),
        ("date", "7", "You leave on May 7th."),
        ("date", "20", "It departs on 2024-05-20. Anything else?"),
        ("date", "20", "You travel on the 20th of May."),
        ("status", "on time", "The flight is on-time."),
        ("status", "cancelled", "Unfortunately it was canceled."),
    ],
)
def test_a_fact_is_heard(name: str, truth: str, said: str) -> None:
    user = customer(fact(name, truth))
    assert user.reply(said) is None and user.told == 1


@pytest.mark.parametrize(
    ("name", "truth", "said"),
    [
        ("cabin", "economy", "It is basic economy, economy or business."),
        ("total", "12.00", "It was $12, or $13."),
        ("flight", "fg101", "FG101 or FG102."),
        ("date", "20", "On May 20 or May 21."),
        ("status", "delayed", "It is delayed, flying or landed."),
    ],
)
def test_naming_several_values_tells_none(name: str, truth: str, said: str) -> None:
    user = customer(fact(name, truth))
    assert user.reply(said) == "Which one is it?" and user.told == 0


@pytest.mark.parametrize("kind", ["cancel", "flights", "certificate", "insurance"])
def test_a_clear_no_is_heard_and_may_be_questioned_once(kind: str) -> None:
    said = "I'm sorry, I am unable to do that under our policy."
    easy = customer(goal(kind, truth="refused"))
    assert easy.reply(said) is None and easy.told == 1
    stubborn = customer(goal(kind, truth="refused", insists=True))
    assert stubborn.reply(said) == "Please make an exception."
    assert stubborn.reply("I cannot make an exception.") is None and stubborn.told == 1


@given(
    st.lists(
        st.one_of(st.text(max_size=80), st.sampled_from([said for _, said in YES + NO + DONE])), max_size=8
    )
)
def test_any_text_is_answered_and_the_state_pickles(texts: list[str]) -> None:
    task = find_task("airline/small/train/5/1")
    user, other = AirlineCustomer(task), AirlineCustomer(task)
    for text in texts:
        other = pickle.loads(pickle.dumps(other))
        answer = user.reply(text)
        assert answer == other.reply(text)
        if answer is None:
            break
        assert answer.strip() == answer != ""


def test_all_of_the_agents_own_lines_are_understood() -> None:
    known = {"id": ID, "amount": "$100", "method": CARD, "payments": f"$100 by {CARD}", "people": "Eve Sand"}
    known |= {"flights": "FG101 on 2024-05-20", "bags": "3", "insurance": "no"}
    known |= dict.fromkeys(("truth", "needs", "reservation", "origin", "destination"), "")
    seen = 0
    for place, sentences in lines("forge_envs.worlds.airline").items():
        start, _, kind = place.partition("_")
        for sentence in sentences:
            known["cabin"] = "economy" if kind == "book" else "business"
            text = sentence.format_map(known)
            if start == "did":
                assert customer(goal(kind)).reply(text) is None, text
            elif start == "confirm":
                assert customer(goal(kind)).reply(text) == "Yes.", text
            elif start in ("no", "still"):
                kind = "cancel" if start == "still" else kind
                assert customer(goal(kind, truth="refused")).reply(text) is None, text
            seen += start in ("did", "confirm", "no")
    assert seen > 50
    for sentence in lines("forge_envs.worlds.airline")["ask"]:
        for topic, words in TOPICS.items():
            expected = "My user id is ann_lee_1234." if topic == "identity" else DETAILS[topic]
            answer = customer(goal("book")).reply(sentence.format(needs=words))
            assert expected in (answer or ""), (sentence, topic)


def test_no_line_names_a_place_nobody_fills() -> None:
    known = {"id", "amount", "method", "payments", "people", "flights", "bags", "insurance", "cabin", "truth"}
    known |= {"needs", "reservation", "origin", "destination"}
    for place, sentences in lines("forge_envs.worlds.airline").items():
        assert set(re.findall(r"{(\w+)}", " ".join(sentences))) <= known, place
