"""What a seed draws from a theme: which parts a domain has, and how it spells them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Redraw
from forge_envs.worlds.tooluse.domain import Column, Deed, Law, RowKind, ToolDomain
from forge_envs.worlds.tooluse.spelling import DATE_STYLES, ERRORS, AnswerStyle, DateStyle, IdStyle, Spelling
from forge_envs.worlds.tooluse.theme import (
    BUILT_IN,
    Called,
    Names,
    Theme,
    ThemeAction,
    ThemeField,
    ThemeRecord,
    ThemeRule,
)
from forge_envs.worlds.tooluse.toolset import draw_tools
from forge_envs.worlds.tooluse.words import Vocabulary, plural, spoken

STREETS = ("Harbor", "Elm", "Mill", "Station", "Abbey", "Lake", "Bridge", "Castle", "Orchard", "Quarry")
ENDINGS = ("Street", "Road", "Square", "Lane", "Avenue", "Hill")


@dataclass
class Parts:
    """The parts of the theme that a domain has."""

    records: dict[str, ThemeRecord]
    actions: list[ThemeAction]
    rules: list[ThemeRule]
    fields: dict[str, list[ThemeField]] = field(default_factory=dict)
    """Key of a kind -> its fields."""


def draw_domain(address: str, theme: Theme, tiny: bool, dice: Dice) -> ToolDomain:
    """A domain without its database. Raises Redraw where the draw does not fit together."""
    parts = _draw_parts(theme, tiny, dice)
    spelling = _draw_spelling(theme, tiny, dice)
    today = dt.date(2025, 1, 6) + dt.timedelta(days=dice.below(900))
    kinds = _draw_kinds(theme, parts, spelling, tiny, dice)
    words = _words(theme, kinds, parts, dice)
    acts = {action.key: _draw_act(action, kinds, words, tiny, dice) for action in parts.actions}
    for act in acts.values():
        words |= {f"verb:{act.key}": act.verb, f"past:{act.key}": act.past}
    vocabulary = Vocabulary(words)
    laws = tuple([_draw_law(rule, acts, kinds, vocabulary, dice) for rule in parts.rules])
    asks_rules = not tiny and bool(laws) and dice.chance(0.2)
    dates = DateStyle("iso" if tiny else dice.choice(("iso", "iso", *DATE_STYLES)))
    specs = draw_tools(theme, kinds, acts, laws, vocabulary, spelling, tiny, asks_rules, dates.like, dice)
    town = f"{dice.choice(STREETS)} {dice.choice(ENDINGS)}"
    return ToolDomain(
        address=address,
        theme=theme.name,
        tiny=tiny,
        place=f"{town} {dice.choice(theme.places)}",
        today=today,
        dates=dates,
        answers=AnswerStyle("flat" if tiny else dice.choice(("flat", "flat", "nested", "wrapped", "lines"))),
        errors="plain" if tiny else dice.choice(tuple(ERRORS)),
        kinds=kinds,
        acts=acts,
        laws=laws,
        specs=specs,
        vocabulary=vocabulary,
        finds_row=dice.chance(0.5) and not tiny,
        asks_rules=asks_rules,
    )


# -- which parts -----------------------------------------------------------------------------------------


def _draw_parts(theme: Theme, tiny: bool, dice: Dice) -> Parts:
    """Records, actions and rules: always something simple to do, something to be told, and a fact to ask."""
    keys = dice.sample(tuple(theme.records), 1 if tiny else 1 + dice.below(len(theme.records)))
    records = {key: theme.records[key] for key in theme.records if key in keys}
    open_to = [
        action for action in theme.actions if action.on in records or (action.on == "person" and not tiny)
    ]
    simple = dice.sample([action for action in open_to if not action.told and action.on in records], 1)
    told = [action for action in open_to if action.told]
    if tiny:
        told = [action for action in told if action.does in ("set", "add")]
    told = dice.sample(told, 1 if tiny else 2)
    if not simple or len(told) < (1 if tiny else 2):
        raise Redraw
    chosen = [*simple, *told]
    others = [action for action in open_to if action not in chosen]
    chosen += dice.sample(others, 0 if tiny else 1 + dice.below(6))
    actions = [action for action in theme.actions if action in chosen]
    rules = [rule for rule in theme.rules if any(rule.action == action.key for action in actions)]
    drawn = dice.sample(rules, 1 if tiny else 2 + dice.below(4))
    parts = Parts(records, actions, [rule for rule in theme.rules if rule in drawn])
    parts.fields["person"] = _fields("person", theme.person.fields, parts, tiny, dice)
    for key, record in records.items():
        parts.fields[key] = _fields(key, record.fields, parts, tiny, dice)
        if sum(bool(one.ask) for one in parts.fields[key]) < 1:
            raise Redraw
        parts.fields[record.of] = _fields(record.of, theme.things[record.of].fields, parts, tiny, dice)
    return parts


def _fields(key: str, fields: Sequence[ThemeField], parts: Parts, tiny: bool, dice: Dice) -> list[ThemeField]:
    """The fields that actions and rules need, one to ask for, and some more."""
    needed = set()
    for action in parts.actions:
        if action.on == key:
            needed |= {action.field, *action.asks, *action.defaults}
    on = {action.key: action.on for action in parts.actions}
    for rule in parts.rules:
        side, _, name = rule.when.what.partition(".")
        record = on[rule.action]
        about = parts.records[record].of if record in parts.records else ""
        if {"record": record, "person": "person", "thing": about}[side] == key:
            needed.add(name)
    needed |= {record.stock for record in parts.records.values() if record.of == key}
    chosen = [one for one in fields if one.key in needed]
    others = [one for one in fields if one.key not in needed]
    asked = [one for one in others if one.ask]
    if key in parts.records and asked:
        chosen += dice.sample(asked, 1 if tiny else 1 + dice.below(len(asked)))
    elif not tiny:
        chosen += dice.sample(others, dice.below(len(others) + 1))
    return [one for one in fields if one in chosen]


# -- how they are called -----------------------------------------------------------------------------------


def _draw_spelling(theme: Theme, tiny: bool, dice: Dice) -> Spelling:
    if tiny:
        return Spelling("snake", "id", "snake", dice.choice(("verb", "noun")), "")
    return Spelling(
        case=dice.choice(("snake", "snake", "snake", "camel", "camel", "pascal")),
        id_word=dice.choice(("id", "id", "id", "number", "no", "ref", "code", "key")),
        tool_case=dice.choice(("snake", "snake", "camel", "kebab", "pascal")),
        tool_order=dice.choice(("verb", "verb", "noun")),
        prefix=dice.choice(("", "", "", theme.title.split()[0].lower(), "svc", "desk", "api")),
    )


def _pick(nouns: Names, plurals: Sequence[str], dice: Dice) -> tuple[str, str]:
    n = dice.below(len(nouns))
    return nouns[n], plurals[n] if n < len(plurals) else plural(nouns[n])


def _draw_kinds(theme: Theme, parts: Parts, spelling: Spelling, tiny: bool, dice: Dice) -> dict[str, RowKind]:
    kinds: dict[str, RowKind] = {}
    noun, several = _pick(theme.person.nouns, theme.person.plurals, dice)
    kinds["person"] = _kind("person", "person", noun, several, parts, spelling, tiny, dice)
    for record in parts.records.values():
        if record.of not in kinds:
            thing = theme.things[record.of]
            noun, several = _pick(thing.nouns, thing.plurals, dice)
            kinds[record.of] = _kind(record.of, "thing", noun, several, parts, spelling, tiny, dice)
    for key, record in parts.records.items():
        noun, several = _pick(record.nouns, record.plurals, dice)
        kinds[key] = _kind(
            key,
            "record",
            noun,
            several,
            parts,
            spelling,
            tiny,
            dice,
            record=record,
            of=kinds[record.of],
            person=kinds["person"],
        )
    names = [name for kind in kinds.values() for name in (kind.noun, kind.plural)]
    looks = [(kind.ids.before, kind.ids.digits) for kind in kinds.values()]
    if len(set(names)) < len(names) or len(set(looks)) < len(looks):
        raise Redraw
    return kinds


def _kind(
    key: str,
    role: str,
    noun: str,
    several: str,
    parts: Parts,
    spelling: Spelling,
    tiny: bool,
    dice: Dice,
    record: ThemeRecord | None = None,
    of: RowKind | None = None,
    person: RowKind | None = None,
) -> RowKind:
    id_name = spelling.name(noun, spelling.id_word)
    fields = [*(BUILT_IN.values() if role == "person" else ()), *parts.fields[key]]
    columns = tuple([_draw_column(one, parts, spelling, tiny, dice) for one in fields])
    more: dict[str, Any] = {}
    if role == "record":
        assert record is not None and of is not None and person is not None
        states = {name: dice.choice(words) for name, words in record.states.items()}
        more = {
            "owner": person.id_name,
            "about": of.id_name,
            "thing": record.of,
            "link": record.link,
            "state": spelling.name("status" if tiny else dice.choice(("status", "state", f"{noun}_status"))),
            "states": states,
            "synonyms": dict(record.states),
            "stock": record.stock,
        }
    else:
        more = {
            "label": spelling.name(dice.choice(("name", "title", "label")) if role == "thing" else "name")
        }
    kind = RowKind(
        key,
        role,
        noun,
        several,
        spelling.name(several),
        id_name,
        _draw_ids(noun, tiny, dice),
        columns,
        **more,
    )
    names = [id_name, kind.label, kind.owner, kind.about, kind.state, *(column.name for column in columns)]
    names = [name for name in names if name]
    if len(set(names)) < len(names):
        raise Redraw
    return kind


def _draw_ids(noun: str, tiny: bool, dice: Dice) -> IdStyle:
    initial = noun[0].upper()
    two = (
        (noun[:1] + noun[-1:]).upper()
        if " " not in noun
        else "".join(word[0] for word in noun.split()).upper()
    )
    if tiny:
        return IdStyle(initial, 3)
    word = noun.replace(" ", "_").replace("-", "_")
    before, digits = dice.choice(
        (
            (f"{initial}-", 4),
            (f"{word}_", 4),
            (two, 6),
            ("#", 5),
            (f"{two}-", 5),
            ("", 6),
            (f"{initial}", 5),
            (f"{word[:3]}-", 4),
            ("", 8),
        )
    )
    return IdStyle(before, digits)


def _draw_column(one: ThemeField, parts: Parts, spelling: Spelling, tiny: bool, dice: Dice) -> Column:
    said = one.names[0] if tiny else dice.choice(one.names)
    values = one.values
    if one.kind == "choice" and len(values) > 3:
        kept = set(dice.sample(values, 3 if tiny else 3 + dice.below(len(values) - 2)))
        kept |= {value for rule in parts.rules for value in rule.when.value if isinstance(value, str)}
        values = tuple([value for value in values if value in kept])
    return Column(one, spelling.name(said), spoken(said), values)


def _words(theme: Theme, kinds: dict[str, RowKind], parts: Parts, dice: Dice) -> dict[str, str]:
    """What stands for the nouns of the theme, of which some are no part of the domain."""
    words: dict[str, str] = {}
    every: dict[str, Called] = {"person": theme.person, **theme.things, **theme.records}
    for key, part in every.items():
        noun, several = (
            (kinds[key].noun, kinds[key].plural) if key in kinds else _pick(part.nouns, part.plurals, dice)
        )
        words |= {f"noun:{key}": noun, f"nouns:{key}": several, key: noun}
    for action in theme.actions:
        words |= {f"verb:{action.key}": spoken(action.verbs[0]), f"past:{action.key}": action.past[0]}
    return words


def _draw_act(
    action: ThemeAction, kinds: dict[str, RowKind], words: dict[str, str], tiny: bool, dice: Dice
) -> Deed:
    n = dice.below(len(action.verbs))
    kind = kinds[action.on]
    column = kind.by_key[action.field] if action.field else None
    by = dice.choice(action.by) if isinstance(action.by, tuple) and action.by else 0
    reasons = action.reasons if action.reasons and not tiny and dice.chance(0.6) else ()
    asks = tuple([kind.by_key[key] for key in action.asks])
    return Deed(action, kind, spoken(action.verbs[n]), action.past[n], column, by, asks, reasons)


def _draw_law(
    rule: ThemeRule, acts: dict[str, Deed], kinds: dict[str, RowKind], vocabulary: Vocabulary, dice: Dice
) -> Law:
    act = acts[rule.action]
    side, _, key = rule.when.what.partition(".")
    kind = {"record": act.kind, "person": kinds["person"]}.get(side) or kinds[act.kind.thing]
    drawn = value = dice.choice(rule.when.value)
    if key == "state":
        value = kind.states[str(drawn)]
        return Law(
            rule,
            act.key,
            kind.state,
            side,
            value,
            vocabulary.fill(rule.text, value=spoken(value)),
            dice.chance(0.4),
        )
    column = kind.by_key[key]
    said = f"${drawn}" if column.spec.kind == "money" else str(drawn)
    return Law(
        rule, act.key, column.name, side, value, vocabulary.fill(rule.text, value=said), dice.chance(0.4)
    )
