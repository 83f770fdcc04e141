"""The contract of a sandbox as a program: `check_sandbox` proves every promise or names the broken one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from forge_envs.sandbox.base import Limits, Provider
from forge_envs.sandbox.promises import PROMISES, BrokenPromise, Check
from forge_envs.testing import Promise

__all__ = ["LIMITS", "BrokenPromise", "SandboxReport", "check_sandbox", "promises"]

LIMITS = Limits(cpus=1.0, memory_mb=256, pids=64, disk_mb=64, lifetime=600.0)
"""What the checked boxes may use: little, because the check tries to use more."""


@dataclass(frozen=True)
class SandboxReport:
    """What `check_sandbox` proved."""

    provider: str
    promises: tuple[Promise, ...]

    def __str__(self) -> str:
        return "\n".join([self.provider, *(f"  {promise}" for promise in self.promises)])


def check_sandbox(provider: Provider, image: str) -> SandboxReport:
    """Prove that a provider keeps the contract, with boxes of `image` (which has bash, coreutils and tar).

    Takes a minute or two and leaves nothing. What a jail promises is asked only of providers that say they
    are one. Raises BrokenPromise at the first broken promise.
    """
    kept = []
    for promise in promises(provider, image):
        if not promise.kept:
            raise BrokenPromise(f"{provider.name}: {promise.name}: {promise.note}") from promise.cause
        kept.append(promise)
    return SandboxReport(provider.name, tuple(kept))


def promises(provider: Provider, image: str) -> Iterator[Promise]:
    """Every promise in turn, kept or broken; a broken one does not stop the rest."""
    for name, check in PROMISES.items():
        with Check(provider, image, LIMITS) as bench:
            try:
                yield Promise(name, True, check(bench))
            except BrokenPromise as error:
                yield Promise(name, False, str(error))
            except Exception as error:  # a bug in the provider is a broken promise like any other
                yield Promise(name, False, f"{type(error).__name__}: {error}", error)
