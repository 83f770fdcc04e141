"""How a scripted customer understands prose: phrases, looked up word by word.

One pass over the words of a sentence finds what it does (asks, wants a yes, refuses, claims to be done) and
what it is about. A table of phrases costs a third of what regular expressions of the same coverage cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

_ACTS = {
    # what a sentence does
    "more": "anything else|anything more|something else|something more|further help|further assistance",
    "confirm": (
        "yes/no|y/n|yes or no|say yes|reply yes|answer yes|reply with yes|answer with yes|proceed|"
        "go ahead|shall i|shall we|should i|should we|do you confirm|do you agree|do you approve|"
        "do you want|do you wish|would you like me|would you like us|is that right|is that correct|"
        "is that ok|is that okay|is that fine|is this right|is this correct|is this ok|is this okay|"
        "is this fine|is it right|is it correct|is it ok|is it okay|is everything correct|"
        "is everything right|are these correct|are you sure|sound good|sounds good|confirm"
    ),
    "ask": (
        "what|what's|which|why|where|who|provide|share|tell me|give me|let me know|i need|i'll need|"
        "i will need|i would need|need your|need to know|may i|can i|can you|could i|could you|"
        "please enter|please verify|please identify|please state|please send"
    ),
    "refusal": (
        "cannot|can not|can't|cant|unable|not able|won't|will not|impossible|may not|must not|"
        "not possible|not allowed|not permitted|not eligible|isn't possible|isn't allowed|"
        "isn't eligible|must refuse|must decline|must deny|have to refuse|have to decline|"
        "have to deny|not be cancelled|not be canceled|not be returned|not be changed|"
        "not be exchanged|not be modified|not be shared|against our policy|against the policy|"
        "against our rules|against the rules|not something i|not something we"
    ),
    "done": "done|complete|completed|all set|taken care|success|successful|successfully|went through",
}


class _Node:
    """What may follow the words so far: the labels of the phrase that ends here, and the next words."""

    __slots__ = ("labels", "next")

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.next: dict[str, _Node] = {}


def _tree(table: Mapping[str, str]) -> dict[str, _Node]:
    root: dict[str, _Node] = {}
    for label, phrases in table.items():
        for phrase in phrases.split("|"):
            words = phrase.split()
            node = root.setdefault(words[0], _Node())
            for word in words[1:]:
                node = node.next.setdefault(word, _Node())
            node.labels.append(label)
    return root


_SPACES = bytes(32 if chr(n) in '.,:;!?()"#$*' else n for n in range(256))
"""Turns punctuation into spaces; on bytes this is ten times as fast as on text."""
_LAST = frozenset({"right", "correct", "ok", "okay"})
_ANY = frozenset(
    ("that", "this", "so", "help", "possible", "allowed", "permitted", "eligible", "policy", "rules")
).union(("request", "share", "disclose", "someone", "other", "another", "exception"))
"""Words with which a no is about the request, whatever its kind."""
_SEARCHING = frozenset(
    ("find", "locate", "look", "verify", "see", "understand", "hear", "without", "until", "unless")
)
_PERFECT = frozenset(
    ("has", "have", "is", "are", "was", "were", "i", "i've", "we", "we've", "it's", "been", "now")
)
_NOT_YET = frozenset(
    (
        "will",
        "would",
        "once",
        "after",
        "before",
        "when",
        "until",
        "if",
        "can",
        "could",
        "not",
        "want",
        "like",
        "to",
    )
)
_BREAKS = frozenset(("and", "but", "so", "because"))


@dataclass(slots=True)
class Sentence:
    """A sentence in words, with the labels of its phrases."""

    text: str
    words: list[str]
    labels: dict[str, int]
    """Label -> position of the first word of its last phrase."""

    def __init__(self, text: str, tree: dict[str, _Node]) -> None:
        self.text = text
        self.words = words = split(text)
        self.labels = labels = {}
        for n, word in enumerate(words):
            if word in tree:
                node = tree[word]
                for label in node.labels:
                    labels[label] = n
                end = n
                while node.next:
                    end += 1
                    if end == len(words) or words[end] not in node.next:
                        break
                    node = node.next[words[end]]
                    for label in node.labels:
                        labels[label] = n


def split(text: str) -> list[str]:
    """The words of a text, without punctuation."""
    return text.encode("utf-8", "replace").translate(_SPACES).decode().split()


@dataclass(slots=True)
class Heard:
    """What the agent said, sorted; in lower case."""

    text: str
    sentences: list[Sentence] = field(default_factory=list)
    claims: list[Sentence] = field(default_factory=list)
    """Statements: sentences that neither end in a question mark nor want a yes."""
    questions: list[Sentence] = field(default_factory=list)
    """Sentences that ask for something to be told."""
    confirm: bool = False
    """Something wants a yes."""
    more: bool = False
    """Asks whether there is anything else."""

    @property
    def words(self) -> set[str]:
        """All words of it."""
        return {word for sentence in self.sentences for word in sentence.words}


class Ear:
    """What the customers of one world understand.

    Args:
        did: words that claim something was carried out, divided by "|".
        topics: what a question may be about -> phrases that say so, divided by "|".
        about: kind of request -> words that name it.
        carried_out: kind of request -> those words of `did` that claim it was carried out.
    """

    def __init__(
        self, did: str, topics: Mapping[str, str], about: Mapping[str, str], carried_out: Mapping[str, str]
    ) -> None:
        self.topics = tuple(topics)
        self.names = {kind: frozenset(words.split()) for kind, words in about.items()}
        self._carried_out = {kind: frozenset(words.split()) for kind, words in carried_out.items()}
        self._tree = _tree({**_ACTS, "did": did, **topics})
        self._remembered = lru_cache(maxsize=4096)(self._listen)

    def listen(self, text: str) -> Heard:
        """Sort an utterance by what its sentences do. The result is shared: it is only to be read.

        Agents say the same things again and again, the members of a group most of all.
        """
        return self._remembered(text) if len(text) < 400 else self._listen(text)

    def _listen(self, text: str) -> Heard:
        text = text.lower().replace("’", "'")
        heard = Heard(text)
        lines = text.replace(". ", ".\n").replace("? ", "?\n").replace("! ", "!\n").split("\n")
        for line in lines:
            sentence = Sentence(line, self._tree)
            if not sentence.words:
                continue
            heard.sentences.append(sentence)
            labels = sentence.labels
            question = line.rstrip(" )\"'").endswith("?")
            confirms = "confirm" in labels or (question and sentence.words[-1] in _LAST)
            asks = "ask" in labels
            if confirms and _asks_to_confirm_a_fact(sentence):
                confirms, asks = False, True
            if confirms:
                heard.confirm = True
            if "more" in labels:
                heard.more = True
            if asks or (question and not confirms):
                heard.questions.append(sentence)
            if not confirms and not question:
                heard.claims.append(sentence)
        return heard

    def refuses(self, kind: str, claims: list[Sentence]) -> bool:
        """A clear no to a request of this kind; not finding an account is none."""
        for sentence in claims:
            if "refusal" in sentence.labels:
                words = sentence.words
                if words[0] in ("i", "we") and words[1:2] == ["understand"]:
                    words = words[2:]  # "I understand, but it is not possible" understood very well
                if _SEARCHING.isdisjoint(words) and not (
                    self.names[kind].isdisjoint(words) and _ANY.isdisjoint(words)
                ):
                    return True
        return False

    def finished(self, kind: str, claims: list[Sentence]) -> bool:
        """A claim that it was carried out: "has been cancelled", "done"; not "will be", "once", "not"."""
        for sentence in claims:
            labels, words = sentence.labels, sentence.words
            if "done" in labels:
                at = labels["done"]
            elif "did" in labels:
                at = labels["did"]
                if words[at] not in self._carried_out[kind]:
                    continue
                if _PERFECT.isdisjoint(words[max(0, at - 4) : at]):
                    continue
            else:
                continue
            start = max((n + 1 for n in range(at) if words[n] in _BREAKS), default=0)
            clause = words[start:at]
            if _NOT_YET.isdisjoint(clause) and not any(word.endswith("n't") for word in clause):
                return True
        return False


def _asks_to_confirm_a_fact(sentence: Sentence) -> bool:
    """ "Please confirm your email" asks for a fact, "please confirm" for a yes."""
    words = sentence.words
    if "confirm" not in words:
        return False
    after = words[words.index("confirm") + 1 :][:5]
    return bool({"your", "the"} & set(after[:2])) and bool(
        {"email", "e-mail", "name", "zip", "identity", "number", "id"} & set(after)
    )
