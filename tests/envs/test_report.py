"""Forge/Report-v0: gold and silence, every planted fault, what a sentence may say, and what is refused."""

import dataclasses
import json
import random
import re
import tomllib
from pathlib import Path

import gymnasium as gym
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report_faults import FAULTS, gold_draft, measure
from forge_envs.errors import TaskError
from forge_envs.messages import ToolCall
from forge_envs.testing import check_world
from forge_envs.worlds.report.claims import CitedSentence, sentences_of
from forge_envs.worlds.report.env import ReportEnv
from forge_envs.worlds.report.lexicon import NEGATIONS
from forge_envs.worlds.report.outline import OutlineSection, read_outline
from forge_envs.worlds.report.tasks import gold_sentence, report_tasks, report_world
from forge_envs.worlds.report.verdict import PARTS, ReportText, judge_report
from forge_envs.worlds.search.naming import word_lists
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.search.web import WebAddress
from forge_envs.worlds.search.words import plain_words
from tests.endpoint import Endpoint

WORLD, SMALL = "Forge/Report-v0", 150
WEB = WebAddress("train", SMALL, 0)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """Webs of these tests, drawn by the code as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def make(**kwargs) -> ReportEnv:
    return gym.make(WORLD, **{"entities": SMALL, **kwargs}).unwrapped


def say(env, name, **arguments):
    """What a call gives, and the step's info."""
    messages, _, _, _, info = env.step(env.grammar.write(calls=[ToolCall(name, arguments)]))
    return messages[-1]["content"] if messages else "", info


def test_it_keeps_the_contract():
    check_world(WORLD, tasks=3, entities=SMALL)


@pytest.mark.parametrize("level", [1, 2, 3])
def test_gold_earns_one_in_turn_rewards_that_add_up(level):
    env = make(level=level)
    for id in env.task_ids("test", 4) + env.task_ids("train", 4):
        env.reset(options={"task": id})
        gained = sum(env.step(action)[4]["turn_reward"] for action in env.gold_actions(id)[:-1])
        info = env.step(env.gold_actions(id)[-1])[4]
        assert info["outcome"] == 1.0 and gained == pytest.approx(1.0)
        assert {name: info["parts"][name] for name in PARTS} == dict.fromkeys(PARTS, 1.0)
        assert len(env.task.required) == {1: 3, 2: 5, 3: 8}[level]


def test_every_planted_fault_is_found_and_no_gold_report_is_taken_for_wrong():
    many, found, wrong = measure(12, SMALL)
    assert wrong == [] and many["gold"] == 12
    assert sum(many[kind] > 0 for kind in FAULTS) >= 20
    assert {kind: many[kind] for kind in FAULTS} == {kind: found[kind] for kind in FAULTS}


@given(st.integers(0, 10**6), st.integers(0, 3))
def test_any_fact_in_any_style_stands_on_a_page_that_tells_it_and_on_no_other(number, style):
    world = report_world(WEB)
    fact = world.graph.facts[number % len(world.graph.facts)]
    text = gold_sentence(world.graph, fact, style)
    for told in world.web.told.get(fact.number, ()):
        verdict = world.checker.check(CitedSentence(text, ("id_1",)), {"id_1": told.page})
        assert (fact.number in verdict.facts) == world.checker.supports(fact, told.page), verdict
        assert not verdict.wrong
    page = world.web.pages[number % len(world.web.pages)].address
    if all(one.number != fact.number for one, _ in world.checker.told_on(page)):
        verdict = world.checker.check(CitedSentence(text, ("id_1",)), {"id_1": page})
        assert fact.number not in verdict.facts and verdict.fault


def test_a_report_in_other_words_counts_too():
    world = report_world(WEB)
    graph = world.graph
    fact = next(f for f in graph.facts if f.relation == "born_in" and world.page_of([f.number]))
    person, town = graph.entities[fact.subject], graph.entities[fact.object]
    page = world.page_of([fact.number])[fact.number]

    def told(text, about=()):
        return world.checker.check(sentences_of(text)[0], {"id_1": page}, about)

    for text in (
        f"The birthplace of {person.name} is the town of {town.name} <citation>id_1</citation>.",
        f"- Today, {person.name}, who was born in {town.name}, is well known. <citation>id_1</citation>",
        f"It was in {town.name} that [{person.name}](people/x) was born.<citation> id_1 </citation>",
    ):
        assert fact.number in told(text).facts, told(text)
    assert (
        fact.number in told(f"She was born in {town.name} <citation>id_1</citation>.", [fact.subject]).facts
    )
    assert told(f"She was born in {town.name} <citation>id_1</citation>.").fault
    assert told(f"{person.name} was born in {town.name} in 1870 <citation>id_1</citation>.").fault
    assert told(f"{person.name} was born in {town.name} and is its mayor <citation>id_1</citation>.").fault
    assert not told("There is more to come.").claims


def test_the_web_says_nothing_in_the_negative():
    words = {
        w
        for r in relations().values()
        for t in (*r.told, *r.told_then, *r.does, *r.done)
        for w in plain_words(t)
    }
    assert not words & NEGATIONS
    assert set(word_lists()["trades"])  # nouns are known values


def test_citations_are_read_wherever_they_stand():
    marks = "A <citation>id_1</citation>. B.<citation>id_2,id_3</citation> C <citation>id_4</citation>\n"
    marks += "D. <citation>id_5</citation>\nE"
    assert [(one.text, one.ids) for one in sentences_of(marks)] == [
        ("A.", ("id_1",)), ("B.", ("id_2", "id_3")), ("C", ("id_4",)), ("D.", ("id_5",)), ("E", ()),
    ]  # fmt: skip


@given(st.text(alphabet=st.sampled_from("ab. <>/\n#-!\ue000\ue0011") | st.characters(), max_size=60))
def test_no_text_is_too_odd(text):
    for sentence in sentences_of(text + "<citation>id_1</citation>"):
        report_world(WEB).checker.check(sentence, {"id_1": "nowhere"})


def test_silence_copies_and_lists_earn_nothing():
    world = report_world(WEB)
    task = report_tasks(WEB, 2)[0]
    gold = gold_draft(world, task, random.Random(0)).report()
    assert judge_report(world.checker, gold, task.required, task.most_words).outcome == 1.0
    nothing = dataclasses.replace(gold, written=())
    verdict = judge_report(world.checker, nothing, task.required, task.most_words)
    assert verdict.outcome == 0.0 and verdict.parts["covered"] == 0.0 and verdict.parts["cited"] == 0.0
    pages = {page.address: page.text for page in world.web.pages}
    whole = [(title, pages[gold.evidence[section.ids[0]]] + " <citation>id_1</citation>")
             for section in gold.outline if section.ids for title in [section.title]]  # fmt: skip
    copied = judge_report(
        world.checker, dataclasses.replace(gold, written=tuple(whole)), task.required, 10**6
    )
    assert copied.outcome == 0.0


def test_an_outline_has_cited_sections_of_four_levels():
    found = read_outline(
        "# T\n\n## A\n<citation>id_1</citation>\n### B <citation>id_2, id_1</citation>\nwords"
    )
    assert [(one.level, one.title, one.ids) for one in found] == [
        (1, "T", ()), (2, "A", ("id_1",)), (3, "B", ("id_2", "id_1"))
    ]  # fmt: skip
    many = "\n".join(f"# {n} <citation>i</citation>" for n in range(50))
    for bad, words in {
        "": "no section cites", "# A": "no section cites", "<citation>id_1</citation>": "under a heading",
        "##### A <citation>id_1</citation>": "5 levels", "# <citation>id_1</citation>": "1 to 200 characters",
        "# A <citation>id_1</citation>\n## a": "two headings", many: "50 headings",
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            read_outline(bad)


def test_the_two_phases_and_what_each_refuses():
    env = make(level=1)
    (task,) = env.task_ids(n=1)
    env.reset(options={"task": task})
    world = report_world(WEB)
    page = next(iter(world.page_of(env.task.required).values()))
    cited = "# T\n## A <citation>id_1</citation>"
    assert "write_outline and terminate" in say(env, "write", section="A", text="x")[0]
    assert "write_outline first" in say(env, "terminate")[0]
    assert "memory bank has no 'id_1'; it has nothing" in say(env, "write_outline", outline=cited)[0]
    assert "there is no page" in say(env, "visit", page="nowhere", goal="x")[0]
    told, info = say(env, "visit", page=page, goal="everything")
    assert told.startswith("Kept as id_1.") and info["turn_reward"] > 0
    assert say(env, "visit", page=page, goal="something else")[0].startswith("Kept as id_1.")
    other = next(one.address for one in world.web.pages if one.address != page)
    say(env, "visit", page=other, goal="x")
    assert "5 levels" in say(env, "write_outline", outline="##### A <citation>id_1</citation>")[0]
    assert "1 sections" in say(env, "write_outline", outline=cited)[0]
    stored = env.snapshot()
    assert "'A'" in say(env, "terminate")[0]
    assert "planning is over" in say(env, "search", query="x")[0]
    assert "does not cite 'id_2'" in say(env, "retrieve", ids=["id_2"])[0]
    assert (
        "has no 'id_9'" in say(env, "retrieve", ids=["id_9"])[0]
        and "empty" in say(env, "retrieve", ids=[])[0]
    )
    assert say(env, "retrieve", ids=["id_1"])[0].startswith("id_1:\n")
    assert "no section 'B'" in say(env, "write", section="B", text="x")[0]
    assert "text is empty" in say(env, "write", section="A", text=" ")[0]
    assert "All sections are written" in say(env, "write", section="# a", text="Nothing.")[0]
    assert "written already" in say(env, "write", section="A", text="x")[0]
    *_, over, _, info = env.step("That is all.")
    assert over and info["outcome"] == 0.0
    env.restore(stored)
    assert not env.playing.writing and list(env.playing.bank.entries) == ["id_1", "id_2"]
    for bad in ("train/150/0/9/0", "train/150/0/1/99999", "train/151/0/1/0", "x", "train/150/0/1/00"):
        with pytest.raises(TaskError, match="none of this web"):
            env.find(bad)


def test_a_judge_has_a_name_of_its_own_and_no_part_in_the_outcome():
    answer = json.dumps({"reason": "It is a list.", "met": False})
    with Endpoint(lambda asked: answer) as server:
        env = make(level=1, judge=server.spec())
        (id,) = env.task_ids(n=1)
        env.reset(options={"task": id})
        for action in env.gold_actions(id):
            *_, info = env.step(action)
    assert info["outcome"] == 1.0 and info["parts"]["rubric"] == 0.0 and not env.metadata["quick"]
    with Endpoint(lambda asked: "no verdict") as server:
        env = make(level=1, judge=server.spec(attempts=1))
        env.reset(options={"task": id})
        for action in env.gold_actions(id):
            *_, info = env.step(action)
    assert info["error"]["stage"] == "judge" and "outcome" not in info


def test_right_things_of_the_wrong_ones_do_not_stand():
    world = report_world(WEB)
    graph = world.graph
    for key, value in (("mayor", "{o} is the mayor of {s}"), ("population", "{s} has {o} inhabitants")):
        now = [f for f in graph.facts if f.relation == key and not f.until and world.page_of([f.number])]
        one, other = now[0], next(f for f in now if (f.object, f.value) != (now[0].object, now[0].value))
        pages = {f"id_{n}": world.page_of([f.number])[f.number] for n, f in enumerate((one, other))}

        def told(a, b, pages=pages, value=value):
            said = " and ".join(
                value.format(
                    s=graph.entities[town.subject].name,
                    o=graph.entities[f.object].name if f.object >= 0 else int(f.value),
                )
                for town, f in ((a[0], a[1]), (b[0], b[1]))
            )
            return world.checker.check(CitedSentence(f"{said}.", tuple(pages)), pages)

        assert {one.number, other.number} <= told((one, one), (other, other)).facts
        assert told((one, other), (other, one)).fault == "it says this of another"


TOLD = tomllib.loads(Path(__file__).with_name("report_sentences.toml").read_text("utf-8"))["reports"]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: told["names"][0])
def test_what_models_write_gets_the_verdict_of_a_careful_reader(told):
    web = WebAddress("train", 400, 0)
    world = report_world(web)
    task = next(one for one in report_tasks(web, 3) if one.id == told["task"])
    ids = [f"id_{at}" for at in (1, 2, 3)]
    outline = tuple(
        OutlineSection(2, f"On {name}", (id,)) for name, id in zip(told["names"], ids, strict=True)
    )

    def outcome(section: int, how: str, said: str) -> float:
        texts = list(told["sections"])
        texts[section] = said if how == "=" else f"{texts[section]} {said}"
        plain = [re.sub(r"<(\d)>", r"<citation>id_\1</citation>", text).replace("⏎", "\n") for text in texts]
        written = tuple(zip((one.title for one in outline), plain, strict=True))
        report = ReportText(outline, written, dict(zip(ids, told["pages"], strict=True)))
        return judge_report(world.checker, report, task.required, task.most_words).outcome

    assert outcome(0, "=", told["sections"][0]) == 1.0
    for verdict, wanted in (("right", 1.0), ("wrong", 0.0)):
        lines = told[verdict].strip().split("\n")
        odd = [line for line in lines if outcome(int(line[0]) - 1, line[1], line[3:]) != wanted]
        assert not odd, verdict
