"""How a scripted customer understands prose, as a person would, whatever the words.

`words` takes a text apart, `clauses` finds what carries its sense, `acts` weighs what each sentence does,
`topics` finds what a question is about. A desk says which words name its requests (`Ear`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType

from forge_envs.worlds.desk.hearing.acts import ACTS, acts, agrees
from forge_envs.worlds.desk.hearing.topics import Topics
from forge_envs.worlds.desk.hearing.words import Sentence, Word, lexicon, normal, plain, sentences

__all__ = ["Ear", "Heard", "Question", "Sentence", "agrees", "split"]

_REFUSAL, _CONFIRM, _QUESTION, _MORE, _DONE = range(5)
assert ACTS[:5] == ("refusal", "confirm", "question", "more", "done")


@dataclass(frozen=True, slots=True)
class Question:
    """A sentence that asks for something to be told."""

    text: str
    topics: tuple[str, ...]


@dataclass(slots=True)
class Heard:
    """What the agent said, sorted; in lower case."""

    text: str
    words: frozenset[str]
    """All words of it, as they were said."""
    stems: frozenset[str]
    """And the words that these are forms of."""
    claims: str = ""
    """What was stated: all but questions and what wants a yes."""
    statements: list[tuple[str, frozenset[str]]] = field(default_factory=list)
    """Each sentence of it; its words' roles, and what they are forms of, as which ("v:close.ed")."""
    refusals: list[frozenset[str]] = field(default_factory=list)
    """The stems of each sentence that says no to a request."""
    reports: list[frozenset[str]] = field(default_factory=list)
    """The stems of each sentence that says that something was carried out."""
    questions: list[Question] = field(default_factory=list)
    confirm: bool = False
    """Something wants a yes."""
    wanted: list[Question] = field(default_factory=list)
    """The sentences that want one; where nothing was listed, they ask for what they name."""
    more: bool = False
    """Asks whether there is anything else, or takes leave."""
    manners: bool = False
    """Something is said to be kind, or to win time."""


class Ear:
    """What the customers of one desk understand.

    Args:
        topics: what a question may be about.
        names: kind of request -> stems (`words.toml`) that name it.
        marks: kind of request -> those of them that settle that a sentence is about it.
        alone: kind of request -> stems that name no other kind.
        did: kind of request -> stems of what is done to carry it out.
        words: words that mean something else here than elsewhere, as they are said; "call off" is one too.
        remembered: how many utterances are remembered.
    """

    def __init__(
        self,
        topics: Topics,
        names: Mapping[str, str],
        marks: Mapping[str, str],
        alone: Mapping[str, str],
        did: Mapping[str, str],
        words: Mapping[str, Word] = MappingProxyType({}),
        remembered: int = 4096,
    ) -> None:
        self.topics = topics
        self.names = {kind: frozenset(stems.split()) for kind, stems in names.items()}
        self._marks = {kind: frozenset(stems.split()) for kind, stems in marks.items()}
        self._alone = {kind: frozenset(stems.split()) for kind, stems in alone.items()}
        self._did = {kind: frozenset(stems.split()) for kind, stems in did.items()}
        self._words = words
        self._seconds = frozenset([said.partition(" ")[2] for said in words])
        self._verbs = VERBS | {word.stem for word in words.values() if word.role == "SVC"}
        self._nouns = _NOUNS | {word.stem for word in words.values() if word.role == "OBJ"}
        self._remembered = lru_cache(maxsize=remembered)(self._listen)

    def listen(self, text: str) -> Heard:
        """Sort an utterance by what its sentences do. The result is shared: it is only to be read.

        Agents say the same things again and again, the members of a group most of all.
        """
        return self._remembered(text) if len(text) < 600 else self._listen(text)

    def _listen(self, text: str) -> Heard:
        text = normal(text)
        said = sentences(text)
        if self._words:
            for sentence in said:
                sentence.words = self._in_own_words(sentence.words)
        stems = [_stems(sentence) for sentence in said]
        words = frozenset([word.said for sentence in said for word in sentence.words]).union(split(text))
        weighed, manners = acts(said)
        heard = Heard(text, words, frozenset().union(*stems), manners=manners)
        claims = []
        asking = []
        for n, (sentence, sums) in enumerate(zip(said, weighed, strict=True)):
            wants = sums[_CONFIRM] > 0
            asks = sums[_QUESTION] > 0
            if sums[_REFUSAL] > 0:
                heard.refusals.append(stems[n])
            if sums[_DONE] > 0 and sentence.words[0].role != "IF":
                heard.reports.append(stems[n])
            if sums[_MORE] > 0:
                heard.more = True
            if wants and (not asks or sums[_CONFIRM] >= sums[_QUESTION]):
                heard.confirm = True
                heard.wanted.append(Question(sentence.text, tuple(self.topics.of(sentence))))
            elif asks:
                asking.append(n)
            if not wants and sentence.mark != "?":
                claims.append(sentence.text)
                marks = frozenset([mark for word in sentence.words for mark in (word.stem, word.role)])
                heard.statements.append((sentence.text, marks))
        asked = self.topics.asked(said, asking)
        heard.questions = [Question(said[n].text, tuple(topics)) for n, topics in asked.items()]
        heard.claims = " ".join(claims)
        return heard

    def _in_own_words(self, words: Sequence[Word]) -> list[Word]:
        """Words as they are meant here; two that make one are one."""
        found: list[Word] = []
        before = ""
        for word in words:
            said = word.said
            if said in self._seconds and f"{before} {said}" in self._words:
                found[-1] = self._words[f"{before} {said}"]
            else:
                found.append(self._words.get(said, word))
            before = said
        return found

    def refuses(self, kind: str, heard: Heard) -> bool:
        """A clear no to a request of this kind; not finding an account is none."""
        return any([stems >= _HERE or self._about(kind, stems) for stems in heard.refusals])

    def finished(self, kind: str, heard: Heard) -> bool:
        """A claim that it was carried out: "has been cancelled", "done"; not "will be", "once", "not"."""
        did = self._did[kind]
        for stems in heard.reports:
            verbs = stems & self._verbs
            if self._about(kind, stems) and (not verbs or verbs & did or not stems & self._nouns):
                return True
        return False

    def _about(self, kind: str, stems: Iterable[str]) -> bool:
        """Whether a sentence may be about a request of this kind: it names it, or no other."""
        if not self._marks[kind].isdisjoint(stems):
            return True
        return not self.names_another(kind, stems)

    def names_another(self, kind: str, stems: Iterable[str]) -> bool:
        """Whether something names a request of another kind than this one."""
        return any([not names.isdisjoint(stems) for other, names in self._alone.items() if other != kind])


_HERE = frozenset(("this", "request"))
"""A no to "this request" is one to what is in hand, whatever else it names."""
VERBS = frozenset([word.stem for word in lexicon().values() if word.role == "SVC"])
"""Stems of what may be done to anything."""
_NOUNS = frozenset([word.stem for word in lexicon().values() if word.role == "OBJ"]) - {
    *("request", "account", "email", "id", "customer")
}
"""What a request may be about: a sentence that names none of it speaks of the one in hand."""


def _stems(sentence: Sentence) -> frozenset[str]:
    return frozenset([word.stem.partition(".")[0] for word in sentence.words])


def split(text: str) -> Sequence[str]:
    """The words of a text, without punctuation."""
    return plain(text)
