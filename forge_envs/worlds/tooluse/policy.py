"""What the agent of a domain is told before all else: whom it serves, by which rules, with which tools."""

from __future__ import annotations

import functools
import re

from forge_envs.worlds.desk.customer import listing
from forge_envs.worlds.tooluse.domain import Column, Deed, ToolDomain, ToolSpec
from forge_envs.worlds.tooluse.spelling import MONTHS
from forge_envs.worlds.tooluse.words import capital, spoken, with_articles

_ARTICLE = re.compile(r" (?:the|an?)$")


@functools.lru_cache(maxsize=1024)
def policy_of(domain: ToolDomain) -> str:
    """The rules the agent works by, in full."""
    person, held = domain.person, listing([kind.plural for kind in domain.records])
    text = [
        f"# {capital(domain.place)}: how you serve {person.plural}",
        f"You serve the {person.plural} of the {domain.place}: you look up their {held}, answer questions "
        f"about them, and change what they ask you to change. {_day(domain)}",
        "## Always",
        *_always(domain),
        "## What there is",
        *_data(domain),
        "## Requests",
        *_requests(domain),
    ]
    return with_articles("\n".join(text))


def _day(domain: ToolDomain) -> str:
    day = domain.today
    like = f" In tools and rows, dates are written {domain.dates.like}." if _has_dates(domain) else ""
    return f"Today is {day.day} {MONTHS[day.month - 1]} {day.year}.{like}"


def _has_dates(domain: ToolDomain) -> bool:
    return any(column.spec.kind == "date" for kind in domain.kinds.values() for column in kind.columns)


def _always(domain: ToolDomain) -> list[str]:
    noun, several = domain.person.noun, domain.person.plural
    return [
        f"- Find out first who the {noun} is: look them up by their email address, or by full name and phone "
        f"number. Do this even if they tell you their {noun} number.",
        f"- Serve only this one {noun}, with as many requests as they have. Refuse anything about what "
        f"belongs to other {several}, and leave that unopened.",
        '- Before any change, say exactly what you will do and get a "yes". Nothing is changed without it.',
        "- Ask for what you are not told. Say only what the tools or the other side told you.",
        "- Do one thing a turn: call one tool, or speak.",
        "- A tool that says it is busy may be called again.",
        "- When a request is not allowed, say clearly that you cannot do it and go on with what you can do.",
        "- Hand over to a human only when asked for one, or when no tool can solve an allowed request.",
    ]


def _data(domain: ToolDomain) -> list[str]:
    lines = []
    for kind in domain.kinds.values():
        fields = listing([_field(column) for column in kind.columns] or ["no more"])
        if kind.role == "person":
            lines.append(f"- A {kind.noun} has a name, {fields}.")
        elif kind.role == "thing":
            lines.append(
                f"- A {kind.noun} has a {spoken(kind.label).lower()}{', ' + fields if kind.columns else ''}."
            )
        else:
            thing = domain.kinds[kind.thing].noun
            states = " or ".join(
                [
                    ", ".join(spoken(value) for value in list(kind.states.values())[:-1]),
                    spoken(list(kind.states.values())[-1]),
                ]
            )
            lines.append(
                f"- A {kind.noun} is {_ARTICLE.sub('', kind.link)} a {thing} and belongs to a "
                f"{domain.person.noun}. It has {fields}. Its status is {states}."
            )
    return lines


def _field(column: Column) -> str:
    return f"{column.said} (yes or no)" if column.spec.kind == "flag" else column.said


def _requests(domain: ToolDomain) -> list[str]:
    if domain.asks_rules:
        rules = domain.tool("rules")
        assert rules is not None
        return [
            *[_request(domain, act, laws=False) for act in domain.acts.values()],
            f"- There are further rules. Read them with {rules.name} before you carry out a request.",
        ]
    return [_request(domain, act, laws=True) for act in domain.acts.values()]


def _request(domain: ToolDomain, act: Deed, *, laws: bool) -> str:
    """One line on what may be asked for."""
    kind = act.kind
    parts = [f"- **{capital(act.verb)}**: {domain.vocabulary.fill(act.spec.doc)}"]
    if act.spec.from_ and len(act.spec.from_) < len(kind.states):
        states = " or ".join(spoken(kind.states[key]) for key in act.spec.from_)
        parts.append(f"Only where the status is {states}.")
    if act.reasons:
        reasons = ", ".join(f'"{reason}"' for reason in act.reasons)
        parts.append(f"Ask for the reason, one of {reasons}.")
    if laws:
        parts += [law.text for law in domain.laws_of[act.key]]
    return " ".join(parts)


@functools.lru_cache(maxsize=1024)
def compact_of(domain: ToolDomain) -> str:
    """The same in short, with a line for each tool."""
    noun = domain.person.noun
    lines = [
        f"You serve a {noun}. Find the {noun} first. Before a change, ask for a yes. Then say what you did.",
        *[_signature(spec) for spec in domain.specs.values()],
        *[
            _terse(domain, act)
            for act in domain.acts.values()
            if act.spec.from_ and len(act.spec.from_) < len(act.kind.states)
        ],
        *[law.text for law in domain.laws],
    ]
    return with_articles("\n".join(lines))


def _terse(domain: ToolDomain, act: Deed) -> str:
    states = " or ".join(spoken(act.kind.states[key]) for key in act.spec.from_)
    return f"To {act.verb}: only where the status of the {act.kind.noun} is {states}."


def _signature(spec: ToolSpec) -> str:
    """One line that tells a tool.

    >>> _signature(ToolSpec("get_loan", "get", "loan", "Read a loan.", ()))
    'get_loan()'
    """
    told = [
        f"{param.name}: {'|'.join(param.schema['enum'])}" if "enum" in param.schema else param.name
        for param in spec.params
    ]
    return f"{spec.name}({', '.join(told)})"
