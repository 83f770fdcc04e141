"""What the numbers of a run depend on besides its config."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def environment() -> dict[str, Any]:
    """What the numbers of a run depend on besides its config: versions, machine, command."""
    versions = {}
    for package in ("forge-envs", "torch", "transformers", "tokenizers", "gymnasium", "numpy", "pydantic"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": versions,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU",
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def _commit() -> str:
    """The commit of this checkout, "-dirty" when files differ from it; empty where there is no checkout."""
    known = _git("ls-files", Path(__file__).name)  # not in the .venv of another repository
    return known and _git("describe", "--always", "--dirty", "--abbrev=12")


def _git(*words: str) -> str:
    """What git says about this folder; nothing if it cannot."""
    command = ["git", "-C", str(Path(__file__).parent), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
