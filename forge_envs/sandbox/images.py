"""Our images, made without a registry: Debian's own packages, then an ordinary Dockerfile per image."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from forge_envs.sandbox.base import SandboxError
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.progress import Progress, progress
from forge_envs.sandbox.pull import ensure

FOLDER = Path(__file__).parent / "images"
BASE = "forge/debian:bookworm"
MIRROR = "http://deb.debian.org/debian"
AUTHORITIES = Path("/usr/local/share/ca-certificates")
PACKAGES = "bash,ca-certificates,git,procps,python3-minimal"
RECIPE = "forge.recipe"
"""Label that tells what an image was made from: the Dockerfile's folder and the image below it."""
PATIENCE = 1800.0
"""Seconds that making one image may take."""


def names() -> list[str]:
    """The images that this package knows how to build; `build("swe")` makes `forge/swe`."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / "Dockerfile").is_file())


def build(
    name: str,
    *,
    base: str | None = None,
    force: bool = False,
    timeout: float = PATIENCE,
    show: Progress | None = None,
) -> str:
    """Make the image `forge/<name>` unless it is there and current; returns its tag.

    Below every image lies `forge/debian:bookworm`: what is there under that name, else `base` (an image of
    a registry, such as "debian:bookworm"), else Debian's packages by debootstrap. `show` hears how far it is,
    by default standard error. Raises ValueError for an unknown name, and SandboxError.
    """
    if name not in names():
        raise ValueError(f"image {name!r}: known are {', '.join(names())}")
    engine, until = Engine(), time.monotonic() + timeout
    tag, folder = f"forge/{name}", FOLDER / name
    with progress(show) as shown:
        below = _below(folder / "Dockerfile").removeprefix("forge/")
        if below in names():
            build(below, base=base, timeout=until - time.monotonic(), show=shown)
        else:
            _ensure_base(engine, base, until, shown)
        wanted = recipe(engine, folder)
        if not force and _label(engine, tag) == wanted:
            return tag
        shown.step(f"{tag}: building")
        began = time.monotonic()
        with engine.asking(f"building {tag}", patience=timeout):
            lines = engine.api.build(
                path=str(folder), tag=tag, network_mode="host", rm=True, forcerm=True, decode=True,
                labels={RECIPE: wanted}, timeout=max(1.0, until - time.monotonic()),
            )  # fmt: skip
            _follow(tag, lines, until, shown)
        shown.step(f"{tag}: built in {time.monotonic() - began:.0f} s")
    return tag


def build_missing(wanted: Iterable[str] | None = None, **options: Any) -> list[str]:
    """`build` every image of `wanted`, by default all of `names()`; what is current is left as it is."""
    return [build(name, **options) for name in (names() if wanted is None else wanted)]


def recipe(engine: Engine, folder: Path) -> str:
    """What an image would be made from: a hash of the Dockerfile's folder and of the image below it."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            found.update(f"{file.relative_to(folder)}\0".encode() + file.read_bytes())
    below = _below(folder / "Dockerfile")
    with engine.asking(f"image {below!r}"):
        found.update(engine.api.inspect_image(below)["Id"].encode())
    return found.hexdigest()[:16]


def _below(dockerfile: Path) -> str:
    for line in dockerfile.read_text().splitlines():
        word, _, rest = line.strip().partition(" ")
        if word.upper() == "FROM":
            return rest.split()[0]
    raise ValueError(f"{dockerfile} has no FROM line")


def _label(engine: Engine, tag: str) -> str | None:
    """The recipe an image was made from, None if there is no such image."""
    try:
        with engine.asking(f"image {tag!r}"):
            labels = (engine.api.inspect_image(tag)["Config"] or {}).get("Labels") or {}
    except SandboxError as error:
        if error.kind != "no_image":
            raise
        return None
    return str(labels.get(RECIPE, ""))


def _follow(tag: str, lines: Iterator[dict[str, Any]], until: float, shown: Progress) -> None:
    """Tell what the builder says. Raises SandboxError when it fails or is late."""
    last: deque[str] = deque(maxlen=20)
    for line in lines:
        if "error" in line:
            said = "\n".join([*last, line["error"]])
            raise SandboxError(f"{tag} was not built:\n{said}", kind="build", retryable=False)
        if time.monotonic() > until:
            said = "\n".join(last)
            raise SandboxError(f"{tag} was not built in time:\n{said}", kind="timeout", retryable=True)
        for text in line.get("stream", "").splitlines():
            if text.strip():
                last.append(text)
                tell = shown.step if text.startswith("Step ") else shown.detail
                tell(f"{tag}: {text.strip()}")


def _ensure_base(engine: Engine, base: str | None, until: float, shown: Progress) -> None:
    """Have `forge/debian:bookworm`."""
    if _label(engine, BASE) is not None:
        return
    if base is not None:
        ensure(engine, base, until=until, show=shown)
        with engine.asking(f"image {base!r}"):
            repository, _, tag = BASE.partition(":")
            engine.api.tag(base, repository, tag)
        return
    _check_debootstrap()
    with tempfile.TemporaryDirectory(prefix="forge-debian-") as place:
        root, archive = Path(place, "root"), Path(place, "root.tar")
        shown.step(f"{BASE}: debootstrap from {MIRROR}, about a minute")
        _call(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root), MIRROR],
            until,
        )
        shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
        _trust_what_the_host_trusts(root, until)
        _call(["tar", "--numeric-owner", "-C", str(root), "-cf", str(archive), "."], until)
        with engine.asking(f"image {BASE!r}"):
            repository, _, tag = BASE.partition(":")
            engine.api.import_image_from_file(str(archive), repository=repository, tag=tag)
    shown.step(f"{BASE}: imported")


def _trust_what_the_host_trusts(root: Path, until: float) -> None:
    """Builds fetch packages: behind a proxy with an authority of its own they need that authority too."""
    own = [file for file in sorted(AUTHORITIES.rglob("*.crt")) if file.is_file()]
    for file in own:
        shutil.copy(file, root / AUTHORITIES.relative_to("/") / file.name)
    if own:
        _call(["chroot", str(root), "update-ca-certificates"], until)


def _check_debootstrap() -> None:
    if shutil.which("debootstrap") is None:
        fix = "apt-get install debootstrap, or give a base: forge-envs images --from debian:bookworm"
        raise SandboxError(f"{BASE}: debootstrap is not installed. {fix}", kind="no_image", retryable=False)
    if os.geteuid() != 0:
        fix = "run `sudo forge-envs images` once, or give a base: forge-envs images --from debian:bookworm"
        raise SandboxError(f"{BASE}: debootstrap needs root. {fix}", kind="no_image", retryable=False)


def _call(argv: list[str], until: float) -> None:
    """Run a program of the host; what it said is told when it fails."""
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=max(1.0, until - time.monotonic()),
        )
    except subprocess.TimeoutExpired as error:
        text = f"{argv[0]} did not end within its deadline"
        raise SandboxError(text, kind="timeout", retryable=True) from error
    if done.returncode != 0:
        text = f"{argv[0]} failed with status {done.returncode}:\n{done.stdout[-2000:]}"
        raise SandboxError(text, kind="build", retryable=False)
