"""One mechanism checks the arguments of every world: before any code of the world runs, by its annotations.

`tries: Annotated[int, Field(ge=1, le=9)] = 2` takes whole numbers from 1 to 9, and no True, 1.0 or "1". All
that pydantic has words for can be said so; a class stands for its objects. An `__init__` with **kwargs hands
them to the next class, so a world takes what its classes name, up to the first that takes no others.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, cached_property
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError, with_config
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict  # pydantic refuses the one of `typing` before Python 3.12

from forge_envs.errors import brief

REQUIRED = inspect.Parameter.empty
"""The default of an argument that has none."""


def spelt(value: object) -> str:
    """A value in a list of those that are known: text as it is, and none of it as "", which can be seen.

    >>> ", ".join(map(spelt, ("", "bank", 3)))
    '"", bank, 3'
    """
    return str(value) if value != "" else '""'


@dataclass(frozen=True, eq=False)
class Known:
    """One of `values`; or of what a function gives, where a registry may grow."""

    source: Collection[Any] | Callable[[], Collection[Any]]

    @property
    def values(self) -> Collection[Any]:
        """What is known now."""
        return self.source() if callable(self.source) else self.source

    def __call__(self, value: object) -> object:
        """The value; ValueError unless it is one of them."""
        # 1 == 1.0 == True; what was said is looked for, not what is equal to it.
        if not any(type(value) is type(one) and value == one for one in self.values):
            raise ValueError(f"known are {', '.join(map(spelt, self.values))}")
        return value


def known(values: Collection[Any] | Callable[[], Collection[Any]]) -> AfterValidator:
    """An annotation: `split: Annotated[str, known(("train", "test"))]`."""
    return AfterValidator(Known(values))


Seconds = Annotated[float, Field(gt=0, le=604_800)]
"""A time limit, of up to a week: clocks have bounds as well."""


@dataclass(frozen=True, eq=False)
class WorldArgument:
    """One argument of a world's constructor."""

    name: str
    kind: Any
    """Its annotation; Any where it has none."""
    default: Any
    meaning: str
    """What the docstring says of it."""

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        # In a field: pydantic gives no configuration to classes that have their own.
        config = with_config(ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True))
        return TypeAdapter(config(TypedDict("Argument", {"value": _checkable(self.kind)})))  # type: ignore[operator]

    @property
    def allowed(self) -> str:
        """What may be given, in words."""
        return _words(self.kind)

    def fault(self, value: object) -> str | None:
        """What is wrong with a value, and what would be right; None if nothing is."""
        try:
            self._adapter.validate_python({"value": value})
        except ValidationError:
            told = f"{self.name}={brief(value)}: "
            options = [spelt(one) for one in _options(self.kind)]
            if not options:
                return f"{told}it must be {self.allowed}"
            near = get_close_matches(str(value), options, n=1) if isinstance(value, str) else []
            return f"{told}known are {', '.join(options)}" + (f"; did you mean {near[0]}?" if near else "")
        return None


def check_arguments(world: type, positional: Sequence[object], named: Mapping[str, object]) -> None:
    """Raise ValueError for arguments that a world does not take, all of them named at once.

    >>> from forge_envs.worlds.retail.env import RetailEnv
    >>> check_arguments(RetailEnv, (), {"level": True})
    Traceback (most recent call last):
    ValueError: level=True: known are 0, 1, 2, 3, 4, 5
    """
    taken, others = arguments_of(world)
    faults = []
    for name, value in {**dict(zip(taken, positional, strict=False)), **named}.items():
        if name in taken:
            faults.append(taken[name].fault(value))
        elif not others:
            near = get_close_matches(name, taken, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            told = f"{world.__name__} takes no {name}; known are {', '.join(taken)}"
            faults.append(f"{name}={brief(value)}: {hint}{told}")
    if any(faults):
        raise ValueError("; ".join(fault for fault in faults if fault))


@cache
def arguments_of(world: type) -> tuple[dict[str, WorldArgument], bool]:
    """The arguments of a world by name, its own first, and whether it takes others for somebody else."""
    meanings: dict[str, str] = {}
    for cls in reversed(world.__mro__):
        meanings.update(_meanings(vars(cls).get("__doc__") or ""))
    found: dict[str, WorldArgument] = {}
    for cls in world.__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        function = vars(cls)["__init__"]
        kinds, passed_on = _kinds(function), False
        for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passed_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL and name not in found:
                kind = kinds.get(name, Any)
                found[name] = WorldArgument(name, kind, parameter.default, meanings.get(name, ""))
        if not passed_on or getattr(cls, "takes_others", False):
            return found, passed_on
    return found, False


def _kinds(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError:  # imported for type checkers alone; `check_world` tells the author
        return {}


# -- what an annotation means ----------------------------------------------------------------------------

_SCALARS = (str, int, float, bool, NoneType, list, dict, tuple, set, frozenset, bytes, object)


def _checkable(kind: Any) -> Any:
    """The annotation as pydantic is asked: objects are never built from what was given."""
    origin, parts = get_origin(kind), get_args(kind)
    if kind is None:
        return NoneType
    if origin is Literal:  # pydantic takes 1.0 and True for Literal[1]
        return Annotated[Any, known(parts)]
    if origin is Annotated:
        return Annotated[(_checkable(parts[0]), *parts[1:])]
    if origin in (Union, UnionType):
        return Union[tuple(map(_checkable, parts))]  # noqa: UP007  # a tuple of them
    plain = origin if isinstance(origin, type) else kind
    if isinstance(plain, type) and plain not in _SCALARS and not isinstance(plain, GenericAlias):
        return Annotated[plain, InstanceOf()]  # type: ignore[type-arg]
    return kind


def _options(kind: Any) -> list[Any]:
    """The values of an annotation that lists them all."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return list(parts)
    if origin is Annotated:
        for extra in parts[1:]:
            if isinstance(extra, AfterValidator) and isinstance(extra.func, Known):
                return list(extra.func.values)
        return _options(parts[0])
    if origin in (Union, UnionType) and len(parts) == 2 and NoneType in parts:
        options = [option for part in parts for option in _options(part)]
        return [*options, "null"] if options else []
    return []


_NAMES = {
    str: "text",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    NoneType: "null",
}


def _words(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if options := _options(kind):
        told = [spelt(option) for option in options]
        return ", ".join(told[:-1]) + f" or {told[-1]}" if told[1:] else told[0]
    if origin is Annotated:
        return _words(parts[0]) + _bounds(parts[1:])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, parts)))
    if kind is Any:
        return "anything"
    plain = origin if isinstance(origin, type) else kind
    return _NAMES.get(plain) or f"of type {getattr(plain, '__name__', plain)}"


def _bounds(extras: Sequence[Any]) -> str:
    items = [
        item for extra in extras for item in (extra.metadata if isinstance(extra, FieldInfo) else [extra])
    ]

    def bound(name: str) -> Any:
        return next((value for item in items if (value := getattr(item, name, None)) is not None), None)

    least, above, most, below = (bound(name) for name in ("ge", "gt", "le", "lt"))
    if least is not None and most is not None:
        return f" from {least} to {most}"
    pairs = {"of at least": least, "above": above, "of at most": most, "below": below}
    told = [f"{word} {value}" for word, value in pairs.items() if value is not None]
    return " " + " and ".join(told) if told else ""


# -- what a docstring says -------------------------------------------------------------------------------

_SECTION = re.compile(r"^(?:## Arguments|Args:|Arguments:)[ \t]*\n(.*?)(?=^[A-Z]\w*:$|^## |\Z)", re.M | re.S)
_ITEM = re.compile(r"^( *)(?:- )?((?:`?\w+`?, )*`?\w+`?): (.*(?:\n\1 +\S.*)*)", re.M)


def _meanings(docstring: str) -> Iterator[tuple[str, str]]:
    """The lines of a docstring's section on arguments, those of several names once for each."""
    section = _SECTION.search(inspect.cleandoc(docstring) + "\n")
    for _, names, text in _ITEM.findall(section[1] if section else ""):
        if not text.startswith("see "):  # the class it points to says it
            for name in names.replace("`", "").split(", "):
                yield name, " ".join(text.split())
