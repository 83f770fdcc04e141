"""Who owns a box: a process of one host, named so that whoever comes later can tell that it is dead."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """A process; a number that was given out twice is told apart by when the process began.

    >>> Owner.parse(str(Owner("here", 7, "99"))) == Owner("here", 7, "99")
    True
    """

    place: str
    """Host, boot and process namespace: where the number means something."""
    pid: int
    began: str
    """In clock ticks since the boot; "" where the kernel does not tell."""

    def __str__(self) -> str:
        return f"{self.place}/{self.pid}/{self.began}"

    @classmethod
    def parse(cls, text: str) -> Owner:
        """The owner that `str` wrote. Raises ValueError."""
        place, pid, began = text.rsplit("/", 2)
        return cls(place, int(pid), began)

    @classmethod
    def me(cls) -> Owner:
        """This process."""
        return cls(_place(), os.getpid(), _began(os.getpid()))

    @property
    def dead(self) -> bool:
        """Whether it is certain that the process has ended; who is elsewhere may live."""
        if self.place != _place():
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # somebody else's, so it lives
        began = _began(self.pid)
        return bool(began) and began != self.began


@cache
def _place() -> str:
    return f"{socket.gethostname()}/{_boot()}/{_namespace()}"


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]
    except OSError:
        return ""


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        return ""


def _began(pid: int) -> str:
    """Field 22 of /proc/PID/stat; the second field may hold blanks and brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
