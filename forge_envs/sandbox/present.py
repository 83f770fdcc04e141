"""Whether Docker, its daemon and an image are there: asked in milliseconds, when a world is made."""

from __future__ import annotations

import http.client
import importlib.util
import logging
import os
import socket
from collections.abc import Iterable
from urllib.parse import quote

from forge_envs.sandbox.engine import NO_DAEMON, NO_SDK
from forge_envs.sandbox.pull import NOT_BUILT, OURS

log = logging.getLogger(__name__)

SOCKET = "unix:///var/run/docker.sock"
QUICKLY = 2.0
"""Seconds that a daemon on this machine may take to say whether it has an image."""
_told: set[str] = set()


def tell_missing(images: Iterable[str]) -> str:
    """What is missing for boxes of these images, logged once a process as a warning; empty if nothing is.

    A world can be made without: its tasks can be looked at and exported.
    """
    found = missing(images)
    if found and found not in _told:
        _told.add(found)
        log.warning("%s. Until then every episode fails", found)
    return found


def missing(images: Iterable[str]) -> str:
    """What is missing, and the way to get it; empty if nothing is, or a daemon elsewhere would be asked."""
    if importlib.util.find_spec("docker") is None:
        return NO_SDK
    where = os.environ.get("DOCKER_HOST") or SOCKET
    kind, _, path = where.partition("://")
    if kind != "unix":
        return ""
    try:
        return next((text for image in images if (text := _without(path, image))), "")
    except TimeoutError:  # it is busy, as far as anybody knows
        return ""
    except OSError as error:
        return NO_DAEMON.format(where=where, why=error)
    except http.client.HTTPException:  # it answers: what it has is seen when a box is opened
        return ""


def _without(path: str, image: str) -> str:
    """Why a box of this image cannot be opened. Images of others are pulled when they are needed."""
    if not image.startswith(OURS):
        return ""
    connection = _Local("localhost", timeout=QUICKLY)
    connection.place = path
    try:
        connection.request("GET", f"/images/{quote(image, safe='/:')}/json")
        found = connection.getresponse().status
    finally:
        connection.close()
    return (
        NOT_BUILT.format(image=image, name=image.removeprefix(OURS).partition(":")[0]) if found == 404 else ""
    )


class _Local(http.client.HTTPConnection):
    """HTTP through a socket of this machine."""

    place = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(QUICKLY)
        self.sock.connect(self.place)
