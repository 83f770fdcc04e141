"""A process in which a target runs: every request has a deadline, and nothing of it outlives it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

HOST = Path(__file__).parent / "host"
MARK = "FORGE_AUDIT"
"""Environment variable by which all that a target starts is known, whatever it does to its group."""
START = (
    "import importlib.util as u, sys\n"
    "spec = u.spec_from_file_location('forge_envs.audit.host', sys.argv[1] + '/__init__.py',"
    " submodule_search_locations=[sys.argv[1]])\n"
    "sys.modules['forge_envs.audit.host'] = module = u.module_from_spec(spec)\n"
    "spec.loader.exec_module(module)\n"
    "from forge_envs.audit.host.serve import main\n"
    "main(sys.argv[2], sys.argv[3])\n"
)
FORKS = 20.0
"""Seconds in which a loaded process must have made another like it."""
ENDS = 3.0
"""Seconds in which what was told to end must have ended."""


class NotStarted(Exception):
    """A target never started; the text says why, and ends with what it wrote to standard error."""


class Hung(Exception):
    """A request was not answered by its deadline; the process is gone."""


class Died(Exception):
    """The process ended instead of answering."""


class Full(Exception):
    """The target has no room for another session."""


class Raised(Exception):
    """The target raised; `told` has type, message and the last frames."""

    def __init__(self, told: dict[str, Any]) -> None:
        super().__init__(f"{told['type']}: {told['message']}")
        self.told = told


class Child:
    """One process with one target. Use it in `with`."""

    def __init__(self, pid: int, requests: int, answers: int, timeout: float) -> None:
        """Take over a process that reads requests from one descriptor and answers on the other."""
        self.pid, self.timeout = pid, timeout
        self._requests, self._answers = requests, answers
        self._rest = b""
        self._open = True

    def ask(self, do: str, *, within: float | None = None, **fields: Any) -> Any:
        """What the target answers. Raises Raised, Full, Hung or Died."""
        rest = json.dumps({"do": do, **fields}).encode() + b"\n"
        try:
            while rest:
                rest = rest[os.write(self._requests, rest) :]
        except OSError:
            raise Died("the process is gone") from None
        return self._read(self.timeout if within is None else within)

    def _read(self, within: float) -> Any:
        answer = json.loads(self._line(within))
        if "raised" in answer:
            raise Raised(answer["raised"])
        if "full" in answer:
            raise Full(answer["full"])
        return answer["ok"]

    def _line(self, within: float) -> bytes:
        until = time.monotonic() + within
        while b"\n" not in self._rest:
            if not self._open:
                raise Died("the process is gone")
            ready, _, _ = select.select([self._answers], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.kill()
                raise Hung(f"no answer within {within:g} s")
            more = os.read(self._answers, 1 << 16)
            if not more:
                raise Died(self._how())
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _how(self) -> str:
        return "the process died"

    def kill(self) -> None:
        """End the process and its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and all that it started; calling it twice is fine."""
        if self._open:
            self._open = False
            self.kill()
            os.close(self._requests)
            os.close(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Parent(Child):
    """A process that has loaded a target and in which nothing happens: `fork` gives others like it."""

    def __init__(
        self, kind: str, spec: Mapping[str, Any], *, python: str, timeout: float, start: float, hashing: int
    ) -> None:
        """Start it and wait until the target is loaded. Raises NotStarted."""
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in `close`
        self._folder = tempfile.TemporaryDirectory(prefix="forge-audit-")
        self._forks = 0
        self._mark = secrets.token_hex(16)
        environment = {**os.environ, MARK: self._mark, "PYTHONHASHSEED": str(hashing)}
        command = [python, "-W", "ignore", "-c", START, str(HOST), kind, json.dumps(dict(spec))]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            self._folder.cleanup()
            raise NotStarted(f"{python}: {error}") from error
        assert self._process.stdin is not None and self._process.stdout is not None
        requests, answers = os.dup(self._process.stdin.fileno()), os.dup(self._process.stdout.fileno())
        self._process.stdin.close()
        self._process.stdout.close()
        super().__init__(self._process.pid, requests, answers, timeout)
        try:
            self._read(start)
        except (Raised, Died, Hung) as error:
            tail = self.errors()
            self.close()
            why = f"not within {start:g} s" if isinstance(error, Hung) else str(error)
            raise NotStarted(f"{why}\n{tail}".strip()) from error
        except BaseException:
            self.close()
            raise

    def fork(self) -> Child:
        """A process of its own, in which the target is loaded and nothing has happened. Raises NotStarted."""
        self._forks += 1
        requests, answers = (str(Path(self._folder.name, f"{self._forks}.{way}")) for way in ("in", "out"))
        os.mkfifo(requests)
        os.mkfifo(answers)
        reader = os.open(answers, os.O_RDONLY | os.O_NONBLOCK)
        try:
            pid = self.ask("fork", requests=requests, answers=answers, within=FORKS)
            child = Child(pid, _writer(requests), reader, self.timeout)
        except (Raised, Died, Hung, TimeoutError) as error:
            os.close(reader)
            raise NotStarted(f"{error}\n{self.errors()}".strip()) from error
        child.ask("ready", within=FORKS)
        return child

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(ENDS)
        return f"the process ended with exit status {self._process.returncode}"

    def errors(self, most: int = 2000) -> str:
        """The end of what the target wrote to standard error."""
        size = os.fstat(self._errors.fileno()).st_size
        return os.pread(self._errors.fileno(), most, max(0, size - most)).decode(errors="replace").strip()

    def close(self) -> None:
        """End the process, its forks, and all that any of them started."""
        super().close()
        if self._errors.closed:
            return
        for _ in range(10):  # what is being started while it is looked for is found the next time
            left = _marked(self._mark)
            for pid in left:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(ENDS)
            if not left:
                break
        self._errors.close()
        self._folder.cleanup()


def _writer(path: str) -> int:
    """The writing end of a pipe, as soon as somebody reads from it."""
    until = time.monotonic() + FORKS
    while time.monotonic() < until:
        try:
            file = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.002)
            continue
        os.set_blocking(file, True)
        return file
    raise TimeoutError(f"a fork did not begin within {FORKS:g} s")


def _marked(mark: str) -> list[int]:
    """Processes that have the mark in their environment."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(entry))
    return found
