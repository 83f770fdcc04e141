"""Where packages come from: an index whose files are fetched and never run, and git, each with a deadline."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from forge_envs.make_swe import diff, index, package
from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.errors import MakeError, UnknownPackage
from forge_envs.make_swe.package import fetch


class Pages(BaseHTTPRequestHandler):
    """An index of pages in memory; one that is a number is how the index fails."""

    def __init__(self, pages: dict[str, bytes | int | float], *args: object) -> None:
        self.pages = pages
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        page = self.pages.get(self.path, 404)
        if isinstance(page, float):
            time.sleep(page)
        self.send_response(page if isinstance(page, int) else 200)
        self.end_headers()
        if isinstance(page, bytes):
            self.wfile.write(page)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes | int | float]]:
    found: dict[str, bytes | int | float] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Pages, found))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def sdist(version: str, mark: Path) -> bytes:
    """An archive whose build would leave a mark."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as tar:
        for name, text in (("setup.py", f"open({str(mark)!r}, 'w')"), ("a.py", f"x = {version!r}\n")):
            entry = tarfile.TarInfo(f"shelf_books-{version}/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return raw.getvalue()


def test_a_release_is_fetched_and_not_run(
    pages: dict[str, bytes | int | float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = [
        '<a href="../../f/shelf_books-1.1-py3-none-any.whl">wheel</a>',
        '<a href="../../f/other-9.tar.gz">',
    ]
    for version, more in (
        ("1.0", ""),
        ("1.1", ""),
        ("1.10", ""),
        ("1.20", 'data-yanked="bad"'),
        ("2.0rc1", ""),
    ):
        data = sdist(version, tmp_path / "ran")
        pages[f"/f/shelf_books-{version}.tar.gz"] = data
        digest = hashlib.sha256(data).hexdigest()
        links.append(f'<a href="../../f/shelf_books-{version}.tar.gz#sha256={digest}" {more}>{version}</a>')
    pages["/simple/shelf-books/"] = "\n".join(links).encode()
    for spec, version in (
        ("Shelf.Books==1.1", "1.1"),
        ("shelf-books==1.20", "1.20"),
        ("shelf_books", "1.10"),
    ):
        found = fetch(spec, tmp_path / "kept")
        assert found.version == version and found.files["a.py"] == f"x = {version!r}\n".encode()
    assert not (tmp_path / "ran").exists()
    assert all(path.name.endswith(".tar.gz") for path in (tmp_path / "kept").iterdir())
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")  # what is here is not asked for again
    assert fetch("shelf-books==1.1", tmp_path / "kept").version == "1.1"


def test_an_extra_index_is_asked_too(
    pages: dict[str, bytes | int | float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages["/more/shelf-books/"] = b'<a href="/f/shelf_books-1.0.tar.gz">'
    pages["/f/shelf_books-1.0.tar.gz"] = sdist("1.0", tmp_path / "ran")
    base = index.os.environ["PIP_INDEX_URL"].removesuffix("simple/")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{base}none {base}more")
    assert fetch("shelf-books==1.0", tmp_path / "kept").label == "shelf-books-1.0"


@pytest.mark.parametrize(
    ("page", "file", "error", "said"),
    [
        (404, 404, UnknownPackage, "no source distribution of 'shelf-books==1.0'"),
        (b"<a href='/f/shelf_books-1.1.tar.gz'>", 404, UnknownPackage, "no source distribution of"),
        (b"<a href='/f/shelf_books-1.0.whl'>", 404, UnknownPackage, "no source distribution of"),
        (503, 404, MakeError, "the index answers 503"),
        (b"<a href='/f/shelf_books-1.0.tar.gz#sha256=00'>", b"other", MakeError, "its sha256 differs"),
        (b"<a href='file:///etc/shelf_books-1.0.tar.gz'>", 404, MakeError, "is no address of the web"),
        (1.0, 404, MakeError, "cannot be read: .*timed out"),
    ],
)
def test_what_an_index_cannot_give_is_named(
    page: bytes | int | float,
    file: bytes | int,
    error: type[Exception],
    said: str,
    pages: dict[str, bytes | int | float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index, "STALLED", 0.2)
    pages.update({"/simple/shelf-books/": page, "/f/shelf_books-1.0.tar.gz": file})
    with pytest.raises(error, match=said):
        fetch("shelf-books==1.0", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_index_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:1/")
    with pytest.raises(MakeError, match=r"cannot be read: .*refused.*PIP_INDEX_URL"):
        fetch("shelf-books==1.0", tmp_path)


def test_a_download_has_a_deadline_and_a_limit(
    pages: dict[str, bytes | int | float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages["/simple/shelf-books/"] = b"<a href='/f/shelf_books-1.0.tar.gz'>"
    pages["/f/shelf_books-1.0.tar.gz"] = b"x" * 1_000
    with monkeypatch.context() as patch, pytest.raises(MakeError, match="more than 0 MB"):
        patch.setattr(index, "LARGEST", 100)
        fetch("shelf-books==1.0", tmp_path)
    monkeypatch.setattr(index, "PATIENCE", -1.0)
    with pytest.raises(MakeError, match="more than -1 s"):
        fetch("shelf-books==1.0", tmp_path)


# -- git --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ask", [lambda place: git_diff({}, {"a": b"x"}, place), lambda place: fetch(str(place), place)]
)
def test_git_has_a_deadline(
    ask: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    (tmp_path / ".git").mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{index.os.environ['PATH']}")
    for module in (diff, package):
        monkeypatch.setattr(module, "GIT", 0.2)
    with pytest.raises(MakeError, match=r"git \S+ needs more than 0.2 s"):
        ask(tmp_path)


def test_patches_are_made_where_they_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    assert git_diff({}, {"a": b"x\n"}, tmp_path).endswith(b"+x\n")
    assert list(tmp_path.iterdir()) == []
