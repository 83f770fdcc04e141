"""Who comes with errands for the tools of a folder: says what they want and answers what is asked.

They understand an answer by what it holds: the value they asked for and no other, a no, or a plain statement
after a wish. Whether the wish was done is seen in the rows, not in what the agent says of it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from forge_envs.messages import ToolCall
from forge_envs.people.users import Brief

PATIENCE = 4
"""Useless turns after which the customer leaves."""
_NO = re.compile(
    r"\b(?:not (?:found|there|exist|available|possible|in )|n['’]t (?:find|exist|seem)|cannot|can['’]?t"
    r"|could ?n['’]?t|could not|do(?:es)?(?: not|n['’]?t) exist|no such|there (?:is|was|are) no|unable"
    r"|unfortunately|was ?n['’]?t|is ?n['’]?t|impossible|no record|refused|declined)\b",
    re.IGNORECASE,
)
_CONSENT = re.compile(
    r"\b(?:(?:shall|should|may|can|could) (?:i|we)|(?:want|like) (?:me|us) to|are you sure|confirm|proceed"
    r"|go ahead|is (?:that|this|it) (?:right|correct|ok))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Want:
    """One thing that the customer wants."""

    kind: str
    """"create", "update", "delete", "action", "ask", or "missing": about a row that is not there."""
    request: str
    details: dict[str, str] = field(default_factory=dict)
    """What is told only when it is asked for: words of the question -> the answer."""
    truth: str = ""
    """The value that must be heard; "no" for a refusal, "" where nothing must be."""
    rivals: frozenset[str] = frozenset()
    """Values of the same kind: who names one of them has not answered."""
    refused: bool = False
    call: ToolCall | None = None
    """The call that does it or finds it out."""

    @property
    def statement(self) -> str:
        """What a judge is asked about; it is made of names and values alone."""
        wish = f"The customer's request {json.dumps(self.request, ensure_ascii=False)}"
        if self.refused:
            return f"{wish} cannot be met, and the agent told the customer so."
        if self.truth:
            return f"{wish} was answered with a value that a tool returned."
        return (
            f"{wish} was carried out by a call that was not refused, with the values that the customer gave."
        )

    @property
    def to_hear(self) -> bool:
        """Whether the customer must hear something."""
        return self.refused or bool(self.truth)


@dataclass
class FolderCustomer:
    """A `User`: the errands one after the other."""

    errands: Sequence[Want]
    at: int = 0
    patience: int = PATIENCE
    heard: set[int] = field(default_factory=set)
    """Errands of which what must be heard was heard, and truly."""
    settled: int = 0

    @property
    def told(self) -> int:
        """How many of the things they must hear the customer has heard."""
        return len(self.heard)

    def open(self) -> str:
        """The first errand."""
        return self.errands[0].request

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the customer leaves."""
        if self.settled == len(self.errands):
            return None
        if not text.strip():
            return self._puzzled("Hello? Are you there?")
        errand = self.errands[self.at]
        asks = text.rstrip().rstrip("\"')*_").endswith("?")
        if errand.truth and (named := _named(text, {errand.truth, *errand.rivals})):
            if len(named) > 1:
                return self._puzzled("Which one is it?")
            if named == {errand.truth}:
                self.heard.add(self.at)
            return self._next()
        if errand.refused and _NO.search(text):
            self.heard.add(self.at)
            return self._next()
        if asks:
            return self._answer(errand, text)
        if errand.to_hear:
            return self._puzzled(f"That is no answer yet. {errand.request}")
        return self._next()

    def _answer(self, errand: Want, text: str) -> str | None:
        asked = text.casefold()
        wanted = [told for words, told in errand.details.items() if words.casefold() in asked]
        if wanted:
            return " ".join(wanted)
        if errand.details and not _CONSENT.search(asked):
            return " ".join(errand.details.values())
        if _CONSENT.search(asked):
            return self._puzzled(" ".join(["Yes, please.", *errand.details.values()]))
        return self._puzzled(
            " ".join(["I have told you all that I know.", errand.request, *errand.details.values()])
        )

    def _puzzled(self, line: str) -> str | None:
        self.patience -= 1
        return line if self.patience > 0 else None

    def _next(self) -> str | None:
        self.settled += 1
        self.patience = PATIENCE
        if self.settled == len(self.errands):
            return None
        self.at += 1
        return f"Thanks. {self.errands[self.at].request}"

    def brief(self) -> Brief:
        """The notes for a model that plays this customer; the answers they wait for are not in it."""
        wishes = []
        for number, errand in enumerate(self.errands, 1):
            known = f" If asked: {' '.join(errand.details.values())}" if errand.details else ""
            answer = " You want a definite answer." if errand.to_hear else ""
            wishes.append(f"{number}. Say: {errand.request}{known}{answer}")
        manners = "You have said the first thing already. Agree when the agent asks whether to go ahead."
        return Brief("You are a customer.", "\n".join(wishes), manners, opening=self.open())


def _named(text: str, values: set[str]) -> set[str]:
    """Which of the values a text names, each as a whole; of one inside another only the longer."""
    low = text.casefold()
    found: dict[str, list[tuple[int, int]]] = {}
    for value in values:
        pattern = rf"(?<![\w.]){re.escape(value.casefold())}(?![\w]|\.\d)"
        places = [match.span() for match in re.finditer(pattern, low)]
        if places:
            found[value] = places
    return {
        value for value, places in found.items() if any(not _inside(place, value, found) for place in places)
    }


def _inside(place: tuple[int, int], value: str, found: dict[str, list[tuple[int, int]]]) -> bool:
    return any(
        other != value and start <= place[0] and place[1] <= end and end - start > place[1] - place[0]
        for other, places in found.items()
        for start, end in places
    )
