"""The dump of a wiki, as Wikipedia publishes it (`*-pages-articles.xml.bz2`, multistream or not), as pages.

It streams: one article is in memory at a time. Redirects become pages that lead on; talk, templates and all
else that is no article (every namespace but 0) is counted and left out.
"""

from __future__ import annotations

import bz2
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from forge_envs.worlds.search.page import WebPage
from forge_envs.worlds.search.wikitext import address_of, cleaned

_SHORTEST = 20
"""Characters of an article; what is shorter says nothing."""


def dump_pages(path: Path, skipped: dict[str, str]) -> Iterator[WebPage]:
    """The articles of a dump, in its order; the address of each is its title as a link of the wiki writes it.

    `skipped` tells how many entries were left out and why. Raises ValueError that names the byte of the file
    at which a dump is broken or cut off, and for one without articles.
    """
    others = empty = found = 0
    with open(path, "rb") as raw:
        packed = path.name.endswith(".bz2")
        stream: IO[bytes] = bz2.BZ2File(raw) if packed else raw
        try:
            for title, space, moved, day, text in _entries(stream):
                if space != "0":
                    others += 1
                    continue
                words = f"Redirect to [{moved}]({address_of(moved)})." if moved else cleaned(text)
                if len(words) < _SHORTEST and not moved:
                    empty += 1
                    continue
                found += 1
                yield WebPage(address_of(title), title, words, day)
        except EOFError:
            raise ValueError(f"{_where(path, raw)}: the dump is cut off there; download it again") from None
        except OSError as error:
            raise ValueError(f"{_where(path, raw)}: the dump is broken there ({error})") from None
        except ET.ParseError as error:
            cut = "no element found" in str(error) or "unclosed" in str(error)
            what = "the dump is cut off there" if cut else f"the dump's XML is broken there ({error})"
            raise ValueError(f"{_where(path, raw)}: {what}; download it again") from None
    if others:
        skipped[f"{path.name}: other namespaces"] = f"{others:,} entries that are no articles"
    if empty:
        skipped[f"{path.name}: empty"] = f"{empty:,} articles without text"
    if not found:
        raise ValueError(f"{path} holds no articles: is it a dump of pages (*-pages-articles.xml.bz2)?")


def _where(path: Path, raw: io.BufferedReader) -> str:
    return f"{path}, near byte {raw.tell():,} of {path.stat().st_size:,}"


def _entries(stream: IO[bytes]) -> Iterator[tuple[str, str, str, str, str]]:
    """(title, namespace, redirect's target, day, wikitext) of each entry; texts that are missing are ""."""
    root: ET.Element | None = None
    for event, element in ET.iterparse(stream, events=("start", "end")):
        if root is None:
            root = element
            if _name(element) != "mediawiki":
                raise ET.ParseError(f"its root is <{_name(element)[:40]}>, not <mediawiki>")
        if event == "end" and _name(element) == "page":
            told = {"title": "", "ns": "", "timestamp": "", "text": ""}
            moved = ""
            for part in element.iter():
                name = _name(part)
                if name in told:
                    told[name] = told[name] or part.text or ""
                elif name == "redirect":
                    moved = part.get("title", "")
            yield told["title"], told["ns"], moved, told["timestamp"][:10], told["text"]
            root.clear()


def _name(element: ET.Element) -> str:
    return str(element.tag).rpartition("}")[2]
