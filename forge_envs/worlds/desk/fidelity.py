"""Whether a customer keeps to their notes, told by the scripted customer of the same task.

A twin of the scripted customer hears the agent too: it knows when what they came for is settled, and what is
wrong with what the agent is about to do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from forge_envs.messages import ToolCall
from forge_envs.worlds.desk.customer import Customer, Listener
from forge_envs.worlds.desk.hearing import split

_COMMON = frozenset(
    ("a", "an", "and", "are", "at", "by", "for", "from", "i", "i'd", "i'm", "in", "is", "it", "it's", "me")
).union(
    ("my", "no", "not", "of", "on", "one", "only", "or", "please", "the", "them", "this", "that", "to"),
    ("use", "was", "with", "you", "your"),
)
_YES = re.compile(r"\s*(?:yes|yeah|yep|sure|ok|okay|correct|that is right|that's right|go ahead|please do)\b")
_GENERAL = re.compile(
    r"\b(?:details?|information|info|tell me more|what exactly|which changes?|what changes?)\b"
)
"""Asks for all there is to tell."""
_NO = re.compile(r"\b(?:no|not|don't|doesn't|isn't|wrong|instead|rather|never|neither|nor)\b")


class DeskWatch:
    """Follows one conversation at a desk; a `forge_envs.people.fidelity.Watch`."""

    def __init__(self, listener: Listener, twin: Customer) -> None:
        self._listener = listener
        self._twin = twin
        self._twin_says: str | None = twin.open()
        task = listener.task
        requests = {word for goal in task.goals for word in split(goal.request.lower())}
        notes = [listener.persona(), *(goal.request for goal in task.goals)]
        details = [(topic, text) for goal in task.goals for topic, text in goal.details.items()]
        self._notes = " ".join([*notes, *(text for _, text in details)]).lower()
        identity = [(topic, frozenset(split(text.lower()))) for topic, text in listener.identity().items()]
        told = [(topic, frozenset(split(text.lower())) - _COMMON - _words(topic)) for topic, text in details]
        self._facts = [(topic, words - requests) for topic, words in [*identity, *told] if words - requests]
        self._raised: set[str] = set()
        """Topics that the agent has named."""
        self._agent = ""
        """All that it said, in lower case."""
        self._confirming = False
        self._objection: str | None = None
        wanted = (goal for goal in task.goals if not goal.forbidden and not goal.withdrawn)
        self._undone = [goal.call for goal in wanted if goal.call is not None]
        """Calls that would give them what they came for, until they are made."""

    def call(self, call: ToolCall) -> None:
        """The agent made a call, which the user does not see."""
        self._undone = [wanted for wanted in self._undone if wanted != call]

    def hear(self, prose: str) -> None:
        """The agent said something to the user."""
        heard = self._listener.ear.listen(prose)
        self._agent += f" {heard.text}"
        self._confirming = heard.confirm
        topics = self._listener.ear.topics
        self._raised |= topics.named(prose)
        self._raised |= {topic for question in heard.questions for topic in question.topics}
        if _GENERAL.search(heard.text):
            self._raised |= set(topics.names)
        self._listener.listen(prose)
        self._objection = None
        if self._twin_says is not None:
            self._objection = self._twin.objection(heard) if heard.confirm else None
            self._twin_says = self._twin.reply(prose)

    def say(self, line: str) -> Iterator[tuple[str, str]]:
        """The user said something; what is wrong with it, as (fault, why)."""
        text = line.lower().replace("’", "'")
        yield from self._disclosed(frozenset(split(text)))
        yield from self._invented(text)
        if self._objection is not None and _YES.match(text) and not _NO.search(text):
            yield "contradiction", f"agreed, where the notes say: {self._objection}"

    def leave(self) -> Iterator[tuple[str, str]]:
        """The user left on what was said last; what is wrong with that."""
        settled = not self._undone and self._listener.told == self._listener.task.to_tell
        if self._twin_says is not None and not settled:
            yield "premature_stop", f"left, where the notes go on: {self._twin_says}"

    def _disclosed(self, words: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Facts of topics that the agent has not named. Correcting a proposal tells what must be told."""
        if self._confirming:
            return
        raised = self._raised
        for topic, fact in self._facts:
            open_to_tell = topic in raised or (topic in self._listener.identity() and "identity" in raised)
            if not open_to_tell and 3 * len(fact & words) >= 2 * len(fact):
                if fact <= frozenset(split(self._agent)):
                    continue  # the agent knows it already
                yield "early_disclosure", f"told {topic} unasked: {' '.join(sorted(fact & words))}"

    def _invented(self, text: str) -> Iterator[tuple[str, str]]:
        """Values that neither the notes nor the agent have named."""
        for kind, find in self._listener.identifiers.items():
            known = find(self._notes) | find(self._agent)
            for value in sorted(find(text) - known):
                yield "contradiction", f"said {kind} {value!r}, which is not in the notes"
        if text.rstrip().endswith("?") or _NO.search(text):
            return  # asks, or says what they do not want
        goal = self._listener.task.goals[self._twin.at]
        mine = " ".join([goal.request, *goal.details.values()]).lower()
        for kind, find in self._listener.choices.items():
            wanted, said = find(mine), find(text)
            if wanted and said and not wanted & said and not said <= find(self._notes):
                yield "contradiction", f"said {kind} {sorted(said)}, where the notes say {sorted(wanted)}"


def _words(topic: str) -> frozenset[str]:
    """The name of a topic itself tells nothing."""
    return frozenset({topic, topic.removesuffix("s"), "card"})
