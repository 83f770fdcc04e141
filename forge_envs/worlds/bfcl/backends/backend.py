"""What the eight simulated systems share: a configuration, functions for the agent, a state to compare."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from forge_envs.errors import TaskError
from forge_envs.worlds.bfcl.backends.fillers import Fillers

Answer = Any
"""What a function returns: most often a dict; the world turns it into text."""


class Backend:
    """One simulated system. Its public methods, and only those, are what an agent may call.

    They take what they are given, of whatever type, and do with it what the official simulators do: the
    errors that Python raises on the way are published behaviour too, because agents see their texts.
    """

    official: ClassVar[str] = ""
    """The class name in BFCL's data."""
    functions: ClassVar[tuple[str, ...]] = ()
    """Names of what an agent may call."""
    withdrawn: ClassVar[frozenset[str]] = frozenset()
    """Functions of a parent class that this one does not have."""

    def __init_subclass__(cls, official: str = "", withdrawn: frozenset[str] = frozenset()) -> None:
        super().__init_subclass__()
        cls.official = official or cls.__name__
        cls.withdrawn = withdrawn
        found = {
            name: member
            for parent in reversed(cls.__mro__)
            if parent not in Backend.__mro__
            for name, member in vars(parent).items()
            if inspect.isfunction(member) and not name.startswith("_") and not hasattr(Backend, name)
        }
        cls.functions = tuple(name for name in found if name not in withdrawn)
        for name in cls.functions:
            # Python's complaints about wrong arguments name the function.
            found[name].__qualname__ = f"{cls.official}.{name}"

    def __init__(self, fillers: Fillers | None = None) -> None:
        self._fillers = fillers
        self._long = False

    def load(self, config: Mapping[str, Any], long_context: bool = False) -> None:
        """Start from this entry of `initial_config`; `long_context` adds the official filler data.

        The fillers come from the constructor, else from the installed `bfcl-eval` package.
        """
        if not isinstance(config, Mapping):
            raise TaskError(f"the configuration of {self.official} is no object: {config!r:.100}")
        self._long = bool(long_context)
        if self._long and self._fillers is None:
            self._fillers = Fillers.installed()
        try:
            self._start(copy.deepcopy(dict(config)))
        except (LookupError, TypeError, AttributeError, ValueError) as error:
            raise TaskError(
                f"{self.official} cannot start from its configuration: {type(error).__name__}: {error}"
            ) from error

    def _start(self, config: dict[str, Any]) -> None:
        """Take the configuration, which is ours to keep."""

    def function(self, name: str) -> Callable[..., Answer]:
        """The function of this name; `functions` lists them."""
        if name not in self.functions:
            raise LookupError(f"{self.official} has no function {name!r}; it has {', '.join(self.functions)}")
        found: Callable[..., Answer] = getattr(self, name)
        return found

    def state(self) -> dict[str, Any]:
        """A copy of what the official state check compares: every public attribute.

        Equal states are equal here, by `==`. Keys keep their types, a set stays a set.
        """
        return {name: copy.deepcopy(value) for name, value in vars(self).items() if not name.startswith("_")}

    def _filler(self, name: str) -> Any:
        """A copy of the official filler data of this name."""
        assert self._fillers is not None, "load(..., long_context=True) sees to it"
        return self._fillers.get(name)


def refusal(text: str) -> dict[str, Any]:
    """What most functions answer when they do nothing."""
    return {"error": text}
