"""Dockerfiles that need no image of ours: the recipes of forge_envs/sandbox/images on Debian's own image."""

from __future__ import annotations

import re
from pathlib import Path

from forge_envs.sandbox.images import BASE, FOLDER, names

DEBIAN = "debian:bookworm"
STAGE = "base"
TOOLS = (
    "# What our own base image has beside Debian's, and a whole Python for the judge.\n"
    "USER root\n"
    "RUN { python3 -c 'import json, tarfile, xml.etree' && command -v git ps update-ca-certificates; } \\\n"
    "    > /dev/null 2>&1 \\\n"
    "    || { apt-get update \\\n"
    "         && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n"
    "            ca-certificates git procps python3 \\\n"
    "         && rm -rf /var/lib/apt/lists/*; }\n"
)
_FROM = re.compile(r"^FROM (\S+)(?: AS (\S+))?$", re.MULTILINE | re.IGNORECASE)


def on_debian(image: str) -> tuple[str, dict[str, bytes]]:
    """A Dockerfile that makes our image `forge/<name>` from Debian's, and the files that it copies.

    It ends as root. `--build-arg BASE=...` builds on another Debian 12. Raises ValueError for an image that
    has no recipe.
    """
    text, files = _stages(image.removeprefix("forge/").removesuffix(":latest"))
    return f"ARG BASE={DEBIAN}\nFROM ${{BASE}} AS {STAGE}\n\n{text}{TOOLS}", files


def based_on(dockerfile: str) -> tuple[str, dict[str, bytes]]:
    """A Dockerfile with every image of ours that it stands on made in a stage before it, and their files."""
    below = {image for image, _ in _FROM.findall(dockerfile) if image.startswith("forge/")}
    if not below:
        return dockerfile, {}
    head, files = f"ARG BASE={DEBIAN}\nFROM ${{BASE}} AS {STAGE}\n\n", dict[str, bytes]()
    for image in sorted(below):
        name = image.removeprefix("forge/").removesuffix(":latest")
        text, more = _stages(name, ends=name)
        head, files = f"{head}{text}\n", {**files, **more}
        dockerfile = re.sub(rf"^FROM {re.escape(image)}$", f"FROM {name}", dockerfile, flags=re.MULTILINE)
    return head + dockerfile, files


def _stages(name: str, ends: str | None = None) -> tuple[str, dict[str, bytes]]:
    """The recipe of an image of ours on the stage `base`; its last stage is called `ends`."""
    if name not in names():
        raise ValueError(
            f"image 'forge/{name}' has no recipe in this package: nobody else could build it. "
            f"Known: {', '.join(names())}"
        )
    folder = FOLDER / name
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(rf"^FROM {re.escape(BASE)}\b", f"FROM {STAGE}", text, flags=re.MULTILINE).splitlines()
    if ends is not None:
        last = max(i for i, line in enumerate(lines) if line.startswith("FROM "))
        lines[last] += f" AS {ends}"
    files = {file.name: file.read_bytes() for file in _beside(folder)}
    return "\n".join(lines) + "\n", files


def _beside(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.is_file() and file.name != "Dockerfile")
