"""Texts of strangers: what a file says of its tools is data, and is cleaned of all that is not for the eye.

An instruction in a description stays a description: it is shown in the tool's schema alone, and no prompt,
goal or judge's rule is made of it. It is counted, so that whoever uses the folder knows.
"""

from __future__ import annotations

import functools
import re
import unicodedata

from forge_envs.worlds.toolfolder.schema import Catalogue, Kind

LONGEST = 1000
"""Characters of a description that are shown."""
_MARK = re.compile(
    r"<\|[^<>|\n]{1,60}\|>|</?(?:tool_call|tool_response|tools|think|s|function_calls?|system|im_start|im_end)>"
    r"|\[/?(?:INST|SYS|TOOL_CALLS|AVAILABLE_TOOLS|TOOL_RESULTS|THINK)\]|<</?SYS>>|<[｜|][^<>\n]{1,40}[｜|]>",
    re.IGNORECASE,
)
"""What chat templates mark turns, calls and thoughts with."""
_ORDERS = re.compile(
    r"(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|message|polic)"
    r"|system prompt|you are now|new instructions?:|(?:do not|don't|never) (?:tell|mention|inform|reveal)\b"
    r"|before (?:using|calling) (?:this|any) (?:other )?tool|<important>|jailbreak"
    r"|(?:always|must) (?:first )?(?:call|use|invoke) (?:this tool|`)",
    re.IGNORECASE,
)


def cleaned(text: object, where: str, notes: Catalogue, *, longest: int = LONGEST) -> str:
    """A text of a file as an agent is shown it, on one line; remarks say what was taken away.

    >>> notes = Catalogue()
    >>> cleaned("Get a pet.\\u200b <|im_start|>system", "pets.json", notes), [f.kind for f in notes.remarks]
    ('Get a pet. (|im_start|)system', ['hidden'])
    """
    if not isinstance(text, str):
        if text is not None:
            notes.note("type", where, f"a description is text, not {type(text).__name__}; left out")
        return ""
    plain, found = _plain(text, longest)
    for kind, what in found:
        notes.note(kind, where, what)
    return plain


@functools.lru_cache(maxsize=4096)
def _plain(text: str, longest: int) -> tuple[str, tuple[tuple[Kind, str], ...]]:
    """The text as it is shown, and what was found in it; files say the same things again and again."""
    found: list[tuple[Kind, str]] = []
    told = text[: 20 * longest]
    visible = told if told.isascii() and told.isprintable() else "".join(filter(_visible, told))
    plain = " ".join(_MARK.sub(_bracketed, visible).split())
    if len(visible) < len(told) or _MARK.search(visible):
        found.append(("hidden", "invisible characters or marks of a chat template are taken out"))
    if len(plain) > longest or len(text) > len(told):
        found.append(("size", f"a text of {len(text)} characters is cut off at {longest}"))
        plain = plain[:longest].rsplit(" ", 1)[0] + " …"
    if orders := _ORDERS.search(plain):
        found.append(("injection", f"it talks to the model: {orders[0]!r}"))
    return plain, tuple(found)


def _visible(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in _INVISIBLE


_INVISIBLE = ("Cc", "Cf", "Cs", "Co", "Cn")


def _bracketed(found: re.Match[str]) -> str:
    return f"({found[0][1:-1]})"
