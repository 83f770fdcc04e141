"""What customers of generated domains understand of agents who put things their own way."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from importlib.resources import files

import pytest

from forge_envs.worlds.tooluse.customer import Visitor
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.domains import addresses, domain_of
from forge_envs.worlds.tooluse.goals import Errand, ToolUseTask
from forge_envs.worlds.tooluse.numerals import in_digits
from forge_envs.worlds.tooluse.spelling import DateStyle, IdStyle, find_dates, say_date
from forge_envs.worlds.tooluse.tasks import find_task, task_name
from forge_envs.worlds.tooluse.theme import parse_theme, theme
from forge_envs.worlds.tooluse.values import numbers, phrases, say
from forge_envs.worlds.tooluse.words import act_on_it, forms, plural, with_articles

LIBRARIES = addresses("full", "train", 8, "library")


def domains() -> Iterator[ToolDomain]:
    for address in addresses("full", "train", 24):
        yield domain_of(address)


def first(domain: ToolDomain, level: int, does: str) -> tuple[ToolUseTask, Errand] | None:
    """A task with one goal of this kind."""
    for n in range(12):
        task = find_task(task_name(domain.address, level, n))
        goal = task.goals[0]
        act = task.act(goal)
        if isinstance(goal, Errand) and act is not None and act.spec.does == does and goal.knows_subject:
            return task, goal
    return None


def it(task: ToolUseTask, goal: Errand) -> str:
    return f"{task.kind(goal).noun} {goal.subject}"


def test_a_yes_needs_the_right_record_and_the_right_value():
    seen = 0
    for domain in domains():
        found = first(domain, 3, "set")
        if found is None or not found[1].subject:
            continue
        task, goal = found
        (column, value) = next(iter(goal.wanted.values()))
        said = say(domain, column, value)
        wrong = goal.subject[:-1] + ("1" if goal.subject[-1] != "1" else "2")
        ask = f"I'll change the {column.said} of your {{it}} to {said}. Is that OK?"
        assert Visitor(task).reply(ask.format(it=it(task, goal))) == "Yes.", (domain.address, ask)
        other = ask.format(it=f"{task.kind(goal).noun} {wrong}")
        assert str(Visitor(task).reply(other)).startswith("No"), other
        seen += 1
        if column.spec.kind == "choice":
            other = next(one for one in column.values if one != value)
            text = f"I'll change the {column.said} of {it(task, goal)} to {other}. Is that OK?"
            assert str(Visitor(task).reply(text)).startswith("No"), text
    assert seen >= 5


def reported(line):
    """How many customers take a line for a report that it is done, of how many."""
    heard = seen = 0
    for domain in domains():
        found = first(domain, 2, "state") or first(domain, 2, "add")
        if found is None or not found[1].subject:
            continue
        task, goal = found
        act = task.act(goal)
        text = line.format(verb=act.verb, past=act.past, noun=task.kind(goal).noun, it=it(task, goal))
        seen += 1
        heard += Visitor(task).reply(text) is None
    return heard, seen


DONE = [
    "I have {past} your {noun}.",
    "Your {noun} has been {past}.",
    "All done, {it} is {past}.",
    "I've gone ahead and {past} {it} for you.",
    "Good news: your {noun} was {past}.",
    "Your {noun} has been successfully {past}. Can I help with anything else today?",
    "Okay, {past} it for you.",
    "{it} is {past} now. Was there something else?",
]


@pytest.mark.parametrize("line", DONE)
def test_a_report_in_any_words_is_understood(line):
    heard, seen = reported(line)
    assert seen >= 10
    assert heard >= 0.95 * seen, f"{heard} of {seen}"


NOT_DONE = [
    "I will {verb} {it} for you now.",
    "I'm going to {verb} {it}, one moment please.",
    "Once {it} has been {past} I will tell you.",
    "I have not {past} {it} yet.",
    "Do you want to {verb} {it}?",
    "To confirm:\n- {it}\n- New status: {past}\n\nIs that right?",
]


@pytest.mark.parametrize("line", NOT_DONE)
def test_what_is_not_yet_done_is_no_report(line):
    wrong, seen = reported(line)
    assert wrong <= 0.1 * seen, f"{wrong} of {seen}"


NO = [
    "I'm afraid I can't do that for {it}.",
    "Unfortunately I am unable to {verb} {it}.",
    "Sorry, it isn't possible to {verb} {it}, our rules do not allow it.",
    "I checked the rules, and {it} does not qualify, so I can't {verb} it.",
    "I can't {verb} {it}, because some of its parts are still missing.",
    "I can't let you {verb} {it} as the month has begun.",
    "We won't {verb} {it} at this time of the year.",
    "I'm sorry, that's not allowed for {it}.",
]


def refused(line):
    """How many customers who ask for what must not be done take a line for a no, of how many."""
    heard = seen = 0
    for domain in domains():
        for n in range(8):
            task = find_task(task_name(domain.address, 5, n))
            goal = task.goals[0]
            act = task.act(goal)
            if act is None or not goal.forbidden or not goal.subject:
                continue
            customer = Visitor(task)
            customer.reply(line.format(verb=act.verb, it=it(task, goal)))
            seen += 1
            heard += customer.told == 1
    return heard, seen


@pytest.mark.parametrize("line", NO)
def test_a_no_in_any_words_is_understood(line):
    heard, seen = refused(line)
    assert seen >= 10
    assert heard >= 0.95 * seen, f"{heard} of {seen}"


NO_NO = [
    "I can't find {it} here, could you read the number again?",
    "I can't {verb} {it} before I know your email.",
    "I can't quite read the number, the line is bad.",
    "I'm not able to locate you by that name.",
]


@pytest.mark.parametrize("line", NO_NO)
def test_searching_and_asking_back_are_no_refusals(line):
    wrong, seen = refused(line)
    assert wrong == 0, f"{wrong} of {seen}"


def test_a_fact_counts_once_and_only_if_it_is_right():
    seen = 0
    for domain in domains():
        for n in range(4):
            task = find_task(task_name(domain.address, 1, n))
            goal = task.goals[0]
            kind, (_, _, key) = task.kind(goal), goal.fact.partition(".")
            if key == "state" or not goal.subject:
                continue
            column, row = kind.by_key[key], task.row(goal)
            right = Visitor(task)
            right.reply(f"It says here: {column.said} {say(domain, column, row[column.name])}.")
            assert right.told == 1, (task.id, column.said)
            others = [value for value in column.values if value != row[column.name]]
            if column.spec.kind == "choice":
                wrong = Visitor(task)
                wrong.reply(f"It says here: {column.said} {others[0]}.")
                assert wrong.told == 0
                both = Visitor(task)
                assert both.reply(f"It is {others[0]} or {row[column.name]}.") == "Which one is it?"
            seen += 1
    assert seen >= 20


def test_who_they_are_is_told_when_asked():
    for address in LIBRARIES:
        task = find_task(task_name(address, 2, 0))
        for ask in (
            "Can I have your email, please?",
            "Who am I speaking to?",
            "Could you verify your identity?",
        ):
            answer = str(Visitor(task).reply(ask))
            known = task.email or ("remember" if "email" in ask else task.phone)
            assert known in answer, (ask, answer)
        assert task.phone in str(Visitor(task).reply("What is your full name?"))


# -- words ---------------------------------------------------------------------------------------------


def test_dates_are_heard_however_they_are_written():
    for text in (
        "3 june",
        "june 3rd",
        "2026-06-03",
        "03.06.2026",
        "06/03/2026",
        "the 3rd of june",
        "20260603",
        "jun 3",
    ):
        assert find_dates(text) == {"06-03"}, text
    assert find_dates("loan l-4821, renewed 3 times, may i?") == set()
    for name in ("iso", "dotted", "slashed", "compact"):
        style = DateStyle(name)
        day = dt.date(2026, 2, 28)
        assert style.read(style.write(day)) == day
        assert say_date(day) == "28 February"
        assert style.read("2026-02-30") is None and style.read("") is None


def test_a_changed_value_that_is_told_as_a_fact_is_a_report_and_in_a_plan_is_none():
    told = planned = seen = 0
    for domain in domains():
        found = first(domain, 3, "set")
        if found is None or len(found[1].wanted) != 1:
            continue
        task, goal = found
        ((column, value),) = goal.wanted.values()
        new = say(domain, column, value)
        now = f"The {column.said} of your {it(task, goal)} is {new} now."
        plan = f"Here is what I am going to do:\n- {it(task, goal)}\n- new {column.said}: {new}"
        for line in (now, plan):
            customer = Visitor(task)
            customer.reply(line)
            told += line is now and customer.heard.get(0) == "done"
            planned += line is plan and customer.heard.get(0) == "done"
        seen += 1
    assert seen >= 10 and told >= 0.95 * seen and planned == 0, (told, planned, seen)


def test_the_number_of_a_record_is_told_whatever_its_noun_is_made_of():
    seen = 0
    for domain in domains():
        for n in range(12):
            task = find_task(task_name(domain.address, 1, n))
            goal = task.goals[0]
            if not isinstance(goal, Errand) or not goal.subject or not goal.knows_subject:
                continue
            noun = task.kind(goal).noun
            for line in (f"What's the number of the {noun}?", f"What is the {noun} number, please?"):
                assert goal.subject in str(Visitor(task).reply(line)), (domain.address, line)
            seen += len(noun.replace("-", " ").split()) > 1
    assert seen >= 10


def test_numbers_are_heard_as_they_are_written_out():
    assert numbers("you have been with us for nineteen years") == {"19"}
    assert numbers("it is meant to last two hours and six minutes") == {"126"}
    assert numbers("there's one bundle of wood with it, and one of them is wet") == {"1"}
    assert numbers("a limit of $1,971") == numbers("one thousand nine hundred and seventy-one") == {"1971"}
    assert phrases(("each quarter", "yearly"), "you are billed quarterly") == {"quarterly"}
    assert in_digits("you owe us two hundred thirteen dollars and twenty cents") == "you owe us $213.20"


def test_what_is_denied_is_not_told():
    for domain in domains():
        for n in range(12):
            task = find_task(task_name(domain.address, 1, n))
            goal = task.goals[0]
            kind = task.kind(goal)
            column = kind.by_key.get(goal.fact.partition(".")[2]) if goal.fact else None
            if column is None or column.spec.kind != "choice":
                continue
            other = next(one for one in column.values if one != goal.truth)
            customer = Visitor(task)
            customer.reply(f"Not {other}: it is {goal.truth}.")
            assert customer.told == 1, (domain.address, goal.truth, other)
            return
    raise AssertionError("no task asks for a choice")


def test_numbers_and_phrases_are_whole():
    assert numbers("place three of 12 in a1 for $4.50 at 10:30") == {"3", "12"}
    assert phrases(("north", "north wing"), "in the north wing.") == {"north wing"}
    assert phrases(("part-time",), "i study part time") == {"part time"}
    assert IdStyle("#", 5).find("order 48210 and #48211, not 482112 or $48213") == {"48210", "48211"}


def test_english():
    assert with_articles("a hour, an unit, a 8-day pass, an loan") == "an hour, a unit, an 8-day pass, a loan"
    assert plural("delivery") == "deliveries"
    assert forms("stop", "stopped")[1] == {"stoping", "stopping"}
    assert act_on_it("Can you check in it?", "check in") == "Can you check it in?"


# -- themes ----------------------------------------------------------------------------------------------

BAD = [
    ('on = "loan"', 'on = "lawn"', "no record"),
    ('field = "branch"', 'field = "brunch"', "no fields of"),
    ('of = "book"', 'of = "brook"', "is no thing"),
    ('to = "cancelled"', 'to = "gone"', "no states of hold"),
    ('does = "swap"', 'does = "juggle"', "does"),
]


@pytest.mark.parametrize(("old", "new", "why"), BAD, ids=[new for _, new, _ in BAD])
def test_a_theme_that_does_not_fit_together_is_named(old, new, why):
    text = files("forge_envs.worlds.tooluse").joinpath("themes", "library.toml").read_text()
    assert old in text
    with pytest.raises(ValueError, match=why):
        parse_theme("library", text.replace(old, new, 1))
    with pytest.raises(ValueError, match="known are"):
        theme("circus")
