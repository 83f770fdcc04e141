"""What a customer wants and may not have: against a rule, against how things stand, or of somebody else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

from forge_envs.worlds.desk.draft import Redraw
from forge_envs.worlds.tooluse.domain import Deed, Law, RowKind
from forge_envs.worlds.tooluse.draft import VisitDraft
from forge_envs.worlds.tooluse.goals import Errand
from forge_envs.worlds.tooluse.words import spoken


def forbidden(draft: VisitDraft) -> Errand:
    """Something that a rule, or how things stand, forbids."""
    acts = list(draft.domain.acts.values())
    ways: list[tuple[Deed, Law | None]] = [(draft.domain.acts[law.act], law) for law in draft.domain.laws]
    ways += [(act, None) for act in acts if act.spec.from_ and len(act.spec.from_) < len(act.kind.states)]
    n = draft.dice.below(len(ways) + 1)
    insists = draft.dice.chance(0.5)
    if n == len(ways):
        return replace(_stranger(draft), insists=insists)
    act, law = ways[n]
    if law is None:
        states = [key for key in act.kind.states if key not in act.spec.from_]
        row = draft.record(act.kind, states)
        wish = draft.do(act, row)
        because = f"Its status is {spoken(row[act.kind.state])}."
    else:
        wish, because = _against(draft, act, law), law.text
    return replace(wish, truth="refused", insists=insists, because=because)


def _against(draft: VisitDraft, act: Deed, law: Law) -> Errand:
    """Wants what a rule forbids."""
    kind = act.kind
    row = draft.person
    if act.spec.does == "create":
        thing = draft.thing_for(kind)
    elif kind.role == "record":
        row = draft.record(kind, act.spec.from_)
        thing = row[kind.about]
    if law.side != "thing":
        side = draft.person if law.side == "person" else row
        side[law.column] = _violation(draft, law, draft.domain.person if law.side == "person" else kind)
    elif not law.holds(draft.domain.bases[draft.domain.kinds[kind.thing].table].rows[thing], draft.domain):
        raise Redraw
    return draft.creation(act, thing) if act.spec.does == "create" else draft.do(act, row)


def _violation(draft: VisitDraft, law: Law, kind: RowKind) -> Any:
    """A value for which a rule holds."""
    op, value = law.spec.when.op, law.value
    if op == "is":
        return value
    column = next((column for column in kind.columns if column.name == law.column), None)
    if op in ("within_days", "beyond_days"):
        days = draft.dice.below(value + 1) if op == "within_days" else value + 1 + draft.dice.below(10)
        return draft.domain.dates.write(draft.domain.today + dt.timedelta(days=days))
    if op == "is_not":
        return draft.dice.choice(
            [key for key in (column.values if column else kind.states.values()) if key != value]
        )
    if column is not None and column.spec.kind == "money":
        cents = draft.dice.below(1500)
        return value + cents / 100 if op == "at_least" else max(0.0, value - cents / 100)
    return value + draft.dice.below(2) if op == "at_least" else draft.dice.below(int(value) + 1)


def _stranger(draft: VisitDraft) -> Errand:
    """Asks about somebody else's record."""
    kind = draft.dice.choice(draft.domain.records)
    row = draft.dice.choice(list(draft.domain.bases[kind.table].rows.values()))
    asked = [column for column in kind.columns if column.spec.ask]
    column = draft.dice.choice(asked)
    it = f"{kind.noun} {row[kind.id_name]}"
    ask = draft.fill(draft.dice.choice(column.spec.ask), it=it)
    details = {f"record:{kind.key}": f"It is {it}."}
    return Errand(
        "fact",
        draft.say("stranger", ask=ask),
        row[kind.id_name],
        details,
        None,
        f"{kind.key}.{column.key}",
        about=kind.key,
        theirs=True,
        truth="refused",
    )
