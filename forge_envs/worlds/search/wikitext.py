"""Wikitext as text that agents read: links and tables as Markdown has them, templates mostly left out.

A small cleaner and no parser: what MediaWiki would compute (most templates, Lua modules) is not there. Fields
of infoboxes are kept, and the few templates that stand for words.
"""

from __future__ import annotations

import html
import re

_DEEPEST = 12
"""Templates and tables inside each other that are read; deeper ones are left out whole."""
_LEFT_OUT = re.compile(
    r"<!--.*?-->|<(ref|math|gallery|timeline|score|syntaxhighlight|source|imagemap)\b[^<>]*?(?:/>|>.*?</\1\s*>)",
    re.DOTALL | re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\{\{([^{}]*)\}\}")
_TABLE = re.compile(r"^[:\s]*\{\|(?:(?!\{\||^\|\}).)*?^\|\}", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[\[([^\[\]|]*)(?:\|([^\[\]]*))?\]\]([a-z]*)")
_OUTER = re.compile(r"\[(?:https?:|ftp:)?//[^\s\]]+(?:\s+([^\]]*))?\]")
_HEADING = re.compile(r"^(={2,6})\s*(.+?)\s*\1\s*$", re.MULTILINE)
_ITEM = re.compile(r"^[*#;:]+\s*", re.MULTILINE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_MAGIC = re.compile(r"__[A-Z]+__|'{2,5}")
_FILE = re.compile(
    r"\[\[\s*(?:file|image|datei|fichier|archivo|category|kategorie|catégorie)\s*:", re.IGNORECASE
)
_CELL_STYLE = re.compile(r"^[^|\[\]{}]*=\s*\"?[^|\[\]]*\|(?!\|)")
_AS_WORDS = {
    "lang": 2,
    "nowrap": 1,
    "transl": 2,
    "small": 1,
    "nobr": 1,
    "abbr": 1,
    "as of": 1,
    "circa": 1,
    "c.": 1,
}
"""Templates that stand for one of their arguments, by its number."""
_DATES = (
    "birth date",
    "birth date and age",
    "death date",
    "death date and age",
    "start date",
    "end date",
    "date",
)


def address_of(title: str) -> str:
    """The address of an article: its title with the first letter large and blanks as the wiki writes them.

    >>> address_of("port Azul (town)#History")
    'Port_Azul_(town)'
    """
    name = re.sub(r"[\s_]+", "_", title.partition("#")[0].strip(" _"))
    return name[:1].upper() + name[1:]


def cleaned(text: str) -> str:
    """Wikitext as plain text with Markdown's headings, links and tables.

    >>> cleaned("'''Azul''' is a [[port]] in [[Sul (region)|the south]].<ref>x</ref>{{citation needed}}")
    'Azul is a [port](Port) in [the south](Sul_(region)).'
    """
    text = _LEFT_OUT.sub("", text)
    for _ in range(_DEEPEST):
        text, changed = _TEMPLATE.subn(_template, text)
        if not changed:
            break
    for _ in range(_DEEPEST):
        text, changed = _TABLE.subn(_table, text)
        if not changed:
            break
    text = _without_files(text)
    text = _LINK.sub(_link, text)
    text = _OUTER.sub(lambda link: link[1] or "", text)
    text = _ITEM.sub("- ", text)
    text = _HEADING.sub(lambda line: f"\n{'#' * len(line[1])} {line[2]}\n", text)
    text = _MAGIC.sub("", html.unescape(_TAG.sub("", text)))
    lines = (re.sub(r"[ \t\xa0]+", " ", line).strip() for line in text.split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line for line in lines if line not in ("-", "|"))).strip()


def _template(found: re.Match[str]) -> str:
    """What stands for a template that holds no other."""
    name, *rest = found[1].replace("[[", "\0").replace("]]", "\1").split("|")
    # A bar inside a link parts no arguments.
    parts: list[str] = []
    for part in rest:
        if parts and parts[-1].count("\0") > parts[-1].count("\1"):
            parts[-1] += f"|{part}"
        else:
            parts.append(part)
    rest = [part.replace("\0", "[[").replace("\1", "]]").strip() for part in parts]
    name = name.strip().lower().replace("_", " ")
    plain = [part for part in rest if "=" not in part]
    if name.startswith("infobox"):
        fields = (part.partition("=") for part in rest if "=" in part)
        lines = [
            f"- {key.strip().replace('_', ' ')}: {value.strip()}" for key, _, value in fields if value.strip()
        ]
        return "\n" + "\n".join(line for line in lines if "\n" not in line) + "\n"
    if name in _DATES and len(plain) >= 3 and all(part.isdecimal() for part in plain[:3]):
        return f"{int(plain[0])}-{int(plain[1]):02d}-{int(plain[2]):02d}"
    if name in ("convert", "cvt") and len(plain) >= 2:
        return f"{plain[0]} {plain[1]}"
    if name in _AS_WORDS and len(plain) >= _AS_WORDS[name]:
        return plain[_AS_WORDS[name] - 1]
    return ""


def _table(found: re.Match[str]) -> str:
    """A table that holds no other, as Markdown has it."""
    rows: list[list[str]] = [[]]
    heads = 0
    for line in found[0].split("\n")[1:-1]:
        line = line.strip()
        if line.startswith("|-"):
            rows.append([])
        elif line.startswith(("|", "!")) and not line.startswith("|+"):
            cells = re.split(r"\|\||!!", line[1:])
            heads = max(heads, len(cells) + len(rows[-1])) if line[0] == "!" and len(rows) < 3 else heads
            rows[-1] += [_CELL_STYLE.sub("", cell).strip().replace("\n", " ") for cell in cells]
        elif rows[-1] and line:
            rows[-1][-1] += f" {line}"
    told = [f"| {' | '.join(row)} |" for row in rows if row]
    if told and heads:
        told.insert(1, "|" + "---|" * heads)
    return "\n\n" + "\n".join(told) + "\n\n"


def _without_files(text: str) -> str:
    """A text without pictures and categories, whose captions may hold links."""
    out, at = [], 0
    while (found := _FILE.search(text, at)) is not None:
        out.append(text[at : found.start()])
        depth, at = 1, found.end()
        while depth and (mark := re.compile(r"\[\[|\]\]").search(text, at)) is not None:
            depth += 1 if mark[0] == "[[" else -1
            at = mark.end()
        if depth:  # it never ends: only its mark is left out
            at = found.end()
    return "".join([*out, text[at:]])


def _link(found: re.Match[str]) -> str:
    target, words, tail = found[1].strip(), found[2], found[3]
    shown = (target.lstrip(":") if words is None else words.strip()) + tail
    there = address_of(target)
    if not there or target.startswith((":", "#")):
        return shown
    return f"[{shown}]({there})"
