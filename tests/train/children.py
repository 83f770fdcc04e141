"""Processes that begin with torch imported: forked from a server that imported it once.

Importing takes five processor seconds, which a child of a test would spend before it does anything. What is
forked has no threads and has computed nothing, so a child is what a Python started anew would be.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SERVER = multiprocessing.get_context("forkserver")
PRELOADED = ["forge_train.run", "forge_train.cli", "tests.train.ranks"]


class Child:
    """A process that ends with what `function(*arguments)` returns, like a program's `main`.

    Both its streams go into the file `out`; `env` is laid over our environment.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        out: Path,
        env: Mapping[str, str] | None = None,
    ) -> None:
        threads = os.environ.get("OMP_NUM_THREADS")
        os.environ["OMP_NUM_THREADS"] = "1"  # for the server, which begins with the first child
        try:
            SERVER.set_forkserver_preload(PRELOADED)
            work = (function, arguments, str(out), {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})})
            self.process = SERVER.Process(target=_become, args=work)
            self.process.start()
        finally:
            if threads is None:
                del os.environ["OMP_NUM_THREADS"]
            else:
                os.environ["OMP_NUM_THREADS"] = threads
        self.out = out

    def poll(self) -> int | None:
        """The exit status, minus a signal's number where one ended it; None while it runs."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int:
        """The exit status; TimeoutError when there is none by then."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutError(f"it still runs after {timeout} s: {self.said()[-2000:]}")
        return self.process.exitcode

    def until(self, reached: Callable[[], object], seconds: float = 600.0) -> None:
        """Wait for something that it does before it ends."""
        ends = time.monotonic() + seconds
        while not reached():
            assert self.poll() is None, f"it ended before: {self.said()[-2000:]}"
            assert time.monotonic() < ends, f"it did not happen: {self.said()[-2000:]}"
            time.sleep(0.005)

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL, unless it has ended; returns when it is gone."""
        self.process.kill()
        self.process.join()

    def said(self) -> str:
        """All that it has written."""
        return self.out.read_text() if self.out.exists() else ""


def places(size: int) -> list[dict[str, str]]:
    """What torchrun tells each of `size` processes of one machine by its environment."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meet = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [{**meet, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(size)]


def _become(function: Callable[..., Any], arguments: tuple[Any, ...], out: str, env: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(ROOT)
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(function(*arguments))
