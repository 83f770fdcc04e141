"""Patches between two states of some files, written by git."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

from forge_envs.make_swe.errors import MakeError
from forge_envs.make_swe.package import GIT

SETTINGS = ("core.autocrlf=false", "core.safecrlf=false", "core.fileMode=false", "core.quotePath=true")


def git_diff(before: Mapping[str, bytes], after: Mapping[str, bytes], place: Path | None = None) -> bytes:
    """What turns `before` into `after`, as `git diff` writes it; a file of only one is made or removed.

    git works in a folder below `place`, which stays if this process is killed: give one that is swept.
    """
    with tempfile.TemporaryDirectory(prefix="forge-diff-", dir=place) as folder:
        root = Path(folder)
        _git(root, "init", "-q", "--template=")
        _write(root, before)
        _git(root, "add", "-A", "-f")
        for path in set(before) - set(after):
            (root / path).unlink()
        _write(root, after)
        if new := sorted(set(after) - set(before)):
            _git(root, "add", "-f", "-N", "--", *new)
        return _git(
            root, "diff", "--no-color", "--no-renames", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/"
        )


def _write(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def _git(root: Path, *arguments: str) -> bytes:
    settings = [word for setting in SETTINGS for word in ("-c", setting)]
    quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")} | quiet
    try:
        done = subprocess.run(
            ["git", *settings, *arguments], cwd=root, capture_output=True, env=environment, timeout=GIT
        )
    except FileNotFoundError as error:
        raise MakeError("git is not installed, and patches are made by it: apt-get install git") from error
    except subprocess.TimeoutExpired as error:
        raise MakeError(f"git {arguments[0]} needs more than {GIT:g} s; is the disk well?") from error
    if done.returncode != 0:
        raise MakeError(f"git {arguments[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
    return done.stdout
