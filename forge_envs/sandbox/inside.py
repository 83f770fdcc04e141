"""Boxes for a judge that is inside already: it runs in a container that is there for nothing but judging.

There is no daemon to ask for another one. What is judged runs as a user of its own, so that it can neither
read the judge's files nor write the verdict; where the judge is not root, it can, and nothing prevents it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from forge_envs.sandbox.base import DEFAULT, Limits, Sandbox, SandboxError
from forge_envs.sandbox.owner import Owner
from forge_envs.sandbox.process import ProcessBox

IMAGE_PATH = "FORGE_IMAGE_PATH"
"""The search path that the image had before the agent's was put in front of it."""


class Inside:
    """This container as a provider.

    Args:
        user: who runs what is judged; None for who the judge is.
        saved: an archive of the work folder as it was; None where boxes bring their files along.
        fresh: whether nobody has been here: then the first box takes the work folder as it lies there.
    """

    name = "inside"
    jail = False

    def __init__(self, user: str | None, saved: Path | None, *, fresh: bool) -> None:
        self._user = pwd.getpwnam(user) if user is not None and os.geteuid() == 0 else None
        self._saved, self._fresh = saved, fresh

    def open(self, image: str, *, workdir: str | None = None, limits: Limits = DEFAULT) -> Sandbox:
        """A box here. `workdir`, where given, is brought back to what was saved if anybody used it."""
        if workdir is not None and not self._fresh:
            self._restore(Path(workdir))
        self._fresh = False
        return InsideBox(self._user, workdir, limits)

    def _restore(self, folder: Path) -> None:
        if self._saved is None or not self._saved.is_file():
            text = f"{folder} was used, and there is no archive {self._saved} to bring it back from"
            raise SandboxError(text, kind="fresh_box", retryable=False)
        try:
            for entry in folder.iterdir():
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
        except OSError as error:
            raise SandboxError(
                f"{folder} was not emptied: {error}", kind="fresh_box", retryable=True
            ) from error
        words = ["tar", "-xpf", str(self._saved), "-C", str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            text = f"{folder} was not brought back: {done.stderr[-500:]}"
            raise SandboxError(text, kind="fresh_box", retryable=True)


class InsideBox(ProcessBox):
    """A folder of this container, and what runs in it as the user who is judged."""

    def __init__(self, user: pwd.struct_passwd | None, workdir: str | None, limits: Limits) -> None:
        super().__init__(Owner.me(), limits, isolate=False)
        self._user = user
        if user is not None:
            for folder in (self._place, *self._place.iterdir()):
                os.chown(folder, user.pw_uid, user.pw_gid)
            self._before += [
                *("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}"),
                *("--clear-groups", "--no-new-privs", "--"),
            ]
        if workdir is not None:
            self.workdir = workdir

    def _bounds(self) -> str:
        return f"ulimit -c 0 -f {self._limits.disk_mb << 10}"  # the container has the other limits

    def _environment(self) -> Mapping[str, str]:
        """The image's own variables, as a container of it has them."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FORGE_")}
        if IMAGE_PATH in os.environ:
            kept["PATH"] = os.environ[IMAGE_PATH]
        if self._user is not None:
            kept |= {"HOME": self._user.pw_dir, "USER": self._user.pw_name, "LOGNAME": self._user.pw_name}
        return kept
