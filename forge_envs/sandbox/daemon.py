"""What a Docker daemon can do, asked once, and the container that a box becomes there."""

from __future__ import annotations

import os
from typing import Any

from forge_envs.sandbox.base import SandboxError
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.pool import Recipe
from forge_envs.sandbox.scripts import FIRST

ROOT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID")
"""What root may do in an image whose user is root, fewer than Docker's own list; other users get nothing."""
OPEN_FILES = 4096
SIZING = "overlay2"
"""The storage driver whose containers can be given a size, if its folder lies on xfs with project quotas (the
mount option `pquota`). Under btrfs a size counts the image too, and opening a box takes 12 s with quotas."""


class Daemon:
    """One daemon. Raises SandboxError where it does not answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.asking("the daemon"):
            found = engine.api.info()
        self.cpus = float(found.get("NCPU") or 1)
        self.folder = _folder(found)
        """Where it keeps containers, if that is a folder of this host too."""
        self.sizes = found.get("Driver") == SIZING
        """Whether it may take a container's size; it says no to the first container if it cannot."""

    def create(self, recipe: Recipe, labels: dict[str, str], until: int) -> str:
        """Make a container that ends at a second of the epoch; its id. Raises SandboxError."""
        if self.sizes:
            try:
                return self._create(recipe, labels, until, sized=True)
            except SandboxError as refused:
                if refused.kind != "docker":
                    raise
            box = self._create(recipe, labels, until, sized=False)
            self.sizes = False  # without a size it works: the size was what it refused
            return box
        return self._create(recipe, labels, until, sized=False)

    def _create(self, recipe: Recipe, labels: dict[str, str], until: int, *, sized: bool) -> str:
        with self._engine.asking(f"a box of {recipe.name!r}"):
            made = self._engine.api.create_container(
                recipe.image,
                entrypoint=["sh", "-c", FIRST.format(until=until)],
                command=[],
                user="0",
                working_dir="/",
                labels=labels,
                host_config=self._limits(recipe, sized=sized),
            )
        return str(made["Id"])

    def _limits(self, recipe: Recipe, *, sized: bool) -> Any:
        """The limits of a container, in Docker's words."""
        from docker.types import Ulimit

        limits = recipe.limits
        memory, disk = limits.memory_mb << 20, limits.disk_mb << 20
        return self._engine.api.create_host_config(
            network_mode="none",
            mem_limit=memory,
            memswap_limit=memory,  # no swap on top
            pids_limit=limits.pids,
            nano_cpus=int(min(limits.cpus, self.cpus) * 1e9),  # a daemon refuses more than it has
            storage_opt={"size": str(disk)} if sized else None,
            ulimits=[
                Ulimit(name="fsize", soft=disk, hard=disk),
                Ulimit(name="core", soft=0, hard=0),
                Ulimit(name="nofile", soft=OPEN_FILES, hard=OPEN_FILES),
            ],
            cap_drop=["ALL"],
            cap_add=list(ROOT) if recipe.user.partition(":")[0] in ("0", "root") else [],
            security_opt=["no-new-privileges"],
            auto_remove=True,
        )


def _folder(found: dict[str, Any]) -> str | None:
    folder = found.get("DockerRootDir")
    try:
        here = os.uname().nodename == found.get("Name")
        return str(folder) if here and folder and os.statvfs(folder) else None
    except OSError:
        return None
