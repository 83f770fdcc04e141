"""Images from a registry, with progress, a deadline, and named reasons for what did not work."""

from __future__ import annotations

import threading
import time
from typing import Any

from forge_envs.sandbox.base import SandboxError
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.progress import Progress, progress

PULLING = 1800.0
"""Seconds that fetching one image may take."""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each further try."""
OURS = "forge/"
NOT_BUILT = "image {image!r} is not built yet: run `forge-envs images {name}`"
UNREACHABLE = ("no such host", "connection refused", "network is unreachable", "i/o timeout", "dial tcp")
REFUSED = ("not found", "manifest unknown", "denied", "unauthorized", "invalid reference", "does not exist")

_locks: dict[str, threading.Lock] = {}
_guard = threading.Lock()


def ensure(
    engine: Engine, image: str, *, until: float | None = None, show: Progress | None = None
) -> dict[str, Any]:
    """What the daemon knows of an image, which is pulled if it is not there. Raises SandboxError."""
    found = _inspect(engine, image)
    if found is None:
        if image.startswith(OURS):
            text = NOT_BUILT.format(image=image, name=image.removeprefix(OURS).partition(":")[0])
            raise SandboxError(text, kind="no_image", retryable=False)
        with _guard:
            lock = _locks.setdefault(image, threading.Lock())
        until = time.monotonic() + PULLING if until is None else until
        if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise _late(image)
        try:
            found = _inspect(engine, image)  # another thread may have fetched it meanwhile
            if found is None:
                pull(engine, image, until=until, show=show)
                found = _inspect(engine, image)
        finally:
            lock.release()
    if found is None:
        raise SandboxError(f"image {image!r} was pulled and is not there", kind="no_image", retryable=True)
    return found


def pull(engine: Engine, image: str, *, until: float, show: Progress | None = None) -> None:
    """Fetch an image from its registry, trying again when the network fails. Raises SandboxError."""
    repository, tag = _split(image)
    for pause in (*PAUSES, None):
        try:
            with progress(show) as shown:
                _try(engine, image, repository, tag, until, shown)
            return
        except SandboxError as error:
            if not error.retryable or pause is None or time.monotonic() + pause > until:
                raise
            time.sleep(pause)


def _inspect(engine: Engine, image: str) -> dict[str, Any] | None:
    try:
        with engine.asking(f"image {image!r}"):
            found: dict[str, Any] = engine.api.inspect_image(image)
            return found
    except SandboxError as error:
        if error.kind != "no_image":
            raise
        return None


def _try(engine: Engine, image: str, repository: str, tag: str, until: float, shown: Progress) -> None:
    """One try; the daemon tells what it does, and its errors, line by line."""
    layers: dict[str, tuple[int, int]] = {}
    shown.step(f"{image}: pulling")
    with engine.asking(f"image {image!r}"):
        try:
            lines = engine.api.pull(repository, tag=tag, stream=True, decode=True)
        except Exception as error:
            raise _reason(image, str(getattr(error, "explanation", None) or error)) from error
        for line in lines:
            if "error" in line:
                raise _reason(image, str(line["error"]))
            if time.monotonic() > until:
                raise _late(image)
            detail = line.get("progressDetail") or {}
            if detail.get("total"):
                layers[line["id"]] = detail["current"], detail["total"]
                done, total = (sum(column) >> 20 for column in zip(*layers.values(), strict=True))
                shown.detail(f"{image}: {done} of {total} MB")
    shown.step(f"{image}: pulled")


def _split(image: str) -> tuple[str, str]:
    """Repository and tag (or digest); a colon before a slash belongs to a port.

    >>> _split("localhost:5000/a/b"), _split("debian:bookworm"), _split("a@sha256:12")
    (('localhost:5000/a/b', 'latest'), ('debian', 'bookworm'), ('a', 'sha256:12'))
    """
    if "@" in image:
        repository, _, digest = image.partition("@")
        return repository, digest
    head, slash, last = image.rpartition("/")
    name, _, tag = last.partition(":")
    return head + slash + name, tag or "latest"


def _reason(image: str, said: str) -> SandboxError:
    lower = said.lower()
    if any(word in lower for word in UNREACHABLE):
        text = (
            f"image {image!r} is not here, and no registry answers ({said}). "
            "Pull or build it where there is one and bring it with `docker save` and `docker load`; "
            "Forge's own images need none: `forge-envs images NAME`"
        )
        return SandboxError(text, kind="no_registry", retryable=False)
    if any(word in lower for word in REFUSED):
        return SandboxError(f"image {image!r}: {said}", kind="no_image", retryable=False)
    if "no space left" in lower:
        text = f"image {image!r}: the disk is full ({said}). `docker system prune` frees space"
        return SandboxError(text, kind="disk_full", retryable=False)
    return SandboxError(f"image {image!r} was not pulled: {said}", kind="pull", retryable=True)


def _late(image: str) -> SandboxError:
    return SandboxError(f"image {image!r} was not pulled in time", kind="timeout", retryable=True)
