"""A box to run an agent's commands in: four verbs, whatever the box is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol

from forge_envs.errors import MachineError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a box may use, all its processes together."""

    cpus: float = 1.0
    memory_mb: int = 2048
    pids: int = 256
    disk_mb: int = 2048
    lifetime: float = 7200.0
    """Seconds after which a forgotten box is removed."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not value > 0:
                raise ValueError(f"{field.name}={value!r}: a box needs some, and nothing is unlimited")


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended. Standard output and error are one text, in the order they came.

    >>> Result(0, "hello").output
    'hello'
    """

    code: int
    """Exit status; 128 plus the signal's number for a killed process, 124 after a timeout."""
    output: str
    elided: int = 0
    """Characters left out between the head and the tail of the output."""
    timed_out: bool = False


ONE_BOX = frozenset({"gone", "no_exec", "no_shell", "box_full"})
"""Kinds of SandboxError after which a fresh box of the same image may do."""


class SandboxError(MachineError):
    """The box failed, not what ran in it: no daemon, no image, no space, a box that is gone."""

    def __init__(self, message: str, *, kind: str, retryable: bool, stage: str = "sandbox") -> None:
        super().__init__(message, kind=kind, stage=stage, retryable=retryable)

    @property
    def one_box(self) -> bool:
        """Whether this box alone takes no more commands; else the daemon, the image or the machine failed.

        >>> SandboxError("removed", kind="gone", retryable=True).one_box
        True
        """
        return self.kind in ONE_BOX


class Sandbox(ABC):
    """One box for one episode. A verb raises SandboxError when the box fails."""

    workdir: str
    """Absolute path of the folder commands start in."""

    @abstractmethod
    def run(
        self,
        command: str,
        *,
        timeout: float = 60.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        head: int = 5_000,
        tail: int = 5_000,
    ) -> Result:
        """Run a bash command in a fresh shell until it ends or `timeout` seconds passed.

        When it returns nothing that it started is alive. Output longer than `head + tail` characters keeps
        both ends and is cut while it streams.
        """

    @abstractmethod
    def read(self, path: str, *, limit: int = 16_000_000) -> bytes:
        """The bytes of a file; a relative path is seen from `workdir`.

        Raises FileNotFoundError, IsADirectoryError, PermissionError, and ValueError past `limit` bytes.
        """

    @abstractmethod
    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Make or replace a file, and the folders above it; a relative path is seen from `workdir`.

        Raises PermissionError, IsADirectoryError, NotADirectoryError, or OSError when the box's disk is full.
        """

    @abstractmethod
    def close(self) -> None:
        """Remove the box and all that runs in it; calling it twice is fine."""


class Provider(Protocol):
    """Where boxes come from."""

    name: str
    jail: bool
    """Whether it holds against a program that means harm."""

    def open(self, image: str, *, workdir: str | None = None, limits: Limits = DEFAULT) -> Sandbox:
        """A fresh box of `image`; `workdir` is made if it is not there. Raises SandboxError."""
        ...
