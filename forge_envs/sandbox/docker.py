"""Boxes made of Docker containers: no network, hard limits, nothing left behind."""

from __future__ import annotations

import atexit
import io
import os
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from forge_envs.sandbox.base import DEFAULT, Limits, Sandbox, SandboxError
from forge_envs.sandbox.census import alone, census_file
from forge_envs.sandbox.container import Container, Started
from forge_envs.sandbox.daemon import Daemon
from forge_envs.sandbox.disk import DiskWatch
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.owner import Owner
from forge_envs.sandbox.pool import IDLE, Pool, Recipe
from forge_envs.sandbox.pull import ensure
from forge_envs.sandbox.reaper import Watchdog, labels, sweep
from forge_envs.sandbox.waiting import waiting

WARM = 4
"""Boxes that a provider keeps ready."""
AT_ONCE = max(4, 2 * (os.cpu_count() or 1))
"""Boxes that are started at the same time; more would only make each other wait."""
PATIENCE = 180.0
"""Seconds that opening one box may wait for its turn."""
WAKING = 60.0
"""Seconds that the first command of an image's first box may take."""
PROBE = 'printf .; id -u && id -g && { [ -d "$1" ] && echo there || echo not there; }'


@dataclass(frozen=True)
class ImageFolder:
    """A folder of an image, as its user sees it."""

    uid: int
    gid: int
    there: bool


class Household:
    """All that a provider has running, for one process: a fork begins anew."""

    def __init__(self, warm: int) -> None:
        self.pid = os.getpid()
        self.owner, self.name = Owner.me(), uuid.uuid4().hex
        self.engine = Engine()
        self.daemon = Daemon(self.engine)
        self.disk = DiskWatch(self.engine, self.daemon.folder)
        self.watchdog = Watchdog(self.owner, self.name)
        self.turns = threading.BoundedSemaphore(AT_ONCE)
        self.places: dict[tuple[str, str], ImageFolder] = {}
        self.boxes: set[str] = set()
        self.pool = Pool(self.start, self.remove, warm)
        threading.Thread(target=self._sweep, name="forge-sweep", daemon=True).start()
        atexit.register(self.close)

    def _sweep(self) -> None:
        with suppress(SandboxError):  # whoever opens a box hears the reason
            sweep(self.engine)

    def open(self, image: str, workdir: str | None, limits: Limits) -> Sandbox:
        """A box that nobody has used."""
        recipe = self._recipe(image, workdir, limits)
        self.disk.require_room()
        while (started := self.pool.take(recipe)) is not None:
            if self._is_ready(started):
                break
            self.remove(started)  # it was ready and somebody killed it
        else:
            with self._turn(recipe):
                started = self.start(recipe)
        return Container(self.engine, self.disk, started, self.remove)

    def _is_ready(self, started: Started) -> bool:
        try:
            return alone(self.engine, started.id, census_file(started.pid, started.id), 0.0)
        except SandboxError as error:
            if error.kind != "gone":
                raise
            return False

    def start(self, recipe: Recipe) -> Started:
        """Make and start a container. Raises SandboxError and leaves none then."""
        limits, api = recipe.limits, self.engine.api
        until = int(time.time() + limits.lifetime + IDLE)
        box = self.daemon.create(recipe, labels(self.owner, self.name, until), until)
        self.boxes.add(box)
        try:
            with self.engine.asking(f"a box of {recipe.name!r}"):
                api.start(box)
                pid = api.inspect_container(box)["State"]["Pid"]
            started = Started(box, recipe.name, recipe.user, recipe.workdir, limits, pid)
            self._make_workdir(started, recipe)
            return started
        except BaseException:
            self.boxes.discard(box)
            self.engine.remove(box)
            raise

    def remove(self, started: Started) -> None:
        """Remove a box, whatever runs in it. A daemon that fails now is asked again at the end."""
        if os.getpid() == self.pid:
            with suppress(SandboxError):
                self.engine.remove(started.id)
                self.boxes.discard(started.id)

    def close(self) -> None:
        """Remove every box of this process."""
        if os.getpid() != self.pid:
            return
        atexit.unregister(self.close)
        self.pool.close()
        with suppress(SandboxError):  # else the watchdog goes on trying
            for box in list(self.boxes):
                self.engine.remove(box)
                self.boxes.discard(box)
        self.watchdog.close()

    def _recipe(self, image: str, workdir: str | None, limits: Limits) -> Recipe:
        if workdir is not None and not workdir.startswith("/"):
            raise ValueError(f"workdir={workdir!r}: a folder of the box is written from its root, /...")
        found = ensure(self.engine, image)
        config = found["Config"] or {}
        user, place = config.get("User") or "0", workdir or config.get("WorkingDir") or "/"
        return Recipe(found["Id"], image, user, place, limits)

    @contextmanager
    def _turn(self, recipe: Recipe) -> Iterator[None]:
        self.pool.busy(+1)
        try:
            if not self.turns.acquire(timeout=PATIENCE):
                text = f"a box of {recipe.name!r}: {AT_ONCE} others were being started for {PATIENCE:g} s"
                raise SandboxError(text, kind="timeout", retryable=True)
            try:
                yield
            finally:
                self.turns.release()
        finally:
            self.pool.busy(-1)

    def _make_workdir(self, started: Started, recipe: Recipe) -> None:
        """Make the workdir if the image has none, as its user's own."""
        key = recipe.image, recipe.workdir
        if key not in self.places:
            self.places[key] = self._probe(started)
        place = self.places[key]
        if place.there:
            return
        folder = tarfile.TarInfo(recipe.workdir.strip("/"))
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        folder.uid, folder.gid, folder.mtime = place.uid, place.gid, int(time.time())
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            tar.addfile(folder)
        with self.engine.asking(f"the folder {recipe.workdir!r} in a box of {recipe.name!r}"):
            self.engine.api.put_archive(started.id, "/", archive.getvalue())

    def _probe(self, started: Started) -> ImageFolder:
        said = bytearray()
        argv = ["bash", "-c", PROBE, "bash", started.workdir]
        try:
            code = self.engine.exec(
                started.id,
                argv,
                said.extend,
                user=started.user,
                timeout=WAKING,
                end=lambda: self.engine.remove(started.id),
            )
        except SandboxError as error:
            if error.kind != "no_exec":
                raise
            code = 127
        if code is None:
            text = f"a box of {started.image!r} ran nothing for {WAKING:g} s"
            raise SandboxError(text, kind="timeout", retryable=True)
        if code != 0:
            text = f"image {started.image!r} cannot run bash, which boxes need (status {code})"
            raise SandboxError(text, kind="no_image", retryable=False)
        uid, gid, there = said.decode().split(maxsplit=2)
        return ImageFolder(int(uid), int(gid), there.strip() == "there")


class DockerProvider:
    """Containers of one daemon, the one that DOCKER_HOST or the default socket names.

    Args:
        warm: boxes kept ready, of images that were opened more than once; 0 keeps none.
    """

    name = "docker"
    jail = True

    def __init__(self, *, warm: int = WARM) -> None:
        if warm < 0:
            raise ValueError(f"warm={warm}: it counts boxes, so it is not negative")
        self.warm = warm
        self._lock = threading.Lock()
        self._session: Household | None = None

    def open(self, image: str, *, workdir: str | None = None, limits: Limits = DEFAULT) -> Sandbox:
        """See `Provider.open`."""
        with waiting(f"a box of {image!r}"):
            return self._started().open(image, workdir, limits)

    def close(self) -> None:
        """Remove every box that was opened here, and those kept ready; the next `open` starts anew."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def ready(self) -> int:
        """How many boxes are kept ready now."""
        return self._session.pool.ready if self._session else 0

    def _started(self) -> Household:
        with self._lock:
            if self._session is None or self._session.pid != os.getpid():
                self._session = Household(self.warm)
            return self._session
