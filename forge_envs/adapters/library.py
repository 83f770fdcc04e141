"""The library behind a door: there, missing, or of a version that nobody tried."""

from __future__ import annotations

import importlib.metadata
import warnings

from forge_envs.errors import NotInstalled


def need(distribution: str, tested: tuple[int, ...], install: str) -> str:
    """The installed version of a library whose releases of `tested`, a minor or a major, were tried.

    Warns of one outside, naming both versions. Raises NotInstalled with the command that installs it.
    """
    wanted = ".".join(map(str, tested))
    try:
        found = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise NotInstalled(f"{distribution} is not installed: pip install '{install}'") from None
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if numbers[: len(tested)] != tested[:2]:
        text = f"{distribution} {found}: this door was tried with {wanted}; what differs is not known here"
        warnings.warn(text, stacklevel=3)
    return found
