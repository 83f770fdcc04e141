"""The exemplary agent of any domain: what it says and does for a task, and proof that this works."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.tables import Row, Table
from forge_envs.worlds.desk import gold
from forge_envs.worlds.desk.customer import listing
from forge_envs.worlds.desk.goals import Goal, Key
from forge_envs.worlds.tooluse.customer import Visitor
from forge_envs.worlds.tooluse.domain import ToolDomain
from forge_envs.worlds.tooluse.engine import Office
from forge_envs.worlds.tooluse.goals import Errand, ToolUseTask
from forge_envs.worlds.tooluse.tools import toolbox_of
from forge_envs.worlds.tooluse.values import say
from forge_envs.worlds.tooluse.words import capital, is_plural, spoken, with_articles


def gold_actions(task: ToolUseTask, voice: int) -> list[str | ToolCall]:
    """Prose and calls, one a turn, that meet all goals of the task."""
    return _Gold(task, voice).play()


def stumbling(task: ToolUseTask, voice: int) -> tuple[str, ...]:
    """One of the tools that gold calls."""
    names = [action.name for action in gold_actions(task, voice) if isinstance(action, ToolCall)]
    return (names[voice % len(names)],) if names else ()


def office(task: ToolUseTask) -> Office:
    """A fresh desk with a task's rows."""
    return Office(domain=task.domain, held=tables(task), stumbles=set(task.stumbles))


def tables(task: ToolUseTask) -> dict[str, Table]:
    """Fresh tables with a task's rows."""
    return {name: Table(base) for name, base in task.held.items()}


def rehearse(task: ToolUseTask) -> dict[Key, Row] | None:
    """Play a task's gold against its customer: the rows it changes, or None if it does not earn 1.0.

    What the agent needs to be told must have been said.
    """
    customer = _Overheard(task)
    target = gold.rehearse(task, customer, office(task), toolbox_of(task.domain).tools)
    for goal in task.goals if target is not None else ():
        if not goal.forbidden and not all(
            [goal.details[topic] in customer.answers for topic in asked(task, goal)]
        ):
            return None
    return target


class _Overheard(Visitor):
    """A customer whose answers are kept."""

    __slots__ = ("answers",)

    def __init__(self, task: ToolUseTask) -> None:
        super().__init__(task)
        self.answers = ""

    def reply(self, text: str) -> str | None:
        answer = super().reply(text)
        self.answers += f"{answer}\n"
        return answer


def asked(task: ToolUseTask, goal: Goal) -> list[str]:
    """The topics that the agent must ask about to meet a goal, beside who the customer is."""
    kind, act = task.kind(goal), task.act(goal)
    topics = [] if goal.knows_subject else [f"record:{kind.key}"]
    if not goal.forbidden:
        topics += [topic for topic in goal.details if not topic.startswith(("record:", "thing:"))]
        if act is not None and act.spec.does == "swap":
            topics.append(f"thing:{kind.thing}")
    return topics


@functools.lru_cache(maxsize=1024)
def _topics(domain: ToolDomain) -> dict[str, str]:
    """What the agent asks for, in words."""
    found = {
        "email": "your email",
        "identity": "your email address (or your name and phone number)",
        "reason": "the reason",
        "amount": "the amount",
    }
    for kind in domain.kinds.values():
        if kind.role == "record":
            found[f"record:{kind.key}"] = f"the {kind.noun} number"
        elif kind.role == "thing":
            found[f"thing:{kind.key}"] = f"the {kind.noun}"
        for column in kind.columns:
            found[f"value:{column.key}"] = (
                f"the new {column.said}" if kind.role == "person" else f"the {column.said}"
            )
    return found


class _Gold(gold.Exemplar[ToolUseTask]):
    package = __package__

    def __init__(self, task: ToolUseTask, voice: int) -> None:
        super().__init__(task, voice)
        self.domain = task.domain
        self.rules_read = not task.domain.asks_rules
        self.stumbles = set(task.stumbles)

    @property
    def topics(self) -> Mapping[str, str]:  # type: ignore[override]
        """What may be asked for, in words."""
        return _topics(self.domain)

    def needs(self, goal: Goal, *, first: bool) -> list[str]:
        """The customer's identity at first, the record, and what the request takes."""
        needs = ["email" if self.tiny and self.task.email else "identity"] if first else []
        return [*needs, *asked(self.task, goal)]

    def look_up(self, goal: Goal, *, first: bool) -> None:
        """Find the customer at first; then rules, profile, record and thing as they matter."""
        assert isinstance(goal, Errand)
        task, domain, act = self.task, self.domain, self.task.act(goal)
        if first:
            self._identify()
        if goal.theirs:
            return
        if act is not None and not self.rules_read:
            self.rules_read = True
            self._use("rules")
        laws = domain.laws_of[act.key] if act is not None else []
        if any(law.side == "person" for law in laws) or task.kind(goal).role == "person":
            self._profile()
        self._record(goal)
        if goal.thing and act is not None:
            thing = domain.kinds[act.kind.thing]
            search = domain.tool("search", thing.key)
            assert search is not None
            self._call(search.name, {search.by_role["label"]: self._label(goal)})
        if any(law.side == "thing" for law in laws) and act is not None:
            about = goal.thing or task.row(goal)[act.kind.about]
            self._read(act.kind.thing, about)

    def _record(self, goal: Errand) -> None:
        kind = self.task.kind(goal)
        if kind.role != "record" or not goal.subject:
            return
        if not goal.knows_subject:
            listed = self.domain.tool("list", kind.key)
            assert listed is not None
            self._call(listed.name, {self.domain.person.id_name: self.task.customer_id})
        if goal.searched:
            rows = self.task.held[kind.table].rows
            own = [key for key in rows if rows[key][kind.owner] == self.task.customer_id]
            for key in own[: own.index(goal.subject)]:
                self._read(kind.key, key)
        self._read(kind.key, goal.subject)

    def _profile(self) -> None:
        if not self.profile_read and not self.domain.finds_row:
            self._read("person", self.task.customer_id)
        self.profile_read = True

    def _read(self, key: str, row_id: str) -> None:
        """Read a row, once."""
        if row_id not in self.read:
            self.read.add(row_id)
            self._use("get", key, {self.domain.kinds[key].id_name: row_id})

    def _use(self, op: str, key: str = "", arguments: Mapping[str, Any] | None = None) -> None:
        spec = self.domain.tool(op, key)
        assert spec is not None, (op, key)
        self._call(spec.name, arguments or {})

    def _call(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Call a tool; once more if it fails at first."""
        call = ToolCall(name, dict(arguments))
        if name in self.stumbles:
            self.stumbles.discard(name)
            self.actions.append(call)
        self.actions.append(call)

    def act(self, call: ToolCall) -> None:
        """Carry out what was agreed."""
        self._call(call.name, call.arguments)

    def _identify(self) -> None:
        task = self.task
        told = {"email": task.email, "name": task.name, "phone": task.phone}
        for name in self.domain.finders:
            spec = self.domain.specs[name]
            if ("email" in spec.by_role) == bool(task.email):
                self._call(name, {argument: told[role] for role, argument in spec.by_role.items()})
                return
        raise AssertionError(self.domain.address)

    # -- what it says --------------------------------------------------------------------------------

    def manner(self, goal: Goal) -> str:
        """How the places are called where a goal is spoken about."""
        act = self.task.act(goal)
        if act is None:
            return "fact"
        does = act.spec.does
        if not goal.forbidden:
            return "told" if act.spec.by == "told" else does
        return {"set": "change", "swap": "change", "create": "create", "pay": "pay"}.get(does, "act")

    def words_of_refusal(self, goal: Goal) -> dict[str, str]:
        """What and why."""
        assert isinstance(goal, Errand)
        return {**self.words(goal), "because": goal.because, "person": self.domain.person.noun}

    def words(self, goal: Goal) -> dict[str, str]:
        """All that sentences about a goal may mention."""
        assert isinstance(goal, Errand)
        kind, act = self.task.kind(goal), self.task.act(goal)
        words = {
            "noun": kind.noun,
            "link": kind.link,
            "thing": "",
            "column": "",
            "value": "",
            "verb": "",
            "past": "",
        }
        it = "your account"
        if goal.subject:
            it = f"{kind.noun} {goal.subject}"
            if not goal.theirs and not self.tiny and self.voice % 3 == 0:
                it += f" ({self.task.label(kind, self.task.row(goal)[kind.about])})"
        words |= {"it": it, "It": capital(it), "reason": f", reason: {goal.reason}" if goal.reason else ""}
        if goal.thing:
            words["thing"] = self._label(goal)
        if goal.fact and not goal.forbidden:
            words |= self._fact(goal)
        if act is not None:
            words |= {"verb": act.verb, "Verb": capital(act.verb), "past": act.past}
            words["column"] = "" if act.column is None else act.column.said
            if act.spec.does == "swap":
                words["column"] = self.domain.kinds[kind.thing].noun
            values = [(column, say(self.domain, column, value)) for column, value in goal.wanted.values()]
            named = act.spec.does == "create"
            words["value"] = listing(
                [f"{column.said} {value}" if named else value for column, value in values] or [""]
            )
        several = is_plural(words["column"])
        words |= {"has": "have" if several else "has", "is": "are" if several else "is"}
        return words

    def _fact(self, goal: Errand) -> dict[str, str]:
        kind, (_, _, key) = self.task.kind(goal), goal.fact.partition(".")
        row = self.task.row(goal)
        if key == "state":
            return {"column": "status", "truth": spoken(row[kind.state])}
        column = kind.by_key[key]
        return {"column": column.said, "truth": say(self.domain, column, row[column.name])}

    def _label(self, goal: Errand) -> str:
        thing = self.domain.kinds[self.task.kind(goal).thing]
        label: str = self.task.held[thing.table].rows[goal.thing][thing.label]
        return label

    def say(self, place: str, **words: str) -> None:
        """Speak, with the articles that the words want."""
        super().say(place, **words)
        last = self.actions[-1]
        assert isinstance(last, str)
        self.actions[-1] = with_articles(last).replace("  ", " ").strip()
