"""Boxes made of a temporary folder and the host's own tools: tidy, quick, and no jail."""

from __future__ import annotations

import atexit
import errno
import logging
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from forge_envs.sandbox import cgroup
from forge_envs.sandbox.base import DEFAULT, Limits, Result, Sandbox, SandboxError
from forge_envs.sandbox.clip import Clip
from forge_envs.sandbox.command import FolderWatch, bounds, follow, words_before
from forge_envs.sandbox.owner import Owner

WARNING = (
    "sandbox='process' is no jail: what runs in it can read and change whatever you can. "
    "Use it for models you trust; sandbox='docker' holds the others"
)
PREFIX = "forge-box-"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT = ("PATH", "TZ", "JAVA_HOME", "GOROOT", "PYENV_ROOT", "RUSTUP_HOME")
"""What a command sees of our own environment: where tools are, nothing that may be secret."""
RUN = 'eval "$1"; exec 3>&1 >/dev/null 2>&1; bash "${@:2}" >&3 2>&3 3>&-; exit $?'
"""Sets the limits $1 and runs the command, $2 and on. Without it the command's shell would be the first
process of its namespace, which cannot be killed from inside."""
LONGEST = 100_000
"""Bytes of a command that still fit an argument; a longer one goes through a file."""

log = logging.getLogger(__name__)


class ProcessProvider:
    """Processes of this host. Ask for it by name: a program that means harm is not held back.

    Args:
        isolate: give commands their own network and process numbers where the kernel allows.
    """

    name = "process"
    jail = False

    def __init__(self, *, isolate: bool = True) -> None:
        self.isolate = isolate
        self._lock = threading.Lock()
        self._boxes: set[ProcessBox] = set()
        self._owner: Owner | None = None

    def open(self, image: str, *, workdir: str | None = None, limits: Limits = DEFAULT) -> Sandbox:
        """See `Provider.open`. `image` and `workdir` are not used: the tools are the host's."""
        with self._lock:
            if self._owner is None or self._owner.pid != os.getpid():
                self._begin()
            assert self._owner is not None
            box = ProcessBox(self._owner, limits, self.isolate)
            self._boxes.add(box)
            return box

    def close(self) -> None:
        """Remove every box that was opened here."""
        if self._owner is not None and self._owner.pid == os.getpid():
            for box in list(self._boxes):
                box.close()
            self._boxes.clear()

    def _begin(self) -> None:
        """Once in a process: say what this is, and remove what dead owners left."""
        log.warning(WARNING)
        self._boxes, self._owner = set(), Owner.me()
        atexit.register(self.close)
        gone = []
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*-*"):
            pid, began = folder.name.removeprefix(PREFIX).split("-")[:2]
            if pid.isdigit() and Owner(self._owner.place, int(pid), began).dead:
                shutil.rmtree(folder, ignore_errors=True)
                gone.append(f"{pid}-{began}")
        cgroup.sweep(PREFIX, gone)


class ProcessBox(Sandbox):
    """A folder and what runs in it."""

    def __init__(self, owner: Owner, limits: Limits, isolate: bool) -> None:
        try:
            self._place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{owner.pid}-{owner.began}-"))
            for name in ("work", "home", "tmp"):
                (self._place / name).mkdir()
        except OSError as error:
            raise SandboxError(f"no temporary folder: {error}", kind="disk_full", retryable=True) from error
        self.workdir = str(self._place / "work")
        self._limits = limits
        self._group = cgroup.make(self._place.name, limits)
        self._before = [*(self._group.words() if self._group else []), *words_before(isolate)]
        self._closed = False

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
        self._require_open()
        clip = Clip(head, tail)
        text = command.encode("utf-8", "replace")
        if b"\0" in text:
            return Result(2, "bash: a command cannot hold a NUL byte\n")
        where = self._at(cwd or ".")
        if not os.path.isdir(where):
            if cwd:
                return Result(1, f"bash: cd: {cwd}: No such file or directory\n")
            # the command removed its own folder, and may make it again
            where = str(self._place) if self._place.is_dir() else "/"
        argv = ["-c", text.decode()]
        if len(text) > LONGEST:
            script = self._place / "command"
            try:
                script.write_bytes(text)
            except OSError as error:  # what the box's commands did to their folder is their own affair
                return Result(126, f"bash: {script}: {error.strerror}\n")
            argv = [str(script)]
        limits = self._bounds()
        try:
            watch = FolderWatch(self._place, self._limits.disk_mb << 20)
            shell = self._start([*self._before, "bash", "-c", RUN, "bash", limits, *argv], where, env)
            code, full = follow(shell, timeout, clip, watch)
        except OSError as error:
            said = f"no command can be run: {error}"
            raise SandboxError(said, kind="no_process", retryable=True) from error
        finally:
            if self._group:
                self._group.end_all()  # whoever killed the supervisor too
        return clip.result(code, filled=self._limits.disk_mb if full else None)

    def read(self, path: str, *, limit: int = 16_000_000) -> bytes:
        """See `Sandbox.read`."""
        place = self._at(path)
        if os.path.exists(place) and not os.path.isdir(place) and not os.path.isfile(place):
            raise PermissionError(errno.EPERM, "this is no regular file", path)
        try:
            with open(place, "rb") as file:
                data = file.read(limit + 1)
        except NotADirectoryError as error:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path) from error
        if len(data) > limit:
            raise ValueError(f"{path!r} is longer than {limit} bytes")
        return data

    def write(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """See `Sandbox.write`."""
        place = Path(self._at(path))
        if place.exists() and not place.is_dir() and not place.is_file():
            raise PermissionError(errno.EPERM, "this is no regular file", path)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from error
        if len(data) > self._limits.disk_mb << 20:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), path)
        place.write_bytes(data)
        if executable:
            place.chmod(place.stat().st_mode | 0o111)

    def close(self) -> None:
        """See `Sandbox.close`."""
        if not self._closed:
            self._closed = True
            if self._group:
                self._group.close()
            _remove(self._place)

    def _require_open(self) -> None:
        if self._closed:
            raise SandboxError("the box is closed", kind="gone", retryable=False)

    def _at(self, path: str) -> str:
        self._require_open()
        if not path or "\0" in path:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return os.path.join(self.workdir, path.encode("utf-8", "replace").decode())

    def _start(self, argv: list[str], where: str, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            argv,
            cwd=where,
            env={**self._environment(), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def _bounds(self) -> str:
        return bounds(self._limits, alone=self._group is None)

    def _environment(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        toolchains = os.path.expanduser("~/.rustup")  # who has no home, or none to look into, has none
        if os.path.isdir(toolchains):
            kept.setdefault("RUSTUP_HOME", toolchains)  # else rustup looks in the box's HOME
        return {
            "PATH": PATH,
            "HOME": str(self._place / "home"),
            "TMPDIR": str(self._place / "tmp"),
            "LANG": "C.UTF-8",
            **kept,
        }


def _remove(place: Path) -> None:
    """Remove a folder, also one whose owner took away his own rights to it."""
    with suppress(OSError):
        os.chmod(place, 0o700)
    for folder, names, _ in os.walk(place):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                with suppress(OSError):
                    os.chmod(path, 0o700)  # before it is listed
    shutil.rmtree(place, ignore_errors=True)
