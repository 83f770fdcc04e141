"""Values that look like what a field's name and type say: rows of a database that nobody has seen."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from forge_envs.schemas import sample_schema
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.naming import words
from forge_envs.worlds.toolfolder.schema import Schema
from forge_envs.worlds.toolfolder.vocabulary import vocabulary

_WORDS = vocabulary()["values"]
_WHERE = {
    "email": lambda rng: (
        f"{_one('first', rng)}.{_one('last', rng)}{rng.integers(10, 99)}@example.com".lower()
    ),
    "phone": lambda rng: f"+1555{rng.integers(10**6, 10**7)}",
    "city": lambda rng: _one("city", rng),
    "country": lambda rng: _one("country", rng),
    "street": lambda rng: f"{rng.integers(1, 99)} {_one('street', rng)} Street",
    "address": lambda rng: f"{rng.integers(1, 99)} {_one('street', rng)} Street, {_one('city', rng)}",
    "colour": lambda rng: _one("colour", rng),
    "color": lambda rng: _one("colour", rng),
    "url": lambda rng: f"https://example.com/{_one('end', rng)}/{rng.integers(100, 999)}",
    "uri": lambda rng: f"https://example.com/{_one('end', rng)}/{rng.integers(100, 999)}",
    "date": lambda rng: f"2026-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}",
    "time": lambda rng: f"{rng.integers(7, 20):02d}:{rng.integers(0, 4) * 15:02d}",
    "currency": lambda rng: _one("currency", rng),
    "language": lambda rng: _one("language", rng),
    "user": lambda rng: f"{_one('first', rng)}{rng.integers(10, 99)}".lower(),
    "username": lambda rng: f"{_one('first', rng)}{rng.integers(10, 99)}".lower(),
    "author": lambda rng: f"{_one('first', rng)} {_one('last', rng)}",
    "person": lambda rng: f"{_one('first', rng)} {_one('last', rng)}",
}
"""What a word in a field's name makes of a text."""
_FORMATS = {
    "date": "date",
    "email": "email",
    "uri": "url",
    "url": "url",
    "time": "time",
}


def _one(kind: str, rng: np.random.Generator) -> str:
    return _WORDS[kind][int(rng.integers(len(_WORDS[kind])))]


def seeded(*parts: object) -> np.random.Generator:
    """Random numbers that depend on these parts alone."""
    text = json.dumps(parts, default=str).encode()
    return np.random.default_rng(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"))


def value_of(schema: Schema, name: str, rng: np.random.Generator) -> Any:
    """A value that fits a schema, and that the name of its field makes one expect.

    >>> value_of({"type": "string"}, "customerEmail", np.random.default_rng(1))
    'igor.horvat77@example.com'
    """
    for guess in (_guess(schema, name, rng) for _ in range(3)):
        if guess is not None and misfit(guess, schema) is None:
            return guess
    return sample_schema(schema, rng)


def _guess(schema: Schema, name: str, rng: np.random.Generator) -> Any:
    if "anyOf" in schema:
        some = [one for one in schema["anyOf"] if one.get("type") != "null"] or schema["anyOf"]
        return value_of(some[0], name, rng)
    if "enum" in schema:
        return schema["enum"][int(rng.integers(len(schema["enum"])))]
    kind = schema.get("type")
    if kind == "object":
        inside = schema.get("properties", {})
        return {one: value_of(inside[one], one, rng) for one in schema.get("required", ())}
    if kind == "array":
        least = max(schema.get("minItems", 0), 1 if schema.get("maxItems", 1) else 0)
        return [value_of(schema.get("items", {}), name, rng) for _ in range(least)]
    if kind in ("integer", "number"):
        return _number(schema, name, rng)
    return _text(schema, name, rng) if kind == "string" or kind is None else None


def _number(schema: Schema, name: str, rng: np.random.Generator) -> int | float | None:
    told = set(words(name))
    if told & {"price", "amount", "cost", "total", "balance", "fee"}:
        cents = int(rng.integers(500, 30_000))
        return cents / 100 if schema["type"] == "number" else cents // 100
    if told & {"year"}:
        return int(rng.integers(2015, 2027))
    if set(schema) & {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"}:
        return None  # as the schema bounds it
    whole = int(rng.integers(1, 60))
    return whole if schema["type"] == "integer" else whole + round(float(rng.random()), 1)


def _text(schema: Schema, name: str, rng: np.random.Generator) -> str:
    form = schema.get("format", "")
    if form == "uuid":
        digits = rng.bytes(16).hex()
        return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:]))
    if form == "date-time":
        return f"{_WHERE['date'](rng)}T{_WHERE['time'](rng)}:00Z"
    told = [_FORMATS[form]] if form in _FORMATS else list(reversed(words(name)))
    for word in told:
        if word in _WHERE:
            return _WHERE[word](rng)
    if "name" in told and set(told) & {"first", "given"}:
        return _one("first", rng)
    if "name" in told and set(told) & {"last", "family", "full", "customer", "passenger", "contact", "owner"}:
        return f"{_one('first', rng)} {_one('last', rng)}"
    phrase = f"{_one('begin', rng)} {_one('end', rng)}"
    longest = schema.get("maxLength", 100)
    if len(phrase) > longest:
        phrase = _one("end", rng)[:longest]
    return phrase if told and told[0] not in ("name", "title") else phrase.title()


def key_of(schema: Schema, entity: str, place: int, rng: np.random.Generator) -> str | int:
    """The id of a new row: a number, or a text that begins like the kind of row."""
    if schema.get("type") == "integer":
        low = max(int(schema.get("minimum", 0)), 100 * int(rng.integers(1, 90)))
        return min(low + place, int(schema.get("maximum", 10**9)))
    if schema.get("format") == "uuid":
        return _text(schema, "", rng)
    begin = "".join(word[0] for word in entity.split())[:3] + entity.replace(" ", "")[1:3]
    made = f"{begin}-{int(rng.integers(10, 99))}{place:02d}"
    return (
        made
        if misfit(made, schema) is None
        else f"{place}{int(rng.integers(10**6, 10**7))}"[: schema.get("maxLength", 9)]
    )
