"""The tools of a domain, as data: what reads it, what changes it, and what is of no use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forge_envs.worlds.desk.database import Dice
from forge_envs.worlds.desk.draft import Redraw
from forge_envs.worlds.tooluse.domain import Column, Deed, Law, Param, RowKind, ToolSpec
from forge_envs.worlds.tooluse.spelling import Spelling, cased
from forge_envs.worlds.tooluse.theme import Theme
from forge_envs.worlds.tooluse.words import Vocabulary, spoken, with_articles

_VERBS = {
    "get": ("get", "read", "show", "fetch", "view"),
    "list": ("list", "get", "show", "find"),
    "search": ("search", "find", "browse"),
    "find": ("find", "lookup", "search", "identify"),
}
_TRANSFER = ("transfer_to_human", "hand_over", "escalate", "call_colleague")


class ToolsDraft:
    """The tools of a domain in the making."""

    def __init__(
        self,
        kinds: Mapping[str, RowKind],
        acts: Mapping[str, Deed],
        laws: Sequence[Law],
        vocabulary: Vocabulary,
        names: Spelling,
        tiny: bool,
        dice: Dice,
    ) -> None:
        self.kinds, self.acts, self.laws, self.vocabulary = kinds, acts, laws, vocabulary
        self.names, self.tiny, self.dice = names, tiny, dice
        self.specs: dict[str, ToolSpec] = {}

    def add(
        self,
        op: str,
        kind: str,
        verb: str,
        noun: str,
        description: str,
        params: Sequence[Param],
        **more: Any,
    ) -> None:
        """One more tool. Raises Redraw if its name is taken."""
        words = [*verb.replace(" ", "_").split("_"), *noun.replace(" ", "_").replace("-", "_").split("_")]
        if self.names.tool_order == "noun":
            several = len(verb.replace(" ", "_").split("_"))
            words = [*words[several:], *words[:several]]
        words = [word.lower() for word in words if word]
        name = cased([self.names.prefix, *words] if self.names.prefix else words, self.names.tool_case)
        if name in self.specs or len({param.name for param in params}) < len(params):
            raise Redraw
        self.specs[name] = ToolSpec(name, op, kind, with_articles(description), tuple(params), **more)

    def param(self, name: str, role: str, description: str, kind: str = "string", **more: Any) -> Param:
        """An argument of a type of JSON."""
        column = more.pop("column", None)
        return Param(name, role, {"type": kind, "description": with_articles(description), **more}, column)

    def id_of(self, key: str) -> Param:
        """The argument with the id of a kind."""
        kind = self.kinds[key]
        return self.param(kind.id_name, key, f"The {kind.noun}'s id, e.g. '{kind.ids.write(1234567)}'.")

    def value(self, column: Column, role: str, name: str, like: str) -> Param:
        """The argument with a value of a column."""
        what, kind = column.said, column.spec.kind
        if kind == "choice":
            return self.param(name, role, f"The {what}.", enum=list(column.values), column=column)
        if kind == "date":
            return self.param(name, role, f"The {what}, written {like}.", column=column)
        if kind == "count":
            low, high = column.spec.range
            return self.param(name, role, f"The {what}, from {low} to {high}.", "integer", column=column)
        if kind == "money":
            return self.param(name, role, f"The {what}, an amount of money.", "number", column=column)
        if kind == "flag":
            return self.param(name, role, f"Whether {what}.", "boolean", column=column)
        return self.param(name, role, f"The {what}.", column=column)


def draw_tools(
    theme: Theme,
    kinds: Mapping[str, RowKind],
    acts: Mapping[str, Deed],
    laws: Sequence[Law],
    vocabulary: Vocabulary,
    names: Spelling,
    tiny: bool,
    asks_rules: bool,
    like: str,
    dice: Dice,
) -> dict[str, ToolSpec]:
    """All tools of a domain by name, in the order in which they are told. Raises Redraw when names clash."""
    tools = ToolsDraft(kinds, acts, laws, vocabulary, names, tiny, dice)
    _finders(tools)
    _readers(tools)
    for act in acts.values():
        _writer(tools, act, like)
    if asks_rules:
        tools.add(
            "rules",
            "",
            "read",
            dice.choice(("rules", "policy", "house_rules")),
            "Read the rules that requests are decided by.",
            (),
        )
    if not tiny:
        _distractors(tools, theme)
        verb = dice.choice(_TRANSFER)
        about = tools.param(names.name("summary"), "summary", "What is wanted, in a sentence.")
        tools.add(
            "transfer",
            "",
            verb,
            "",
            "Hand over to a human, when asked for one or when no tool can help. It ends the conversation.",
            (about,),
            needed=False,
        )
    found = list(tools.specs.values())
    return {spec.name: spec for spec in (found if tiny else dice.sample(found, len(found)))}


def _finders(tools: ToolsDraft) -> None:
    person, dice = tools.kinds["person"], tools.dice
    email = tools.param(
        tools.names.name(person.by_key["email"].said), "email", f"The {person.noun}'s email address."
    )
    verb = "find" if tools.tiny else dice.choice(_VERBS["find"])
    noun = person.noun
    if tools.tiny:
        tools.add("find", "person", verb, noun, f"Find a {noun} by email.", (email,))
        return
    tools.add("find", "person", verb, f"{noun}_by_email", f"Find a {noun} by email address.", (email,))
    name = tools.param(tools.names.name(dice.choice(("name", "full_name"))), "name", "First and last name.")
    phone = tools.param(
        tools.names.name(person.by_key["phone"].said), "phone", "Phone number, e.g. '555-0199'."
    )
    by = dice.choice(("by_name", "by_phone", "by_name_and_phone"))
    tools.add(
        "find",
        "person",
        verb,
        f"{noun}_{by}",
        f"Find a {noun} by full name and phone number, for those who cannot give an email.",
        (name, phone),
    )


def _readers(tools: ToolsDraft) -> None:
    dice = tools.dice
    get = "get" if tools.tiny else dice.choice(_VERBS["get"])
    for key, kind in tools.kinds.items():
        suffix = "" if tools.tiny else dice.choice(("", "_details", "_info", ""))
        if kind.role == "record":
            tools.add("get", key, get, f"{kind.noun}{suffix}", f"Read a {kind.noun}.", (tools.id_of(key),))
            listed = "list" if tools.tiny else dice.choice(_VERBS["list"])
            if not tools.tiny or dice.chance(0.5):
                tools.add(
                    "list",
                    key,
                    listed,
                    kind.plural,
                    f"All {kind.plural} of a {tools.kinds['person'].noun}.",
                    (tools.id_of("person"),),
                )
        elif kind.role == "person":
            if not tools.tiny or any(law.side == "person" for law in tools.laws):
                tools.add(
                    "get",
                    key,
                    get,
                    f"{kind.noun}{suffix}",
                    f"Read the profile of a {kind.noun}.",
                    (tools.id_of(key),),
                )
        else:
            _thing_readers(tools, key, kind, get + "", suffix)


def _thing_readers(tools: ToolsDraft, key: str, kind: RowKind, get: str, suffix: str) -> None:
    wanted = any(act.spec.does in ("create", "swap") and act.kind.thing == key for act in tools.acts.values())
    ruled = any(law.side == "thing" and tools.acts[law.act].kind.thing == key for law in tools.laws)
    if tools.tiny and not wanted and not ruled:
        return
    tools.add(
        "get",
        key,
        get,
        f"{kind.noun}{suffix}",
        f"Read a {kind.noun}.",
        (tools.id_of(key),),
        needed=wanted or ruled,
    )
    label = tools.param(kind.label, "label", f"The {spoken(kind.label)} of the {kind.noun}, or a part of it.")
    verb = tools.dice.choice(_VERBS["search"])
    tools.add(
        "search",
        key,
        verb,
        kind.plural,
        f"Find {kind.plural} by {spoken(kind.label)}.",
        (label,),
        needed=wanted,
    )


def _writer(tools: ToolsDraft, act: Deed, like: str) -> None:
    kind, does = act.kind, act.spec.does
    name = tools.names.name
    params = [tools.id_of("person" if does == "create" else kind.key)]
    noun = kind.noun
    if does == "set":
        assert act.column is not None
        role = f"value:{act.column.key}"
        params.append(
            tools.value(
                act.column,
                role,
                name(tools.dice.choice(("new_", "", "")) + act.column.said.replace(" ", "_")),
                like,
            )
        )
        noun = f"{kind.noun}_{act.column.said}"
    elif does == "pay" or act.spec.by == "told":
        assert act.column is not None
        kind_of = "number" if act.column.spec.kind == "money" else "integer"
        params.append(
            tools.param(
                name("amount"),
                "amount",
                f"How much, towards the {act.column.said}."
                if does == "pay"
                else f"By how much the {act.column.said} changes.",
                kind_of,
                column=act.column,
            )
        )
        noun = act.column.said if kind.role == "person" or does == "add" else kind.noun
    elif does in ("swap", "create"):
        params.append(tools.id_of(kind.thing))
        params += [tools.value(column, f"value:{column.key}", name(column.said), like) for column in act.asks]
        noun = f"{kind.noun}_{tools.kinds[kind.thing].noun}" if does == "swap" else kind.noun
    if act.reasons:
        params.append(tools.param(name("reason"), "reason", "Why.", enum=list(act.reasons)))
    verb = "create" if does == "create" and act.verb.split()[0] in kind.noun.split() else act.verb
    tools.add(does, kind.key, verb, noun, _described(tools, act), params, writes=True, act=act.key)


def _described(tools: ToolsDraft, act: Deed) -> str:
    """What the agent is told of a tool that writes: what it does and what it refuses."""
    text = tools.vocabulary.fill(act.spec.doc)
    refused = [law.text for law in tools.laws if law.act == act.key and law.by_tool]
    if act.spec.from_ and len(act.spec.from_) < len(act.kind.states):
        states = " or ".join(spoken(act.kind.states[key]) for key in act.spec.from_)
        text += f" The status must be {states}."
    return " ".join([text, *refused])


def _distractors(tools: ToolsDraft, theme: Theme) -> None:
    """What one would expect to find at such a place, and no task needs."""
    dice, names = tools.dice, tools.names
    record = dice.choice([kind for kind in tools.kinds.values() if kind.role == "record"])
    thing = dice.choice([kind for kind in tools.kinds.values() if kind.role == "thing"])
    day = tools.param(names.name("weekday"), "weekday", "A day of the week, e.g. 'Monday'.")
    note = tools.param(names.name(dice.choice(("note", "text", "message"))), "note", "What to write down.")
    sums = tools.param(names.name("expression"), "expression", "Numbers with + - * / ( ) and spaces.")
    offered = [
        ("hours", "", "get", "opening_hours", "When the house is open on a day.", (day,)),
        ("count", record.key, "count", record.plural, f"How many {record.plural} there are in all.", ()),
        ("count", thing.key, "count", thing.plural, f"How many {thing.plural} there are in all.", ()),
        ("note", "", "add", "note", "Keep a note for yourself. It changes nothing.", (note,)),
        (
            "calculate",
            "",
            "calculate",
            "sum",
            "Work out an arithmetic expression, rounded to two decimals.",
            (sums,),
        ),
        ("today", "", "get", "todays_date", "Which day it is.", ()),
    ]
    for op, key, verb, noun, description, params in dice.sample(offered, 1 + dice.below(4)):
        tools.add(op, key, verb, noun, description, params, needed=False)
