"""What the processes of a group hold: ports they listen on, shared memory they made. Asked of Linux's /proc.

Elsewhere nothing is known and nothing is claimed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_PROC = Path("/proc")
_SHM = Path("/dev/shm")
_LISTENS = "0A"
_SEGMENTS = "psm_"
"""How Python's `SharedMemory` names its segments, vLLM's message queues among them."""


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now."""
    try:
        socket.create_server((host, port)).close()
    except OSError:
        return False
    return True


def refuse_taken(host: str, ports: Iterable[int]) -> None:
    """Raise ValueError for a port at which somebody else listens."""
    for port in ports:
        if not is_free(host, port):
            raise ValueError(
                f"port {port} of {host} is taken: somebody else listens there; end that, or give another one "
                "(serve --port, vllm.port; 0 takes a free one)"
            )


def listens(group: int, port: int) -> bool | None:
    """Whether a process of `group` listens on `port`; None where this system does not tell."""
    wanted = {f"socket:[{inode}]" for inode in _listeners(port)}
    if not wanted:
        return None
    return any(link in wanted for process in _members(group) for link in _links(process / "fd"))


def segments(group: int) -> set[str]:
    """Names of the shared memory segments that processes of `group` have made or opened."""
    found: set[str] = set()
    for process in _members(group):
        with suppress(OSError):
            for line in (process / "maps").read_text(errors="replace").splitlines():
                path = line.partition(f"{_SHM}/")[2].split(" ")[0]
                if path.startswith(_SEGMENTS):
                    found.add(path)
    return found


def remove_segments(names: Iterable[str]) -> None:
    """Give back the memory of segments whose processes are gone; a killed one leaves it in use for ever."""
    for name in names:
        (_SHM / name).unlink(missing_ok=True)


def _members(group: int) -> Iterator[Path]:
    for process in _PROC.glob("[0-9]*"):
        with suppress(OSError, IndexError):
            # The name before it stands in brackets and may hold anything: state, parent and group follow.
            if int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[2]) == group:
                yield process


def _listeners(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on `port`."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (_PROC / "net" / table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _links(folder: Path) -> Iterator[str]:
    with suppress(OSError):
        for entry in folder.iterdir():
            with suppress(OSError):
                yield str(entry.readlink())
