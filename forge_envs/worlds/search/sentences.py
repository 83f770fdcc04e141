"""Answers that are said in a sentence: whether it names the answer, and nothing that could be another one.

What is not known to be harmless is taken for a second guess. Beside the answer a text may have words of the
question, words that carry a sentence ("it is", "the answer"), and names from the proof where they come after
the answer, in a clause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from forge_envs.worlds.search.question import ResearchQuestion
from forge_envs.worlds.search.relations import KINDS
from forge_envs.worlds.search.spelling import GERMANIC, tokens_of, unwrapped
from forge_envs.worlds.search.words import root

_ARTICLES = frozenset(("a", "an", "the"))
CARRIERS = frozenset(
    """
    a an the be is are was were been being has have had do does did 's s would it he she they this that these
    there here his her its their i my we our and in at on to of from by as which who whom where that when
    whose what answer question final correct exact exactly name named called title so thus therefore hence
    because namely think believe found find according page
    """.split()  # noqa: SIM905
)
"""Words that carry a sentence and tell nothing of themselves."""
_TURNING = frozenset(
    """
    not no never neither nor none nobody nothing or either but except without unless cannot wrong false
    incorrect untrue instead rather other another else others more less fewer than over under least most
    nearly almost
    """.split()  # noqa: SIM905
)
"""Words that make another statement of it, also where the question has them."""
_BEFORE = "to with for than after before since until and which whom whose where who"
_BEFORE_NAMES = frozenset(f"{_BEFORE} on like as against near".split())
_BEFORE_VALUES = frozenset(f"{_BEFORE} by from between".split())
"""Words that say, right before the answer, that it is not this but something about it."""
_KIND_WORDS = {
    "person": "person man woman mr mrs ms dr prof professor sir dame",
    "town": "town city place",
    "firm": "firm company ltd inc co corp gmbh llc plc",
    "date": "date day born birth mon tue wed thu fri sat sun monday tuesday wednesday thursday friday "
    "saturday sunday ce ad",
    "number": "number people persons inhabitants residents population total census about around "
    "approximately roughly circa c ca",
}
_FAMILIES = tuple(
    frozenset(root(word) for word in family.split())
    for family in (
        "study studied student attend attended graduated degree alumnus educated",
        "stand stands located situated lies found site sited",
        "held hosted host took place",
        "shown premiered first premiere",
        "live lived living inhabitants residents population people counted",
        "win won winner",
        "built build constructed",
        "born native birthplace birth home",
        "based headquarters headquartered",
        "created creation wrote written composed",
        "runs heads leads headed led head",
        "belongs owned owns owner",
    )
)
"""Words of which one may stand for the question's other."""
STRUCK = re.compile("~~|[❌✗✘🚫⛔]")
"""Marks that strike an answer out."""
_PARTED = re.compile(r"[;/|±+]|\?(?=.*\w)")
"""Marks between guesses."""
_LEAD = re.compile(
    r"^(?:(?:based on|according to|after|as per) [^,;:/|]{1,80}, "
    r"|(?:in conclusion|in summary|finally|overall|ultimately)[,:] "
    r"|(?:i am |i'm )?(?:probably|most likely|likely):? )",
    re.IGNORECASE,
)
_TAIL = re.compile(r"[,.]? ?\(?\b(?:according to|source:?|see) [^,;()/|]{1,80}\)?\.?$", re.IGNORECASE)
_ROMAN = {
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "v": 5,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "x": 10,
    "xi": 11,
    "xii": 12,
}


def says_only(question: ResearchQuestion, said: str) -> bool:
    """Whether a text names the answer, in any usual spelling, and names nothing else.

    >>> asked = ResearchQuestion("Who founded the port?", "Ana Duarte", kind="person")
    >>> says_only(asked, "The port was founded by **Dr. Ana Duarte**.")
    True
    >>> says_only(asked, "Ana Duarte or Ivo Lund")
    False
    """
    if STRUCK.search(said):
        return False
    plain = _TAIL.sub("", _LEAD.sub("", unwrapped(said)))
    if _PARTED.search(re.sub(r"(?<=\d)/(?=\d)", "-", plain)):
        return False
    spellings = sorted(dict.fromkeys(_spellings(question)), key=len, reverse=True)
    tokens = tokens_of(plain)
    bare = tokens[1:] if tokens[:1] and tokens[0] in _ARTICLES else tokens
    if tuple(bare) in spellings:
        return True
    asked = tokens_of(question.text)
    if not spellings or any(_at(one, asked) is not None for one in spellings):
        return False  # a choice between things that the question names
    return _Remainder(question, asked, plain, tokens, spellings).harmless()


def _spellings(question: ResearchQuestion) -> Iterator[tuple[str, ...]]:
    """The answer's words, in each order and spelling that means it."""
    for text in (question.answer, *question.accepted):
        for spelling in (text, text.casefold().translate(GERMANIC)):
            words = tokens_of(spelling)
            if words[:1] and words[0] in _ARTICLES and len(words) > 1:
                words = words[1:]
            if not words:
                continue
            yield tuple(words)
            if len(words) > 1 and re.match(r"\d+(?:st|nd|rd|th)\b", text.strip()):
                nth, rest = words[0], words[1:]
                for the in ((), ("the",)):
                    yield (nth, "edition", "of", *the, *rest)
                    yield (*rest, *the, nth, "edition")
            if len(words) > 1 and words[-1] in _ROMAN:
                yield (*words[:-1], "the", str(_ROMAN[words[-1]]))


def _at(words: tuple[str, ...], tokens: Iterable[str]) -> int | None:
    """Where words stand in a row, None if nowhere."""
    there = tuple(tokens)
    return next(
        (at for at in range(len(there) - len(words) + 1) if there[at : at + len(words)] == words), None
    )


class _Remainder:
    """What a text says beside the answer."""

    def __init__(
        self,
        question: ResearchQuestion,
        asked: list[str],
        plain: str,
        tokens: list[str],
        spellings: list[tuple[str, ...]],
    ) -> None:
        self.tokens, self.plain = list(tokens), plain
        self.spans: list[tuple[int, int]] = []
        for words in spellings:
            while (at := _at(words, self.tokens)) is not None:
                self.tokens[at : at + len(words)] = [""] * len(words)
                self.spans.append((at, at + len(words)))
        self.value = spellings[0][0][0] in "#-0123456789"
        self.kind_words = frozenset(_KIND_WORDS.get(question.kind, question.kind).lower().split())
        if spellings[0][0][0] == "#":
            self.kind_words |= frozenset(_KIND_WORDS["date"].split())
        elif self.value:
            self.kind_words |= frozenset(f"{_KIND_WORDS['number']} year ce ad".split())
        elif not question.kind:
            self.kind_words |= frozenset(_KIND_WORDS["person"].split())
        self.asked = {root(word) for word in asked} | set(asked)
        self.asked |= {word for family in _FAMILIES if family & self.asked for word in family}
        self.asked_names = _names(question.text)
        quotes = [unwrapped(one.quote) for step in question.proof for one in step.statements]
        self.proof_names = _names(*(f". . {quote}" for quote in quotes)) - self.asked_names
        self.proof_values = frozenset(
            token for quote in quotes for token in tokens_of(quote) if _is_value(token)
        )
        self.year = any(re.fullmatch(r"\d{4}", one[0]) for one in spellings)

    def harmless(self) -> bool:
        """Whether nothing of it could be another answer, or turns the answer around."""
        if not self.spans or not all(self._said_straight(*span) for span in self.spans):
            return False
        first = min(start for start, _ in self.spans)
        for at, word in enumerate(self.tokens):
            if word in _TURNING:
                return False
            if not word or word in CARRIERS or word in KINDS or word in self.kind_words:
                continue
            if _is_value(word):
                if not self._harmless_value(at, first):
                    return False
            elif word in self.asked or root(word) in self.asked:
                continue
            elif word not in self.proof_names or (at < first and not self.value) or self._beside(at):
                return False
        return True

    def _harmless_value(self, at: int, first: int) -> bool:
        """Whether a number or day beside the answer is the question's, or the proof's and said of it."""
        word = self.tokens[at]
        if not self.value:
            counted = {
                token for token in self.tokens if token in ("1", "2", "3")
            }  # the first person is A, the second B
            return (word in self.asked and len(counted) < 2) or (word in self.proof_values and at > first)
        near = self._beside(at) or any(start == at + 1 for start, _ in self.spans)
        known = word in self.asked or (word in self.proof_values and (at > first or not self.year))
        return known and (
            not near
            or self.tokens[at - 1 : at] == ["in"]
            or bool(re.search(rf"\({word}\b(?!\))", self.plain))
        )

    def _said_straight(self, start: int, end: int) -> bool:
        """Whether what stands right before and behind the answer leaves it the answer."""
        at = start - 1
        while at >= 0 and (self.tokens[at] in _ARTICLES or self._title(at)):
            at -= 1
        before = self.tokens[at] if at >= 0 else ""
        behind = self.tokens[end] if end < len(self.tokens) else ""
        if behind in ("'s", "and", *KINDS) and behind not in self.kind_words:
            return False
        if before in (_BEFORE_VALUES if self.value else _BEFORE_NAMES):
            return False
        if before == "of" and (at == 0 or self.tokens[at - 1] not in self.kind_words):
            return False
        if before in self.asked_names - CARRIERS and at == start - 1:
            return False
        return behind not in self.asked_names - CARRIERS - self.kind_words or self._parted(behind)

    def _title(self, at: int) -> bool:
        return self.tokens[at] in self.kind_words

    def _parted(self, word: str) -> bool:
        """Whether a mark stands before a word of the text."""
        return bool(re.search(rf"[,(.:\-–—]\W*(?:{re.escape(word)})\b", self.plain, re.IGNORECASE))

    def _beside(self, at: int) -> bool:
        """Whether only marks stand between the answer and a name, as in a list."""
        return any(end == at for _, end in self.spans)


def _names(*texts: str) -> frozenset[str]:
    """Words of names in texts: those with a capital letter, but for the first of a text."""
    found = [one for text in texts for one in re.findall(r"(?<!^)(?<!\w)[^\W\d_a-z][\w'’-]*", text)]
    return frozenset(token for one in found for token in tokens_of(one))


def _is_value(token: str) -> bool:
    return token[:1] == "#" or token[-1:].isdigit()
