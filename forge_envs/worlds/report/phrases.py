"""Words of reports beside the web's own: other words for its relations, and words that bend what is told.

A judge by rule cannot know all English. It knows other ways to say what the web says (an honest writer's),
and words that make more, less or something else of it (superlatives, "twice", "stopped", "more than"). What
is in neither list is let through: it is the report's style, or a detail that nobody can check.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from forge_envs.worlds.search.graph import MONTHS, NOW
from forge_envs.worlds.search.spelling import ORDINALS

ALSO_SAID = {
    "born_in": "born native birthplace birth hometown comes hails home town",
    "born_on": "born b birth birthday date",
    "trade": "profession professional professionally works occupation job career living earns trade",
    "studied_at": "studied student attended education educated received earned alma mater"
    " graduate graduated degree alumnus alumna learned trained",
    "spouse": "married spouse husband wife wed marriage couple",
    "taught_by": "pupil mentor mentored taught teacher tutelage student apprentice trained learned",
    "in_region": "lies region belongs part located situated",
    "population": "population inhabitants residents people live home census counted citizens stands",
    "mayor": "mayor governed office heads leads led runs took term",
    "twin": "twin twinned twinning partner partnered",
    "founded_by": "founded founder set established started created",
    "founded_on": "founded founding foundation established set started existed existence date",
    "line": "makes maker produces product business manufactures manufacturer",
    "based_in": "based headquarters headquartered seat located home moved office operates",
    "head": "head headed runs ran led leads leader leadership chief director manager managed"
    " helm took charge",
    "owner": "owns owner owned belongs bought acquired purchased parent ownership",
    "made_by": "created creator creation wrote written author made",
    "genre": "form kind genre",
    "released_on": "first shown public premiered premiere released release debut debuted date",
    "issued_by": "financed paid funded funding backed",
    "set_in": "set takes place setting story",
    "honoured_by": "won honoured awarded award received given",
    "after": "based model adapted adaptation story",
    "held_in": "held hosted took place venue",
    "held_on": "began begin started opened date day took place held",
    "won_by": "won winner victory",
    "sponsor": "sponsored sponsor backed supported",
    "stands_in": "stands located situated home lies found",
    "opened_on": "opened opening open doors date",
    "rector": "rector led headed leads head took office",
    "lies_in": "found site stands located situated location",
    "designed_by": "designed designer architect",
    "built_by": "built builder constructed",
}
"""From relations to words in which an honest writer says them, beside those of the pages."""

ALSO_TOLD = {
    "taught_by": ("{o} taught {s}", "{o} mentored {s}", "{s} was taught by {o}", "{s} was mentored by {o}"),
    "founded_by": ("{o} established {s}", "{o} set up {s}", "{s} was established by {o}"),
    "head": ("{o} leads {s}", "{o} led {s}", "{s} is led by {o}"),
    "owner": ("{o} acquired {s}", "{s} was bought by {o}", "{s} was acquired by {o}"),
    "after": ("{s} was adapted from {o}", "{s} is an adaptation of {o}"),
}
"""From relations to sentences that say which way round they are, beside those of the pages."""

ROLES = {
    "mayor": "mayor",
    "rector": "rector",
    "head": "head",
    "founded_by": "founder",
    "owner": "owner",
    "made_by": "creator author",
    "won_by": "winner",
    "sponsor": "sponsor",
    "taught_by": "mentor",
    "capital": "capital",
    "twin": "twin",
    "designed_by": "designer",
    "built_by": "builder",
    "spouse": "spouse",
}
"""What "the …" may call whoever is named by a relation."""

PLACED = {
    "born_in": "from",
    "based_in": "from",
    "stands_in": "in",
    "lies_in": "in",
    "held_in": "in",
    "set_in": "in",
}
"""Relations that the word before a town says by itself, as in "a firm from Azul"."""

STAND_INS = {
    "person": "person",
    "town": "town city place",
    "firm": "firm company business enterprise",
    "work": "work piece",
    "event": "event competition contest",
    "school": "school institution",
    "landmark": "landmark building structure",
    "prize": "prize award",
    "region": "region",
}
"""What "the …" may call an entity of a kind whose name was said before."""

_BENDING = """
most least best worst greatest largest biggest smallest oldest youngest longest highest lowest top leading
only sole mainly mostly partly nearly almost over under exceeds exceeding exceeded fewer less more above
below twice thrice again several many repeatedly famous famed renowned celebrated notorious beloved
legendary popular prestigious successful great wealthy rich poor big small large tiny huge stopped stops
ceased quit refused refuses failed fails tried attempted planned plans hoped hopes wanted wants intends
intended dismissed fired sacked resigned arrested convicted accused expelled left leaves abandoned lost
loses closed closes sold sells died dies dead killed retired used grew grown grows rose risen rising fell
fallen shrank shrunk dropped doubled halved increased decreased declined brother sister father mother son
daughter child children cousin uncle aunt nephew niece friend rival enemy neighbour colleague predecessor
lives lived resides grandfather grandmother parents middle outskirts near nearby outside north south east
west centre center heart before after
"""
BENDING = frozenset(_BENDING.split())
"""Words that make more, less or something else of a fact, but where its own relation is told in them."""
_SUPERLATIVE = re.compile(
    r"\b(?!(?:latest|harvest|forest|guest|request|interest|honest|modest|west)\b)[a-z]{3,}est\b"
)
_BENT = re.compile(
    r"\b(?:teach(?:es)?|taught|worked|works|lectured) at\b|\bat (?:least|most)\b|\bup to\b", re.IGNORECASE
)
_TOOK_PLACE = re.compile(r"\btakes? place\b|\btook place\b")
_PREDICATE = re.compile(r"\b(?:is|was|are|were|as|became|remains) an? ((?:[a-z]+ )?[a-z]+)\b")
_FREE_NOUNS = frozenset(
    """
    native graduate pupil student maker member part town city firm company person work event school landmark
    prize region creation founder head winner sponsor designer builder mayor rector alumnus alumna mentor
    partner twin capital site professional subsidiary building place institution business enterprise
    competition spouse
    """.split()  # noqa: SIM905
)
"""What somebody or something may be called without a page that does."""
_CITED = re.compile(
    r"<(cite|citation|ref|source)>([^<>]*)</\1>"
    r"|(?<!\w)\[(\^?(?:id_)?\d{1,3}(?:\s*[,;]\s*\^?(?:id_)?\d{1,3})*)\](?!\()"
    r"|\((id_\d+(?:\s*[,;]\s*id_\d+)*)\)"
    r"|\[[^\[\]]*\]\((id_\d+)\)",
    re.IGNORECASE,
)
_AS_OF_NOW = re.compile(rf"\bas of (?:the end of )?{NOW}\b", re.IGNORECASE)
_NTH = re.compile(rf"\b(?:the )?({'|'.join(ORDINALS)})(?= (?:of )?(?:{'|'.join(MONTHS)})\b)", re.IGNORECASE)


def plainly_cited(text: str) -> str:
    """A text with every form of citation as the rules have it.

    >>> plainly_cited("Born in Azul [1, id_2].")
    'Born in Azul <citation>id_1, id_2</citation>.'
    >>> plainly_cited("Born in Azul [Azul](id_3) (id_4).")
    'Born in Azul <citation>id_3</citation> <citation>id_4</citation>.'
    """

    def plain(found: re.Match[str]) -> str:
        told = re.split(r"\s*[,;]\s*", next(one for one in found.groups()[1:] if one is not None).strip())
        ids = (one.strip().lstrip("^") for one in told)
        return f"<citation>{', '.join(f'id_{one}' if one.isdecimal() else one for one in ids)}</citation>"

    return _CITED.sub(plain, text)


def plainly_dated(text: str) -> str:
    """A text with the days of the month in digits, and without "as of" this year.

    >>> plainly_dated("on the first of May 2011")
    'on 1 of May 2011'
    """
    return _NTH.sub(lambda found: str(ORDINALS[found[1].lower()]), _AS_OF_NOW.sub("today", text))


def bent(text: str, known: Iterable[str]) -> str:
    """The word of a sentence that bends what it tells, "" where there is none.

    `text` has no names; `known` are the words in which the pages tell what the sentence tells.
    """
    told = frozenset(known)
    for word in re.findall(r"[a-z]+", re.sub(r"\bbefore (?:h(?:er|im)|it|that|them)\b", "", text)):
        if (word in BENDING or _SUPERLATIVE.fullmatch(word)) and word not in told:
            return str(word)
    found = _BENT.search(text) or (None if {"venue", "setting", "held"} & told else _TOOK_PLACE.search(text))
    if found:
        return found[0]
    for said in _PREDICATE.findall(text):
        words = said.split()
        if not any(word in _FREE_NOUNS or word in told for word in words):
            return str(words[-1])
    return ""
