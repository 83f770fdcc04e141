"""What pages say of whom: an entity memory, as AgentFounder begins with (arXiv 2509.13310, first-order action
synthesis).

    pages --> sentences --> entity: {declarative statements}

A page is about what its title names. A sentence is a statement about its page's entity if it names it, and
about every entity whose page it links to, or names in full.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forge_train.record.run_folder import read_lines

SHORTEST, LONGEST = 20, 400
"""Characters of a statement."""
_LINK = re.compile(r"\[([^\[\]]+)\]\(([^()\s]+)\)")
_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(\[])")
_SKIPPED = ("#", "|", "```", "---", "!", "<")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class SourcePage:
    """A page: address, title, text, and the day it was written, "" where it is not known. Links stand in the
    text as `[words](address)`; these are the fields of a page of Forge/Search-v0."""

    address: str
    title: str
    text: str
    date: str = ""


@dataclass(frozen=True, slots=True)
class Fact:
    """A statement that a page makes, and the entities in it.

    >>> fact = Fact("Ana founded Oro.", (("Ana Duarte", "Ana"), ("Oro", "Oro")), "people/ana")
    >>> fact.without("Ana Duarte", "___")
    '___ founded Oro.'
    """

    text: str
    names: tuple[tuple[str, str], ...]
    """Entities, and the words that stand for them here."""
    page: str

    def without(self, entity: str, blank: str) -> str:
        """The statement with a blank for an entity."""
        words = dict(self.names)[entity]
        return re.sub(rf"(?<!\w){re.escape(words)}(?!\w)", lambda _: blank, self.text)


def read_pages(path: Path) -> list[SourcePage]:
    """Pages of a file of JSON lines (address, title, text, date), or of a folder of .md and .txt files.

    Raises ValueError for what holds none, with the line or file that cannot be read.
    """
    pages = _in_folder(path) if path.is_dir() else _in_lines(path)
    if not any(page.text.strip() for page in pages):
        raise ValueError(
            f"{path} holds no page with text: give JSON lines with address, title and text, or a folder of "
            ".md and .txt files"
        )
    return pages


def _in_lines(path: Path) -> list[SourcePage]:
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file or folder of pages")
    pages = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            fields = {name: line[name] for name in ("address", "title", "text")}
        except KeyError as error:
            raise ValueError(
                f"{path}: page {number} lacks {error}; each line needs address, title, text"
            ) from None
        if not all(isinstance(value, str) for value in fields.values()):
            raise ValueError(f"{path}: page {number}: address, title and text are texts")
        pages.append(SourcePage(**fields, date=str(line.get("date") or "")))
    return pages


def _in_folder(path: Path) -> list[SourcePage]:
    pages = []
    for file in sorted(path.rglob("*")):
        if file.suffix in (".md", ".txt") and file.is_file():
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file} is no UTF-8 text: {error}") from None
            first = text.lstrip().partition("\n")[0]
            title = first.lstrip("# ").strip() if first.startswith("#") else file.stem.replace("_", " ")
            pages.append(SourcePage(str(file.relative_to(path)), title, text))
    return pages


def memory_of(pages: Sequence[SourcePage]) -> dict[str, list[Fact]]:
    """The statements about each entity, which is called as its page is; in the order of the pages."""
    titles = {page.address: page.title for page in pages if page.title.strip()}
    named = re.compile(
        "|".join(rf"(?<!\w){re.escape(t)}(?!\w)" for t in sorted({*titles.values()}, key=len, reverse=True))
        or r"(?!)"
    )
    found: dict[str, list[Fact]] = {}
    known: set[tuple[str, str]] = set()
    for page in pages:
        for sentence in sentences(page.text):
            names = {titles[a]: w for w, a in _LINK.findall(sentence) if a in titles}
            text = " ".join(_LINK.sub(r"\1", sentence).split())
            names = {t: t for t in named.findall(text)} | names
            if not SHORTEST <= len(text) <= LONGEST or not names:
                continue
            fact = Fact(text, tuple(sorted(names.items())), page.address)
            for entity in names:
                if (entity, text) not in known:
                    known.add((entity, text))
                    found.setdefault(entity, []).append(fact)
    return found


def sentences(text: str) -> list[str]:
    """Sentences of prose; headings, tables and code are none.

    >>> sentences("# A\\n\\nIt is so. [It](x) is not.\\n| a | b |\\n* One.")
    ['It is so.', '[It](x) is not.', 'One.']
    """
    found = []
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\.)\s)", text):
        plain = paragraph.strip()
        if plain and not plain.startswith(_SKIPPED) and "\n|" not in plain:
            found += [one.strip() for one in _END.split(re.sub(r"^(?:[-*]|\d+\.)\s+", "", plain))]
    return [one for one in found if one]


class Finder:
    """Which pages a query finds: BM25 with k1 = 1.2, b = 0.75 (Robertson and Zaragoza, 2009, eq. 3.15).

    Small and in memory: it checks the first call of a plan, no world is searched with it.
    """

    def __init__(self, pages: Sequence[SourcePage]) -> None:
        self._addresses = [page.address for page in pages]
        counts = [Counter(words(f"{page.title} {page.text}")) for page in pages]
        self._lengths = [count.total() for count in counts]
        self._mean = sum(self._lengths) / max(1, len(pages))
        self._where: dict[str, list[tuple[int, int]]] = {}
        for number, count in enumerate(counts):
            for word, times in count.items():
                self._where.setdefault(word, []).append((number, times))

    def rarity(self, word: str) -> float:
        """The weight of a word: larger, the fewer pages have it."""
        total, have = len(self._addresses), len(self._where.get(word, ()))
        return math.log(1 + (total - have + 0.5) / (have + 0.5))

    def find(self, query: str, most: int = 5) -> list[str]:
        """Addresses of the best pages, best first."""
        scores: Counter[int] = Counter()
        for word in set(words(query)):
            for number, times in self._where.get(word, ()):
                long = 1.2 * (0.25 + 0.75 * self._lengths[number] / self._mean)
                scores[number] += self.rarity(word) * times * 2.2 / (times + long)  # type: ignore[assignment]
        best = sorted(scores, key=lambda number: (-scores[number], number))
        return [self._addresses[number] for number in best[:most]]


def words(text: str) -> list[str]:
    """Words in small letters."""
    return _WORD.findall(text.lower())


def as_lines(memory: dict[str, list[Fact]]) -> Iterable[bytes]:
    """The memory as JSON lines, to be looked at."""
    for entity, facts in memory.items():
        line = {"entity": entity, "statements": [{"text": f.text, "page": f.page} for f in facts]}
        yield json.dumps(line, ensure_ascii=False).encode() + b"\n"
