"""How customers of a domain hear: as the desks' do, and where words are missing by the form of a sentence."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping

from forge_envs.worlds.desk.hearing import Ear, Heard

_SEARCHING = frozenset(
    [
        "find",
        "see",
        "locate",
        "tell",
        "read",
        "make",
        "pull",
        "open",
        "guess",
        "know",
        "say",
        "spot",
        "pick",
        "hear",
        "identify",
        "verify",
        "match",
        "recognise",
        "recognize",
        "place",
        "catch",
        "look",
        "go",
        "have",
        "hold",
        "wait",
        "hurt",
        "blame",
        "believe",
        "imagine",
        "handle",
        "seem",
        "think",
        "help",
        "access",
        "confirm",
        "get",
        "promise",
        "mind",
        "thank",
        "worry",
        "reach",
        "bring",
        "load",
        "answer",
        "understand",
        "remember",
        "wish",
        "be",
        "undone",
    ]
)
"""What somebody who cannot do it has not refused: they search, ask back, or are only being kind."""
_NEEDED = re.compile(
    r"\b(?:without|before|until|unless) (?:you |your |i (?:know|have|find)|that |knowing|more)"
    r"|\byet which\b|\btaken back\b"
)
_CANNOT = re.compile(
    r"\b(?!you )(?:\w+ can|(?:i|we) (?:will|may|must)) not "
    r"(?:be |be able to |just |simply |currently |actually |quite )*(\w+)"
    r"|(?:\bis|\bare|'s) not (?:possible|allowed|permitted|offered|available|refunded)\b"
    r"|\bhave to (?:refuse|decline|turn (?:it|this|that|you) down)\b"
)


PENDING = frozenset(
    ["WILL", "WOULD", "SHALL", "MAY", "MUST", "CAN", "NOT", "NO", "IF", "ONCE", "SOON", "TO", "let"]
)
"""Roles of words with which something is said that has not been done."""


_NOTHING: frozenset[str] = frozenset()


def plans(heard: Heard) -> bool:
    """Whether a yes is wanted, or a list says what will be done: it reads like a report and is none."""
    coming = False
    for text, marks in heard.statements:
        if coming and text.startswith(("-", "*")):
            return True
        coming = coming or (text.endswith(":") and not PENDING.isdisjoint(marks))
    return heard.confirm


def asks_nothing(heard: Heard) -> bool:
    """Whether nothing is asked or planned; whether there is anything else may be asked."""
    return not plans(heard) and (heard.more or "?" not in heard.text)


class DomainEar(Ear):
    """The desks' ear, for whom "I can't ..." is a no and "... is closed" a report, whatever the verb.

    A domain has more verbs than the desks know.
    """

    done: Mapping[str, frozenset[str]] = {}
    """Kind of request -> the words for its having been carried out, as participles."""

    def finished(self, kind: str, heard: Heard) -> bool:
        """A claim that it was carried out, by a verb that the domain has for it, or as the desks hear one."""
        if plans(heard):
            return False
        if Ear.finished(self, kind, heard):
            return True
        done = self.done.get(kind, _NOTHING)
        return asks_nothing(heard) and any(
            [
                not done.isdisjoint(marks) and PENDING.isdisjoint(marks) and self._about(kind, marks)
                for _, marks in heard.statements
            ]
        )

    def refuses(self, kind: str, heard: Heard) -> bool:
        """A clear no to a request of this kind; not finding an account is none."""
        return Ear.refuses(self, kind, heard) or (not heard.confirm and _cannot(heard.claims))


@functools.lru_cache(maxsize=1024)
def _cannot(claims: str) -> bool:
    """Whether something stated says that something else than looking it up cannot be done."""
    if not any([no in claims for no in ("n't", "not", "refuse", "decline", "turn")]):
        return False
    full = claims.replace("can't", "can not").replace("cannot", "can not").replace("won't", "will not")
    full = re.sub(r"\b(?:am|are|is|'m|'re|'s) not able to\b", " can not", full.replace("n't", " not"))
    for sentence in re.split(r"(?<=[.!?;])\s+", full):
        if not _NEEDED.search(sentence) and any([m[1] not in _SEARCHING for m in _CANNOT.finditer(sentence)]):
            return True
    return False
