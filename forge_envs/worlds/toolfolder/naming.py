"""What names tell: their words, verbs and nouns; and names that a tool can have."""

from __future__ import annotations

import re

from forge_envs.worlds.toolfolder.vocabulary import vocabulary

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
LONGEST = 64
"""Characters of a tool's name that chat endpoints take."""

_LISTS = vocabulary()["read"]
VERBS = vocabulary()["verbs"]
"""Kind of operation -> verbs that say so."""
READING = frozenset(VERBS["list"] + VERBS["get"] + _LISTS["still"])
"""Verbs of tools that change nothing."""
LITTLE = frozenset(_LISTS["little"])
"""Words behind which a name goes on about something else."""
IDS = frozenset(_LISTS["ids"])
"""Last words of names that point at a row."""
VAGUE = frozenset(_LISTS["vague"])
"""Words that say nothing of what a thing is."""
PAGING = frozenset(_LISTS["paging"])
"""Words of arguments that say how much of a list is wanted."""


def words(name: str) -> list[str]:
    """The words of a name in lower case.

    >>> words("createHTTPRoute_v2"), words("filter[user-id]")
    (['create', 'http', 'route', 'v', '2'], ['filter', 'user', 'id'])
    """
    return [word.lower() for word in _WORD.findall(name)]


def spoken(name: str) -> str:
    """A name as a person says it.

    >>> spoken("pullRequest_number")
    'pull request number'
    """
    return " ".join(words(name)) or "value"


def singular(word: str) -> str:
    """One of what a word counts.

    >>> [singular(word) for word in ("pets", "categories", "addresses", "status", "boxes", "series", "news")]
    ['pet', 'category', 'address', 'status', 'box', 'series', 'news']
    """
    if len(word) < 4 or word in _LISTS["alike"]:
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def plural(phrase: str) -> str:
    """Several of a thing.

    >>> plural("category"), plural("pull request"), plural("box")
    ('categories', 'pull requests', 'boxes')
    """
    if phrase.endswith("y") and phrase[-2:-1] not in "aeiou":
        return phrase[:-1] + "ies"
    return phrase + ("es" if phrase.endswith(("s", "x", "ch", "sh", "z")) else "s")


def safe_name(name: str) -> str:
    """A name as chat endpoints take it: letters, digits, _ and -, at most 64; "" if nothing is left.

    >>> safe_name("issues/list-for repo"), safe_name("日本")
    ('issues_list-for_repo', '')
    """
    return _UNSAFE.sub("_", name).strip("_")[:LONGEST].strip("_")


def same_word(one: str, other: str) -> bool:
    """Whether two names are the same, however they are spelled.

    >>> same_word("firstName", "first_name"), same_word("name", "names")
    (True, False)
    """
    return words(one) == words(other)


def verb_of(name: str) -> tuple[str, int]:
    """The kind of operation that a name tells, "action" for a verb of its own, and which word says so.

    An "issue" or a "file" beside another verb is a thing.

    >>> verb_of("add_comment"), verb_of("issue_read"), verb_of("close_issue"), verb_of("pets")
    (('create', 0), ('get', 1), ('action', 0), ('action', 0))
    """
    told, sure = words(name), _LISTS["anywhere"]
    later = [place for place in range(len(told) - 1, 0, -1) if told[place] in sure]
    for place in [*later, 0] if told and told[0] not in sure else [0]:
        for kind, verbs in VERBS.items():
            if told[place : place + 1] and told[place] in verbs:
                return kind, place
    return "action", 0


def reads(name: str) -> bool:
    """Whether a tool of this name changes nothing, as far as its verb tells.

    >>> reads("search_flights"), reads("book_flight"), reads("flightsList"), reads("getOrCreateUser")
    (True, False, True, False)
    """
    told = words(name)
    if not told or set(told) & {"create", "update", "delete", "set", "write", "send"} - {told[0]}:
        return False
    return told[0] in READING or (told[-1] in READING and verb_of(name)[0] in ("get", "list"))
