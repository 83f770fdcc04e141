"""What an agent sees of a search and of a page, cut to a budget of characters.

As research agents have it: a search lists titles, addresses and snippets (WebSailor's `search`, smolagents'
text browser), a visit has a goal (WebSailor's `visit`) and shows of a long page the passages that fit it. Who
chooses them is no model but a lexical score, so that the same visit shows the same text; what was left out is
said, and `part` reads the page on from its beginning.
"""

from __future__ import annotations

import difflib
import itertools
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from forge_envs.errors import ToolError, brief
from forge_envs.worlds.search.fulltext import FullTextIndex
from forge_envs.worlds.search.meaning import MeaningIndex
from forge_envs.worlds.search.page import Hit, PageLibrary, WebPage
from forge_envs.worlds.search.snippets import flat
from forge_envs.worlds.search.words import LONGEST_QUERY, folded, plain_words, root, words_in

BUDGET = 2400
"""Characters of a page that one visit shows, unless the world says otherwise."""
LEAST_BUDGET = 200
_LONGEST = 700
"""Characters of a passage; a longer paragraph is taken apart between sentences."""
_LONGEST_ADDRESS = 300
_SENTENCE = re.compile(r"(?<=[.!?。！？])[\"')\]]*\s+|(?<=[。！？])")
_HEADING = re.compile(r"#{1,6} ")
_NO_WORDS = "Nothing in it is a word to look for."


def told_hits(query: str, hits: Sequence[Hit], snippets: bool = True) -> str:
    """The result of a search as the agent reads it: one block a hit, the address to visit on its first line.

    Without `snippets` that line is all that is told of a hit.

    >>> print(told_hits("port", [Hit("places/azul", "Port Azul", "A port in the south.", "2031-05-07")]))
    1 page found.
    1. Port Azul | places/azul | 2031-05-07
       A port in the south.
    >>> print(told_hits("xyzzy", []))
    No page has any of these words. Try others.
    """
    if not hits:
        return f"No page has any of these words. {'Try others.' if words_in(query) else _NO_WORDS}"
    lines = [f"{len(hits)} page{'s' if len(hits) > 1 else ''} found."]
    for number, hit in enumerate(hits, 1):
        lines.append(" | ".join(filter(None, (f"{number}. {hit.title}", hit.address, hit.date))))
        lines += [f"   {hit.snippet}"] if snippets else []
    return "\n".join(lines)


def find_page(library: PageLibrary, address: str) -> WebPage:
    """The page of an address as models write it: between marks, as a link, encoded, in other case or accents.

    An index is asked for all of that; an endpoint for the address as it stands, and without its fragment.
    Raises ToolError with the nearest addresses where there is none or several are meant, and MachineError
    where the library fails.
    """
    asked = address.strip()[:_LONGEST_ADDRESS]
    index = library if isinstance(library, FullTextIndex | MeaningIndex) else None
    bare = _bare(asked) if index is not None else []
    ways = [asked, asked.partition("#")[0], *bare]
    for one in dict.fromkeys(ways):
        if one and (page := library.page(one)) is not None:
            return page
    words = re.sub(r"[\W_]+", " ", ways[-1])
    near = [hit.address for hit in library.search(words, 20)] if words.strip() else []
    if index is not None:
        near = list(dict.fromkeys((*near, *index.neighbours(ways[-1]))))
        meant = set(map(_alike, bare))
        alike = [one for one in near if _alike(one) in meant]
        if len(alike) == 1 and (page := index.page(alike[0])) is not None:
            return page
    near = difflib.get_close_matches(ways[-1], near, 3, 0.6)
    told = f"; near it are {', '.join(near)}" if near else ""
    raise ToolError(
        f"there is no page {brief(asked)}{told}. Addresses stand in results of search and in links."
    )


def _bare(asked: str) -> list[str]:
    """What an address may be without the marks around it: those of Markdown, of a hit's line, of a URL.

    >>> _bare("[Port Azul](places/port%20azul)")
    ['places/port%20azul', 'places/port azul']
    >>> _bare("https://web/places/azul/?x=1")
    ['https://web/places/azul', 'web/places/azul', 'places/azul']
    """
    link = re.fullmatch(r"\[[^\]]*\]\((.*)\)", asked)
    line = [one.strip() for one in (link[1] if link else asked).split(" | ")]
    line = [re.sub(r"^[\[({<](.*)[\])}>]$", r"\1", one) for one in line]
    one = next((part for part in line if "/" in part), line[0]).replace("\\", "/")
    one = one if "://" in one else re.sub(r"\s*/\s*", "/", one.strip("`\"' "))
    one = re.sub(r"^(?:\.{0,2}/)+|[?#].*$", "", one).rstrip("/")
    host = one.partition("://")[2]
    ways = [one, host, host.partition("/")[2]] if host else [one, unquote(one)]
    return list(dict.fromkeys(filter(None, ways)))


def _alike(address: str) -> str:
    """What addresses have in common that differ in case, accents, encoding, blanks and a file's ending."""
    return re.sub(r"[\s_]+|\.(?:html?|md|txt)$", "_", folded(unquote(address))).rstrip("_")


def told_page(page: WebPage, goal: str, part: int = 0, budget: int = BUDGET) -> str:
    """A page as the agent reads it: the passages that fit the goal best, in the page's order.

    A page within the budget is shown whole. `part` 1, 2, … reads a long one in order. The text has
    all characters of `budget`; the two lines that say what is shown come on top. Raises ToolError for a part
    that the page does not have, ValueError for a budget under LEAST_BUDGET.
    """
    if budget < LEAST_BUDGET:
        raise ValueError(f"budget={budget}: a page needs at least {LEAST_BUDGET} characters")
    head = " | ".join(filter(None, (page.title, page.address, page.date)))
    text = page.text.strip()
    if len(text) <= budget:
        if part > 1:
            raise ToolError(f"part={part}: {page.address} is shown whole; leave part out")
        return f"{head}\n{text}" if text else f"{head}\nThe page is empty."
    passages, parts = _taken_apart(text, budget)
    if not 0 <= part <= len(parts):
        raise ToolError(f"part={part}: {page.address} has the parts 1 to {len(parts)}")
    if part:
        shown = parts[part - 1]
        more = f"Part {part} of {len(parts)}" + (
            f"; read on with part={part + 1}." if part < len(parts) else "."
        )
    else:
        shown = best_passages(passages, goal, budget)
        more = (
            f"Shown: {len(shown)} of {len(passages)} passages, those that fit the goal best. "
            f"The whole page has {len(parts)} parts: part=1 reads it from its beginning."
        )
    return f"{head}\n{more}\n{_joined(passages, shown, marked=not part)}"


def reading_on(
    page: WebPage, wanted: Sequence[Collection[str]], goal: str, budget: int = BUDGET
) -> list[int]:
    """The parts of a page to read after what fits the goal best, for a quote of each of `wanted` to be shown.

    Where none was shown it is the part that has one, or the neighbours between which one is torn.
    """
    shown = flat(told_page(page, goal, 0, budget))
    missing = [quotes for quotes in wanted if not any(quote in shown for quote in quotes)]
    if not any(missing):
        return []
    passages, parts = _taken_apart(page.text.strip(), budget)
    texts = [flat(" ".join(passages[number].text for number in part)) for part in parts]
    whole, starts = " ".join(texts), [*itertools.accumulate((len(text) + 1 for text in texts), initial=0)]
    reading = set[int]()
    for quotes in missing:
        hits = (hit.span() for quote in quotes for hit in re.finditer(re.escape(quote), whole))
        spans = [(bisect_right(starts, start), bisect_right(starts, end - 1)) for start, end in hits]
        if spans:
            first, last = min(spans, key=lambda span: (span[1] - span[0], span[0]))
            reading |= {*range(first, last + 1)}
    return sorted(reading)


def _taken_apart(text: str, budget: int) -> tuple[list[Passage], list[list[int]]]:
    """The passages of a page that is longer than `budget`, and the numbers of those in each part of it."""
    passages = passages_of(text, min(_LONGEST, budget // 3))
    return passages, _parts(passages, budget)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a page, and what has to be read above it: a heading, the head of its table."""

    text: str
    above: tuple[str, ...] = ()
    tight: bool = False
    """It follows on the line above without an empty one: rows of a table, items of a list."""


def passages_of(text: str, longest: int = _LONGEST) -> list[Passage]:
    """A text taken apart into paragraphs, items of lists and rows of tables, none longer than `longest`."""
    found: list[Passage] = []
    heading: tuple[str, ...] = ()
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        while lines and _HEADING.match(lines[0]):
            heading = (lines.pop(0)[: longest // 2],)
        table: tuple[str, ...] = ()
        if len(lines) > 2 and lines[0].startswith("|") and set(lines[1]) <= set("|-: "):
            table, lines = (lines[0][: longest // 2], lines[1][: longest // 2]), lines[2:]
        listed = table or all(re.match(r"\s*([-*+]|\d+[.)]) |\|", line) for line in lines)
        pieces = lines if listed else ["\n".join(lines)] if lines else []
        for number, piece in enumerate(pieces):
            for place, short in enumerate(_shortened(piece, longest)):
                tight = bool(number or place or (table and not place))
                found.append(Passage(short, (*heading, *table), tight))
    return found


def _shortened(piece: str, longest: int) -> list[str]:
    """A piece taken apart between sentences, or where there are none, between words."""
    if len(piece) <= longest:
        return [piece]
    found, now = [], ""
    for sentence in _SENTENCE.split(piece):
        while len(sentence) > longest:
            cut = sentence.rfind(" ", 1, longest)
            cut = longest if cut < longest // 2 else cut
            found += [now] if now else []
            found.append(sentence[:cut])
            now, sentence = "", sentence[cut:].lstrip()
        if now and len(now) + 1 + len(sentence) > longest:
            found.append(now)
            now = sentence
        else:
            now = f"{now} {sentence}" if now else sentence
    return [*found, now] if now else found


def best_passages(passages: Sequence[Passage], goal: str, budget: int) -> list[int]:
    """Numbers of the passages to show, in order: the first one, then those that fit the goal best.

    A passage's score is the sum over the goal's different words w in it of log(1 + N / n_w), N passages of
    which n_w have w, divided by (1 + length / 400): rare words tell more, and short passages cost less.
    A goal without a word of the page shows its beginning.
    """
    wanted = {root(word) for word in words_in(goal[:LONGEST_QUERY])}
    known = [_roots(passage, wanted) for passage in passages]
    often = Counter(word for words in known for word in words)
    scores = [
        sum(math.log(1 + len(passages) / often[word]) for word in sorted(words))
        / (1 + len(passage.text) / 400)
        for words, passage in zip(known, passages, strict=True)
    ]
    order = sorted(range(len(passages)), key=lambda number: (number != 0, -scores[number], number))
    shown: list[int] = []
    left = budget
    for number in order:
        # Above it may be shown already; a mark of what is left out may be needed.
        cost = len(passages[number].text) + sum(len(line) + 1 for line in passages[number].above) + 8
        if cost <= left:
            shown.append(number)
            left -= cost
    return sorted(shown)


def _roots(passage: Passage, wanted: set[str]) -> set[str]:
    """The wanted roots that a passage or what stands above it has; pairs of signs count as they are."""
    text = "\n".join((*passage.above, passage.text))
    found = wanted & {root(word) for word in plain_words(text)}
    return found | {word for word in wanted - found if not word.isascii() and word in text}


def _parts(passages: Sequence[Passage], budget: int) -> list[list[int]]:
    """Numbers of the passages of each part, in order."""
    parts: list[list[int]] = []
    left = 0
    for number, passage in enumerate(passages):
        cost = len(passage.text) + sum(len(line) + 1 for line in passage.above) + 2
        if cost > left or not parts:
            parts.append([])
            left = budget
        parts[-1].append(number)
        left -= cost
    return parts


def _joined(passages: Sequence[Passage], shown: Sequence[int], *, marked: bool) -> str:
    """Passages with what has to stand above them, said once; `marked` where some were left out."""
    lines: list[str] = []
    above: tuple[str, ...] = ()
    before = -1
    for number in shown:
        one = passages[number]
        if marked and number != before + 1:
            lines.append("[…]")
        elif lines and not one.tight:
            lines.append("")
        lines += [line for line in one.above if line not in above]
        lines.append(one.text)
        above, before = one.above, number
    if marked and shown and before + 1 < len(passages):
        lines.append("[…]")
    return "\n".join(lines)
