"""What every sandbox promises: each function below returns a note on what it saw, or raises BrokenPromise."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from forge_envs.sandbox import archive
from forge_envs.sandbox.base import Limits, Provider, Result, Sandbox, SandboxError

SLACK = 30.0
"""Seconds by which a slow machine may be late."""
MANY = 8
HOSTILE = (
    "",
    "\n",
    "echo 'no end",
    "echo $(",
    "\ud800",
    "echo \x00",
    "exit 256",
    "\x1b[31m\u202eé",
    "cd /nowhere",
    "exec 1>&- 2>&-; echo closed",
    "set -euo pipefail; false",
    "# " + "x" * 300_000,
)
BEAT = 'while :; do echo beat >> "$PWD/beats"; sleep 0.1; done'
"""Says every tenth of a second that it lives."""
DETACHED = (
    f"({BEAT}) & sleep 0.3",
    f"nohup bash -c '{BEAT}' >/dev/null 2>&1 & disown; sleep 0.3",
    f"setsid bash -c '{BEAT}' >/dev/null 2>&1 < /dev/null & sleep 0.3",
    f"(setsid bash -c '({BEAT}) &' &) >/dev/null 2>&1; sleep 0.3",
    f"env -i setsid bash -c 'trap \"\" TERM HUP INT; cd $PWD; {BEAT}' >/dev/null 2>&1 & sleep 0.3",
)
"""Ways to leave something behind."""


class BrokenPromise(AssertionError):
    """A sandbox does not do what every sandbox must."""


def require(kept: bool, text: str) -> None:
    """BrokenPromise unless `kept`."""
    if not kept:
        raise BrokenPromise(text)


class Check:
    """Opens boxes for a promise, and closes them all afterwards."""

    def __init__(self, provider: Provider, image: str, limits: Limits) -> None:
        self.provider, self.image, self.limits = provider, image, limits
        self._boxes: list[Sandbox] = []

    def open(self) -> Sandbox:
        """A fresh box."""
        box = self.provider.open(self.image, workdir="/tmp/forge check", limits=self.limits)
        self._boxes.append(box)
        return box

    def __enter__(self) -> Check:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for box in self._boxes:
            with suppress(SandboxError):
                box.close()


def _same(result: Result, code: int, output: str, what: str) -> None:
    seen = (result.code, result.output, result.elided, result.timed_out)
    require(seen == (code, output, 0, False), f"{what}: expected {(code, output)}, saw {seen}")


def _runs(check: Check) -> str:
    box = check.open()
    _same(box.run("echo out; echo err >&2; echo out"), 0, "out\nerr\nout\n", "both outputs in their order")
    _same(box.run("exit 7"), 7, "", "the exit status")
    _same(box.run("kill -9 $$"), 137, "", "a shell that kills itself")
    _same(box.run("pwd"), 0, box.workdir + "\n", "the folder commands start in")
    _same(box.run("mkdir -p a/b; x=1; cd a; export y=2"), 0, "", "a command")
    _same(box.run("echo $x$y; pwd"), 0, f"\n{box.workdir}\n", "a fresh shell")
    _same(box.run("pwd", cwd="a/b"), 0, f"{box.workdir}/a/b\n", "cwd")
    require(box.run("true", cwd="nowhere").code != 0, "a cwd that is not there passes")
    _same(box.run('echo "$K"', env={"K": "a b\n$c 'é"}), 0, "a b\n$c 'é\n", "env")
    _same(box.run("cat; echo $?"), 0, "0\n", "an input that is empty")
    require(bool(box.run('[ -w . ] && [ -d "$HOME" ] && mktemp').output), "no folder to write to")
    return "status, output in order, cwd, env, a fresh shell each time"


def _keeps_files(check: Check) -> str:
    box, data = check.open(), bytes(range(256)) * 5_000
    for path in ("plain", "deep/er/file", "with blank 'quote' \"é\" $x", "-dash", f"{box.workdir}/absolute"):
        for content in (data, b"", b"short"):
            box.write(path, content)
            require(box.read(path) == content, f"{path!r}: {len(content)} bytes do not come back")
    box.write("program", b"#!/bin/sh\necho it runs\n", executable=True)
    _same(box.run("./program"), 0, "it runs\n", "an executable file")
    _same(box.run("cat -- -dash; rm -- -dash"), 0, "short", "a file that was written")
    box.run("ln -s plain link; printf new > plain")
    require(box.read("link") == b"new", "a link is not followed")
    require(box.read("plain", limit=3) == b"new", "a file as long as the limit is refused")
    return "any bytes, any name, folders are made"


def _names_errors(check: Check) -> str:
    box = check.open()
    box.run("mkdir folder; echo 12345 > file; mkfifo pipe; ln -s loop loop")
    cases: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (FileNotFoundError, "reading what is not there", lambda: box.read("nothing")),
        (FileNotFoundError, "reading below a file", lambda: box.read("file/x")),
        (FileNotFoundError, "reading a name with NUL", lambda: box.read("a\x00b")),
        (FileNotFoundError, "reading the empty name", lambda: box.read("")),
        (IsADirectoryError, "reading a folder", lambda: box.read("folder")),
        (PermissionError, "reading a pipe", lambda: box.read("pipe")),
        (PermissionError, "reading a device", lambda: box.read("/dev/zero")),
        (ValueError, "reading beyond the limit", lambda: box.read("file", limit=3)),
        (IsADirectoryError, "writing a folder", lambda: box.write("folder", b"")),
        (NotADirectoryError, "writing below a file", lambda: box.write("file/x", b"")),
        (PermissionError, "writing a pipe", lambda: box.write("pipe", b"")),
        (OSError, "writing a name of 300 letters", lambda: box.write("x" * 300, b"")),
        (ValueError, "a timeout of 0", lambda: box.run("true", timeout=0)),
        (ValueError, "a negative head", lambda: box.run("true", head=-1)),
    ]
    for kind, what, act in cases:
        try:
            act()
        except kind as error:
            require(not isinstance(error, SandboxError), f"{what}: a SandboxError, the box is fine")
        except Exception as error:
            raise BrokenPromise(f"{what}: {error!r}, not {kind.__name__}") from error
        else:
            raise BrokenPromise(f"{what}: no {kind.__name__}")
    return f"{len(cases)} mistakes are named as Python does"


def _survives_any_text(check: Check) -> str:
    box = check.open()
    for command in HOSTILE:
        result = box.run(command)
        require(isinstance(result, Result), f"{command[:40]!r}: {result!r}")
    _same(box.run("echo fine"), 0, "fine\n", "after hostile commands")
    return f"{len(HOSTILE)} hostile commands"


def _keeps_deadlines(check: Check) -> str:
    box = check.open()
    for command in ("echo before; sleep 1000", "trap '' TERM INT HUP; echo before; while :; do :; done"):
        began = time.monotonic()
        result = box.run(command, timeout=2.0)
        took = time.monotonic() - began
        require(result.timed_out and result.code == 124, f"{command!r}: {result}")
        require("before" in result.output, f"{command!r}: what it said before is lost")
        require(took < 2.0 + SLACK, f"{command!r}: back after {took:.0f} s")
    _same(box.run("echo fine"), 0, "fine\n", "after a timeout")
    return "a command that does not end is ended, and what it said is kept"


def _bounds_output(check: Check) -> str:
    box = check.open()
    result = box.run("printf 'é%.0s' $(seq 5000)", head=1_000, tail=500)
    require(result.output == "é" * 1_500 and result.elided == 3_500, f"two-byte characters: {result.elided}")
    result = box.run("seq 1 100000", head=4, tail=7)
    require(result.output == "1\n2\n100000\n"[:4] + "100000\n", f"head and tail: {result.output!r}")
    result = box.run("head -c 300000 /dev/urandom; echo; echo end", tail=10)
    require(result.code == 0 and result.output.endswith("\nend\n"), "random bytes: the tail is lost")
    result = box.run("yes", timeout=2.0)
    require(len(result.output) == 10_000 and result.elided > 0, f"a flood: {len(result.output)} kept")
    require(result.output.startswith("y\ny\n"), "a flood: the head is lost")
    return f"head and tail of {result.elided + 10_000:,} characters"


def _ends_everything(check: Check) -> str:
    box = check.open()
    for command in DETACHED:
        for timeout, more in ((60.0, ""), (2.0, "; sleep 1000")):
            box.run(f"rm -f beats; {command}{more}", timeout=timeout)
            before = box.run("cat beats | wc -l; sleep 1").output
            after = box.run("cat beats | wc -l").output
            require(int(before) > 0, f"{command!r} never ran")
            require(before == after, f"{command!r} lives on after it returned")
    if check.provider.jail:  # elsewhere that would be asked of the host
        killed = box.run("kill -9 $PPID; kill -9 -1; kill -9 $$")
        require(killed.code == 137, f"killing all there is: {killed}")
    _same(box.run("echo fine"), 0, "fine\n", "after all that")
    return f"{len(DETACHED)} ways to stay behind, none does"


def _holds_limits(check: Check) -> str:
    box, limits = check.open(), check.limits
    bomb = box.run("bomb() { bomb | bomb & }; bomb; sleep 1; echo over", timeout=20.0)
    _same(box.run("echo fine"), 0, "fine\n", f"after a fork bomb that said {bomb.output[-80:]!r}")
    eat = f"x=$(head -c {2 * limits.memory_mb}M /dev/zero | tr '\\0' x); echo ${{#x}}"
    require(box.run(eat).code != 0, f"more than {limits.memory_mb} MB of memory can be had")
    _same(box.run("echo fine"), 0, "fine\n", "after using up the memory")
    one = box.run(f"head -c {2 * limits.disk_mb}M /dev/zero > big; stat -c %s big")
    require(int(one.output.split()[-1]) <= limits.disk_mb << 20, f"a file of {one.output} bytes")
    box.run("rm -f big")
    some = f"head -c {limits.disk_mb // 2}M /dev/zero"
    many = box.run(f"for i in $(seq 100); do {some} > big$i || exit; sleep 0.3; done; echo all")
    require("all\n" not in many.output, f"more than {limits.disk_mb} MB of disk can be had")
    _same(box.run("rm -f big*; echo fine"), 0, "fine\n", "after filling the disk")
    return "processes, memory and disk; the box lives on"


def _keeps_apart(check: Check) -> str:
    one, two = check.open(), check.open()
    one.write("secret", b"1")
    one.run("echo 1 > ~/mine; echo 1 > ${TMPDIR:-/tmp}/mine")
    seen = two.run("cat secret ~/mine ${TMPDIR:-/tmp}/mine").output
    require("1\n" not in seen, "one box reads what another wrote")
    fresh = check.open()
    _same(fresh.run("ls -A"), 0, "", "a fresh box")
    return "boxes do not see each other's files"


def _packs(check: Check) -> str:
    one, two = check.open(), check.open()
    one.run(
        "mkdir -p a/b; echo 1 > a/b/c; ln -s a/b/c link; echo 2 > .hidden; chmod 755 .hidden; mkdir empty"
    )
    two.run("mkdir -p old/er; echo 3 > old/er/file; chmod 500 old/er")
    archive.unpack(two, archive.pack(one))
    look = "find . -printf '%p %y %m %l\\n' | LC_ALL=C sort; cat a/b/c .hidden"
    require(one.run(look) == two.run(look), "a packed folder is not the same in another box")
    return "a folder moves to another box as it was"


def _closes(check: Check) -> str:
    box = check.open()
    box.run("sleep 1000 &")
    box.close()
    box.close()
    for act in (lambda: box.run("true"), lambda: box.read("x"), lambda: box.write("x", b"")):
        try:
            act()
        except SandboxError as error:
            require(error.kind == "gone", f"a verb after close: kind {error.kind!r}, not 'gone'")
        else:
            raise BrokenPromise("a verb after close does something")
    return "twice; what is asked afterwards fails as gone"


def _works_in_threads(check: Check) -> str:
    wrong: list[str] = []

    def play(number: int) -> None:
        try:
            box = check.open()
            box.write("number", str(number).encode())
            for turn in range(3):
                said = box.run(f"cat number; echo .{turn}; (sleep 1000 &)").output
                if said != f"{number}.{turn}\n":
                    wrong.append(f"box {number}: {said!r}")
            box.close()
        except Exception as error:
            wrong.append(f"box {number}: {error!r}")

    threads = [threading.Thread(target=play, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    require(not wrong, "; ".join(wrong[:3]))
    return f"{MANY} boxes at once"


def _is_a_jail(check: Check) -> str:
    if not check.provider.jail:
        return "not asked: it says that it is none"
    box = check.open()
    closed = {
        "a network device": "ls /sys/class/net | grep -v '^lo$'",
        "a way out": "timeout 5 bash -c 'echo > /dev/tcp/1.1.1.1/53'",
        "a kernel setting": "echo 1 > /proc/sys/kernel/hostname || echo h > /proc/sys/kernel/hostname",
        "a mount": "mkdir -p m && mount -t tmpfs none m",
        "a device": "mknod d b 8 0",
        "another user namespace's root": "unshare --user --map-root-user mount -t tmpfs none /mnt",
        "Docker's socket": "ls /var/run/docker.sock /run/docker.sock | grep .",
        "the first process's end": "kill -9 1; kill -TERM 1; kill -0 1 && false",
        "more rights by a program": "grep NoNewPrivs /proc/self/status | grep -v '1$'",
        "added capabilities": "awk '/CapBnd/ {print $2}' /proc/self/status | grep -v '^00000000000000'",
    }
    for what, command in closed.items():
        require(box.run(command, timeout=20.0).code != 0, f"there is {what}: {command}")
    _same(box.run("echo fine"), 0, "fine\n", "after trying to get out")
    return f"no way out by {len(closed)} ways"


PROMISES: dict[str, Callable[[Check], str]] = {
    "run": _runs,
    "files": _keeps_files,
    "errors": _names_errors,
    "any text": _survives_any_text,
    "deadlines": _keeps_deadlines,
    "output": _bounds_output,
    "nothing stays": _ends_everything,
    "limits": _holds_limits,
    "apart": _keeps_apart,
    "archive": _packs,
    "close": _closes,
    "at once": _works_in_threads,
    "jail": _is_a_jail,
}
