"""Pages found by meaning: vectors of passages, by a model in a folder or behind an endpoint."""

import json
import pickle
import threading
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from model2vec import StaticModel
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace

from forge_envs.errors import MachineError
from forge_envs.worlds.search.building import build_index
from forge_envs.worlds.search.embedders import embedder_of, read_vectors
from forge_envs.worlds.search.fulltext import FullTextIndex
from forge_envs.worlds.search.meaning import PASSAGE, MeaningIndex, passages
from forge_envs.worlds.search.page import WebPage
from tests.endpoint import Endpoint

MEANINGS = (("doctor", "physician", "surgeon"), ("ship", "vessel", "boat"), ("bread", "loaf", "baker"))
"""Words of one vector; others have none."""
PAGES = [
    WebPage("people/ana", "Ana", "Ana was a physician of Port Azul."),
    WebPage("people/rui", "Rui", "Rui was a baker of Port Azul."),
    WebPage("things/gull", "Gull", "The Gull was a vessel. " + "It sailed. " * 200 + "A surgeon was on it."),
    WebPage("things/none", "None", ""),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model2vec folder whose words have three meanings."""
    vocabulary = {"[UNK]": 0} | {word: at for at, word in enumerate(sum(MEANINGS, ()), 1)}
    rows = np.zeros((len(vocabulary), 3), dtype=np.float32)
    for at, words in enumerate(MEANINGS):
        for word in words:
            rows[vocabulary[word], at] = 2.0
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    folder = tmp_path_factory.mktemp("model")
    StaticModel(rows, tokenizer).save_pretrained(folder)
    return folder


def index_of(folder: Path, pages=PAGES) -> FullTextIndex:
    build_index(pages, folder / "web.sqlite", "a test")
    return FullTextIndex(folder / "web.sqlite")


def addresses(hits) -> list[str]:
    return [hit.address for hit in hits]


def test_a_page_is_found_by_what_it_means(tmp_path, model):
    """The word stands nowhere; the nearest passage decides, be it the last of a long page."""
    index = index_of(tmp_path)
    both = MeaningIndex(index, f"model2vec:{model}")
    assert index.search("doctor", 3) == () or "people/ana" not in addresses(index.search("doctor", 3))
    assert addresses(both.search("doctor", 2)) == ["people/ana", "things/gull"]
    assert addresses(both.search("boats and a boat", 1)) == ["things/gull"]
    found = both.search("loaf", 1)[0]
    assert (found.title, found.snippet) == ("Rui", "Rui was a baker of Port Azul.")
    assert both.page("people/ana") == PAGES[0] and len(both) == len(index)
    assert both.neighbours("people/an") == index.neighbours("people/an")


def test_both_lists_are_fused_by_reciprocal_rank(tmp_path, model):
    both = MeaningIndex(index_of(tmp_path), f"model2vec:{model}")
    worded = addresses(both.index.search("doctor Rui", 50))
    assert worded == ["people/rui"]
    # Rui by its word and Ana by the doctor's meaning 1/61 each, the Gull 1/62.
    assert addresses(both.search("doctor Rui", 3)) == ["people/ana", "people/rui", "things/gull"]
    # Rui and the Gull mean as much of it, in the index's order; the Gull has words of it besides.
    assert addresses(both.index.search("gull vessel loaf", 2)) == ["things/gull"]
    assert addresses(both.search("gull vessel loaf", 2)) == ["things/gull", "people/rui"]
    assert addresses(both.search("quite unknown words", 3)) == addresses(
        both.index.search("quite unknown words", 3)
    )
    with pytest.raises(ValueError, match="limit=0"):
        both.search("doctor", 0)


def test_vectors_are_made_once_and_never_read_as_those_of_others(tmp_path, model):
    text = f"model2vec:{model}"
    first = MeaningIndex(index_of(tmp_path), text)
    before = (first.folder / "vectors.f32").stat().st_mtime_ns
    found: list[MeaningIndex] = []
    threads = [
        threading.Thread(target=lambda: found.append(MeaningIndex(first.index, text))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and (first.folder / "vectors.f32").stat().st_mtime_ns == before
    again = pickle.loads(pickle.dumps(first))
    assert again.search("doctor", 2) == first.search("doctor", 2)
    other = MeaningIndex(index_of(tmp_path, PAGES[:2]), text)
    assert other.folder != first.folder
    assert addresses(other.search("doctor", 1)) == ["people/ana"]
    (other.folder / "vectors.f32").write_bytes(b"\0" * 5)
    with pytest.raises(ValueError, match="delete the folder"):
        MeaningIndex(other.index, text)


def test_passages_hold_the_whole_page_between_words():
    page = PAGES[2]
    found = list(passages(page))
    assert len(found) == 3 and all(len(one) <= PASSAGE + len("Gull\n") for one in found)
    assert " ".join(one.removeprefix("Gull\n") for one in found) == page.text
    assert list(passages(PAGES[3])) == ["None"]
    assert "".join(one[2:] for one in passages(WebPage("a", "A", "x" * 2500))) == "x" * 2500


def vectors_of(body) -> bytes:
    """As servers answer, in an order of their own."""
    rows = [
        [float(any(word in text for word in words)) for words in MEANINGS] + [0.1] for text in body["input"]
    ]
    data = [{"object": "embedding", "index": at, "embedding": row} for at, row in enumerate(rows)]
    return json.dumps({"object": "list", "data": data[::-1], "model": body["model"]}).encode()


def test_an_endpoint_makes_vectors_and_is_replayed_without_it(tmp_path):
    index, book = index_of(tmp_path), tmp_path / "vectors.jsonl"
    with Endpoint(vectors_of) as server:
        text = f"openai:meaner@{server.url}#query=find: &page=read: &record={book}"
        live = MeaningIndex(index, text).search("a physician", 2)
        asked = [body["input"] for body in server.asked]
    assert addresses(live)[0] == "people/ana"
    assert all(one.startswith("read: ") for one in asked[0]) and asked[-1] == ["find: a physician"]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    replayed = MeaningIndex(
        index_of(elsewhere), f"openai:meaner@http://127.0.0.1:9#query=find: &page=read: &replay={book}"
    )
    assert replayed.search("a physician", 2) == live
    with pytest.raises(MachineError, match="holds no answer"):
        replayed.search("never asked", 2)


@pytest.mark.parametrize(
    "answer",
    [
        b"{}",
        b"[]",
        b'{"data": []}',
        b'{"data": [{"index": 0, "embedding": []}]}',
        b'{"data": [{"index": 1, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0]}]}',
        b'{"data": [{"index": 0, "embedding": ["a"]}]}',
        b'{"data": [{"index": 0, "embedding": [[1.0]]}]}',
        b'{"data": [{"index": 0, "embedding": [NaN]}]}',
        b'{"data": [{"index": 0, "embedding": [1e999]}]}',
        b'{"data": [{"index": 0, "embedding": [true, null]}]}',
    ],
)
def test_an_answer_off_the_protocol_is_a_failed_machine(answer):
    with pytest.raises(ValueError, match=r"asked for"):
        read_vectors(answer.decode(), count=1)
    with Endpoint(lambda body: answer) as server:
        embedder = embedder_of(f"openai:odd@{server.url}#deadline=5&attempts=2")
        with pytest.raises(MachineError) as error:
            embedder.embed(["a text"])
    assert (error.value.kind, error.value.stage) == ("rubbish", "embeddings") and len(server.asked) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bm25", "model2vec:FOLDER or openai:MODEL@URL"),
        ("model2vec:", "model2vec:FOLDER or openai:MODEL@URL"),
        ("model2vec:/no/such/folder", "no model.safetensors there"),
        ("openai:m@http://h#limits=3", "no setting 'limits'"),
        ("openai:m@http://h#limit=many", "is no number"),
        ("openai:m@http://h#limit=0", "limit=0: it must be more than 0"),
    ],
)
def test_a_spec_that_is_wrong_is_refused_with_the_fix(text, words):
    with pytest.raises(ValueError, match=words):
        gym.make("Forge/Search-v0", entities=100, embedding=text)


def test_a_world_searches_by_meaning(tmp_path, model, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    env = gym.make("Forge/Search-v0", entities=100, embedding=f"model2vec:{model}").unwrapped
    for task in env.task_ids("train", 3):
        env.reset(options={"task": task})
        for action in env.gold_actions(task):
            info = env.step(action)[-1]
        assert info["outcome"] == 1.0
    assert list(tmp_path.glob("**/*.vectors-*/vectors.f32"))
    with pytest.raises(ValueError, match="leave embedding out"):
        gym.make(
            "Forge/Search-v0", endpoint="http://127.0.0.1:9", questions="q", embedding=f"model2vec:{model}"
        )
