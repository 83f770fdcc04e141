"""Runs a command and ends all that it started, on kernels that give us no process namespace.

Run as a file, `python supervise.py PARENT COMMAND…`, PARENT being who asks. Orphans of the command
become children of this process, however they detached themselves, so it finds and kills them. A command that
kills this process escapes it; then only the box's control group, if it has one, ends what is left.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def main(parent: int, command: list[str]) -> int:
    """The command's exit status, 128 plus the signal's number if it was killed."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, give_up)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it ended before we could ask to be told
        return 124
    child = os.fork()
    if child == 0:
        for number in (signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two
            signal.signal(number, signal.SIG_DFL)
        try:
            os.execvp(command[0], command)
        finally:
            os._exit(127)
    code = 0
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            break
    end_all()
    return code if code >= 0 else 128 - code


def give_up(*_: object) -> None:
    """The deadline, or our parent's end."""
    end_all()
    os._exit(124)


def end_all() -> None:
    """Kill children until there are none; a killed child's children become ours."""
    while True:
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return


def children() -> list[int]:
    """Processes whose parent is this one, the dead included."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except (OSError, IndexError):
                continue
            if int(parent) == os.getpid():
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
