"""English as far as domains need it: plurals, articles, inflected verbs, and texts with places for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

_VOWEL = re.compile(
    r"(?!uni|use|usu|uti|eu|one\b|once|ub)(?:[aeiou]|hour|honest|heir|x-|8|11\b|18\b)", re.IGNORECASE
)
_ARTICLE = re.compile(r"\b([Aa])n? (?=([\w$]+))")
_DOUBLED = re.compile(r"^[^aeiou]*[aeiou][bdgklmnprt]$")


def plural(noun: str) -> str:
    """More than one of them.

    >>> [plural(noun) for noun in ("loan", "class", "delivery", "day", "dish")]
    ['loans', 'classes', 'deliveries', 'days', 'dishes']
    """
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return f"{noun}es"
    if re.search(r"[^aeiou]y$", noun):
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def is_plural(noun: str) -> bool:
    """Whether a noun as it stands means several.

    >>> [is_plural(noun) for noun in ("fines due", "open fines", "status", "address")]
    [False, True, False, False]
    """
    return noun.endswith("s") and not noun.endswith(("ss", "us", "is"))


def with_articles(text: str) -> str:
    """The text with "a" and "an" as the word after them wants it.

    >>> with_articles("A appointment and an hold, a hour, an unit")
    'An appointment and a hold, an hour, a unit'
    """
    if " a" not in text and text[:1] not in "aA":
        return text
    return _ARTICLE.sub(lambda m: f"{m[1]}{'n' if _VOWEL.match(m[2]) else ''} ", text)


_PARTICLE = re.compile(r"^(\w+) (off|in|out|up|back|down|on|over|away)$")


def act_on_it(text: str, verb: str) -> str:
    """The text with the particle of a verb where it belongs.

    >>> act_on_it("Please call off it.", "call off")
    'Please call it off.'
    """
    parts = _PARTICLE.match(verb)
    if parts is None:
        return text
    return re.sub(
        rf"\b({parts[1]}) {parts[2]} (it|them|me|this|that|one)\b",
        rf"\1 \2 {parts[2]}",
        text,
        flags=re.IGNORECASE,
    )


def spoken(name: str) -> str:
    """A name of a field, a tool or a state as one says it."""
    return name.replace("_", " ")


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return text[:1].upper() + text[1:]


def forms(verb: str, past: str) -> tuple[set[str], set[str], set[str]]:
    """A verb's first word in its present, continuous and past forms.

    >>> [sorted(some) for some in forms("cancel", "cancelled")]
    [['cancel', 'cancels'], ['canceling', 'cancelling'], ['canceled', 'cancelled']]
    """
    stem = re.sub(r"e$", "", verb) if not verb.endswith("ee") else verb
    third = plural(verb) if not verb.endswith("o") else f"{verb}es"
    going, gone = {f"{stem}ing"}, {past}
    if _DOUBLED.match(verb) or verb.endswith("l"):
        going.add(f"{verb}{verb[-1]}ing")
        gone.add(f"{verb}{verb[-1]}ed")
    if verb.endswith("l"):
        gone.add(f"{verb}ed")
    return {verb, third}, going, gone


class Vocabulary:
    """What the places in a theme's texts stand for: `{noun:loan}`, `{Nouns:loan}`, `{past:renew}`."""

    def __init__(self, words: Mapping[str, str]) -> None:
        self._words = dict(words)

    def fill(self, text: str, **more: str) -> str:
        """The text with words in its places and the articles that these want. Raises KeyError."""
        return with_articles(_PLACE.sub(lambda m: self._word(m[1], more), text))

    def _word(self, place: str, more: Mapping[str, str]) -> str:
        found = more.get(place, self._words.get(place))
        if found is not None:
            return found
        lower = place[0].lower() + place[1:]
        return capital(more[lower] if lower in more else self._words[lower])


_PLACE = re.compile(r"\{([\w:.]+)\}")
