"""Whatever a target hands out, as JSON that is equal where the values are equal."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from typing import Any

DEPTH = 12
MANY = 64
"""Numbers of an array that are written out; of more, a digest stands for them."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON: no NaN, no addresses, no order of sets."""
    if value is None or isinstance(value, bool | str):
        return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if abs(value) < 2**53 else {"~int": hex(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"~float": str(float(value))}
    if depth > DEPTH:
        return {"~deep": type(value).__name__}
    if isinstance(value, dict):
        return {_key(key): plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, set | frozenset):
        return {"~set": sorted((plain(item, depth + 1) for item in value), key=repr)}
    return _odd(value, depth)


def _key(key: Any) -> str:
    return key.encode("utf-8", "backslashreplace").decode() if isinstance(key, str) else repr(key)


def _odd(value: Any, depth: int) -> Any:
    if hasattr(value, "tobytes") and hasattr(value, "shape"):  # numpy, torch
        if getattr(value, "size", MANY + 1) <= MANY:
            return plain(value.tolist(), depth + 1)
        digest = hashlib.sha256(value.tobytes()).hexdigest()[:16]
        return {"~array": digest, "shape": list(value.shape), "dtype": str(value.dtype)}
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(), depth + 1)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return plain(fields, depth + 1)
    if hasattr(value, "item") and callable(value.item) and getattr(value, "size", 0) == 1:
        return plain(value.item(), depth + 1)
    return {"~object": type(value).__name__, "repr": _ADDRESS.sub("", repr(value))[:2000]}


def number(value: Any) -> Any:
    """A reward: a number as it is, all else told as what it is."""
    if hasattr(value, "dtype") and getattr(value, "shape", None) == ():
        value = value.item()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return {"~odd": f"{type(value).__name__} {value!r}"[:200]}


def words(value: Any) -> str:
    """What of an observation an agent reads as text."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        if "content" in value and "role" in value:
            return str(value["content"])
        return "\n".join(text for item in value.values() if (text := words(item)))
    if isinstance(value, list | tuple):
        return "\n".join(text for item in value if (text := words(item)))
    return ""
