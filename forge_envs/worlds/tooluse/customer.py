"""The customer of a domain: what the scripted one tells and minds, what a model as one is told."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from forge_envs.messages import ToolCall
from forge_envs.worlds.desk.customer import Customer, Find, Listener
from forge_envs.worlds.desk.goals import Goal
from forge_envs.worlds.desk.hearing import Ear, Heard, Question
from forge_envs.worlds.tooluse.domain import RowKind, ToolDomain
from forge_envs.worlds.tooluse.ear import PENDING, asks_nothing
from forge_envs.worlds.tooluse.goals import Errand, ToolUseTask
from forge_envs.worlds.tooluse.hearing import ear_of
from forge_envs.worlds.tooluse.values import EMAIL, PHONE, find, find_state, heard_as, phrases, plain, without

_LATER = frozenset(
    [
        "will",
        "shall",
        "going",
        "let",
        "once",
        "before",
        "about",
        "try",
        "moment",
        "need",
        "can",
        "could",
        "not",
        "might",
        "may",
        "should",
        "believe",
        "if",
        "whether",
        "see",
        "look",
        "looking",
        "check",
        "checking",
        "find",
        "found",
        "finding",
        "opening",
        "getting",
        "there",
        "enough",
        "due",
        "please",
        "first",
        "soon",
        "want",
    ]
)
"""Words of what has not been done yet, or could not be."""
_CHANGED = frozenset(("ALREADY", "new", "instead"))
"""Roles and words of what is other than it was."""
_DONE = frozenset(("SVC.ed", "DONE", "ALREADY", "again"))
"""Roles and words of what is as it was wanted, where nothing but that is wanted."""
_PERFECT = re.compile(
    r"(?:\b(?:i|we)(?:'ve| have)|\b(?:has|have) been)(?: (?:now|just|already|been|gone ahead and))* "
    r"(\w+ed|\w\w+[wr]n|set|put|let|cut|given|taken|spoken|written|frozen)\b"
)
_PREPARED = frozenset(
    [
        *("asked", "been", "called", "checked", "confirmed", "found", "happened", "heard", "identified"),
        *("listed", "located", "logged", "looked", "lost", "mentioned", "needed", "noted", "noticed"),
        *("opened", "pulled", "queued", "read", "received", "requested", "searched", "seen", "selected"),
        *("started", "tried", "understood", "used", "verified"),
    ]
)
"""What is done on the way to it, or to be kind."""
_DENIED = re.compile(
    r"(?:\bnot|n't|\bno longer|\binstead of|\brather than)(?: (?:be|been|being|yet|the|an?))* "
)
"""What a value is denied with that follows it."""
_NUMBERED = re.compile(r"[-_#]")
_WHO = frozenset(("email", "name", "phone", "identity"))
_NEWER = frozenset(("new", "instead", "change", "update", "should", "want", "like", "become", "replace"))


@dataclass(slots=True)
class Visitor(Customer):
    """Somebody who turns to a domain's desk."""

    task: ToolUseTask
    agreed: bool = False
    """Said yes to the request in hand: what is stated of it then is taken for what was done."""

    @property
    def ear(self) -> Ear:
        """What they understand."""
        return ear_of(self.task.domain)

    def _stated(self, goal: Goal, claims: str) -> set[str]:
        task = self.task
        assert isinstance(goal, Errand)
        kind, (_, _, key) = task.kind(goal), goal.fact.partition(".")
        names = [goal.subject.lstrip("#"), task.customer_id.lstrip("#"), task.name]
        if kind.role == "record":
            names.append(task.label(kind, task.row(goal)[kind.about]))
        text = without(claims, [*names, _NUMBERED.split(names[0])[-1]])
        stated = find_state(kind, text) if key == "state" else find(kind.by_key[key], text)
        if len(stated) < 2:
            return stated
        # "Not folded: on hangers" tells one; what is called the status is it, whatever else is said.
        text = _DENIED.sub(r"\g<0>x", text)
        _, status, after = text.rpartition("status")
        text = after if key == "state" and status else text
        return (find_state(kind, text) if key == "state" else find(kind.by_key[key], text)) or stated

    # -- what they tell ------------------------------------------------------------------------------

    def _tell(self, goal: Goal, question: Question) -> Iterator[str]:
        task, details = self.task, goal.details
        right = {topic for topic, wanted, said in self._said(goal, self.listed) if said == {wanted}}
        topics = [topic for topic in question.topics if topic not in right]  # what was listed is not missing
        if "email" in topics and "name" in topics:
            topics.remove("name" if task.email else "email")
        for topic in topics:
            value = f"value:{topic}"
            if (
                value in topics
                and value in details
                and (self.told_who or not _NEWER.isdisjoint(question.text.split()))
            ):
                continue  # they are asked for another one
            if topic == "email":
                yield f"My email is {task.email}." if task.email else "I do not remember my email."
            elif topic in ("name", "phone") or (topic == "identity" and not task.email):
                yield f"I am {task.name}, phone {task.phone}."
            elif topic == "identity":
                yield f"My email is {task.email}."
            elif topic == "other":
                yield " ".join([line for name, line in details.items() if not name.startswith("record:")])
            else:
                yield details.get(topic, "")

    @property
    def told_who(self) -> bool:
        """Whether the request in hand is not the first, so that the agent knows who they are."""
        return self.at > 0

    # -- what they mind ------------------------------------------------------------------------------

    def _listen(self, goal: Goal, heard: Heard) -> str | None:
        answer = Customer._listen(self, goal, heard)
        return self._settle("done") if answer == "" and self._carried_out(goal, heard) else answer

    def _carried_out(self, goal: Goal, heard: Heard) -> bool:
        """Whether what they want was told as a fact: "Your new slot is Monday"; after a yes, any of it."""
        if goal.call is None or not asks_nothing(heard):
            return False
        for text, marks in heard.statements:
            if not PENDING.isdisjoint(marks):
                break  # what follows may be a list of what will be done
            if not _CHANGED.isdisjoint(marks):
                found = self._said(goal, text)
                if found and all([wanted in said for _, wanted, said in found]):
                    return True
        if not self.agreed or not heard.claims:
            return False
        if any([PENDING.isdisjoint(marks) and _perfect(text) for text, marks in heard.statements]):
            return not self.ear.names_another(goal.kind, heard.stems)
        if not _LATER.isdisjoint(heard.words):
            return False
        found = self._said(goal, heard.text)
        if found:
            return any([wanted in said for _, wanted, said in found])
        done = any([not _DONE.isdisjoint(marks) for _, marks in heard.statements])
        return done and self._lists(goal, heard)

    def _confirm(self, goal: Goal, heard: Heard) -> str | None:
        answer = Customer._confirm(self, goal, heard)
        self.agreed = answer == "Yes."
        return answer

    def _go_on(self) -> None:
        Customer._go_on(self)
        self.agreed = False

    def _lists(self, goal: Goal, heard: Heard) -> bool:
        if Customer._lists(self, goal, heard):
            return True
        if goal.call is None or self.ear.names_another(goal.kind, heard.stems):
            return False
        asked = {topic for question in heard.wanted for topic in question.topics}
        if asked & _WHO or any(topic.startswith("record:") for topic in asked):
            return False  # "Is your email on ticket T-12?" lists nothing
        subject = goal.subject.lower().lstrip("#")
        named = bool(subject) and subject in self.task.kind(goal).ids.find(heard.text)
        return named or any(wanted in said for _, wanted, said in self._said(goal, heard.text))

    def _values(self, goal: Goal, call: ToolCall, heard: Heard) -> bool:
        if self.ear.names_another(goal.kind, heard.stems):
            return False
        found = self._said(goal, heard.text)
        return bool(found) and all([wanted in said for _, wanted, said in found])

    def _said(self, goal: Goal, text: str) -> list[tuple[str, str, set[str]]]:
        """Topic by topic: what is wanted, and all of its kind that a text names."""
        assert isinstance(goal, Errand)
        domain, found = self.task.domain, []
        names = [goal.subject.lstrip("#"), self.task.customer_id.lstrip("#")]
        bare = without(text, [*names, _NUMBERED.split(names[0])[-1]])
        for topic, (column, value) in goal.wanted.items():
            found.append((topic, heard_as(domain, column, value), find(column, bare)))
        if goal.thing:
            kind = domain.kinds[self.task.kind(goal).thing]
            rows = self.task.held[kind.table].rows
            wanted = rows[goal.thing][kind.label].lower()
            found.append((f"thing:{kind.key}", plain(wanted), phrases(_labels(domain, kind), text)))
        act = self.task.act(goal)
        if goal.reason and act is not None:
            found.append(("reason", plain(goal.reason.lower()), phrases(act.reasons, text)))
        return found

    def _mind(self, goal: Goal, call: ToolCall, heard: Heard) -> str | None:
        if not self._lists(goal, heard):
            another = self.ear.names_another(goal.kind, heard.stems)
            return f"No. {goal.request}" if another else "What exactly will you do?"
        kind = self.task.kind(goal)
        if goal.subject and goal.knows_subject and kind.role == "record":
            ids = kind.ids.find(heard.text)
            if ids and goal.subject.lower().lstrip("#") not in ids:
                return f"No, not that {kind.noun}. {goal.request}"
        for topic, wanted, said in self._said(goal, heard.text):
            if said and wanted not in said:
                return f"No. {goal.details[topic]}"
        return None


def _perfect(text: str) -> bool:
    """Whether something was done, whatever the verb: "I've reactivated it", "has been written"."""
    return any([found[1] not in _PREPARED for found in _PERFECT.finditer(text)])


@functools.lru_cache(maxsize=4096)
def _labels(domain: ToolDomain, kind: RowKind) -> tuple[str, ...]:
    """The names of all things of a kind."""
    return tuple([row[kind.label] for row in domain.bases[kind.table].rows.values()])


class VisitorListener(Listener, Visitor):
    """What the verdict hears beside a model that plays the customer of a domain."""

    __slots__ = ()

    @property
    def unknown(self) -> str:
        """What customers are told who cannot say the id of what they come for."""
        kinds = [self.task.kind(goal) for goal in self.task.goals if not goal.knows_subject]
        nouns = {kind.noun: kind.plural for kind in kinds}
        noun, several = next(iter(nouns.items()), ("record", "records"))
        return f"You do not know the number of the {noun}; the agent can look your {several} up."

    @property
    def identifiers(self) -> Mapping[str, Find]:
        """Kinds of ids: who names one that nobody gave made it up."""
        ids = {kind.noun: kind.ids.find for kind in self.task.domain.records}
        return {
            "email": lambda text: set(EMAIL.findall(text)),
            "phone": lambda text: set(PHONE.findall(text)),
            **ids,
        }

    @property
    def choices(self) -> Mapping[str, Find]:
        """Kinds of values with few alternatives."""
        columns = {
            topic: column
            for goal in self.task.goals
            if isinstance(goal, Errand)
            for topic, (column, _) in goal.wanted.items()
            if column.spec.kind == "choice"
        }
        return {topic: lambda text, column=column: find(column, text) for topic, column in columns.items()}  # type: ignore[misc]

    def persona(self) -> str:
        """Who they are, and what they can tell about themselves."""
        task = self.task
        email = f"Your email is {task.email}." if task.email else "You do not remember your email."
        return (
            f"You are {task.name}, a {task.domain.person.noun} of the {task.domain.place}. "
            f"Your phone number is {task.phone}. {email}"
        )

    def identity(self) -> dict[str, str]:
        """The email, if they remember it, and the phone number that goes with the name."""
        return {"name": self.task.phone, **({"email": self.task.email} if self.task.email else {})}
