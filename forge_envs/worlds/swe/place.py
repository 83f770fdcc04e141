"""Where an agent works: a box that is opened when it is needed, and packed when the episode is pickled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from forge_envs.errors import ToolError
from forge_envs.sandbox import SandboxError
from forge_envs.sandbox.archive import pack, unpack
from forge_envs.worlds.swe.site import MACHINE, Ground, Site, broke, open_site
from forge_envs.worlds.swe.task import SweTask

T = TypeVar("T")


class Broken(ToolError):
    """The agent broke its box: no command runs there any more, and no patch can be taken."""


class Place:
    """The work folder of one episode. Pickled, it is an archive; what comes back opens a new box."""

    def __init__(self, task: SweTask, ground: Ground) -> None:
        self._task, self._ground = task, ground
        self._site: Site | None = None
        self._archive: bytes | None = None
        self._closed = self._used = self._broken = False

    @property
    def site(self) -> Site:
        """The open box. Raises SandboxError, also after `close`."""
        if self._closed:
            raise SandboxError("the episode's box is closed", kind="gone", retryable=False)
        if self._site is None:
            site = open_site(self._task, self._ground)
            try:
                if self._archive is not None:
                    unpack(site.box, self._archive)
            except BaseException:
                site.close()
                raise
            self._site, self._archive = site, None
        return self._site

    def use(self, act: Callable[[Site], T]) -> T:
        """Do something for the agent. Raises Broken if the agent's doing is why it fails, else SandboxError.

        A box that fails before the agent was in it is replaced.
        """
        while not self._broken:
            site, first = self.site, not self._used
            self._used = True
            try:
                return act(site)
            except SandboxError as error:
                if first and error.kind not in MACHINE:
                    site.close()
                    self._site = None
                    continue
                if not broke(site.box, error, self._task, self._ground):
                    raise
                self._broken = True
                self.close()
        raise Broken("the box takes no commands any more, so the work ends here")

    def close(self) -> None:
        """Remove the box; calling it twice is fine."""
        self._closed = True
        if self._site is not None:
            self._site.close()
            self._site = None

    def __getstate__(self) -> dict[str, Any]:
        archive = self._archive if self._site is None else pack(self._site.box)
        return {**vars(self), "_site": None, "_archive": archive}
