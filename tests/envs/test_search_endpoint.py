"""A search behind HTTP: what it is asked, what becomes of a server that misbehaves, and what is recorded."""

import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import MachineError
from forge_envs.worlds.search.endpoint import EndpointSpec, read_hits, read_page, search_endpoint
from forge_envs.worlds.search.page import Hit, WebPage
from forge_envs.worlds.search.reading import find_page
from tests.endpoint import Endpoint, Raw

PAGES = {"a": WebPage("a", "Page A", "It says é.", "2030-01-01"), "b": WebPage("b", "Page B", "No more.")}


def told(value, status=200):
    return Raw(json.dumps(value).encode(), status)


def honest(asked):
    """What a search of the protocol answers."""
    if "query" in asked:
        hits = [
            {"address": p.address, "title": p.title, "snippet": p.text, "date": p.date}
            for p in PAGES.values()
        ]
        return told({"hits": hits[: asked["limit"]], "took_ms": 3})
    page = PAGES.get(asked["address"])
    if page is None:
        return told({"error": "no such page"}, 404)
    return told({"address": page.address, "title": page.title, "text": page.text, "date": page.date})


def at(server, **settings):
    given = {"attempt": 20, "deadline": 60, **settings}
    return search_endpoint(f"{server.url}#" + "&".join(f"{key}={value}" for key, value in given.items()))


def test_an_endpoint_is_searched_and_read_as_an_index_is(monkeypatch):
    monkeypatch.setenv("A_KEY", "secret")
    with Endpoint(honest) as server:
        library = at(server, key="A_KEY")
        assert library.search("port \ud800", 1) == (Hit("a", "Page A", "It says é.", "2030-01-01"),)
        assert library.page("a") == PAGES["a"] and library.page("c") is None
        assert find_page(library, " b#top").title == "Page B"
        assert server.asked[0] == {"query": "port ?", "limit": 1}
        assert {headers["authorization"] for headers in server.headers} == {"Bearer secret"}
        assert pickle.loads(pickle.dumps(library)) is library


BAD = {
    "not json": (b"<html>welcome</html>", "rubbish", "no JSON"),
    "no object": (b"[1, 2]", "rubbish", "was asked for"),
    "not utf-8": (b'{"hits": ["\xff"]}', "rubbish", "not UTF-8"),
    "no hits": (told({"results": []}), "rubbish", "was asked for"),
    "hits of a wrong type": (told({"hits": {"a": 1}}), "rubbish", "was asked for"),
    "a hit of a wrong type": (told({"hits": ["a"]}), "rubbish", "a hit is an object"),
    "no address": (told({"hits": [{"title": "A"}]}), "rubbish", '"address"'),
    "a number for a title": (told({"hits": [{"address": "a", "title": 7}]}), "rubbish", '"title"'),
    "an endless snippet": (
        told({"hits": [{"address": "a", "title": "A", "snippet": "x" * 20_000}]}), "rubbish", '"snippet"'
    ),
    "the same twice": (told({"hits": [{"address": "a", "title": "A"}] * 2}), "rubbish", "twice"),
    "more than asked": (
        told({"hits": [{"address": str(n), "title": "A"} for n in range(9)]}), "rubbish", "9 hits"
    ),
    "too large": (Raw(b'{"hits": [' + b" " * 300_000 + b"]}"), "rubbish", "more than 200000 bytes"),
    "deep": (b"[" * 100_000, "rubbish", "no JSON"),
    "broken off": (Raw(b'{"hits": [', length=500), "refused", "broke off"),
    "status 500": (Raw(b"oops", 500), "refused", "status 500"),
    "status 404 for a search": (Raw(b"", 404), "refused", "status 404"),
    "status 401": (Raw(b"who are you?", 401), "refused", "status 401"),
    "silent": (None, "timeout", "no answer within"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_whatever_an_endpoint_does_wrong_is_a_failed_machine(name):
    answer, kind, words = BAD[name]
    with Endpoint(lambda asked: answer) as server:
        patience = {"attempt": 0.2, "deadline": 30} if name == "silent" else {}
        library = at(server, attempts=2, largest=200_000, **patience)
        with pytest.raises(MachineError, match=words) as error:
            library.search("port", 5)
        assert (error.value.kind, error.value.stage) == (kind, "search")
        assert len(server.asked) == (1 if name in ("status 401", "status 404 for a search") else 2)


def test_a_page_that_lies_is_a_failed_machine():
    for lie, words in (
        ({"address": "b", "title": "B", "text": "x"}, "'b' where 'a' was asked"),
        ({"address": "a", "title": "A"}, '"text" is a text'),
        ({"address": "a", "title": "A", "text": ["x"]}, '"text" is a text'),
        ({"title": "A", "text": "x"}, '"address"'),
        ("a", "a page is an object"),
    ):
        with (
            Endpoint(lambda asked, lie=lie: told(lie)) as server,
            pytest.raises(MachineError, match=words) as error,
        ):
            at(server, attempts=1).page("a")
        assert (error.value.kind, error.value.stage) == ("rubbish", "page")


def test_a_server_that_falters_is_asked_again_and_one_that_is_not_there_is_named():
    answers = [Raw(b"", 503), b"nonsense", Raw(b"{", length=9)]
    with Endpoint(lambda asked: answers.pop(0) if answers else honest(asked)) as server:
        assert len(at(server).search("port", 2)) == 2 and len(server.asked) == 4
    with pytest.raises(MachineError, match="refused"):
        at(server, attempts=1).search("again", 2)


def test_answers_are_recorded_and_replayed_to_the_byte(tmp_path):
    book = tmp_path / "searches.jsonl"
    with Endpoint(honest) as server:
        library = at(server, record=book)
        first = (library.search("port", 2), library.page("a"), library.page("nowhere"))
        assert first == (library.search("port", 2), library.page("a"), library.page("nowhere"))
        assert len(server.asked) == 3
    replayed = search_endpoint(f"http://127.0.0.1:9/elsewhere#replay={book}")
    assert first == (replayed.search("port", 2), replayed.page("a"), replayed.page("nowhere"))
    with pytest.raises(MachineError, match=r"holds no answer to /search .*other") as error:
        replayed.search("other", 2)
    assert error.value.kind == "recording" and not error.value.retryable
    lines = [json.loads(line) for line in book.read_text().splitlines()]
    book2 = tmp_path / "edited.jsonl"
    book2.write_text("".join(json.dumps({**line, "reply": "{}"}) + "\n" for line in lines))
    with pytest.raises(MachineError, match="of no use"):
        search_endpoint(f"http://127.0.0.1:9/#replay={book2}").search("port", 2)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("ftp://a", "http://HOST"),
        ("http://", "http://HOST"),
        ("http://a#speed=9", "no setting 'speed'"),
        ("http://a#deadline=soon", "deadline='soon' is no number"),
        ("http://a#attempts=0", "attempts=0"),
        ("http://a#record=x&replay=y", "choose one"),
        ("http://a#key=NO_SUCH_KEY", "NO_SUCH_KEY is not set"),
        ("http://a#replay=/no/such/file", "no such file"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_with_the_fix(spec, words):
    with pytest.raises(ValueError, match=words):
        search_endpoint(spec)
    assert EndpointSpec.parse("http://a:1/b/#limit=3") == EndpointSpec("http://a:1/b", limit=3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["a", "address"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["hits", "address", "title", "text", "date", "snippet"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_answer_is_taken_whole_or_refused(value):
    for read in (lambda text: read_hits(text, limit=2), lambda text: read_page(text, address="a")):
        try:
            found = read(json.dumps(value))
        except ValueError:
            continue
        if isinstance(found, WebPage):
            assert found.address == "a" and isinstance(found.text, str)
        else:
            assert found is None or all(isinstance(hit, Hit) and hit.address for hit in found)
