"""A full-text index: what it finds, in which order, by whom it is read, and what it refuses."""

import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import MachineError, NotInstalled, ToolError
from forge_envs.probe import HOSTILE
from forge_envs.worlds.search import building
from forge_envs.worlds.search.building import build_index
from forge_envs.worlds.search.fulltext import FullTextIndex, ensure_index, open_index
from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.reading import find_page, passages_of, told_hits, told_page
from forge_envs.worlds.search.snippets import WIDTH, snippet
from forge_envs.worlds.search.tokens import needs_fts5
from forge_envs.worlds.search.words import folded, words_in

PAGES = [
    WebPage(
        "people/ana-duarte",
        "Ana Duarte",
        "Ana Duarte founded [Port Azul](places/port-azul) in 1994.",
        "2029-05-07",
    ),
    WebPage(
        "places/port-azul",
        "Port Azul",
        "A port in the south. Who founds a port is not agreed upon.",
        "2030-01-02",
    ),
    WebPage("places/sao-tome", "São Tomé", "The cities of São Tomé have no port.", "2028-01-01"),
    WebPage("tokyo", "東京", "東京都は日本の首都である。", ""),
    *(
        WebPage(f"filler/{n:03}", f"Filler {n}", f"Nothing of note happened on day {n}.", "2020-01-01")
        for n in range(60)
    ),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "pages.sqlite"
    build_index(PAGES, path, "a test")
    return open_index(path)


def found(index, query, limit=5):
    return [hit.address for hit in index.search(query, limit)]


def test_titles_weigh_more_words_are_stemmed_accents_and_questions_do_not_matter(index):
    assert len(index) == len(PAGES) and index.source == "a test" and list(index.pages()) == PAGES
    assert found(index, "Port Azul")[:2] == ["places/port-azul", "people/ana-duarte"]
    assert set(found(index, "Who founded it?")) == {"people/ana-duarte", "places/port-azul"}
    assert found(index, "sao tome city") == found(index, "SÃO TOMÉ cities") == ["places/sao-tome"]
    assert found(index, "首都") == found(index, "東京") == ["tokyo"] and found(index, "京東") == []
    assert found(index, "of the in a")  # nothing but stop words: they are taken at their word
    hit = index.search("founded", 1)[0]
    assert (hit.title, hit.date) == ("Ana Duarte", "2029-05-07")
    assert hit.snippet == "Ana Duarte founded Port Azul in 1994."


def test_equal_pages_keep_their_order_and_a_limit_takes_the_first(index):
    all_of_them = found(index, "nothing of note", 60)
    assert all_of_them == [f"filler/{n:03}" for n in range(60)]
    assert found(index, "nothing of note", 7) == all_of_them[:7]
    for limit in (0, 101):
        with pytest.raises(ValueError, match=f"limit={limit}"):
            index.search("port", limit)


@pytest.mark.parametrize(
    "query",
    ["", '"', "AND", "port AND NOT azul", "title:port", "port*", "NEAR(port azul)", "^port", "{port", "-port",
     "port\x00azul", "🙂", "'; DROP TABLE page; --", "a" * 100_000, "port " * 20_000, "日" * 1000, *HOSTILE],
)  # fmt: skip
def test_no_text_is_syntax(index, query):
    assert found(index, query) == found(index, query)
    assert len(words_in(query)) <= 1000
    if "port" in query and "a" * 9 not in query:
        assert "places/port-azul" in found(index, query)
    assert isinstance(told_hits(query, index.search(query, 3)), str)


@given(st.text(max_size=60))
def test_any_query_has_an_answer_and_every_hit_has_a_word_of_it(index, query):
    hits = index.search(query, 10)
    assert hits == FullTextIndex(index.path).search(query, 10)
    for hit in hits:
        page = index.page(hit.address)
        assert page is not None and len(hit.snippet) <= WIDTH
        assert any(word[:3] in folded(f"{page.title} {page.text}") for word in words_in(query))


WORDS = ["alpha", "beta", "port", "azul", "[x](y)", "[a b](c/d)", "1994", "é", "東京", "\n\n", "."]


@given(st.lists(st.sampled_from(WORDS), max_size=400))
def test_a_snippet_is_short_and_shows_a_word_that_is_there(words):
    text = " ".join(words)
    told = snippet(text, ["port", "azul"])
    assert len(told) <= WIDTH and "](" not in told
    if "port" in words or "azul" in words:
        assert "port" in told or "azul" in told


def test_common_words_put_in_order_and_alone_are_found_by_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(building, "MOST_POSTINGS", 20)
    monkeypatch.setattr("forge_envs.worlds.search.fulltext.MOST_POSTINGS", 20)
    pages = [
        WebPage(
            f"p{n}", f"House {n}", "a town by the river " * (1 + (n == 77)) + ("rare " if n % 40 == 7 else "")
        )
        for n in range(100)
    ]
    pages[87] = WebPage("p87", "A rare thing", "town town river")
    pages[47] = WebPage("p47", "Other", "rare town river bank")
    build_index(pages, tmp_path / "i", "test")
    index = open_index(tmp_path / "i")
    assert set(found(index, "rare")) == {"p7", "p47", "p87"}
    # "town" and "house" stand everywhere: they choose no page, and decide between those with the rare word.
    assert found(index, "rare")[0] == "p87" and found(index, "rare house 7 town")[0] == "p7"
    assert found(index, "town river", 1) == ["p87"]
    assert len(found(index, "house", 100)) == 98  # a stem that is no word of its own


def test_an_index_crosses_processes_and_threads(index):
    assert pickle.loads(pickle.dumps(index)) is index
    here = found(index, "port azul")
    child = os.fork() if hasattr(os, "fork") else 0
    if hasattr(os, "fork"):
        if not child:
            os._exit(
                0 if FullTextIndex.search(index, "tome port", 5) and found(index, "port azul") == here else 1
            )
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(found(index, "azul port 1994"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [found(index, "azul port 1994")] * 8
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).search('azul', 1)[0].address)"
    stored = index.path.with_suffix(".pickle")
    stored.write_bytes(pickle.dumps(index))
    run = subprocess.run([sys.executable, "-c", code, stored], capture_output=True, text=True)
    assert run.stdout.strip() == found(index, "azul", 1)[0], run.stderr


def test_what_was_stored_with_other_pages_is_refused(tmp_path):
    build_index(PAGES, tmp_path / "i", "one")
    stored = pickle.dumps(open_index(tmp_path / "i"))
    build_index(PAGES[:3], tmp_path / "i", "two")
    assert len(open_index(tmp_path / "i")) == 3
    with pytest.raises(ValueError, match="holds other pages"):
        pickle.loads(stored)


def test_an_index_is_built_whole_or_not_at_all_and_once(tmp_path):
    def torn():
        yield PAGES[0]
        raise ValueError("the corpus ends here")

    path = tmp_path / "deep" / "i"
    with pytest.raises(ValueError, match="ends here"):
        build_index(torn(), path, "torn")
    assert list(path.parent.iterdir()) == []
    with pytest.raises(ValueError, match="address 'people/ana-duarte'"):
        build_index([PAGES[0], PAGES[1], PAGES[0]], path, "twice")
    for pages in ([], [WebPage("a", "", "  🙂 — ")]):
        with pytest.raises(ValueError, match="pages without a word"):
            build_index(pages, path, "empty")
    built = []

    def pages():
        built.append(1)
        return PAGES

    threads = [threading.Thread(target=ensure_index, args=(path, "s1", pages)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digest = ensure_index(path, "s1", pages).digest
    assert built == [1] and ensure_index(path, "s2", pages).digest == digest and built == [1, 1]
    assert ensure_index(path, "s3", lambda: PAGES[1:]).digest != digest


def test_a_file_that_is_no_index_of_ours_is_named_with_the_fix(tmp_path, index):
    def refused(path, *words):
        with pytest.raises(ValueError) as error:
            open_index(path)
        assert all(word in str(error.value) for word in (*words, str(path))), error.value

    refused(tmp_path / "none", "no such file", "build it")
    (tmp_path / "text").write_text("hello " * 1000)
    refused(tmp_path / "text", "broken", "build it again")
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "no search index")
    with sqlite3.connect(tmp_path / "other") as db:
        db.execute("CREATE TABLE a(b)")
    refused(tmp_path / "other", "no search index")
    shutil.copy(index.path, tmp_path / "old")
    with sqlite3.connect(tmp_path / "old") as db:
        db.execute(f"PRAGMA user_version={building.VERSION + 1}")
    refused(
        tmp_path / "old", f"version {building.VERSION + 1}", f"version {building.VERSION}", "build it again"
    )
    data = index.path.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut", "cut off", "build it again")
    assert len(ensure_index(tmp_path / "cut", "a test", lambda: PAGES)) == len(PAGES)
    # Zeros in the midst of it show when they are read: a failed machine, and no answer.
    (tmp_path / "holes").write_bytes(data[:8192] + bytes(len(data) - 8192))
    with pytest.raises((MachineError, ValueError), match="build it again"):
        open_index(tmp_path / "holes").search("port", 5)


def test_a_python_without_full_text_search_is_told_so(tmp_path):
    db = sqlite3.connect(":memory:")
    db.set_authorizer(lambda action, *_: sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_CREATE_VTABLE else 0)
    with pytest.raises(NotInstalled, match="FTS5"):
        needs_fts5(db)


# -- reading --------------------------------------------------------------------------------------------


def test_an_unknown_address_is_told_with_those_near_it(index):
    assert find_page(index, " places/port-azul#history ").title == "Port Azul"
    with pytest.raises(ToolError, match="near it are people/ana-duarte"):
        find_page(index, "people/anna-duart")
    for address in ("", " ", "x" * 100_000, "\ud800", "🙂"):
        with pytest.raises(ToolError, match="there is no page"):
            find_page(index, address)


@pytest.mark.parametrize(
    "written",
    """
    Places/Port-Azul; /places/port-azul; ./places/port-azul/; places%2Fport-azul; `places/port-azul`
    (places/port-azul);    [Port Azul](places/port-azul); Port Azul | places/port-azul | 2031-05-07; https://web/places/port-azul?x=1#top
    places\\port-azul; PLACES/PÖRT-AZUL; places/port-azul.html; "places/port-azul"
    """.strip().replace("\n", ";").split(";"),
)  # fmt: skip
def test_an_address_is_read_as_models_write_it(index, written):
    assert find_page(index, written).title == "Port Azul"


LONG = WebPage(
    "long",
    "A long page",
    "It begins here.\n\n"
    + "\n\n".join(
        f"Paragraph {n} is about matter {n}. It goes on a while, and then it ends." for n in range(50)
    )
    + "\n\n## Mayors\n\n| year | mayor |\n|---|---|\n"
    + "\n".join(f"| {1950 + n} | [Mayor {n}](people/mayor-{n}) |" for n in range(40)),
    "2030-01-01",
)


def test_a_visit_shows_what_fits_the_goal_and_says_what_it_left_out():
    told = told_page(LONG, "who was mayor in 1977?", budget=500)
    assert told.startswith("A long page | long | 2030-01-01\nShown: ")
    assert (
        "| 1977 | [Mayor 27](people/mayor-27) |" in told and "## Mayors\n| year | mayor |\n|---|---|" in told
    )
    assert "It begins here." in told and "[…]" in told and "part=1" in told
    assert told == told_page(LONG, "who was mayor in 1977?", budget=500)
    assert "Paragraph 31" in told_page(LONG, "matter 31", budget=500)
    whole = told_page(LONG, "anything", budget=100_000)
    assert whole.endswith(LONG.text) and "part=" not in whole
    assert told_page(WebPage("a", "A", " "), "x").endswith("The page is empty.")
    with pytest.raises(ToolError, match="has the parts 1 to"):
        told_page(LONG, "", part=99, budget=500)
    with pytest.raises(ToolError, match="shown whole"):
        told_page(LONG, "", part=2, budget=100_000)
    with pytest.raises(ValueError, match="budget=10"):
        told_page(LONG, "", budget=10)


def test_the_parts_of_a_page_are_all_of_it_in_order():
    first = told_page(LONG, "", part=1, budget=500)
    count = int(first.split("Part 1 of ")[1].split(";")[0])
    parts = [told_page(LONG, "", part=n, budget=500).split("\n", 2)[2] for n in range(1, count + 1)]
    passages = [one.text for one in passages_of(LONG.text, 500 // 3)]
    read = "\n".join(parts)
    assert [read.count(one) >= 1 for one in passages] == [True] * len(passages)
    assert [read.find(one) for one in passages] == sorted(read.find(one) for one in passages)


BLOCKS = st.sampled_from(
    ["# Head", "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |", "- one\n- two", "word " * 300, "x" * 2000,
     "Short. One.", "東京都。" * 200, "[a link](to/it) and more", "", "| lonely |"]
)  # fmt: skip


@given(st.lists(BLOCKS, max_size=12), st.text(max_size=40), st.integers(200, 900), st.integers(0, 4))
def test_no_visit_is_longer_than_its_budget(blocks, goal, budget, part):
    page = WebPage("a", "A", "\n\n".join(blocks), "2030-01-01")
    try:
        told = told_page(page, goal, part, budget)
    except ToolError:
        assert part
        return
    assert len(told) <= budget + 200
    if not part and len(page.text.strip()) > budget:
        assert len(told.split("\n", 2)[2]) <= budget
