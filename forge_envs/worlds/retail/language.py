"""How the scripted customer understands prose: phrases, looked up word by word.

One pass over the words of a sentence finds what it does (asks, wants a yes, refuses, claims to be done) and
what it is about. A table of phrases costs a third of what regular expressions of the same coverage cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from forge_envs.worlds.retail.goals import Goal

_PHRASES = {
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
    "did": (
        "cancelled|canceled|refunded|returned|requested|submitted|arranged|exchanged|swapped|"
        "replaced|modified|changed|updated|switched|moved|charged"
    ),
    # what a question is about
    "email": "email|emails|e-mail|mail address",
    "name": "name|names|zip|postal|postcode|post code",
    "identity": "identity|identify|verify|authenticate|who am i|who are you|your account",
    "order": "order id|order number|order no|which order|what order|order's number|order's id",
    "reason": "reason|reasons|why",
    "address": "address|addresses|where",
    "payment": "pay|payment|payments|paying|card|method|methods|refund to|refund go|be refunded",
    "items": (
        "item|items|option|options|color|colors|colour|colours|variant|variants|product|products|"
        "instead|would you like"
    ),
}


class _Node:
    """What may follow the words so far: the labels of the phrase that ends here, and the next words."""

    __slots__ = ("labels", "next")

    def __init__(self) -> None:
        self.labels: list[str] = []
        self.next: dict[str, _Node] = {}


def _tree() -> dict[str, _Node]:
    root: dict[str, _Node] = {}
    for label, phrases in _PHRASES.items():
        for phrase in phrases.split("|"):
            words = phrase.split()
            node = root.setdefault(words[0], _Node())
            for word in words[1:]:
                node = node.next.setdefault(word, _Node())
            node.labels.append(label)
    return root


_ROOT = _tree()
_SPACES = bytes(32 if chr(n) in '.,:;!?()"#$*' else n for n in range(256))
"""Turns punctuation into spaces; on bytes this is ten times as fast as on text."""
_LAST = frozenset({"right", "correct", "ok", "okay"})
TOPICS = ("email", "name", "identity", "order", "reason", "address", "payment", "items")

_ABOUT = {
    "fact": "order status total tracking",
    "cancel": "cancel cancelled canceled cancelling cancellation",
    "return": "return returned returning refund refunded send",
    "exchange": "exchange exchanged exchanging swap replace replaced",
    "modify": "modify modified change changed changing changes swap replace exchange update switch",
    "address": "address ship shipped send deliver",
    "home": "address",
    "payment": "pay paid payment charge card",
}
NAMES = {kind: frozenset(words.split()) for kind, words in _ABOUT.items()}
"""Words that name a kind of request."""
_DID = {
    "fact": "",
    "cancel": "cancelled canceled refunded",
    "return": "returned requested submitted arranged refunded",
    "exchange": "exchanged requested submitted arranged swapped replaced",
    "modify": "modified changed updated swapped replaced switched",
    "address": "changed updated modified moved",
    "home": "changed updated modified moved",
    "payment": "changed updated modified switched moved charged",
}
_CARRIED_OUT = {kind: frozenset(words.split()) for kind, words in _DID.items()}
"""Words that claim it was carried out."""
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

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = words = split(text)
        self.labels = labels = {}
        for n, word in enumerate(words):
            if word in _ROOT:
                node = _ROOT[word]
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


def listen(text: str) -> Heard:
    """Sort an utterance by what its sentences do. The result is shared: it is only to be read.

    Agents say the same things again and again, the members of a group most of all.
    """
    return _remembered(text) if len(text) < 400 else _listen(text)


def _listen(text: str) -> Heard:
    text = text.lower().replace("’", "'")
    heard = Heard(text)
    lines = text.replace(". ", ".\n").replace("? ", "?\n").replace("! ", "!\n").split("\n")
    for line in lines:
        sentence = Sentence(line)
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


_remembered = lru_cache(maxsize=4096)(_listen)


def _asks_to_confirm_a_fact(sentence: Sentence) -> bool:
    """ "Please confirm your email" asks for a fact, "please confirm" for a yes."""
    words = sentence.words
    if "confirm" not in words:
        return False
    after = words[words.index("confirm") + 1 :][:5]
    return bool({"your", "the"} & set(after[:2])) and bool(
        {"email", "e-mail", "name", "zip", "identity", "number", "id"} & set(after)
    )


def refuses(goal: Goal, claims: list[Sentence]) -> bool:
    """A clear no to the goal; not finding an account is none."""
    for sentence in claims:
        if "refusal" in sentence.labels:
            words = sentence.words
            if _SEARCHING.isdisjoint(words) and not (
                NAMES[goal.kind].isdisjoint(words) and _ANY.isdisjoint(words)
            ):
                return True
    return False


def finished(goal: Goal, claims: list[Sentence]) -> bool:
    """A claim that the goal was carried out: "has been cancelled", "done"; not "will be", "once", "not"."""
    for sentence in claims:
        labels, words = sentence.labels, sentence.words
        if "done" in labels:
            at = labels["done"]
        elif "did" in labels:
            at = labels["did"]
            if words[at] not in _CARRIED_OUT[goal.kind] or _PERFECT.isdisjoint(words[max(0, at - 4) : at]):
                continue
        else:
            continue
        start = max((n + 1 for n in range(at) if words[n] in _BREAKS), default=0)
        clause = words[start:at]
        if _NOT_YET.isdisjoint(clause) and not any(word.endswith("n't") for word in clause):
            return True
    return False
