"""Which answers of Forge/Search-v0 are right: all usual spellings of one thing, and no list of guesses."""

import datetime as dt
import tomllib
import unicodedata
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from forge_envs.worlds.search.answers import MOST_CHARACTERS, answer_in, right, same_form
from forge_envs.worlds.search.graph import MONTHS
from forge_envs.worlds.search.naming import ordinal
from forge_envs.worlds.search.question import ProofStep, ResearchQuestion, Statement
from forge_envs.worlds.search.relations import KINDS
from forge_envs.worlds.search.sentences import CARRIERS
from forge_envs.worlds.search.spelling import tokens_of

days = st.dates(dt.date(1900, 1, 1), dt.date(2099, 12, 31))
letters = [
    chr(code)
    for code in range(0x41, 0x180)
    if chr(code).isalpha() and chr(code).upper().lower() == chr(code).lower()
]
names = st.text(st.sampled_from(letters), min_size=1, max_size=12).filter(
    lambda text: same_form(text) not in ("", "a", "an", "the", "on", "answer", "is")
)
ASKED = tomllib.loads(Path(__file__).with_name("search_answers.toml").read_text("utf-8"))["asked"]


def asks(answer: str, *accepted: str) -> ResearchQuestion:
    return ResearchQuestion("?", answer, accepted)


@given(days)
def test_a_day_is_the_same_in_every_usual_spelling(day):
    month, nth = MONTHS[day.month - 1], ordinal(day.day)
    spellings = [
        day.isoformat(),
        f"{day.day} {month} {day.year}",
        f"{day.day:02d} {month[:3]} {day.year}",
        f"{nth} {month} {day.year}",
        f"the {nth} of {month}, {day.year}",
        f"{month} {day.day}, {day.year}",
        f"{month.upper()} {nth} {day.year}.",
        f"{month[:3]}. {day.day}, {day.year}",
        f"on {day:%A}, {day.day} {month} {day.year}",
        f"{day.year}/{day.month}/{day.day}",
        f"The answer is {day.day} {month} {day.year}.",
    ]
    assert {same_form(text) for text in spellings} == {day.isoformat()}
    other = day + dt.timedelta(days=1)
    assert not right(asks(day.isoformat()), f"{other.day} {MONTHS[other.month - 1]} {other.year}")
    assert not right(asks(day.isoformat()), f"{month} {day.year}")


@given(st.integers(0, 10**9))
def test_a_number_is_the_same_with_and_without_marks(number):
    spellings = [
        str(number),
        f"{number:,}",
        f"{number:,}".replace(",", " "),
        f"{number:_}",
        f"{number:,} people",
    ]
    spellings += [f"{number}.0", f"0{number}", f"+{number}", f"**{number:,}**", f"{number:,} inhabitants."]
    assert {same_form(text) for text in spellings} == {str(number)}
    assert not right(asks(str(number)), str(number + 1)) and not right(asks(str(number)), f"-{number + 1}")


@given(st.lists(names, min_size=1, max_size=4))
def test_a_name_is_the_same_in_any_case_with_articles_accents_and_marks_aside(words):
    name = " ".join(words)
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    for said in (
        name,
        plain,
        name.upper(),
        f"The {name}",
        f' "{name}." ',
        f"**{name}**",
        name.replace(" ", "  "),
    ):
        assert right(asks(name), said), said


TITLES = frozenset(("mr", "mrs", "ms", "dr", "prof", "professor", "sir", "dame", "man", "woman", "ce", "ad"))


@given(names, names)
def test_lists_of_guesses_are_wrong(one, other):
    """But for "it" and "be", by which no sentence could do without, and for "sir", which is no guess."""
    assume(tokens_of(one) != tokens_of(other))
    words = {*tokens_of(one), *tokens_of(other)}
    assume(not words & (CARRIERS | KINDS.keys() | TITLES) and min(len(one), len(other)) > 2)
    for said in (
        f"{one} or {other}",
        f"{one}, {other}",
        f"{one} / {other}",
        f"{one}; {other}",
        f"{one}\n{other}",
    ):
        assert not right(asks(one), said) and not right(asks(other), said)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Ana Brel", "Brel, Ana"),
        ("Corvane Prize", "the Corvane Prize"),
        ("The Silent Orchard of Gonto", "silent orchard of gonto"),
        ("Fenton & Daughters", "Fenton and Daughters"),
        ("Ålborg", "Alborg"),
        ("O'Hara", "O’Hara"),
        ("7th Orsa Regatta", "The 7th Orsa Regatta."),
        ("12,400", "12400 people"),
        ("3.50", "3.5"),
        ("Groß", "GROSS"),
    ],
)
def test_usual_spellings_are_right(answer, said):
    assert right(asks(answer, "Brel, Ana"), said)


@pytest.mark.parametrize(
    "said", ["", " ", ".", "the", "Brel", "Ana", "Ana Brel and Ivo Lund", "not Ana Brel", "Anna Brel"]
)
def test_other_things_are_wrong(said):
    assert not right(asks("Ana Brel"), said)


def test_a_text_without_end_is_no_answer():
    assert not right(asks("x"), "x" + " " * MOST_CHARACTERS)
    assert not right(asks("1"), "9" * 100_000)


def test_numbers_and_days_are_not_each_other():
    assert same_form("1.500") == "1.5" and same_form("1.500.000") == "1500000"
    assert same_form("2031-13-40") != same_form("2031-12-40")
    assert same_form("31 February 2020") == "31 february 2020"


@given(st.text(max_size=80))
def test_any_text_has_one_form_that_stays(text):
    form = same_form(text)
    assert form == same_form(form) or same_form(form) == same_form(same_form(form))
    assert answer_in(text) is None or "<answer>" in text.lower()


def test_answers_stand_between_tags():
    assert answer_in("So it is <ANSWER> Port\n Azul </Answer>.") == "Port Azul"
    assert answer_in("<answer>x</answer> <answer>x</answer>") == "x"
    assert answer_in("<answer>x</answer> <answer>y</answer>") == ""
    assert answer_in("I shall write <answer>…</answer>. <answer></answer> <answer>X</answer>") == "X"
    assert answer_in("<answer>7 May 2031</answer>, or **<answer>May 7, 2031</answer>**") == "May 7, 2031"
    assert answer_in("<answer></answer>") == "" and answer_in("<answer>x") is None


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: asked["answer"])
def test_answers_of_people_and_models_get_the_verdict_of_a_careful_reader(asked):
    steps = tuple(ProofStep((Statement("page", quote),)) for quote in asked.get("quotes", ()))
    kind, accepted = asked.get("kind", ""), tuple(asked.get("accepted", ()))
    question = ResearchQuestion(asked["question"], asked["answer"], accepted, kind, steps)
    lines = {verdict: asked[verdict].strip("\n").split("\n") for verdict in ("right", "wrong")}
    odd = [
        f"{verdict}: {line}"
        for verdict, told in lines.items()
        for line in told
        if right(question, line.translate({ord("⏎"): "\n", ord("␣"): "\xa0", ord("⇥"): "\u2009"}))
        != (verdict == "right")
    ]
    assert not odd
    assert len(set(lines["right"])) + len(set(lines["wrong"])) == sum(map(len, lines.values()))
