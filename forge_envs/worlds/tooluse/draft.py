"""A task in the making: a customer of a domain, the rows written for it so far, and one goal of each kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from forge_envs.messages import ToolCall
from forge_envs.tables import Row
from forge_envs.worlds.desk.customer import choose
from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Redraw
from forge_envs.worlds.tooluse.database import MOST_OWN, draw_value, new_person, new_record, own_number
from forge_envs.worlds.tooluse.domain import Column, Deed, RowKind, ToolDomain
from forge_envs.worlds.tooluse.goals import Errand, forbidding
from forge_envs.worlds.tooluse.theme import ThemeField
from forge_envs.worlds.tooluse.values import heard_as, say
from forge_envs.worlds.tooluse.words import act_on_it, capital

TRIES = 24
"""Draws of one row after which the whole is drawn again."""
_AMOUNT = Column(ThemeField(key="amount", names=("amount",), kind="count"), "amount", "amount", ())


class VisitDraft:
    """A task in the making.

    Args:
        domain: where it plays.
        number: no other task of the domain has it.
        dice: all that is drawn is drawn with these.
    """

    def __init__(self, domain: ToolDomain, number: int, dice: Dice) -> None:
        self.domain, self.number, self.dice = domain, number, dice
        self.voice = dice.below(2**40)
        self.said = 0
        self.rows: dict[str, dict[str, Row]] = {kind.table: {} for kind in domain.kinds.values()}
        """What is written for this task, by table and id."""
        self.person = new_person(domain, own_number(domain.address, domain.person, number, 0), dice)
        self.customer_id: str = self.person[domain.person.id_name]
        self.rows[domain.person.table][self.customer_id] = self.person

    # -- words -------------------------------------------------------------------------------------------

    def say(self, place: str, **words: str) -> str:
        """A line for a place."""
        self.said += 1
        return choose(__package__, place, self.voice + 11 * self.said, self.domain.tiny, **words)

    def _words(self, kind: RowKind, row: Row) -> dict[str, str]:
        """What lines about a record may mention."""
        words = {"noun": kind.noun, "nouns": kind.plural, "Noun": capital(kind.noun), "link": kind.link}
        words |= {"id": row[kind.id_name], "thing": self._label(kind, row[kind.about])}
        return words

    def _label(self, kind: RowKind, thing_id: str) -> str:
        thing = self.domain.kinds[kind.thing]
        label: str = self.domain.bases[thing.table].rows[thing_id][thing.label]
        return label

    def _it(self, kind: RowKind, row: Row, knows: bool) -> str:
        return self.say("named" if knows else "unnamed", **self._words(kind, row))

    def fill(self, text: str, **words: str) -> str:
        """A theme's text in the domain's words."""
        filled = self.domain.vocabulary.fill(text, **words)
        return act_on_it(filled, words["verb"]) if "verb" in words else filled

    # -- rows --------------------------------------------------------------------------------------------

    def record(self, kind: RowKind, states: Sequence[str] = ()) -> Row:
        """A new record of the customer, in one of the states."""
        own = self.rows[kind.table]
        if len(own) >= MOST_OWN:
            raise Redraw
        things = self.domain.bases[self.domain.kinds[kind.thing].table].rows
        taken = {row[kind.about] for row in own.values()}
        free = [key for key in things if key not in taken]
        number = own_number(self.domain.address, kind, self.number, len(own))
        state = self.dice.choice(tuple(states) or tuple(kind.states))
        row = new_record(
            self.domain, kind, number, self.customer_id, self.dice.choice(free), state, self.dice
        )
        own[row[kind.id_name]] = row
        return row

    def sides(self, act: Deed, row: Row) -> dict[str, Row]:
        """The rows that rules look at."""
        if act.kind.role == "person":
            return {"person": self.person}
        things = self.domain.bases[self.domain.kinds[act.kind.thing].table].rows
        return {"person": self.person, "record": row, "thing": things[row[act.kind.about]]}

    def _allowed(self, act: Deed) -> Row:
        """A row for which an act is allowed: a new record of the customer, or the customer."""
        kind = act.kind
        row = self.person
        for _ in range(TRIES):
            if kind.role == "record":
                row = self.record(kind, act.spec.from_)
            law = forbidding(self.domain, act, self.sides(act, row))
            if law is None and self.feasible(act, row):
                return row
            if law is not None and law.side == "person":
                self._redraw(law.column)
            elif kind.role == "person":
                self._redraw(act.column.name if act.column else "")
            if kind.role == "record":
                del self.rows[kind.table][row[kind.id_name]]
        raise Redraw

    def _redraw(self, name: str) -> None:
        """Another value in a column of the customer."""
        for column in self.domain.person.columns:
            if column.name == name and column.spec.kind not in ("email", "phone"):
                self.person[name] = draw_value(column, self.domain.today, self.domain.dates, self.dice)

    def feasible(self, act: Deed, row: Row) -> bool:
        """Whether the tool lets it through, beside states and rules."""
        column = act.column
        if act.spec.does == "pay" and column is not None:
            return bool(row[column.name] >= 2)
        if act.spec.does == "add" and column is not None and column.spec.kind != "date":
            least = -act.spec.range[0] if act.spec.by == "told" else -act.by
            return bool(row[column.name] >= least)
        return True

    # -- goals ---------------------------------------------------------------------------------------------

    def fact(self, knows: bool = True) -> Errand:
        """Asks for one fact."""
        kinds = [*self.domain.records, *((self.domain.person,) if knows and not self.domain.tiny else ())]
        kind = self.dice.choice(kinds)
        asked = [column for column in kind.columns if column.spec.ask]
        if not asked and kind.role == "person":
            raise Redraw
        row = self.person if kind.role == "person" else self.record(kind)
        if kind.role == "record" and self.dice.below(len(asked) + 1) == len(asked):
            return self._fact(kind, row, "state", self.domain_state(kind, row), knows)
        column = self.dice.choice(asked)
        return self._fact(kind, row, column.key, heard_as(self.domain, column, row[column.name]), knows)

    def domain_state(self, kind: RowKind, row: Row) -> str:
        """The key of the state of a record."""
        return next(key for key, value in kind.states.items() if value == row[kind.state])

    def _fact(self, kind: RowKind, row: Row, key: str, truth: str, knows: bool) -> Errand:
        if kind.role == "person":
            text = self.fill(self.dice.choice(kind.by_key[key].spec.ask))
            return Errand("fact", text, fact=f"person.{key}", truth=truth)
        it = self._it(kind, row, knows)
        if key == "state":
            text = self.say("state", it=it)
        else:
            text = self.fill(self.dice.choice(kind.by_key[key].spec.ask), it=it)
        details = {f"record:{kind.key}": self._which(kind, row, knows)}
        return Errand(
            "fact",
            text,
            row[kind.id_name],
            details,
            None,
            f"{kind.key}.{key}",
            truth,
            knows_subject=knows,
            about=kind.key,
        )

    def _which(self, kind: RowKind, row: Row, knows: bool) -> str:
        return self.say("found_by_id" if knows else "found_by_thing", **self._words(kind, row))

    def known_by_field(self, goal: Errand) -> Errand:
        """The goal, its record known by a field that no other of the customer shares, if there is one."""
        kind = self.domain.kinds[goal.about]
        own = self.rows[kind.table]
        columns = [
            column
            for column in kind.columns
            if column.spec.kind in ("date", "choice", "money")
            and goal.fact.partition(".")[2] != column.key
            and sum(row[column.name] == own[goal.subject][column.name] for row in own.values()) == 1
        ]
        if not columns or len(own) < 2:
            return goal
        column = self.dice.choice(columns)
        value = say(self.domain, column, own[goal.subject][column.name])
        words = {"noun": kind.noun, "column": column.said, "value": value}
        details = {**goal.details, f"record:{kind.key}": self.say("found_by_field", **words)}
        return replace(goal, details=details, searched=True)

    def act(self, act: Deed, row: Row | None = None, knows: bool = True) -> Errand:
        """Wants an act that is allowed."""
        if act.spec.does == "create":
            return self._create(act)
        return self.do(act, self._allowed(act) if row is None else row, knows)

    def do(self, act: Deed, row: Row, knows: bool = True) -> Errand:
        """Wants something done to a row."""
        if not self.feasible(act, row):
            raise Redraw
        kind, spec = act.kind, self.domain.doing[act.key]
        arguments: dict[str, Any] = {kind.id_name: row[kind.id_name]}
        details: dict[str, str] = {}
        wanted: dict[str, tuple[Column, Any]] = {}
        thing = ""
        if act.spec.does == "set":
            assert act.column is not None
            topic, value = f"value:{act.column.key}", self._other(act.column, row)
            wanted[topic] = act.column, value
            arguments[spec.by_role[topic]] = value
        elif act.spec.does == "pay" or act.spec.by == "told":
            assert act.column is not None
            wanted["amount"] = self._amount(act, row)
            arguments[spec.by_role["amount"]] = wanted["amount"][1]
        elif act.spec.does == "swap":
            thing = self.thing_for(kind, but=row[kind.about])
            arguments[kind.about] = thing
            details[f"thing:{kind.thing}"] = capital(self.say("tell_thing", thing=self._label(kind, thing)))
        for topic, (column, value) in wanted.items():
            details[topic] = self._telling(column, value)
        reason = self.dice.choice(act.reasons) if act.reasons else ""
        if reason:
            arguments[spec.by_role["reason"]] = reason
            details["reason"] = capital(self.say("tell_reason", reason=reason))
        call, text = ToolCall(spec.name, arguments), self.dice.choice(act.spec.wish)
        if kind.role == "person":
            text = self.fill(text, verb=act.verb)
            return Errand(act.key, text, "", details, call, wanted=wanted, reason=reason)
        details[f"record:{kind.key}"] = self._which(kind, row, knows)
        text = self.fill(
            text, it=self._it(kind, row, knows), verb=act.verb, thing=self._label(kind, row[kind.about])
        )
        return Errand(
            act.key,
            text,
            row[kind.id_name],
            details,
            call,
            knows_subject=knows,
            about=kind.key,
            wanted=wanted,
            thing=thing,
            reason=reason,
        )

    def _create(self, act: Deed) -> Errand:
        """Wants something new."""
        kind = act.kind
        for _ in range(TRIES):
            thing = self.thing_for(kind)
            sides = {
                "person": self.person,
                "thing": self.domain.bases[self.domain.kinds[kind.thing].table].rows[thing],
            }
            law = forbidding(self.domain, act, sides)
            if law is None:
                return self.creation(act, thing)
            if law.side == "person":
                self._redraw(law.column)
        raise Redraw

    def creation(self, act: Deed, thing: str) -> Errand:
        """Wants something new about a thing, allowed or not."""
        kind, spec = act.kind, self.domain.doing[act.key]
        label = self._label(kind, thing)
        arguments: dict[str, Any] = {self.domain.person.id_name: self.customer_id, kind.about: thing}
        details = {f"thing:{kind.thing}": capital(self.say("tell_thing", thing=label))}
        wanted: dict[str, tuple[Column, Any]] = {}
        for column in act.asks:
            topic, value = (
                f"value:{column.key}",
                draw_value(column, self.domain.today, self.domain.dates, self.dice),
            )
            wanted[topic] = column, value
            arguments[spec.by_role[topic]] = value
            details[topic] = self._telling(column, value)
        text = self.fill(self.dice.choice(act.spec.wish), thing=label, verb=act.verb)
        call = ToolCall(spec.name, arguments)
        return Errand(act.key, text, "", details, call, about=kind.key, wanted=wanted, thing=thing)

    def thing_for(self, kind: RowKind, but: str = "") -> str:
        """A thing that there is enough of."""
        thing = self.domain.kinds[kind.thing]
        rows = self.domain.bases[thing.table].rows
        left = thing.by_key[kind.stock].name if kind.stock else ""
        free = [key for key, row in rows.items() if key != but and (not left or row[left] >= 3)]
        if not free:
            raise Redraw
        return self.dice.choice(free)

    def _other(self, column: Column, row: Row) -> Any:
        """Another value than a row has."""
        if column.spec.kind == "email":
            name = self.person[self.domain.person.label].lower().replace(" ", ".")
            return f"{name}{self.dice.digits(3)}@example.org"
        for _ in range(TRIES):
            value = draw_value(column, self.domain.today, self.domain.dates, self.dice)
            if value != row[column.name]:
                return value
        raise Redraw

    def _amount(self, act: Deed, row: Row) -> tuple[Column, Any]:
        column = act.column
        assert column is not None
        if act.spec.does == "pay":
            most = int(row[column.name])
            return column, row[column.name] if self.dice.chance(0.3) else float(1 + self.dice.below(most))
        low, high = act.spec.range
        return _AMOUNT if column.spec.kind != "money" else column, low + self.dice.below(high - low + 1)

    def _telling(self, column: Column, value: Any) -> str:
        text = self.dice.choice(column.spec.tell[:1] if self.domain.tiny else column.spec.tell)
        return capital(self.fill(text, value=say(self.domain, column, value)))

    def consistent(self, goals: Sequence[Errand]) -> bool:
        """Whether what is wanted is still allowed, or forbidden, now that all rows are written."""
        for goal in goals:
            act = self.domain.acts.get(goal.kind)
            if act is None:
                if goal.about == "person" and goal.truth != self._known(goal.fact.partition(".")[2]):
                    return False
                continue
            law = forbidding(self.domain, act, self._sides_of(goal, act))
            row = self._row_of(goal, act)
            if not goal.forbidden and (law is not None or not self.feasible(act, row)):
                return False
            owed = row[act.column.name] if act.spec.does == "pay" and act.column is not None else None
            if owed is not None and goal.wanted["amount"][1] > owed:
                return False
        return True

    def _known(self, key: str) -> str:
        column = self.domain.person.by_key[key]
        return heard_as(self.domain, column, self.person[column.name])

    def _row_of(self, goal: Errand, act: Deed) -> Row:
        return self.rows[act.kind.table][goal.subject] if goal.subject else self.person

    def _sides_of(self, goal: Errand, act: Deed) -> Mapping[str, Row]:
        if act.spec.does == "create":
            things = self.domain.bases[self.domain.kinds[act.kind.thing].table].rows
            return {"person": self.person, "thing": things[goal.thing]}
        return self.sides(act, self._row_of(goal, act))
