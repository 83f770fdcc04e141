"""What a tool does, read off its path or its name: to which kind of row, found by which argument."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from forge_envs.worlds.toolfolder.naming import IDS, LITTLE, VAGUE, singular, verb_of, words
from forge_envs.worlds.toolfolder.schema import BadSchema, Schema, ToolSchema

Does: TypeAlias = Literal["create", "get", "list", "update", "delete", "action"]
_PARAMETER = re.compile(r"\{([^{}]+)\}")
_VERSION = re.compile(r"v\d+(?:[.\w]*)|api|rest|\d{4}-\d\d-\d\d|\d[\d.]*")
_SCALARS = ("string", "integer", "number", "boolean")


@dataclass(frozen=True)
class Operation:
    """One tool as a rule-based back end runs it."""

    tool: ToolSchema
    does: Does
    entity: str
    """Kind of row, in words: "pull request"."""
    key: str = ""
    """The argument that names the row; "" where it makes or lists them."""
    parents: Mapping[str, str] = field(default_factory=dict)
    """Other arguments that name rows -> their kind."""
    verb: str = ""
    """What an action does, in words: "close"."""


def operations(tools: Sequence[ToolSchema]) -> tuple[list[Operation], dict[str, str]]:
    """What each tool does, and of those that no rule can simulate, why."""
    found: list[Operation] = []
    left: dict[str, str] = {}
    items = _collections(tools)
    for tool in tools:
        try:
            found.append(_of_path(tool, items) if tool.path else _of_name(tool))
        except BadSchema as error:
            left[tool.name] = str(error)
    found = _joined(found)
    kinds = {one.entity for one in found if one.does in ("get", "list", "create")}
    kept = []
    for one in found:
        alone = sum(other.entity == one.entity for other in found) == 1
        if one.entity not in kinds:
            left[one.tool.name] = f"nothing reads or makes a {one.entity}"
        elif alone and one.does != "create" and not one.tool.returns:
            left[one.tool.name] = f"it is alone with a {one.entity}, and says not what that is"
        else:
            kept.append(_related(one, kinds))
    return kept, left


def _joined(found: list[Operation]) -> list[Operation]:
    """A "user ticket" is a ticket where there are tickets; a path tells its kinds itself."""
    kinds = {one.entity for one in found}
    joined = []
    for one in found:
        told = one.entity.split()
        shorter = next((" ".join(told[i:]) for i in range(1, len(told)) if " ".join(told[i:]) in kinds), "")
        joined.append(replace(one, entity=shorter) if shorter and not one.tool.path else one)
    return joined


# -- of a path ---------------------------------------------------------------------------------------


def _collections(tools: Iterable[ToolSchema]) -> set[str]:
    """Last words of paths behind which an id follows somewhere."""
    found = set()
    for tool in tools:
        parts = _parts(tool.path)
        found |= {one for one, then in itertools.pairwise(parts) if _PARAMETER.fullmatch(then)}
    return found


def _parts(path: str) -> list[str]:
    parts = [re.sub(r"\.(?:json|xml)$", "", part) for part in path.split("?")[0].split("/")]
    return [part for part in parts if part and not _VERSION.fullmatch(part.lower())]


def _noun(part: str) -> str:
    told = [word for word in words(_PARAMETER.sub(" ", part)) if not word.isdecimal()]
    return " ".join([*told[:-1], singular(told[-1])][-3:]) if told else ""


def _of_path(tool: ToolSchema, collections: set[str]) -> Operation:
    parts = _parts(tool.path)
    if not parts:
        raise BadSchema("rule", "its path names nothing")
    parents: dict[str, str] = {}
    owner = ""
    for part, then in zip(parts, [*parts[1:], ""], strict=True):
        found = _PARAMETER.fullmatch(part)
        owner = owner if found else "" if _PARAMETER.search(part) else _noun(part)
        if found and owner and not _PARAMETER.fullmatch(then):  # of two ids in a row, the last one is its own
            parents[found[1]] = owner
    last = _PARAMETER.fullmatch(parts[-1])
    if last:
        entity = parents.pop(last[1], "")
        if not entity:
            raise BadSchema("rule", "its last id belongs to nothing that has a name")
        if tool.method == "get" and (tool.returns or {}).get("type") == "array":
            return Operation(tool, "list", entity, "", parents)
        does: Does = {"get": "get", "delete": "delete"}.get(tool.method, "update")  # type: ignore[assignment]
        return Operation(tool, does, entity, last[1], parents)
    if _PARAMETER.search(parts[-1]):
        raise BadSchema("rule", f"{parts[-1][:60]!r} is half a name and half an id")
    return _of_end(tool, parts, parents, collections)


def _of_end(tool: ToolSchema, parts: list[str], parents: dict[str, str], collections: set[str]) -> Operation:
    """An operation whose path ends in a word: of a collection, or a deed on the row before it."""
    end, noun = parts[-1], _noun(parts[-1])
    if not noun:
        raise BadSchema("rule", "its path ends in no word")
    several = end in collections or noun != " ".join(words(end)) or many(tool.returns)
    before = _PARAMETER.fullmatch(parts[-2]) if len(parts) > 1 else None
    if several and tool.method in ("get", "post") and verb_of(end)[0] == "action":
        return Operation(tool, "list" if tool.method == "get" else "create", noun, "", parents)
    if tool.method == "post" and len(parts) > 1 and verb_of(end)[0] == "list" and not before:
        return Operation(tool, "list", _noun(parts[-2]), "", parents)
    if before and parents.get(before[1]) and tool.method != "get":
        entity = parents.pop(before[1])
        verb = " ".join(words(end))
        if tool.method == "delete":
            raise BadSchema("rule", f"it takes the {verb} from a {entity}")
        return Operation(tool, "action", entity, before[1], parents, verb)
    if before and parents.get(before[1]):
        return Operation(tool, "get", parents.pop(before[1]), before[1], parents)
    raise BadSchema("rule", "it is about no row: its path has no id and is no collection")


def many(returns: Schema | None) -> bool:
    """Whether an answer is a list, or an object around one."""
    if returns is None:
        return False
    if returns.get("type") == "array":
        return True
    inside = [one for one in returns.get("properties", {}).values() if one.get("type") == "array"]
    return len(inside) == 1 and inside[0].get("items", {}).get("type") == "object"


# -- of a name ---------------------------------------------------------------------------------------


def _of_name(tool: ToolSchema) -> Operation:
    told = words(tool.name)
    kind, place = verb_of(tool.name)
    does: Does = kind  # type: ignore[assignment]
    rest = [*told[:place], *told[place + 1 :]]
    while rest and rest[0] in LITTLE | VAGUE:
        del rest[0]
    stop = next((i for i, word in enumerate(rest) if word in LITTLE), len(rest))
    while stop > 1 and rest[stop - 1] in VAGUE:
        stop -= 1
    noun = _noun("_".join(rest[:stop]))
    if not noun and does != "action":
        raise BadSchema("rule", "its name says of nothing what it does")
    if not noun:
        noun = next((_noun_of(name) for name in _keys(tool) if _noun_of(name)), "")
        if not noun:
            raise BadSchema("rule", "neither its name nor an argument says what it is about")
    if does == "get" and rest[:stop] and singular(rest[stop - 1]) != rest[stop - 1] and not _key(tool, noun):
        does = "list"
    if does in ("create", "list"):
        return Operation(tool, does, noun)
    key = _key(tool, noun)
    if not key:
        raise BadSchema("rule", f"no argument says which {noun} is meant")
    if does == "action" and not tool.writes:
        raise BadSchema("rule", "it works something out")
    return Operation(tool, does, noun, key, verb=told[place] if does == "action" else "")


def _keys(tool: ToolSchema) -> list[str]:
    """Arguments that point at rows, needed ones first."""
    needed = tool.parameters["required"]
    names = sorted(tool.arguments, key=lambda name: name not in needed)
    return [name for name in names if words(name)[-1:] and words(name)[-1] in IDS and _scalar(tool, name)]


def _scalar(tool: ToolSchema, name: str) -> bool:
    schema = tool.arguments[name]
    return schema.get("type") in ("string", "integer") and "enum" not in schema


def _noun_of(name: str) -> str:
    """The kind of row that an argument's name points at, "" for a bare `id`."""
    told = words(name)
    return " ".join(told[:-1]) if told and told[-1] in IDS else ""


def _key(tool: ToolSchema, noun: str) -> str:
    """The argument that says which row of a kind is meant; "" if none does."""
    last = noun.split()[-1]
    candidates = _keys(tool)
    for wanted in ({noun}, {last}, {""}):
        for name in candidates:
            if _noun_of(name) in wanted:
                return name
    needed: list[str] = tool.parameters["required"]
    for name in needed:
        told = words(name)
        if _scalar(tool, name) and told and (told[-1] == "name" or singular(told[-1]) == last):
            return name
    return ""


def _related(one: Operation, kinds: set[str]) -> Operation:
    """With the rows of other kinds that it names; what points at no kind is a plain field."""
    if one.tool.path:
        parents = {name: kind for name, kind in one.parents.items() if kind in kinds}
    else:
        parents = {
            name: noun
            for name in _keys(one.tool)
            if name != one.key and (noun := _noun_of(name)) in kinds and noun != one.entity
        }
    return replace(one, parents=parents)


def speakable(schema: Schema) -> bool:
    """Whether a person can say a value of this kind."""
    return schema.get("type") in _SCALARS
