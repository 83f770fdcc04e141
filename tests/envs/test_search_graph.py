"""The web of Forge/Search-v0: its graph, its names, and pages that tell every fact."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_envs.worlds.search.draw import AT_LEAST, counts, draw_graph
from forge_envs.worlds.search.graph import NOW, WebFact
from forge_envs.worlds.search.naming import split_of_name
from forge_envs.worlds.search.relations import KINDS, VALUES, relations
from forge_envs.worlds.search.render import ToldFact, render, says

GRAPH = draw_graph(0, 300, "train")
WEB = render(GRAPH, 0)
BY_ADDRESS = {page.address: page for page in WEB.pages}

seeds = st.integers(0, 10**12)


def test_every_kind_of_fact_fits_its_kinds_and_has_its_words():
    for relation in relations().values():
        assert relation.subject in KINDS and relation.object in (*KINDS, *VALUES)
        assert all("{s}" in words and "{o}" not in words for words in (*relation.ask, *relation.ask_then))
        assert all("{o}" in words and "{s}" not in words for words in (*relation.does, *relation.did))
        assert all("{s}" in words for words in (*relation.done, *relation.was_done))
        assert all("{s}" in words and "{o}" in words for words in (*relation.told, *relation.told_then))
        assert all(w.endswith(" in {year}") for w in (*relation.did, *relation.was_done) if "census" not in w)
        assert relation.changes == bool(relation.told_then) == bool(relation.ask_then) == bool(relation.did)
        if relation.changes:
            assert all("{since}" in words for words in relation.told)
            assert all("{since}" in words and "{until}" in words for words in relation.told_then)
        if relation.links:
            assert relation.done and bool(relation.was_done) == relation.changes
    assert sum(relation.links for relation in relations().values()) >= 12


@settings(max_examples=10)
@given(seed=seeds, entities=st.integers(100, 400), split=st.sampled_from(["train", "test"]))
def test_a_graph_follows_from_its_arguments_and_keeps_its_rules(seed, entities, split):
    graph = draw_graph(seed, entities, split)
    assert graph == draw_graph(seed, entities, split)
    assert len(graph.entities) == entities == len({entity.name.lower() for entity in graph.entities})
    assert Counter(entity.kind for entity in graph.entities) == counts(entities)
    terms = {}
    for number, fact in enumerate(graph.facts):
        relation = relations()[fact.relation]
        assert fact.number == number and graph.entities[fact.subject].kind == relation.subject
        if relation.links:
            assert graph.entities[fact.object].kind == relation.object and fact.object != fact.subject
        assert relation.changes == bool(fact.since) and (not fact.until or fact.since < fact.until < NOW)
        if relation.symmetric:
            other = graph.facts[graph.mirror[number]]
            assert (other.subject, other.object, other.relation) == (fact.object, fact.subject, fact.relation)
        terms.setdefault((fact.subject, fact.relation), []).append(fact)
    for (_, key), facts in terms.items():
        if relations()[key].changes:
            facts.sort(key=lambda fact: fact.since)
            assert [fact.until for fact in facts] == [*(fact.since for fact in facts[1:]), 0]
        else:
            assert len(facts) == 1, "one subject, two objects: nothing says which is asked for"


def test_another_seed_another_graph_and_no_global_dice():
    state = random.getstate()
    assert draw_graph(1, 100, "train") != draw_graph(2, 100, "train")
    assert random.getstate() == state


@pytest.mark.parametrize("seed", [0, 7])
def test_the_splits_share_no_name_whatever_the_seed(seed):
    names = {entity.name for entity in GRAPH.entities}
    other = draw_graph(seed, 400, "test").entities
    assert not names & {entity.name for entity in other}
    assert {split_of_name(entity.name) for entity in other if entity.kind != "event"} == {"test"}
    stems = {entity.name.split(" ", 1)[1] for entity in other if entity.kind == "event"}
    assert not stems & {entity.name.split(" ", 1)[1] for entity in GRAPH.entities if entity.kind == "event"}


def test_counts_add_up_also_in_the_smallest_web():
    for entities in (100, 101, 999, 20_000):
        found = counts(entities)
        assert sum(found.values()) == entities and all(found[kind] >= n for kind, n in AT_LEAST.items())


def test_every_fact_is_told_word_for_word_by_some_page():
    assert {fact.number for fact in GRAPH.facts} == set(WEB.told)
    for told in WEB.told.values():
        assert all(one.quote in BY_ADDRESS[one.page].text for one in told)
    assert len(BY_ADDRESS) == len(WEB.pages) and render(GRAPH, 0).pages == WEB.pages


def test_what_a_page_tells_of_a_fact_names_its_object():
    for fact in GRAPH.facts:
        if fact.object >= 0:
            names = {GRAPH.entities[fact.object].name, GRAPH.entities[fact.subject].name}
            for one in WEB.told[fact.number]:
                said = f"{BY_ADDRESS[one.page].title} {one.quote}"
                assert all(name in said for name in names), (GRAPH.told(fact), said)


def test_links_lead_to_pages():
    import re

    links = [link for page in WEB.pages for link in re.findall(r"\]\(([^)]+)\)", page.text)]
    assert len(links) > 500 and set(links) <= set(BY_ADDRESS)


def test_there_are_copies_old_pages_mistakes_news_and_lists():
    folders = Counter(page.address.split("/")[0] for page in WEB.pages)
    assert min(folders[f] for f in ("mirror", "archive", "blog", "news", "lists", "people")) > 3
    texts = [page.text for page in WEB.pages]
    assert any(text.startswith("| |") for text in texts) and any("Q: " in text for text in texts)
    old = [page for page in WEB.pages if page.address.startswith(("archive", "blog"))]
    assert all(page.date < f"{NOW - 1}" for page in old)
    mains = [page for page in WEB.pages if page.address.split("/")[0] in ("people", "towns", "firms")]
    assert all(page.date >= f"{NOW - 1}" for page in mains)


def test_an_old_page_tells_who_was_in_office_then():
    stale = 0
    for fact in GRAPH.facts:
        for one in WEB.told[fact.number]:
            assert not one.year or fact.since <= one.year
            stale += bool(one.year and fact.until and one.year < fact.until)
    assert stale > 20


def test_only_pages_of_later_years_prove_a_year():
    fact = WebFact(0, 0, "head", 1, since=2010, until=2020)
    assert says(fact, ToldFact("a", "", 0), 2015) and says(fact, ToldFact("a", "", 2016), 2015)
    assert not says(fact, ToldFact("a", "", 2015), 2015) and not says(fact, ToldFact("a", "", 2010), 2015)
    assert [fact.holds(year) for year in (2010, 2011, 2019, 2020, 0)] == [False, True, True, False, False]
