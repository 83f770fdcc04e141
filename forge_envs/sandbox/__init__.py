"""Boxes that run what agents write: `docker` holds them in, `process` only tidies up after them."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from forge_envs.sandbox.base import Limits, Provider, Result, Sandbox, SandboxError

if TYPE_CHECKING:
    from forge_envs.sandbox.check import check_sandbox

__all__ = ["Limits", "Provider", "Result", "Sandbox", "SandboxError", "check_sandbox", "lend", "provider"]

PROVIDERS = ("docker", "process")

_made: dict[tuple[int, str], Provider] = {}
_lock = threading.Lock()


def provider(name: str) -> Provider:
    """Where boxes come from: "docker", or "process", which is no jail. One object per process and name.

    Nothing is started or asked for before the first `open`. ValueError for another name.
    """
    with _lock:
        key = (os.getpid(), name)  # what was forked must not share its parent's boxes
        if key not in _made:
            if name not in PROVIDERS:
                raise ValueError(f"sandbox={name!r}: known are {', '.join(PROVIDERS)}")
            _made[key] = _make(name)
        return _made[key]


def lend(made: Provider) -> str:
    """Have `provider` know one more in this process, by its name, which is returned."""
    with _lock:
        _made[os.getpid(), made.name] = made
    return made.name


def _make(name: str) -> Provider:
    if name == "docker":
        from forge_envs.sandbox.docker import DockerProvider

        return DockerProvider()
    from forge_envs.sandbox.process import ProcessProvider

    return ProcessProvider()


def __getattr__(name: str) -> Any:
    if name == "check_sandbox":  # it is heavier than the rest and seldom wanted
        from forge_envs.sandbox.check import check_sandbox

        return check_sandbox
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
