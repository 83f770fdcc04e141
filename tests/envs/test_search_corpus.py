"""A corpus of the user's own: folders, dumps, and questions whose proof must still stand."""

import bz2
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.errors import NotGiven
from forge_envs.worlds.search import corpus as corpora
from forge_envs.worlds.search.corpus import OwnCorpus, corpus_index
from forge_envs.worlds.search.endpoint import search_endpoint
from forge_envs.worlds.search.markup import html_page, resolved
from forge_envs.worlds.search.own_questions import proved, read_questions
from forge_envs.worlds.search.wikitext import cleaned


@pytest.fixture
def folder(tmp_path):
    room = tmp_path / "notes"
    (room / "deep").mkdir(parents=True)
    (room / "azul.md").write_text(
        '---\ntitle: "Port Azul"\ndate: 2031-05-07\n---\n# Other\nAna [founded](deep/ana%20d.html) it.'
    )
    (room / "deep" / "ana d.html").write_bytes(
        "<html><head><meta charset='latin-1'><title>Ana\n Duarte</title><style>x{}</style></head>"
        "<body><nav>menu</nav>"
        "<h2>Life</h2><p>Born in <a href='../azul.md'>São</a>.<script>alert(1)</script></p>"
        "<table><tr><th>Year</th><th>What</th></tr><tr><td>1994</td><td>port &amp; quay</td></tr></table>"
        "<ul><li>one<li>two</ul></body></html>".encode("latin-1")
    )
    (room / "old.txt").write_bytes("A caf\xe9 by the quay.".encode("cp1252"))
    (room / "wide.txt").write_bytes("Ein Café".encode("utf-16"))
    return room


def test_a_folder_becomes_pages(folder):
    corpus = OwnCorpus(folder)
    pages = {page.address: page for page in corpus.pages()}
    assert list(pages) == ["azul.md", "old.txt", "wide.txt", "deep/ana%20d.html"] and corpus.skipped == {}
    azul, ana = pages["azul.md"], pages["deep/ana%20d.html"]
    assert (azul.title, azul.date) == ("Port Azul", "2031-05-07")
    assert azul.text == "# Other\nAna [founded](deep/ana%20d.html) it."
    assert ana.title == "Ana Duarte" and "menu" not in ana.text and "alert" not in ana.text
    assert "## Life\n\nBorn in [São](azul.md)." in ana.text
    assert "| Year | What |\n|---|---|\n| 1994 | port & quay |" in ana.text and "- one\n- two" in ana.text
    assert pages["old.txt"].text == "A café by the quay." and pages["wide.txt"].text == "Ein Café"


def test_what_is_no_text_is_left_out_by_name_with_the_reason(folder):
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    (folder / "program.txt").write_bytes(b"MZ\0\0\x01")
    (folder / "odd.txt").write_bytes(b"\x01\x02\x9d\x81")
    (folder / "blank.md").write_text(" \n")
    (folder / "nothing.txt").touch()
    (folder / ".hidden.txt").write_text("secret")
    (folder / "link.txt").symlink_to("/etc/hostname")
    corpus = OwnCorpus(folder)
    assert len(list(corpus.pages())) == 4
    assert {name: why.split(":")[0].split(";")[0] for name, why in corpus.skipped.items()} == {
        "photo.jpg": "a .jpg file",
        "program.txt": "binary",
        "odd.txt": "binary",
        "blank.md": "no text in it",
        "nothing.txt": "it is empty",
        "link.txt": "no file but a link or a device",
    }


def test_a_huge_file_becomes_several_pages_without_a_word_lost(folder, monkeypatch):
    monkeypatch.setattr(corpora, "LONGEST_PAGE", 1000)
    words = [f"word{n}" for n in range(2000)]
    (folder / "huge.txt").write_text("\n\n".join(" ".join(words[n : n + 10]) for n in range(0, 2000, 10)))
    (folder / "line.txt").write_text("x" * 2500)
    pages = [page for page in OwnCorpus(folder).pages() if page.address.startswith(("huge", "line"))]
    huge = [page for page in pages if page.address.startswith("huge")]
    assert [page.address for page in huge[:3]] == ["huge.txt", "huge.txt#2", "huge.txt#3"]
    assert [word for page in huge for word in page.text.split()] == words
    assert all(len(page.text) <= 1000 for page in pages) and huge[1].title == "huge, part 2"


def test_a_corpus_without_text_is_refused(tmp_path):
    with pytest.raises(NotGiven, match="give its path"):
        OwnCorpus("")
    with pytest.raises(ValueError, match="no such folder"):
        OwnCorpus(tmp_path / "nowhere")
    (tmp_path / "a.bin").write_bytes(b"\0")
    with pytest.raises(ValueError, match="give the folder"):
        OwnCorpus(tmp_path / "a.bin")
    with pytest.raises(ValueError, match=r"has no text \(a.bin: a .bin file"):
        corpus_index(tmp_path, tmp_path / "i")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no text: it is empty"):
        corpus_index(tmp_path / "empty")
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["a.bin", "empty"]


def test_a_corpus_that_changed_is_indexed_again(folder):
    index, corpus = corpus_index(folder)
    assert index.path == folder.with_name("notes.index.sqlite") and len(index) == 4
    assert corpus_index(folder)[0] is index
    (folder / "new.md").write_text("# Quay\nA new quay.")
    assert len(corpus_index(folder)[0]) == 5 and index.source != corpus.source()


def test_the_program_builds_an_index_and_tells_what_it_left_out(folder):
    (folder / "photo.jpg").write_bytes(b"\xff\xd8")
    run = subprocess.run(
        [sys.executable, "-m", "forge_envs.worlds.search.corpus", folder], capture_output=True, text=True
    )
    assert run.returncode == 0 and "4 pages" in run.stdout and "photo.jpg: a .jpg file" in run.stdout, (
        run.stderr
    )
    wrong = subprocess.run(
        [sys.executable, "-m", "forge_envs.worlds.search.corpus", folder / "no"],
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 2 and "no such folder" in wrong.stderr and "Traceback" not in wrong.stderr


@given(st.text(st.sampled_from("<>/abpth1 ='\"\n&;![-"), max_size=80))
def test_no_html_is_too_odd(text):
    title, told, date = html_page("a", text)
    assert "\n\n\n" not in told and isinstance(title, str) and date == ""


@pytest.mark.parametrize("sign", ["<p a=1 ", "<!-- ", '<a href="', "<!a", "</p", "<?a"])
def test_signs_that_nothing_closes_cost_no_more_than_text(sign):
    """A thousand of the first kept the parser busy for hours."""
    assert html_page("a.html", "<p>Ana</p>" + sign * 3000)[1].startswith("Ana")


def test_links_lead_to_addresses_of_the_folder():
    for href, there in {
        "b.md": "x/b.md", "/b.md": "b.md", "../b.md#c": "b.md#c", "#c": "#c", "mailto:a@b": "mailto:a@b",
        "//h/b": "//h/b", "b%20c.md": "x/b%20c.md", "http://[": "http://[",
    }.items():  # fmt: skip
        assert resolved("x/a.md", href) == there


# -- dumps ------------------------------------------------------------------------------------------------

HEAD = "<mediawiki xmlns='http://www.mediawiki.org/xml/export-0.11/'><siteinfo/>"


def article(title, text, space="0", more=""):
    return (
        f"<page><title>{title}</title><ns>{space}</ns>{more}<revision>"
        f"<timestamp>2024-01-02T00:00:00Z</timestamp><text>{text}</text></revision></page>"
    )


def dump(*articles):
    """A multistream dump, as Wikipedia's: the head, then articles, then the end, each a stream of its own."""
    return b"".join(bz2.compress(part.encode()) for part in (HEAD, *articles, "</mediawiki>"))


ARTICLES = [
    article(f"port {n} (town)", f"'''Port {n}''' is a [[town]] in the south of nowhere.") for n in range(50)
]
ARTICLES += [
    article("P", "x", more="<redirect title='port 1 (town)' />"),
    article("Talk:P", "x", "1"),
    article("Q", ""),
]


def test_a_dump_becomes_pages_and_redirects_lead_on(tmp_path):
    path = tmp_path / "wiki-pages-articles-multistream.xml.bz2"
    path.write_bytes(dump(*ARTICLES))
    index, corpus = corpus_index(path)
    assert len(index) == 51
    page = index.page("Port_7_(town)")
    assert (page.title, page.date) == ("port 7 (town)", "2024-01-02")
    assert page.text == "Port 7 is a [town](Town) in the south of nowhere."
    assert index.page("P").text == "Redirect to [port 1 (town)](Port_1_(town))."
    assert list(corpus.skipped.values()) == ["1 entries that are no articles", "1 articles without text"]


def test_a_dump_that_is_broken_or_cut_off_names_the_byte(tmp_path):
    path = tmp_path / "wiki.xml.bz2"
    data = dump(*ARTICLES)
    middle = len(data) // 2
    for bad, words in (
        (data[:middle], "cut off"),
        (data[: -len(bz2.compress(b"</mediawiki>"))], "cut off"),
        (data[:middle] + bytes(40) + data[middle + 40 :], "broken|cut off"),
        (b"BZh9 hello", "broken"),
        (b"", "cut off"),
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=rf"wiki.xml.bz2, near byte [\d,]+ of {len(bad):,}: .*({words})"):
            corpus_index(path)
        assert not path.with_name("wiki.xml.bz2.index.sqlite").exists()
    for odd, words in (("<html></html>", "not <mediawiki>"), (f"{HEAD}</mediawiki>", "holds no articles")):
        path.write_bytes(bz2.compress(odd.encode()))
        with pytest.raises(ValueError, match=words):
            corpus_index(path)


def test_wikitext_is_told_as_a_reader_would_see_it():
    told = cleaned(
        "{{Infobox town\n| name = Azul\n| area = {{convert|5|km2}}\n| mayor = [[Ana Duarte|Ana]]\n"
        "| founded = {{start date|1994|3|1}}\n}}\n'''Azul''' ({{lang|pt|Porto}}) is a [[port]]s."
        "<ref name='a' /><ref>{{cite web}}</ref>\n[[File:a.jpg|thumb|A [[b]] c]]\n== History =="
        "\n* one\n# two [http://x.org words]"
        '\n{| class="w"\n! Year !! What\n|-\n| 1994 || style="x" | [[A|B]]\n|-\n| 1995\n| y\n|}\n'
        "[[Category:Foo]]__TOC__"
    )
    assert told == (
        "- name: Azul\n- area: 5 km2\n- mayor: [Ana](Ana_Duarte)\n- founded: 1994-03-01\n\n"
        "Azul (Porto) is a [ports](Port).\n\n## History\n\n- one\n- two words\n\n"
        "| Year | What |\n|---|---|\n| 1994 | [B](A) |\n| 1995 | y |"
    )


@given(
    st.lists(
        st.sampled_from(
            ["{{", "}}", "[[", "]]", "|", "{|", "|}", "\n", "=", "a", "<ref>", "</ref>", "File:", "'''"]
        )
    )
)
def test_no_wikitext_is_too_odd(marks):
    assert isinstance(cleaned("".join(marks)), str)


# -- questions --------------------------------------------------------------------------------------------

ASKED = {
    "question": "Who founded the port?", "answer": "Ana", "accepted": ["Ana Duarte"], "kind": "person",
    "evidence": [{"page": "azul.md", "quote": "Ana founded\n it."}],
}  # fmt: skip


def asked(path, *lines):
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_a_question_whose_proof_no_longer_holds_is_named_and_left_out(folder, tmp_path):
    quote, page = {"page": "azul.md", "quote": "Bea founded it."}, {"page": "gone.md", "quote": "x"}
    first = ASKED["evidence"][0]
    proofs = ([page], [quote], [[page, first]], [first, page])
    path = asked(tmp_path / "q.jsonl", ASKED, "", *({**ASKED, "evidence": proof} for proof in proofs))
    kept, left_out = proved(read_questions(path), corpus_index(folder)[0])
    assert len(kept) == 2 and (kept[0].text, kept[0].accepted) == ("Who founded the port?", ("Ana Duarte",))
    assert [len(step.statements) for question in kept for step in question.proof] == [1, 1]
    assert [one.why for one in left_out] == [
        "page 'gone.md' is gone", "page 'azul.md' no longer says 'Bea founded it.'", "page 'gone.md' is gone"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2: "),
        ("[1]", "no object"),
        ({**ASKED, "hint": 1}, "unknown keys"),
        ({**ASKED, "answer": " "}, '"answer"'),
        ({**ASKED, "accepted": "Ana"}, '"accepted"'),
        ({**ASKED, "kind": 1}, '"kind"'),
        ({**ASKED, "evidence": []}, "at least one page"),
        ({**ASKED, "evidence": [{"page": "a"}]}, '"page", "quote"'),
        ({**ASKED, "evidence": [[]]}, '"page", "quote"'),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path, line, words):
    with pytest.raises(ValueError, match=words) as error:
        read_questions(asked(tmp_path / "q.jsonl", ASKED, line))
    assert "line 2" in str(error.value)
    with pytest.raises(ValueError, match="it is empty"):
        read_questions(asked(tmp_path / "none.jsonl", " "))
    with pytest.raises(ValueError, match="cannot be read"):
        read_questions(tmp_path / "missing")


# -- the page ---------------------------------------------------------------------------------------------

ROOT = Path(__file__).parents[2]


def test_what_the_page_says_works_word_for_word(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "search_corpus.md").read_text()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    for line in re.findall(r"^\$ (.*)$", page, re.MULTILINE):
        run = subprocess.run(["bash", "-c", line], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
    assert "notes.index.sqlite: 1 pages of " in run.stdout
    monkeypatch.chdir(tmp_path)
    (question,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    Path("questions.jsonl").write_text(question)
    kept, left_out = proved(read_questions("questions.jsonl"), corpus_index("notes")[0])
    assert len(kept) == 1 and not left_out
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names: dict[str, object] = {}
    exec(code, names)
    server = names["server"]
    monkeypatch.setattr(names["Search"], "log_message", lambda *_: None)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        library = search_endpoint(f"http://127.0.0.1:{server.server_port}")
        assert list(library.search("founded port", 5)) == list(names["index"].search("founded port", 5))
        assert library.page("azul.md") == names["index"].page("azul.md") and library.page("no.md") is None
    finally:
        server.shutdown()
        server.server_close()
