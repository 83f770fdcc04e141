"""What customers make of the ways people and language models talk: manners, lists, plans, many questions."""

from __future__ import annotations

from typing import Any

import pytest

from forge_envs.messages import ToolCall
from forge_envs.worlds.airline.gold import TOPICS as AIRLINE_TOPICS
from forge_envs.worlds.desk.customer import PATIENCE, Customer, lines
from forge_envs.worlds.desk.hearing import Ear, agrees
from forge_envs.worlds.retail.gold import TOPICS as RETAIL_TOPICS
from tests.envs.desks import DESKS, LEVELS, RETAIL, DeskWorld
from tests.envs.test_hearing import EARS
from tests.envs.test_retail_customer import address, cancel, customer, exchange, fact, give_back, payment

MANNERS = [
    "Hello!",
    "Hello! How can I help you today?",
    "Hey there, thanks for reaching out!",
    "Good day. You have reached customer service. Please state your request.",
    "One moment please, let me look that up.",
    "Thanks! Just a sec, pulling that up now.",
    "Thank you. Please hold while I retrieve the information.",
    "Thanks for that. I'll pull up your account now.",
    "Got it, thanks.",
    "Is there anything else I can help you with?",
]


@pytest.fixture(params=DESKS)
def desk(request: pytest.FixtureRequest) -> DeskWorld:
    return DESKS[request.param]


def goals(desk: DeskWorld, kind: str, *, forbidden: bool = False) -> Any:
    """The first task that has such a goal, and its customer, come to that goal."""
    env = desk.make(level=5 if forbidden else 3)
    for text in env.task_ids(n=200):
        task = env.find(text)
        for n, goal in enumerate(task.goals):
            if goal.kind == kind and goal.forbidden == forbidden:
                user: Customer = env.customer_type(task)
                user.at = n
                return user, goal
    raise AssertionError(kind)


@pytest.mark.parametrize("said", MANNERS)
def test_manners_cost_no_patience_at_first(said: str) -> None:
    user = customer(cancel())
    answer = user.reply(said)
    assert answer and "understand" not in answer and user.patience == PATIENCE and not agrees(answer)
    assert user.told == 0 and user.at == 0


@pytest.mark.parametrize("said", MANNERS)
def test_manners_without_end_do(said: str) -> None:
    user = customer(cancel())
    assert None in [user.reply(said) for _ in range(2 * PATIENCE)]


def test_a_plan_is_heard_out_before_its_question() -> None:
    user = customer(give_back())
    plan = "I am going to return the Mug 1000000001 from #W1234567 with a refund to gift_card_7654321."
    answer = user.reply(plan)
    assert answer and "understand" not in answer and user.patience == PATIENCE and not agrees(answer)
    assert user.reply("Is that correct?") == "Yes."


def test_gold_is_understood_at_every_turn(desk: DeskWorld) -> None:
    for size in desk.sizes:
        for level in LEVELS:
            env = desk.make(size=size, level=level)
            for text in env.task_ids(n=12):
                task = env.find(text)
                user = env.customer_type(task)
                said = [user.reply(action) for action in task.gold if not isinstance(action, ToolCall)]
                assert not [answer for answer in said if answer and "understand" in answer], text


def test_every_topic_can_be_asked_for_in_the_words_of_gold(desk: DeskWorld) -> None:
    topics = RETAIL_TOPICS if desk is RETAIL else AIRLINE_TOPICS
    ear: Ear = EARS[desk.name]
    for ask in lines(desk.make.package)["ask"]:  # type: ignore[attr-defined]  # the class itself
        for topic, words in topics.items():
            heard = ear.listen(ask.format(needs=words))
            asked = {name for question in heard.questions for name in question.topics}
            same = {"identity": "email", "refund": "payment", "options": "items"}
            allowed = {topic, same.get(topic, topic)}
            assert asked & allowed, (ask, words, asked)


def told(user: Customer, said: str) -> str:
    answer = user.reply(said)
    assert answer is not None
    return answer


def test_all_lines_of_a_list_are_answered() -> None:
    user = customer(give_back())
    said = (
        "Certainly. In order to process your request, kindly provide the following information:\n"
        "1. E-mail address on file, or first name, last name and postal code\n"
        "2. Items to be returned\n"
        "3. The payment method to which you would like the refund for your return to be issued"
    )
    answer = told(user, said)
    assert "ann@example.com" in answer and "The Mug." in answer and "gift card" in answer


def test_a_list_of_one_nominal_phrase_is_answered() -> None:
    said = "In order to process your request, kindly provide the following:\n1. Reason for cancellation"
    assert told(customer(cancel()), said) == "It is no longer needed."
    said = "To get started, I'll need a bit of information:\n- **First**: the full new address (street, city)"
    assert "2 Elm Way" in told(customer(address()), said)


def test_an_email_address_and_a_new_address_are_both_told() -> None:
    said = "Could you give me your email address and the new address?"
    answer = told(customer(address()), said)
    assert "ann@example.com" in answer and "2 Elm Way" in answer
    answer = told(customer(address()), "I'd need two things:\n- your email address\n- the new address")
    assert "ann@example.com" in answer and "2 Elm Way" in answer


@pytest.mark.parametrize(
    ("goal", "said", "answer"),
    [
        (cancel(), "And may I ask why you want to cancel?", "It is no longer needed."),
        (cancel(), "How come you want to cancel?", "It is no longer needed."),
        (address(), "May I have the new address?", "2 Elm Way, Tulsa, OK 74101, USA."),
        (payment(), "And what should I put this on?", "Use my paypal."),
        (give_back(), "Could you tell me exactly what you want to return?", "The Mug."),
    ],
)
def test_questions_in_other_words(goal: Any, said: str, answer: str) -> None:
    assert told(customer(goal), said) == answer


@pytest.mark.parametrize(
    "said", ["Could I start with the email on your account?", "May I ask for your email?"]
)
def test_there_is_no_yes_to_what_was_not_listed(said: str) -> None:
    assert told(customer(cancel()), said) == "My email is ann@example.com."
    assert told(customer(fact("status", "pending")), said) == "My email is ann@example.com."


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("passengers", "Who will be travelling?"),
        ("bags", "How many suitcases will you check in?"),
        ("bags", "Any bags to check?"),
        ("payment", "And what should I put this on?"),
        ("insurance", "Want insurance with that?"),
    ],
)
def test_an_airline_asks_in_other_words(kind: str, said: str) -> None:
    heard = EARS["airline"].listen(said)
    assert kind in {topic for question in heard.questions for topic in question.topics}


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (exchange(), "#W1234567: 1000000001 for 1000000002, $3.20 on paypal_7654321. Confirm?"),
        (
            give_back(),
            "Alright, so 1000000001 comes back to us, the money goes to gift_card_7654321. Good to go?",
        ),
        (payment(), "Alright, paypal_7654321 for #W1234567 then. Good to go?"),
        (address(), "So #W1234567 goes to 2 Elm Way, Tulsa, OK 74101. Did I get that right?"),
    ],
)
def test_what_is_listed_by_its_values_is_agreed_to(goal: Any, said: str) -> None:
    assert customer(goal).reply(said) == "Yes."


@pytest.mark.parametrize(
    ("goal", "said"),
    [
        (exchange(), "#W1234567: 1000000001 for 1000000009, $3.20 on paypal_7654321. Confirm?"),
        (
            give_back(),
            "Alright, so 1000000007 comes back to us, the money goes to gift_card_7654321. Good to go?",
        ),
        (payment(), "Alright, credit_card_7654321 for #W1234567 then. Good to go?"),
        (payment(), "Shall I cancel #W1234567 and refund paypal_7654321?"),
        (address(), "So #W1234567 goes to 3 Elm Way, Tulsa, OK 74101. Did I get that right?"),
    ],
)
def test_what_is_listed_by_other_values_is_not(goal: Any, said: str) -> None:
    answer = customer(goal).reply(said)
    assert answer is not None and not agrees(answer)


def test_new_passengers_are_agreed_to_by_name() -> None:
    user, goal = goals(DESKS["airline"], "passengers")
    people = " and ".join(f"{p['first_name']} {p['last_name']}" for p in goal.call.arguments["passengers"])
    assert user.reply(f"So it would be {people} flying on {goal.subject}. Is that what you want?") == "Yes."


@pytest.mark.parametrize(
    "said",
    [
        "I'm not able to set up a return for #W1234567, since it's still pending. Once it arrives, feel free "
        "to reach out again. Is there anything else I can help with?",
        "Ah sorry, #W1234567 hasn't been delivered yet, it's processed, so you can't return any of it.",
    ],
)
def test_a_no_that_says_what_is_not_set_up(said: str) -> None:
    user = customer(give_back())
    answer = user.reply(said)
    assert answer is not None and answer.startswith("I am sure")


def test_a_no_that_names_what_it_follows_from() -> None:
    user, _ = goals(DESKS["airline"], "certificate", forbidden=True)
    user.reply(
        "You asked me for compensation. I looked at your membership, the cabin and the insurance, and none "
        "of them entitles you to it, so I have to decline this request."
    )
    assert user.heard
    user, _ = goals(DESKS["airline"], "fact", forbidden=True)
    user.reply("I'm not able to look into other people's orders or reservations, even for a friend.")
    assert user.heard


@pytest.mark.parametrize(
    "said",
    [
        "Awesome, changed it! It'll go to 2 Elm Way, Tulsa, OK 74101. Need anything else?",
        "There you go, I changed it for you, it goes to 2 Elm Way now.",
    ],
)
def test_a_done_without_a_noun(said: str) -> None:
    user = customer(address(), fact("status", "pending"))
    user.reply(said)
    assert user.heard == {0: "done"}


@pytest.mark.parametrize("said", ["n't", "'s", "N'T", "'ll 've"])
def test_bits_of_words_are_no_words(said: str) -> None:
    assert customer(cancel()).reply(said)


def test_a_cabin_is_done_whatever_it_is_called() -> None:
    heard = EARS["airline"].listen(
        "The cabin for reservation **UYC863** has been changed to **basic economy**!"
    )
    assert EARS["airline"].finished("cabin", heard)
