"""One command of the process provider: what stands before it, what it may use, and its end."""

from __future__ import annotations

import functools
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from forge_envs.sandbox.base import Limits, SandboxError
from forge_envs.sandbox.clip import Clip

NAMESPACES = (
    ("--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"),
    ("--user", "--map-root-user", "--net", "--pid", "--mount-proc", "--fork", "--kill-child=KILL"),
    ("--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child=KILL"),
)
"""Tried in this order. The end of a process namespace's first process is the end of all in it."""
WITH_US = ("setpriv", "--pdeathsig", "KILL")
"""The kernel ends what follows when we end."""
TICK = 0.1
CHUNK = 1 << 16
LOOKS = 0.1
"""Seconds between two looks at the free space."""
NOTICED = 16 << 20
ENDING = 5.0
"""Seconds that a supervisor gets to end what it looks after."""

SUPERVISOR = (sys.executable, "-I", "-S", str(Path(__file__).with_name("supervise.py")))


ONLY_WITH_US = ("sh", "-c", '[ "$PPID" = "$0" ] || exit 124; exec "$@"')
"""Goes on only if its parent is who the next word says: we may have ended before we could be waited for."""


def words_before(isolate: bool) -> tuple[str, ...]:
    """What to put before a command so that all it starts ends with it, and with us."""
    me = str(os.getpid())
    if isolate and (words := namespaces()):
        return (*WITH_US, *ONLY_WITH_US, me, *words)
    return (*SUPERVISOR, me)


@functools.cache
def namespaces() -> tuple[str, ...]:
    """The words that give a command its own network and process numbers; none if the kernel forbids."""
    unshare, setpriv = shutil.which("unshare"), shutil.which(WITH_US[0])
    if not unshare or not setpriv:
        return ()
    for options in NAMESPACES:
        words = (unshare, *options)
        try:
            if subprocess.run([*WITH_US, *words, "true"], capture_output=True, timeout=10).returncode == 0:
                return words
        except (OSError, subprocess.TimeoutExpired):
            continue
    return ()


def bounds(limits: Limits, *, alone: bool) -> str:
    """Limits of each process as a shell sets them; `alone` when no group limits them together."""
    text = f"ulimit -c 0 -f {limits.disk_mb << 10}"
    if alone:
        text += f" -d {limits.memory_mb << 10}"
        if os.geteuid() != 0:  # root's processes are not counted
            text += f" -u {_threads() + limits.pids}"
    return text


def _threads() -> int:
    """How many threads this user has: the kernel counts them all against one limit."""
    me, found = os.geteuid(), 0
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and folder.stat().st_uid == me:
                found += sum(1 for _ in (folder / "task").iterdir())
        except OSError:
            continue
    return found


class FolderWatch:
    """Whether a folder has grown beyond its limit; asked often, it looks when free space has shrunk.

    Raises OSError if there is no folder above `place`; `place` itself may vanish, and is empty then.
    """

    def __init__(self, place: Path, limit: int) -> None:
        self._place, self._limit = place, limit
        self._free = self._seen_free()
        self._next = time.monotonic() + LOOKS
        self._size: int | None = None

    def full(self) -> bool:
        """Whether the folder holds more than its limit and is growing."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + LOOKS
        free = self._seen_free()
        if self._free - free < NOTICED:
            return False
        self._free = free
        before, self._size = self._size, _size(self._place)
        if before is None:  # what is there may be an earlier command's
            before, self._size = self._size, _size(self._place)
        return self._size > max(self._limit, before)

    def _seen_free(self) -> int:
        found = os.statvfs(self._place.parent)
        return found.f_bavail * found.f_frsize


def _size(place: Path) -> int:
    """Bytes on disk of all files below a folder."""
    found = 0
    for folder, _, files in os.walk(place):
        for name in files:
            try:
                found += os.lstat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return found


def follow(
    shell: subprocess.Popen[bytes], timeout: float, clip: Clip, watch: FolderWatch
) -> tuple[int | None, bool]:
    """Read a command's output until it ends: its exit status, None at the deadline; and whether it was ended
    because it filled the disk. Afterwards nothing that it started is alive.

    Raises SandboxError and OSError.
    """
    until, code, full = time.monotonic() + timeout, None, False
    out = shell.stdout
    assert out is not None
    try:
        with selectors.DefaultSelector() as selector:
            os.set_blocking(out.fileno(), False)
            selector.register(out, selectors.EVENT_READ)
            while (now := time.monotonic()) < until and not (full := watch.full()):
                code = shell.poll()
                if selector.select(0 if code is not None else min(TICK, until - now)):
                    data = os.read(out.fileno(), CHUNK)
                    if data:
                        clip.feed(data)
                        continue
                    selector.unregister(out)  # closed: there is nothing more to come
                    code = shell.wait(max(0.0, until - now))
                if code is not None:
                    break
    except subprocess.TimeoutExpired:
        pass
    finally:
        out.close()  # first: who waits for a reader could not end
        if shell.poll() is None:
            _end(shell)
    return (None if code is None else code if code >= 0 else 128 - code), full


def _end(shell: subprocess.Popen[bytes]) -> None:
    """End what still runs, by a signal to who ends the rest, and wait until that is done.

    A supervisor ends its own when told to. A namespace ends when its first process does, the only child of
    the program that made it, which the kernel reports dead after all others. Any of them may be gone by now.
    """
    inside = _children(shell.pid)
    if SUPERVISOR[-1] in _words(shell.pid):
        shell.terminate()
    elif inside:
        for pid in inside:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    else:
        shell.kill()
    try:
        shell.wait(ENDING)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGKILL)
        try:
            shell.wait(ENDING)
        except subprocess.TimeoutExpired as error:
            text = f"process {shell.pid} was killed and has not ended within {ENDING:g} s"
            raise SandboxError(text, kind="timeout", retryable=True) from error


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
