"""One Docker container as a box: the four verbs, and an end for all that a command started."""

from __future__ import annotations

import errno
import os
import posixpath
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from forge_envs.sandbox.base import Limits, Result, Sandbox, SandboxError
from forge_envs.sandbox.census import alone, census_file
from forge_envs.sandbox.clip import Clip
from forge_envs.sandbox.disk import DiskWatch
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.scripts import ERRORS, READ, RUN, SWEEP, WRITE

PLAIN = {"LC_ALL": "C"}
"""The language of the messages that we read."""
MOVING = 120.0
"""Seconds that reading or writing one file may take."""
MENDING = 30.0
"""Seconds that sweeping may take before the box is restarted."""
DYING = 0.1, 5.0
"""Seconds in which killed processes are gone: after a command's own sweep, and after ours."""
UNCLEAR = ("docker", "no_exec")
"""Kinds of failure that a container shows while it is being removed."""
PARTING = 10.0
"""Seconds in which a container that is being removed says so."""
LONGEST = 100_000
"""Bytes of a command that still fit an argument; a longer one goes through a file."""
SCRIPT = "/tmp/.forge-command"


@dataclass(frozen=True)
class Started:
    """A container that runs."""

    id: str
    image: str
    user: str
    """As whom commands run."""
    workdir: str
    limits: Limits
    pid: int
    """Its first process, as the daemon's host counts."""


class Container(Sandbox):
    """A box of the docker provider; `forget` is called once, when it closes."""

    def __init__(
        self, engine: Engine, disk: DiskWatch, started: Started, forget: Callable[[Started], None]
    ) -> None:
        self._engine, self._disk, self._forget = engine, disk, forget
        self._started = started
        self._census = census_file(started.pid, started.id)
        self._watched = disk.add(started.id, started.limits.disk_mb << 20)
        self._closed = False
        self.workdir = started.workdir

    @property
    def id(self) -> str:
        """The container's id."""
        return self._started.id

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
        """See `Sandbox.run`."""
        if timeout <= 0:
            raise ValueError(f"timeout={timeout}: a command needs some time, in seconds")
        clip = Clip(head, tail)
        text = command.encode("utf-8", "replace")
        if b"\0" in text:
            return Result(2, "bash: a command cannot hold a NUL byte\n")
        argv = ["-c", text.decode()]
        if len(text) > LONGEST:
            try:
                self.write(SCRIPT, text)
            except OSError as error:  # what stands there, or fills the disk, is the box's own affair
                return Result(126, f"bash: {SCRIPT}: {error.strerror}\n")
            argv = [SCRIPT]
        where = posixpath.join(self.workdir, cwd) if cwd else self.workdir
        argv = ["bash", "-c", RUN, "bash", where, "" if cwd else "/", *argv]
        with self._using():
            code = self._exec(argv, clip.feed, timeout, env)
            if code is not None:
                self._end_processes()
        ended = code is None and self._watched.full.is_set()
        return clip.result(code, filled=self._started.limits.disk_mb if ended else None)

    def read(self, path: str, *, limit: int = 16_000_000) -> bytes:
        """See `Sandbox.read`."""
        found = bytearray()
        argv = ["sh", "-c", READ, "sh", self._at(path), str(limit + 1)]
        with self._using():
            self._check(self._exec(argv, found.extend, MOVING, PLAIN), path, "read")
        if len(found) > limit:
            raise ValueError(f"{path!r} is longer than {limit} bytes")
        return bytes(found)

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """See `Sandbox.write`."""
        argv = ["sh", "-c", WRITE, "sh", self._at(path), str(len(data)), "x" if executable else ""]
        with self._using():
            self._check(self._exec(argv, _drop, MOVING, PLAIN, data), path, "written")

    def close(self) -> None:
        """See `Sandbox.close`."""
        if not self._closed:
            self._closed = True
            self._disk.drop(self._watched)
            self._forget(self._started)

    # -- beneath the verbs ----------------------------------------------------------------------------

    def _at(self, path: str) -> str:
        if not path or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return posixpath.join(self.workdir, path)

    def _exec(
        self,
        argv: list[str],
        take: Callable[[bytes], None],
        timeout: float,
        env: Mapping[str, str] | None = None,
        data: bytes = b"",
    ) -> int | None:
        for again in (True, False):
            try:
                return self._engine.exec(
                    self.id, argv, take,
                    user=self._started.user, timeout=timeout, env=env, data=data,
                    stop=self._watched.full, end=self._sweep,
                )  # fmt: skip
            except SandboxError as error:
                if error.kind != "no_exec" or not again:
                    raise
            self._restart()  # the unburied dead of an old image have taken every process number
        raise AssertionError("unreachable")

    @contextmanager
    def _using(self) -> Iterator[None]:
        """While a verb works: the disk is watched, and what fails because the box is gone says so."""
        if self._closed:
            raise SandboxError("the box is closed", kind="gone", retryable=False)
        try:
            with self._disk.running(self._watched):
                yield
        except SandboxError as error:
            if error.kind == "gone" or (error.kind in UNCLEAR and not self._lives()):
                raise self._gone() from error
            raise

    def _lives(self) -> bool:
        """Whether the container runs; one that is being removed says so a moment late."""
        until = time.monotonic() + PARTING
        while self._engine.lives(self.id):
            if time.monotonic() > until:
                return True
            time.sleep(0.05)
        return False

    def _gone(self) -> SandboxError:
        if self._watched.removed:
            limit = f"its limit is {self._started.limits.disk_mb} MB"
            text = f"the box filled the host's disk ({limit}) and was removed"
            return SandboxError(text, kind="box_full", retryable=False)
        text = f"box {self.id[:12]} is gone: somebody removed it, or its lifetime is over"
        return SandboxError(text, kind="gone", retryable=True)

    def _check(self, code: int | None, path: str, done: str) -> None:
        """Raise what a failed `read` or `write` means."""
        if code == 0:
            return
        if code is None and not self._watched.full.is_set():
            raise SandboxError(f"{path!r} was not {done} within {MOVING:g} s", kind="timeout", retryable=True)
        number = errno.ENOSPC if code is None else ERRORS.get(code, errno.EIO)
        raise OSError(number, os.strerror(number), path)  # becomes FileNotFoundError and so on by its number

    def _end_processes(self) -> None:
        """Make sure that the first process is the only one. Normally it is: the command's own shell swept."""
        if not alone(self._engine, self.id, self._census, DYING[0]):
            self._sweep()

    def _sweep(self) -> None:
        """Kill every process but the first.

        Should that leave something, as a fork bomb lets no new process in, a restart ends all; files stay.
        """
        argv, user = ["bash", "-c", SWEEP], self._started.user
        try:
            self._engine.exec(self.id, argv, _drop, user=user, timeout=MENDING, end=_leave)
            if alone(self._engine, self.id, self._census, DYING[1]):
                return
        except SandboxError as error:
            if error.kind != "no_exec":
                raise
        self._restart()

    def _restart(self) -> None:
        api = self._engine.api
        with self._engine.asking(f"box {self.id[:12]}"):
            api.restart(self.id, timeout=0)
            self._census = census_file(api.inspect_container(self.id)["State"]["Pid"], self.id)


def _drop(_: bytes) -> None:
    """Nobody wants this output."""


def _leave() -> None:
    """Who sweeps leaves nothing behind."""
