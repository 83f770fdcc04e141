"""How people of a domain speak: past forms, ways to name a row, ways to ask for something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forge_envs.worlds.toolfolder.naming import plural, spoken
from forge_envs.worlds.toolfolder.vocabulary import vocabulary

_PAST = vocabulary()["past"]


def past(verb: str) -> str:
    """The past form of a verb, of its first word.

    >>> past("close"), past("verify"), past("mark read"), past("cancel")
    ('closed', 'verified', 'marked read', 'cancelled')
    """
    first, _, rest = verb.partition(" ")
    if first in _PAST:
        (done,) = _PAST[first]
    elif first.endswith("e"):
        done = first + "d"
    elif first.endswith("y") and first[-2:-1] not in ("a", "e", "i", "o", "u"):
        done = first[:-1] + "ied"
    else:
        done = first + "ed"
    return f"{done} {rest}".strip()


def article(noun: str) -> str:
    """A noun with "a" or "an".

    >>> article("order"), article("pet")
    ('an order', 'a pet')
    """
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


WAYS: dict[str, Sequence[str]] = {
    "create": (
        "Please set up {a_noun}{below}{with_}.",
        "I need a new {noun}{below}{with_}.",
        "Could you add {a_noun}{below}{with_}?",
        "New {noun}{below}{with_}, please.",
        "There should be {a_noun}{below}{with_}; can you make it?",
    ),
    "update": (
        "Please change {it}: {set_}.",
        "For {it} I want this now: {set_}.",
        "{It} is not right any more. It should be {set_}.",
        "Can you correct {it}? It has to be {set_}.",
        "Could you update {it} to {set_}?",
    ),
    "delete": (
        "Please remove {it}.",
        "{It} is no longer needed. Delete it.",
        "Can you get rid of {it}?",
        "I want {it} gone for good.",
        "Take {it} out, please.",
    ),
    "action": (
        "Please {verb} {it}{with_}.",
        "I would like you to {verb} {it}{with_}.",
        "Can you {verb} {it}{with_}?",
        "{It} has to be {done}{with_}.",
        "Time to {verb} {it}{with_}.",
    ),
    "ask": (
        "What is the {fact} of {it}?",
        "Can you tell me the {fact} of {it}?",
        "I have to know the {fact} of {it}.",
        "{It}: which {fact} does it have?",
        "Please look up {it} and tell me its {fact}.",
    ),
}
"""Kind of wish -> ways to say it."""


def pick(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of them."""
    return options[int(rng.integers(len(options)))]


def capital(text: str) -> str:
    """A text that begins a sentence."""
    return text[:1].upper() + text[1:]


def said(value: object) -> str:
    """A value as a person says it.

    >>> said(True), said("Ada Novak"), said(3.5)
    ('yes', '"Ada Novak"', '3.5')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return f'"{value}"'
    return ", ".join(map(said, value)) if isinstance(value, list) else str(value)


def listed(parts: Sequence[str]) -> str:
    """Parts in one phrase.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def set_to(name: str, value: object) -> str:
    """A field and its value in words.

    >>> set_to("unitPrice", 3)
    'unit price 3'
    """
    return f"{spoken(name)} {said(value)}"


def served(kinds: Sequence[str]) -> str:
    """What a desk looks after.

    >>> served(["pet", "order"])
    'pets and orders'
    """
    return listed([plural(kind) for kind in kinds])
