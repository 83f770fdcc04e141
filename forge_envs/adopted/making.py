"""Making a stranger's environment: what goes wrong there is the user's to mend, and is told at once."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from forge_envs.errors import MachineError, NotGiven, NotInstalled

T = TypeVar("T")


def library(name: str, install: str, module: str = "") -> Any:
    """The library `name`, after the import of `module`, which registers more with it.

    Raises NotInstalled with the command that installs it, and ValueError if there is no such module.
    """
    try:
        found = importlib.import_module(name)
    except ImportError as error:
        raise NotInstalled(f"{name} cannot be imported ({error}): pip install '{install}'") from error
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ValueError(f"module={module!r}: {error}") from error
    return found


def made(what: str, make: Callable[[], T]) -> T:
    """What `make` makes. Raises ValueError that names `what` for whatever it raises."""
    try:
        return make()
    except (MachineError, NotInstalled):
        raise
    except Exception as error:
        told = " ".join(str(error).split())[:300]
        raise ValueError(f"{what} cannot be made: {type(error).__name__}: {told}") from error


def given(name: str, value: str, example: str) -> str:
    """An argument without a default. Raises NotGiven if it is empty."""
    if not value:
        raise NotGiven(f"{name}='': say which, for example {name}={example!r}")
    return value
