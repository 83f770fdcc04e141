"""A small process of its own that outlives its parent and removes the boxes it left.

Run as a file, `python watchdog.py LABEL PARENT`, so that nothing of Forge is imported; the SDK is only
imported when there is something to do. Its standard input is a pipe whose other end the parent holds, and it
waits on the parent's process too, because a forked child may keep the pipe open.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from typing import Any

ROUNDS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds before each look: a request that was under way when the parent died may still make a box."""


def main(label: str, parent: int) -> None:
    """Wait for the parent's end, then remove every container that carries the label."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wait_for_the_end_of(parent)
    quiet = 0
    for pause in ROUNDS:
        time.sleep(pause)
        quiet = quiet + 1 if sweep(label) == 0 else 0
        if quiet == 4:  # 3.5 seconds with nothing to remove
            return


def wait_for_the_end_of(parent: int) -> None:
    """Until the pipe on standard input closes or the process has ended."""
    waited = [sys.stdin.fileno()]
    try:
        waited.append(os.pidfd_open(parent))
    except ProcessLookupError:
        return
    except (AttributeError, OSError):
        pass  # not Linux, or an old one: the pipe has to do
    select.select(waited, [], [])


def sweep(label: str) -> int:
    """Remove what carries the label; how many there were, or 1 if the daemon did not answer."""
    import docker

    try:
        api: Any = docker.APIClient(version="auto", timeout=30, **docker.utils.kwargs_from_env())
        found = api.containers(all=True, filters={"label": label})
        for box in found:
            with suppress(docker.errors.APIError):  # somebody else removes it
                api.remove_container(box["Id"], force=True, v=True)
        return len(found)
    except (docker.errors.DockerException, OSError):
        return 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
