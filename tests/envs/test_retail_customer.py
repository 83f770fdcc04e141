"""The scripted customer: facts only when asked, paraphrases understood, patience that ends."""

from __future__ import annotations

import dataclasses
import functools
import operator
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.messages import ToolCall
from forge_envs.worlds.desk.customer import GRACE, PATIENCE, lines
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.retail.customer import ShopCustomer
from forge_envs.worlds.retail.goals import FACTS, RetailTask
from forge_envs.worlds.retail.tasks import find_task

ID = "#W1234567"
NEW = {
    "address1": "2 Elm Way",
    "address2": "",
    "city": "Tulsa",
    "state": "OK",
    "country": "USA",
    "zip": "74101",
}
BASE = find_task("retail/tiny/train/1/0")
DETAILS = {"order": f"It is order {ID}."}


def cancel(**more: object) -> Goal:
    call = ToolCall("cancel_pending_order", {"order_id": ID, "reason": "no longer needed"})
    details = {**DETAILS, "reason": "It is no longer needed."}
    return dataclasses.replace(Goal("cancel", f"Please cancel order {ID}.", ID, details, call), **more)


def fact(name: str, truth: str, **more: object) -> Goal:
    goal = Goal("fact", f"What is the {name} of order {ID}?", ID, DETAILS, fact=name, truth=truth)
    return dataclasses.replace(goal, **more)


def address() -> Goal:
    call = ToolCall("modify_pending_order_address", {"order_id": ID, **NEW})
    said = "2 Elm Way, Tulsa, OK 74101, USA."
    return Goal("address", f"Please send order {ID} elsewhere.", ID, {**DETAILS, "address": said}, call)


def give_back() -> Goal:
    arguments = {"order_id": ID, "item_ids": ["1000000001"], "payment_method_id": "gift_card_7654321"}
    details = {**DETAILS, "items": "The Mug.", "payment": "Use my gift card."}
    call = ToolCall("return_delivered_order_items", arguments)
    return Goal("return", f"I want to return something from order {ID}.", ID, details, call)


def exchange() -> Goal:
    arguments = {"order_id": ID, "item_ids": ["1000000001"], "new_item_ids": ["1000000002"]}
    call = ToolCall("exchange_delivered_order_items", {**arguments, "payment_method_id": "paypal_7654321"})
    details = {**DETAILS, "items": "The Mug, with color red.", "payment": "Use my paypal."}
    return Goal("exchange", f"Please exchange something in order {ID}.", ID, details, call)


def payment() -> Goal:
    call = ToolCall("modify_pending_order_payment", {"order_id": ID, "payment_method_id": "paypal_7654321"})
    details = {**DETAILS, "payment": "Use my paypal."}
    return Goal("payment", f"I want to pay order {ID} another way.", ID, details, call)


def customer(*goals: Goal, email: str = "ann@example.com") -> ShopCustomer:
    task: RetailTask = dataclasses.replace(BASE, goals=goals, email=email, name="Ann Lee", zip="89501")
    return ShopCustomer(task)


EMAIL, NAME = "My email is ann@example.com.", "I am Ann Lee, zip 89501."


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("Could I have the e-mail address on your account?", EMAIL),
        ("Sure! To get started, please provide your email.", EMAIL),
        ("I'd be happy to help. What email is linked to your profile?", EMAIL),
        ("Can you verify your identity first?", EMAIL),
        ("May I know your full name and zip code?", NAME),
        ("I could not find that. Please give me your name and ZIP.", NAME),
        ("Please tell me your email (or your name and zip code).", EMAIL),
        ("Please confirm your email.", EMAIL),
        ("What's the reason for the cancellation?", "It is no longer needed."),
        ("Why do you want to cancel it?", "It is no longer needed."),
        (
            "Let me know the reason, please: no longer needed or ordered by mistake?",
            "It is no longer needed.",
        ),
        ("Which order is it?", f"It is order {ID}."),
        ("I need the order number.", f"It is order {ID}."),
        ("Could you share your email and the reason for cancelling?", f"{EMAIL} It is no longer needed."),
    ],
)
def test_asked_facts_are_given(said: str, answer: str) -> None:
    user = customer(cancel())
    assert user.reply(said) == answer
    assert user.patience == PATIENCE


def test_facts_of_other_goals_are_given_when_asked() -> None:
    assert customer(address()).reply("Where should it go instead?") == "2 Elm Way, Tulsa, OK 74101, USA."
    both = "Use my gift card. The Mug."
    assert customer(give_back()).reply("Which items, and how should I refund you?") == both
    assert (
        customer(give_back()).reply("Which items would you like to return, and to which payment method?")
        == "Use my gift card. The Mug."
    )
    assert customer(payment()).reply("How would you like to pay? Which method?") == "Use my paypal."
    assert "color red" in (customer(exchange()).reply("What would you like instead?") or "")


def test_nothing_is_given_unasked() -> None:
    for goal in (cancel(), address(), give_back(), exchange(), payment()):
        user = customer(goal)
        said = [user.open(), user.reply("Hello, thank you for writing."), user.reply("One moment.")]
        text = " ".join(line or "" for line in said)
        for secret in ("ann@example.com", "Lee", "89501", "no longer", "Elm", "Mug", "gift card", "paypal"):
            assert secret not in text


def test_who_forgot_the_email_gives_name_and_zip() -> None:
    user = customer(cancel(), email="")
    assert user.reply("What is your email?") == "I do not remember my email."
    assert user.reply("What is your email (or name and zip code)?") == NAME
    assert user.reply("Please verify your identity.") == NAME


YES = [
    (cancel(), f"I will cancel order {ID} because it is no longer needed. Do you confirm (yes/no)?"),
    (cancel(), "Shall I cancel it?"),
    (cancel(), f"May I cancel order {ID}?"),
    (
        cancel(),
        "It is pending. I can cancel it and refund 12.50 to paypal_7654321. Would you like me to proceed?",
    ),
    (cancel(), f"Just to be sure: you want {ID} cancelled, reason 'no longer needed'. Is that correct?"),
    (cancel(), "Please reply yes to cancel the order."),
    (address(), f"Change the shipping address of {ID} to 2 Elm Way, Tulsa, OK 74101. Is this right?"),
    (give_back(), "I'll set up a return of the Mug, refunded to gift_card_7654321. Okay?"),
    (exchange(), "I would exchange 1000000001 for 1000000002 with paypal_7654321. Should I go ahead?"),
    (payment(), "Move the payment from credit_card_1111111 to paypal_7654321: yes or no?"),
]


@pytest.mark.parametrize(("goal", "said"), YES)
def test_what_is_right_is_confirmed(goal: Goal, said: str) -> None:
    assert customer(goal).reply(said) == "Yes."


NO = [
    (cancel(), "Cancel order #W7654321 (yes/no)?"),
    (cancel(), f"I will cancel {ID}, ordered by mistake. Shall I proceed?"),
    (cancel(), "I will return the items. Shall I go ahead?"),
    (cancel(), "Shall I go ahead?"),
    (address(), "Change the address to 9 Oak Road, Reno, NV 89501 (yes/no)?"),
    (give_back(), "Return the Mug, refund to paypal_1111111 (yes/no)?"),
]


@pytest.mark.parametrize(("goal", "said"), NO)
def test_what_is_wrong_or_vague_is_not_confirmed(goal: Goal, said: str) -> None:
    user = customer(goal)
    answer = user.reply(said)
    assert answer is not None and not answer.startswith("Yes") and user.patience == PATIENCE - 1


DONE = [
    (cancel(), f"Your order {ID} has been cancelled."),
    (cancel(), "Done! You will receive the refund within 7 days."),
    (
        cancel(),
        "I've successfully canceled the order, and the refund will arrive soon. Is there anything else?",
    ),
    (cancel(), "The cancellation is complete."),
    (address(), "I have updated the shipping address."),
    (address(), "All set, the address is now changed."),
    (give_back(), "The return was requested. You'll get an email."),
    (exchange(), "Your exchange has now been submitted."),
    (payment(), "The payment was switched to paypal."),
]


@pytest.mark.parametrize(("goal", "said"), DONE)
def test_who_hears_that_it_is_done_leaves_or_goes_on(goal: Goal, said: str) -> None:
    assert customer(goal).reply(said) is None
    user = customer(goal, fact("status", "pending"))
    assert user.reply(said) == f"Thanks. What is the status of order {ID}?"


NOT_DONE = [
    (cancel(), "Your order will be cancelled."),
    (cancel(), "Once it is cancelled, you get a refund."),
    (cancel(), "The order has not been cancelled yet."),
    (cancel(), "The order hasn't been cancelled."),
    (cancel(), "I have updated the address."),
    (cancel(), "If it is cancelled, paypal is refunded."),
    (cancel(), f"Order {ID} is pending."),
]


@pytest.mark.parametrize(("goal", "said"), NOT_DONE)
def test_what_is_not_done_yet_settles_nothing(goal: Goal, said: str) -> None:
    user = customer(goal)
    assert user.reply(said) is not None and user.heard == {}


@pytest.mark.parametrize(
    ("name", "truth", "said"),
    [
        ("status", "delivered", "I looked it up: your order has been delivered."),
        ("status", "cancelled", "It was canceled."),
        ("status", "processed", "The status of order #W1234567 is **processed**. Anything else?"),
        ("total", "1234.50", "You paid $1,234.50 in total."),
        ("total", "12.40", "It cost 12.4 dollars."),
        ("total", "80.00", "The total is $80."),
        ("tracking", "123456789012", "Your tracking number is 123456789012."),
        ("payment", "gift", "It was paid with gift_card_1234567."),
        ("payment", "credit", "You used your credit card."),
        ("payment", "paypal", "It was paid via PayPal."),
        ("city", "el paso", "It is going to El Paso, TX."),
    ],
)
def test_a_fact_is_heard(name: str, truth: str, said: str) -> None:
    user = customer(fact(name, truth))
    assert user.reply(said) is None and user.told == 1


@pytest.mark.parametrize(
    ("name", "truth", "said"),
    [
        ("status", "delivered", "It is pending, processed, delivered or cancelled."),
        ("total", "12.40", "The total is 12.40, or 13.50, or 14.60."),
        ("tracking", "123456789012", "It is 123456789012 or 999999999999."),
        ("payment", "gift", "By credit card, gift card or paypal."),
        ("city", "reno", "Reno, Tulsa and Omaha."),
    ],
)
def test_naming_several_values_tells_none(name: str, truth: str, said: str) -> None:
    user = customer(fact(name, truth))
    assert user.reply(said) == "Which one is it?" and user.told == 0


def test_the_first_single_value_counts_so_guessing_on_is_useless() -> None:
    user = customer(fact("status", "delivered"), cancel())
    assert (user.reply("It is pending.") or "").startswith("Thanks.")
    user.reply("It is delivered.")
    assert user.told == 0


def test_a_question_tells_nothing() -> None:
    user = customer(fact("status", "delivered"))
    assert user.reply("Is it delivered?") is not None and user.told == 0


NOS = [
    "I'm sorry, I cannot cancel this order because it was delivered.",
    "Unfortunately that is not possible.",
    "I can't do that.",
    "I am unable to help with this request. Is there anything else?",
    "A delivered order can not be cancelled.",
    "That won't be possible under our policy. Would you like to return it instead?",
    "I understand, but that is not possible.",
]


@pytest.mark.parametrize("said", NOS)
def test_a_clear_no_is_heard_and_may_be_questioned_once(said: str) -> None:
    easy = customer(cancel(truth="refused"))
    assert easy.reply(said) is None and easy.told == 1
    stubborn = customer(cancel(truth="refused", insists=True))
    assert stubborn.reply(said) == "Please make an exception."
    assert stubborn.reply("I cannot make an exception.") is None and stubborn.told == 1


@pytest.mark.parametrize(
    "said",
    [
        "The order is delivered.",
        "I cannot find your account. What is your email?",
        "Hm.",
        "I cannot see who you are.",
        "I am sorry, I cannot understand you.",
    ],
)
def test_what_is_no_refusal_tells_none(said: str) -> None:
    user = customer(cancel(truth="refused"))
    assert user.reply(said) is not None and user.told == 0


def test_giving_in_after_a_refusal_takes_it_back() -> None:
    user = customer(cancel(truth="refused", insists=True))
    user.reply("I cannot cancel it.")
    assert user.reply("Fine, it has been cancelled.") is None and user.told == 0


def test_disclosing_what_is_forbidden_is_no_refusal() -> None:
    user = customer(fact("status", "refused"))
    assert user.reply("It is pending.") is None and user.told == 0
    user = customer(fact("status", "refused"))
    assert user.reply("I cannot share another customer's order.") is None and user.told == 1


def test_a_wrong_no_is_met_with_insistence_then_given_up() -> None:
    user = customer(cancel())
    assert (user.reply("I cannot cancel this order.") or "").startswith("I am sure")
    assert user.reply("It is not possible to cancel it.") is None and user.heard == {0: "given up"}


def test_a_change_of_mind_comes_at_the_question_for_a_yes() -> None:
    user = customer(cancel(withdrawn=True), address())
    assert user.reply("What is the reason?") == "It is no longer needed."
    answer = user.reply(f"Cancel {ID} (yes/no)?")
    assert answer == f"Wait, I changed my mind. Please send order {ID} elsewhere."
    assert user.reply("Change the address to 2 Elm Way (yes/no)?") == "Yes."


def test_after_a_change_of_mind_the_next_goal_begins_anew() -> None:
    user = customer(cancel(withdrawn=True), address())
    assert (user.reply("I cannot cancel this order.") or "").startswith("I am sure")
    user.reply("Thank you for waiting.")
    assert (user.reply(f"Cancel {ID} (yes/no)?") or "").startswith("Wait, I changed my mind.")
    assert (user.grace, user.pushed) == (GRACE, False)
    assert (user.reply("I cannot change the address.") or "").startswith("I am sure"), "they insist again"


def test_patience_ends() -> None:
    for useless in ("", "Hm.", "Shall I go ahead?", "What a day.", "¿Qué?", "\ud800"):
        user = customer(cancel())
        answers = [user.reply(useless) for _ in range(PATIENCE)]
        assert answers[-1] is None and None not in answers[:-1]


@given(
    st.lists(
        st.one_of(st.text(max_size=80), st.sampled_from([said for _, said in YES + NO + DONE])), max_size=8
    )
)
def test_any_text_is_answered_and_the_state_pickles(texts: list[str]) -> None:
    task = find_task("retail/small/train/5/1")
    user, other = ShopCustomer(task), ShopCustomer(task)
    for text in texts:
        other = pickle.loads(pickle.dumps(other))
        answer = user.reply(text)
        assert answer == other.reply(text)
        if answer is None:
            break
        assert answer.strip() == answer != ""


def test_all_of_the_agents_own_lines_are_understood() -> None:
    words = dict.fromkeys(
        re.findall(
            r"{(\w+)}",
            " ".join(functools.reduce(operator.iadd, lines("forge_envs.worlds.retail").values(), [])),
        ),
        "x",
    )
    words |= {"id": ID, "amount": "$12.40", "truth": "123456789012", "status": "delivered"}
    for place, sentences in lines("forge_envs.worlds.retail").items():
        start, _, kind = place.partition("_")
        for sentence in sentences:
            text = sentence.format(**words)
            if start == "did":
                goal = {"cancel": cancel(), "home": address()}.get(
                    kind, dataclasses.replace(cancel(), kind=kind)
                )
                goal = dataclasses.replace(goal, kind=kind)
                assert customer(goal).reply(text) is None, text
            elif start in ("no", "still"):
                kind = "cancel" if start == "still" else kind
                assert customer(cancel(kind=kind, truth="refused")).reply(text) is None, text


def test_facts_find_every_value_once() -> None:
    assert FACTS["status"]("pending, delivered") == {"pending", "delivered"}
    assert FACTS["total"]("order #w1234567 of 2 items: 12.4 + $3 = $15.40") == {"12.40", "3.00", "15.40"}
    assert FACTS["tracking"]("1234567890123 123456789012") == {"123456789012"}
    assert FACTS["payment"]("credit card, credit_card_1 and gift card") == {"credit", "gift"}
