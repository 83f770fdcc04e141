"""A box with the repository of a task in it, ready to be worked in or to be judged in."""

from __future__ import annotations

import base64
import io
import sys
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from shlex import quote

from forge_envs.errors import MachineError
from forge_envs.sandbox import Limits, Result, Sandbox, SandboxError, provider
from forge_envs.worlds.swe import git
from forge_envs.worlds.swe.task import SweTask

WORKDIR = "/testbed"
"""Where the official harness expects the repository."""
STARTING = 600.0
"""Seconds that a start may take; only a large repository with a future to forget takes more than a few."""
EDIT = "edit_via_str_replace"
SMALL = 48_000
"""Bytes of a file that may travel in the command that reads it: one command less, of which each takes a
container a third of a second on a busy machine."""

MACHINE = ("no_daemon", "no_image")
"""Kinds of failure that nothing in a box can bring about."""

ENVIRONMENT = {
    "PAGER": "cat",
    "GIT_PAGER": "cat",
    "MANPAGER": "cat",
    "LESS": "-R",
    "PIP_PROGRESS_BAR": "off",
    "TQDM_DISABLE": "1",
    "GIT_AUTHOR_NAME": "agent",
    "GIT_AUTHOR_EMAIL": "agent@localhost",
    "GIT_COMMITTER_NAME": "agent",
    "GIT_COMMITTER_EMAIL": "agent@localhost",
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}
"""What an agent's commands find set."""
FIRST_DAY = {"GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Ground:
    """Which boxes a world uses."""

    sandbox: str
    limits: Limits = field(default_factory=Limits)


@dataclass
class Site:
    """An open box. Close it."""

    box: Sandbox
    tools: str
    """Our own folder, outside the repository."""
    env: dict[str, str]
    tree: str
    """Name of the git tree that the repository was at the start; empty where a patch is judged."""
    path: str
    """Where commands are looked for, without the folder of ours that the agent can write to."""

    def run(
        self,
        command: str,
        *,
        timeout: float,
        head: int = 5_000,
        tail: int = 5_000,
        env: Mapping[str, str] | None = None,
    ) -> Result:
        """Run a command in the repository. Raises SandboxError."""
        return self.box.run(command, timeout=timeout, env={**self.env, **(env or {})}, head=head, tail=tail)

    def put(self, name: str, data: bytes) -> str:
        """Write a file of ours and return its path. Raises MachineError: nobody else has been here."""
        path = f"{self.tools}/{name}"
        try:
            self.box.write(path, data)
        except OSError as error:
            raise unwell(f"{name} was not written to a fresh box: {error}") from error
        return path

    def lay(self, name: str, data: bytes) -> tuple[str, str]:
        """A file of ours for the next command: its path, and what that command must begin with.

        Whoever runs in that command can read the file in its words. Raises MachineError.
        """
        if len(data) > SMALL:
            return self.put(name, data), ""
        path, text = f"{self.tools}/{name}", base64.b64encode(data).decode()
        return path, f"base64 -d > {quote(path)} <<'FORGE-END'\n{text}\nFORGE-END\n"

    def put_back(self, path: str, text: str) -> None:
        """Write a file of the repository, remove it where `text` is empty. Raises SandboxError."""
        self.run('rm -f -- "$FILE"', timeout=60.0, env={"FILE": path})
        try:
            if text:
                self.box.write(path, text.encode())
        except OSError as error:
            raise unwell(f"{path} was not put back: {error}") from error

    def close(self) -> None:
        """Remove the box; calling it twice is fine."""
        self.box.close()


def unwell(text: str) -> MachineError:
    """A fresh box that does not do what every fresh box does."""
    return SandboxError(text, kind="fresh_box", retryable=True)


def broke(box: Sandbox, error: SandboxError, task: SweTask, ground: Ground) -> bool:
    """Whether what ran in a box broke it; else the machine failed, and nobody is to blame.

    It did if the box takes no command any more, and a fresh one of the same image does.
    """
    return error.kind not in MACHINE and not _takes(box) and _is_well(task, ground)


def _is_well(task: SweTask, ground: Ground) -> bool:
    """Whether a fresh box of the task's image takes a command."""
    try:
        require_box(task, ground)
    except SandboxError:
        return False
    return True


def require_box(task: SweTask, ground: Ground) -> None:
    """Raises SandboxError, such as for a full disk, where a fresh box of the task takes no command."""
    box = _open(task, ground)
    try:
        if not _takes(box):
            raise unwell(f"a fresh box of {task.image!r} takes no command")
    finally:
        box.close()


def _takes(box: Sandbox) -> bool:
    try:
        return box.run("true").code == 0
    except SandboxError:
        return False


def _open(task: SweTask, ground: Ground) -> Sandbox:
    return provider(ground.sandbox).open(task.image, workdir=WORKDIR, limits=ground.limits)


def open_site(task: SweTask, ground: Ground, *, judged: bool = False) -> Site:
    """A fresh box with the task's repository at its base commit, and our tools beside it.

    For an agent it forgets what came after the base commit, and commands get an environment that suits
    agents. Where a patch is `judged`, image and environment stay as they are. Raises SandboxError.
    """
    box = _open(task, ground)
    try:
        return _prepare(box, task, ground, judged)
    except OSError as error:
        box.close()
        raise unwell(f"a fresh box of {task.image!r} cannot be written to: {error}") from error
    except BaseException:
        box.close()
        raise


def _prepare(box: Sandbox, task: SweTask, ground: Ground, judged: bool) -> Site:
    box.write(".forge-tools.tar", _tools(task))
    command = git.start(scrub=task.files is None and not judged, tree=not judged)
    made = box.run(command, timeout=STARTING, env={**ENVIRONMENT, **FIRST_DAY}, tail=20_000)
    lines = made.output.rstrip("\n").split("\n")
    if made.code != 0 or len(lines) < 3:
        where = f"the repository of {task.id} in {task.image!r}"
        raise unwell(f"{where} did not start, status {made.code}: {made.output[-1000:]}")
    tools, path, tree = lines[-3:]
    env = {} if judged else {**ENVIRONMENT, "PATH": f"{tools}/bin:{path}"}
    if ground.sandbox == "process":  # there is no image: the Python that runs this world has pytest
        env["PATH"] = f"{tools}/bin:{Path(sys.executable).parent}:{path}"
    return Site(box, tools, env, tree.strip("[]"), path)


def _tools(task: SweTask) -> bytes:
    """The first files of a box as a tar: our command, and the repository if the image has none."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        program = files(__package__).joinpath("edit.py").read_bytes()
        _add(tar, f"bin/{EDIT}", b"#!/usr/bin/env python3\n" + program, 0o755)
        for path, text in (task.files or {}).items():
            _add(tar, f"repository/{path}", text.encode(), 0o644)
    return data.getvalue()


def _add(tar: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))
