"""A corpus of the user's own: a folder of text, Markdown and HTML, or a dump of a wiki, as pages."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from forge_envs.errors import NotGiven
from forge_envs.worlds.search.fulltext import FullTextIndex, ensure_index
from forge_envs.worlds.search.markup import encoding_of, html_page, markdown_page
from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.wikipedia import dump_pages

PLAIN, MARKDOWN, HTML = (".txt", ".text", ""), (".md", ".markdown"), (".html", ".htm", ".xhtml")
DUMPS = (".xml.bz2", ".xml")
LONGEST_PAGE = 100_000
"""Characters of a page; a longer file becomes several, file.txt, file.txt#2, …"""
LARGEST_HTML = 16 << 20
"""Bytes of an HTML file, which is read whole."""
_SAMPLE = 1 << 16


class OwnCorpus:
    """The pages of a folder or of a dump, read one after the other.

    `skipped` tells of every file that is no page and why; it fills while `pages` is read. Raises NotGiven for
    an empty path and ValueError for one where nothing is.
    """

    def __init__(self, path: str | Path) -> None:
        if not str(path):
            raise NotGiven("a corpus is a folder of texts, or the dump of a wiki: give its path")
        self.path = Path(path).expanduser().absolute()
        if not self.path.exists():
            raise ValueError(f"corpus {self.path}: no such folder or file")
        if self.path.is_file() and not self.path.name.endswith(DUMPS):
            raise ValueError(
                f"corpus {self.path}: a file is a wiki's dump, *-pages-articles.xml.bz2 or .xml; for texts, "
                "give the folder they are in"
            )
        self.skipped: dict[str, str] = {}

    def source(self) -> str:
        """What the pages depend on: the path, and names, sizes and times of all files."""
        stamp = hashlib.blake2b(digest_size=8)
        files = [self.path] if self.path.is_file() else [file for file, _ in self._files()]
        for file in files:
            told = file.stat()
            name = os.fsencode(file.relative_to(self.path.parent))
            stamp.update(b"%b\0%d\0%d\n" % (name, told.st_size, told.st_mtime_ns))
        return f"{self.path}, {len(files)} file{'s' * (len(files) != 1)}, {stamp.hexdigest()}"

    def pages(self) -> Iterator[WebPage]:
        """All pages, in the order of the files' names, or of the dump.

        Raises ValueError for a corpus without text, and for a dump that is broken or cut off.
        """
        self.skipped.clear()
        if self.path.is_file():
            yield from dump_pages(self.path, self.skipped)
            return
        none = True
        for file, address in self._files():
            for page in self._read(file, address):
                none = False
                yield page
        if none:
            told = "; ".join(f"{name}: {why}" for name, why in list(self.skipped.items())[:5])
            raise ValueError(f"corpus {self.path} has no text" + (f" ({told})" if told else ": it is empty"))

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Files that are not hidden, by name, with their addresses; links are not followed."""
        for folder, folders, names in os.walk(self.path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                file = Path(folder, name)
                address = file.relative_to(self.path).as_posix()
                if name.startswith("."):
                    continue
                if file.is_symlink() or not file.is_file():
                    self.skipped[address] = "no file but a link or a device; put the file itself there"
                    continue
                yield file, address

    def _read(self, file: Path, address: str) -> Iterator[WebPage]:
        kind = file.suffix.lower()
        if kind not in (*PLAIN, *MARKDOWN, *HTML):
            self.skipped[address] = f"a {kind} file; text, Markdown and HTML are read"
            return
        try:
            with open(file, "rb") as raw:
                sample = raw.read(_SAMPLE)
            encoding = encoding_of(sample)
            if encoding is None:
                self.skipped[address] = "binary: no encoding of text fits it"
            elif kind in HTML and file.stat().st_size > LARGEST_HTML:
                self.skipped[address] = f"HTML of more than {LARGEST_HTML >> 20} MiB; divide it"
            else:
                with open(file, encoding=encoding, errors="replace") as text:
                    yield from self._pages_of(text, kind, address)
        except OSError as error:
            self.skipped[address] = f"cannot be read ({error.strerror or error})"

    def _pages_of(self, file: TextIO, kind: str, address: str) -> Iterator[WebPage]:
        title = date = ""
        name = Path(address).stem.replace("_", " ")
        number = 0
        # Addresses hold no blanks: links are read up to one.
        address = address.replace(" ", "%20")
        for number, piece in enumerate(_pieces(file, whole=kind in HTML), 1):
            found, text, day = "", piece.strip(), ""
            if kind in HTML:
                found, text, day = html_page(address, piece)
            elif kind in MARKDOWN:
                found, text, day = markdown_page(address, piece)
            if number == 1:
                title, date = found or name, day
            if text:
                again = f"#{number}" if number > 1 else ""
                shown = f"{title}, part {number}" if number > 1 else title
                yield WebPage(address + again, shown, text, date)
            elif number == 1:
                self.skipped[address] = "no text in it"
        if not number:
            self.skipped[address] = "it is empty"


def _pieces(file: TextIO, *, whole: bool) -> Iterator[str]:
    """A file's text in pieces of LONGEST_PAGE characters at most, cut between paragraphs, lines or words."""
    if whole:
        text = file.read()
        if text:
            yield text
        return
    left = ""
    while True:
        more = file.read(LONGEST_PAGE - len(left))
        left += more
        if len(left) < LONGEST_PAGE:  # the end
            break
        at = next((cut for gap in ("\n\n", "\n", " ") if (cut := left.rfind(gap)) > LONGEST_PAGE // 2), 0)
        at = at or LONGEST_PAGE
        yield left[:at]
        left = left[at:]
    if left:
        yield left


def corpus_index(path: str | Path, index: str | Path = "") -> tuple[FullTextIndex, OwnCorpus]:
    """The index of a corpus, built where it is not there yet or the corpus has changed since.

    `index` is the index's file; "" puts it beside the corpus, as NAME.index.sqlite. Raises ValueError and
    NotGiven as OwnCorpus and ensure_index do.
    """
    corpus = OwnCorpus(path)
    place = Path(index) if str(index) else corpus.path.with_name(f"{corpus.path.name}.index.sqlite")
    return ensure_index(place, corpus.source(), corpus.pages), corpus


def _main(arguments: list[str]) -> int:
    """`python -m forge_envs.worlds.search.corpus PATH [INDEX]`: build the index, tell what was left out."""
    if not 1 <= len(arguments) <= 2:
        print("usage: python -m forge_envs.worlds.search.corpus PATH [INDEX]", file=sys.stderr)
        return 2
    try:
        index, corpus = corpus_index(*arguments)
    except (ValueError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{index.path}: {len(index):,} pages of {index.source}")
    for name, why in corpus.skipped.items():
        print(f"left out: {name}: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
