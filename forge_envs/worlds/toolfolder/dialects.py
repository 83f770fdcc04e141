"""Many dialects of JSON schema become one: OpenAPI 3.0 and 3.1, MCP, OpenAI functions, BFCL's documents.

What cannot be said in the one form is told in the description or dropped; types that contain themselves are
written out to where they begin again; and all of it is put down.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

from forge_envs.errors import brief
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.limits import number_of, sized
from forge_envs.worlds.toolfolder.references import References
from forge_envs.worlds.toolfolder.schema import BadSchema, Catalogue, Kind, Schema
from forge_envs.worlds.toolfolder.texts import cleaned

DEEPEST = 6
"""Levels to which a type is written out."""
LARGEST = 400
"""Types within a type that are written out."""
MOST_FORMS = 8
"""Alternatives of one type."""
LONGEST_NAME = 100
"""Characters of a property's name."""
_OTHER_NAMES = {
    "dict": "object",
    "map": "object",
    "hashmap": "object",
    "list": "array",
    "tuple": "array",
    "set": "array",
    "arraylist": "array",
    "str": "string",
    "char": "string",
    "file": "string",
    "int": "integer",
    "long": "integer",
    "short": "integer",
    "byte": "integer",
    "float": "number",
    "double": "number",
    "bool": "boolean",
    "none": "null",
}
_JSON_TYPES = ("object", "array", "string", "integer", "number", "boolean", "null")
_HINTS = {
    "object": ("properties", "additionalProperties", "required", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("format", "pattern", "minLength", "maxLength"),
}
_ANY = ("any", "object|string", "mixed", "variant")


@dataclass
class Dialect:
    """Writes out the schemas of one document. `way` says who writes the value: read-only properties are no
    arguments, write-only ones are in no answer.
    """

    references: References
    notes: Catalogue
    where: str = ""
    way: Literal["asked", "answered"] = "asked"
    left: int = field(default=LARGEST, init=False)

    def whole(self, node: Any, where: str, way: Literal["asked", "answered"] = "asked") -> Schema:
        """One schema, written out. Raises BadSchema for one that cannot be used at all."""
        self.where, self.way, self.left = where, way, LARGEST
        return self.plain(node)

    def plain(self, node: Any, inside: tuple[str, ...] = (), depth: int = 0) -> Schema:
        """A schema of this document in the one form."""
        if node is True or node is None:
            return {}
        if not isinstance(node, dict):
            raise BadSchema("type", f"a schema is an object, not {brief(node)}")
        node, steps = self.references.follow(node)
        if not isinstance(node, dict):
            raise BadSchema("type", f"a schema is an object, not {brief(node)}")
        again = next((step for step in steps if step in inside), None)
        if again is not None:
            path = [*inside[inside.index(again) :], again]
            self._note("cycle", " -> ".join(step.rpartition("/")[2][:40] for step in path))
            return self._opaque(node)
        self.left -= 1
        if depth > DEEPEST or self.left < 0:
            self._note("size", f"a type of more than {DEEPEST} levels or {LARGEST} parts is cut off")
            return self._opaque(node)
        return self._described(node, self._shape(node, (*inside, *steps), depth))

    def _note(self, kind: Kind, text: str) -> None:
        self.notes.note(kind, self.where, text)

    def _opaque(self, node: Schema) -> Schema:
        """A type of which no more is told than what kind of value it is."""
        kind = node.get("type")
        return (
            {"type": kind if kind in _JSON_TYPES else "object"}
            if kind != "array"
            else {"type": "array", "items": {}}
        )

    def _shape(self, node: Schema, inside: tuple[str, ...], depth: int) -> Schema:
        if isinstance(node.get("allOf"), list):
            node, inside = self._merged(node, inside)
        for key in ("oneOf", "anyOf"):
            if isinstance(node.get(key), list) and node[key]:
                if "properties" not in node:
                    return self._forms(node, node[key], inside, depth)
                self._note("dropped", f"{key} beside properties is left out")
        kinds = self._kinds(node)
        if len(kinds) > 1:
            return {"anyOf": [self._typed(kind, node, inside, depth) for kind in kinds]}
        return self._typed(kinds[0], node, inside, depth) if kinds else {}

    def _merged(self, node: Schema, inside: tuple[str, ...]) -> tuple[Schema, tuple[str, ...]]:
        """A type that is all of several: properties and required names of each, the rest of the last."""
        whole: Schema = {}
        parts = [*node["allOf"], {key: value for key, value in node.items() if key != "allOf"}]
        for part in parts:
            if not isinstance(part, dict):
                continue
            part, steps = self.references.follow(part)
            if set(steps) & set(inside):
                self._note("cycle", f"{steps[-1][:100]} is a part of itself")
                continue
            inside = (*inside, *steps)
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("allOf"), list):
                part, inside = self._merged(part, inside)
            for key, value in part.items():
                if key == "properties" and isinstance(value, dict):
                    whole[key] = {**whole.get(key, {}), **value}
                elif key == "required" and isinstance(value, list):
                    whole[key] = [*whole.get(key, []), *value]
                else:
                    whole[key] = value
        return whole, inside

    def _forms(self, node: Schema, forms: list[Any], inside: tuple[str, ...], depth: int) -> Schema:
        if len(forms) > MOST_FORMS:
            self._note("size", f"of {len(forms)} forms of one type the first {MOST_FORMS} are kept")
        base = {key: node[key] for key in ("type", "nullable") if key in node}
        found: list[Schema] = []
        for form in forms[:MOST_FORMS]:
            one = self.plain({**base, **form} if isinstance(form, dict) and base else form, inside, depth + 1)
            for part in one["anyOf"] if set(one) == {"anyOf"} else [one]:
                if part not in found:
                    found.append(part)
        if {} in found:
            return {}
        return found[0] if len(found) == 1 else {"anyOf": found}

    def _kinds(self, node: Schema) -> list[str]:
        """The types a node names or implies; none for any value."""
        told = node.get("type")
        kinds: list[str] = []
        for one in told if isinstance(told, list) else [told] if told is not None else []:
            name = one.lower() if isinstance(one, str) else ""
            if name in _ANY:
                return []
            known = name if name in _JSON_TYPES else _OTHER_NAMES.get(name)
            if known is None:
                known = self._implied(node) or "string"
                self._note("type", f"type {brief(one)} is unknown: taken as {known}")
            kinds.append(known)
        if not kinds:
            implied = self._implied(node)
            if implied is None:
                if not set(node) - {
                    "description",
                    "title",
                    "nullable",
                    "x-nullable",
                    "example",
                    "examples",
                } and ("description" not in node):
                    return []  # {} is any value
                self._note("type", "a type is missing: taken as string")
            elif implied != "object" or "properties" not in node:
                self._note("type", f"a type is missing: taken as {implied}")
            kinds = [implied or "string"]
        if (node.get("nullable") is True or node.get("x-nullable") is True) and "null" not in kinds:
            kinds.append("null")
        return list(dict.fromkeys(kinds))

    def _implied(self, node: Schema) -> str | None:
        for kind, hints in _HINTS.items():
            if any(hint in node for hint in hints):
                return kind
        values = node.get("enum") if isinstance(node.get("enum"), list) else None
        for value in values or [node[key] for key in ("const", "default", "example") if key in node]:
            for kind in _JSON_TYPES[:-1]:
                if misfit(value, {"type": kind}) is None:
                    return kind
        return None

    def _typed(self, kind: str, node: Schema, inside: tuple[str, ...], depth: int) -> Schema:
        found: Schema = {"type": kind}
        if kind == "object":
            found |= self._object(node, inside, depth)
        elif kind == "array":
            items = node.get("items", {})
            if "prefixItems" in node or isinstance(items, list):
                self._note("dropped", "types of single items are left out")
                items = {}
            found["items"] = self.plain(items, inside, depth + 1)
            found |= self._sizes(node, "Items")
        elif kind == "string":
            found |= self._sizes(node, "Length")
            if isinstance(node.get("format"), str) and len(node["format"]) <= 30:
                found["format"] = node["format"]
        elif kind in ("integer", "number"):
            found |= number_of(node, self._note)
        values = [node["const"]] if "const" in node else node.get("enum")
        if isinstance(values, list) and kind in ("string", "integer", "number", "boolean"):
            fitting = [one for one in values if misfit(one, {"type": kind}) is None]
            if fitting:
                found = {"type": kind, "enum": list(dict.fromkeys(fitting))[:500]}
            if any(one is not None for one in values if one not in fitting):
                self._note("bounds", f"an enum holds values that are not of type {kind}: they are left out")
        return found

    def _object(self, node: Schema, inside: tuple[str, ...], depth: int) -> Schema:
        hidden = "readOnly" if self.way == "asked" else "writeOnly"
        properties: dict[str, Schema] = {}
        given = node.get("properties", {})
        if not isinstance(given, dict):
            raise BadSchema("type", f"properties are an object, not {brief(given)}")
        for name, one in given.items():
            if isinstance(one, dict) and one.get(hidden) is True:
                continue
            if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
                self._note("name", f"a property cannot be called {brief(name)}: left out")
                continue
            properties[name] = self.plain(one, inside, depth + 1)
        required = node.get("required", [])
        if isinstance(required, list):
            unknown = [one for one in required if not isinstance(one, str) or one not in given]
            if unknown and "properties" in node:
                self._note("bounds", f"required {brief(unknown)} are no properties: left out")
            required = [one for one in dict.fromkeys(map(str, required)) if one in properties]
        else:
            self._note("bounds", f"required={brief(required)} is no list of names: left out")
            required = []
        found: Schema = {"properties": properties, "required": required} if given else {}
        more = node.get("additionalProperties")
        if isinstance(more, dict) and more:
            found["additionalProperties"] = self.plain(more, inside, depth + 1)
        elif more is False and given:
            found["additionalProperties"] = False
        return found

    def _sizes(self, node: Schema, of: str) -> Schema:
        return sized(node, of, self._note)

    def _described(self, node: Schema, found: Schema) -> Schema:
        """The schema with what a person reads of it: description, default, and bounds that are only told."""
        text = cleaned(node.get("description"), self.where, self.notes, longest=400)
        for key in ("pattern", "multipleOf"):
            if key in node and found.get("type") in ("string", "integer", "number") and "enum" not in found:
                self._note("dropped", f"{key} is told and not enforced")
                told = cleaned(str(node[key]), self.where, self.notes, longest=100)
                text = f"{text} ({key}: {told})".strip()
        if text:
            found = {**found, "description": text}
        if "default" in node and node["default"] is not None:
            wrong = misfit(node["default"], found)
            if wrong or len(json.dumps(node["default"], default=str)) > 200:
                self._note("bounds", f"a default is left out: {wrong or 'it is too long'}")
            else:
                found["default"] = node["default"]
        return found
