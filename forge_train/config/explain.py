"""What is wrong with a config, in words a person can act on: key, value, what is allowed, likely fix."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError


class ConfigError(ValueError):
    """One or more problems with a config, one a line, each with key, value and fix."""

    def __init__(self, problems: Sequence[str]):
        self.problems = list(problems)
        super().__init__(self.problems)  # as they came: it is pickled with them

    def __str__(self) -> str:
        return "\n".join(self.problems)


_KINDS = {
    "model_type": "must be a table",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "bool_type": "must be true or false",
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
}
"""Where the library speaks of Python types, we speak of TOML."""


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each problem of `error`, which came from validating `model`."""
    keys = [key for key, _ in fields(model)]
    problems = []
    for item in error.errors():
        key, given, kind = ".".join(map(str, item["loc"])), item["input"], item["type"]
        about = _describe(key, model)
        if kind == "extra_forbidden":
            guess = _closest_key(key, keys) or _closest_section(key, model)
            hint = f"did you mean {guess}?" if guess else _allowed_keys(key, keys)
            problems.append(f"{key} = {show(given)}: no such key; {hint}")
        elif kind == "missing":
            problems.append(f"{key}: missing; set it" + (f" ({about})" if about else ""))
        elif kind == "value_error":
            problems.append(_checked(key, given, str(item["ctx"]["error"])))
        else:
            what = _KINDS.get(kind) or item["msg"].removeprefix("Input ").replace("should", "must", 1)
            problems.append(f"{key} = {show(given)}: {what}" + (f" ({about})" if about else ""))
    return problems


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Every dotted key of `model` with its docstring; a list of tables has the index 0."""
    for name, field in model.model_fields.items():
        key, kind = f"{prefix}{name}", field.annotation
        inner = [arg for arg in get_args(kind) if isinstance(arg, type) and issubclass(arg, BaseModel)]
        if inner:
            yield from fields(inner[0], f"{key}.0.")
        elif isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{key}.")
        else:
            yield key, field.description or ""


def closest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of `names` that `name` is most likely a slip for.

    >>> closest("grppo", ["grpo", "rloo"])
    'grpo'
    """
    found = difflib.get_close_matches(name, list(names), n=1, cutoff=cutoff)
    return found[0] if found else None


def show(value: Any) -> str:
    """A value about as a person would write it in the file, not too long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def _checked(key: str, given: Any, message: str) -> str:
    """Our own checks over several keys name the one to change; a check of one value does not."""
    if not key:
        return message
    if isinstance(given, Mapping | BaseModel) and re.match(r"\w+ = ", message):
        return f"{key}.{message}"
    return f"{key} = {show(given)}: {message}"


def _general(key: str) -> str:
    """Indices of lists of tables become 0, as in `fields`."""
    return re.sub(r"\.\d+(?=\.|$)", ".0", key)


def _describe(key: str, model: type[BaseModel]) -> str:
    """First sentence of a key's docstring; empty for what is not a key."""
    general = _general(key)
    top = model.model_fields.get(key)
    for known, text in [(key, (top and top.description) or "")] if top else fields(model):
        if known == general or general.startswith(known + "."):
            return re.split(r"\.\s", text.replace("\n", " "))[0].rstrip(".")
    return ""


def _allowed_keys(key: str, keys: Sequence[str]) -> str:
    section = _general(key).rpartition(".")[0]
    prefix = f"{section}." if section else ""
    names = [known.removeprefix(prefix).split(".")[0] for known in keys if known.startswith(prefix)]
    return f"known here: {', '.join(dict.fromkeys(names))}"


def _closest_key(key: str, keys: Sequence[str]) -> str | None:
    """The key most likely meant: a neighbour in its section first, then the same name anywhere."""
    section, _, name = _general(key).rpartition(".")
    given_section = key.rpartition(".")[0]
    inside = {known.rpartition(".")[2]: known for known in keys if known.rpartition(".")[0] == section}
    guess = closest(name, inside, 0.7)
    if guess:
        return f"{given_section}.{guess}" if given_section else guess
    # Reversed, so that of two keys with one name the first wins.
    anywhere = {known.rpartition(".")[2]: known for known in reversed(keys)}
    guess = closest(name, anywhere, 0.8)
    return anywhere[guess] if guess else None


def _closest_section(key: str, model: type[BaseModel]) -> str | None:
    guess = closest(key, model.model_fields) if "." not in key else None
    return f"[{guess}]" if guess else None
