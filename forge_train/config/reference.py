"""All keys of a config as a page, a list for a terminal, or the help of a command: read from the sections."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import fill, shorten
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

COMMAND = "forge-train config --markdown > docs/config.md"


@dataclass(frozen=True, slots=True)
class Key:
    """One key, as it is written in the file.

    >>> from forge_train.config import OptimConfig
    >>> key = next(k for k in keys(OptimConfig, "optim") if k.name == "optim.warmup")
    >>> key.kind, key.default, key.bounds
    ('int', '0', '0 or more')
    """

    name: str
    kind: str
    default: str
    """As TOML; empty where it must be set or may be left out."""
    bounds: str
    about: str
    """Its docstring, in one line."""

    @property
    def first(self) -> str:
        """The first sentence of `about`."""
        return re.split(r"(?<!e\.g)(?<!Dr)\.\s", self.about, maxsplit=1)[0].rstrip(".")


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """Every key of a section and of those below it; N stands for the number of a table of a list."""
    for name, field in model.model_fields.items():
        key = f"{prefix}.{name}" if prefix else name
        inner = _section(field.annotation)
        if inner is not None:
            yield from keys(inner, key)
            continue
        rows = [s for arg in get_args(field.annotation) if (s := _section(arg)) is not None]
        if rows:
            yield from keys(rows[0], f"{key}.N")
            continue
        yield Key(key, _kind(field.annotation), _default(field), _bounds(field), _line(field.description))


def sections(model: type[BaseModel]) -> Iterator[tuple[str, str, list[Key]]]:
    """Name, docstring and keys of each section, in order."""
    found = list(keys(model))
    for name, field in model.model_fields.items():
        args = [s for arg in (field.annotation, *get_args(field.annotation)) if (s := _section(arg))]
        own = [key for key in found if key.name.split(".")[0] == name]
        yield name, _line(args[0].__doc__ if args else field.description), own


def markdown(model: type[BaseModel]) -> str:
    """The page docs/config.md."""
    lines = [
        "# Keys of a config",
        "",
        f"Written by `{COMMAND}`; a test says when that is due.",
        "",
        "A config is one TOML file. `forge-train train FILE key=value …` overrides keys.",
        "`forge-train config` lists them, and with FILE checks it and prints what it resolves to. Every key",
        "but `worlds.N.id` has a default. Whether keys go together is checked when the file is read, and all",
        "mistakes are told at once, with the fix.",
    ]
    table = ["| key | type | default | bounds | |", "|---|---|---|---|---|"]
    for name, about, own in sections(model):
        head = "[[worlds]]" if name == "worlds" else f"[{name}]"
        lines += ["", f"## `{head}`", "", about, "", *table]
        lines += [
            f"| `{k.name}` | {_cell(k.kind)} | {_code(k.default)} | {_cell(k.bounds)} | {_cell(k.about)} |"
            for k in own
        ]
    return "\n".join(lines) + "\n"


def listing(model: type[BaseModel], words: Sequence[str] = (), *, width: int = 110) -> str:
    """Keys with type, default, bounds and one line each; with words, those in which one of them stands.

    A key that is asked for alone is told whole.
    """
    asked = [word.lower() for word in words]
    chosen = [k for k in keys(model) if not asked or any(w in f"{k.name} {k.about}".lower() for w in asked)]
    exact = [k for k in chosen if k.name.lower() in asked or k.name.replace(".N.", ".0.") in asked]
    if exact:
        chosen = exact
    lines = []
    for key in chosen:
        bounds = f", {key.bounds}" if key.bounds else ""
        default = f" = {key.default}" if key.default else ""
        lines.append(f"{key.name}{default}  ({key.kind}{bounds})")
        about = key.about if exact else shorten(key.first, width - 4, placeholder=" ...")
        lines.append(fill(about, width, initial_indent="    ", subsequent_indent="    "))
    return "\n".join(lines)


def _section(kind: Any) -> type[BaseModel] | None:
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


_NAMES = {int: "int", float: "float", str: "text", bool: "true or false", Any: "any", NoneType: "nothing"}


def _kind(kind: Any) -> str:
    """A type, in words of TOML."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(args[0])
    if origin is Literal:
        return " or ".join(json.dumps(arg) for arg in args)
    if origin in (Union, UnionType):
        return " or ".join(_kind(arg) for arg in args if arg is not NoneType)
    if origin is tuple:
        inner = [arg for arg in args if arg is not Ellipsis]
        if Ellipsis not in args:
            return f"[{', '.join(map(_kind, inner))}]"
        return f"list of {_kind(inner[0])}"
    if origin is dict or kind is dict:
        return f"table of {_kind(args[1])}" if args and args[1] is not Any else "table"
    return _NAMES.get(kind) or str(getattr(kind, "__name__", kind))


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined or value is None:
        return ""
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e6:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def _bounds(field: FieldInfo) -> str:
    """What a value may be, where a type alone does not say it."""
    found = ["must be set"] if field.is_required() else []
    inside = [m for arg in get_args(field.annotation) for m in getattr(arg, "__metadata__", ())]
    for item in [*field.metadata, *inside]:
        for part in getattr(item, "metadata", None) or [item]:
            found += _bound(part)
    return ", ".join(dict.fromkeys(found))


def _bound(part: Any) -> list[str]:
    match part:
        case Gt(gt=low):
            return [f"above {low}"]
        case Ge(ge=low):
            return [f"{low} or more"]
        case Lt(lt=high):
            return [f"below {high}"]
        case Le(le=high):
            return [f"at most {high}"]
        case MinLen(min_length=low) | Len(min_length=low) if low == 1:
            return ["not empty"]
        case MaxLen(max_length=high):
            return [f"at most {high} long"]
    pattern = getattr(part, "pattern", None)
    return [f"like {pattern}"] if pattern else []


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return f"`{text}`" if text else ""
