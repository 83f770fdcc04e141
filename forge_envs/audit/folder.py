"""A Harbor task folder, and boxes in which it is played as Harbor plays it."""

from __future__ import annotations

import json
import math
import secrets
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_envs.audit.bench import Budget
from forge_envs.audit.child import NotStarted

BUILD = 600.0
"""Seconds for an image."""


@dataclass(frozen=True)
class Ran:
    """A command in a box."""

    status: int
    output: str


class Folder:
    """One task folder. `box` needs docker, and an image that can be built or is there."""

    def __init__(self, path: str, args: Mapping[str, Any], budget: Budget) -> None:
        """Read it. `args` may name a `base` image to build on. Raises NotStarted for what is no task."""
        self.path, self.budget = Path(path), budget
        self.base = str(args.get("base", ""))
        try:
            self.config = tomllib.loads((self.path / "task.toml").read_text())
            self.instruction = (self.path / "instruction.md").read_text()
        except (OSError, ValueError) as error:
            raise NotStarted(f"no Harbor task: {error}") from error
        self._image: str | None = None
        self._built = False

    def section(self, name: str) -> dict[str, Any]:
        """A table of task.toml, empty where there is none."""
        found = self.config.get(name, {})
        return found if isinstance(found, dict) else {}

    @property
    def shared(self) -> bool:
        """Whether the verifier runs in the agent's own box."""
        return bool(self.section("verifier").get("environment_mode", "shared") != "separate")

    def files(self, *names: str) -> Iterator[Path]:
        """Files below folders of the task."""
        for name in names:
            for path in sorted((self.path / name).rglob("*")):
                if path.is_file():
                    yield path

    # -- boxes -------------------------------------------------------------------------------------

    def why_no_box(self) -> str | None:
        """Why the task cannot be played here, or None."""
        if not (self.path / "tests" / "test.sh").is_file():
            return "the folder has no tests/test.sh"
        if not self.shared:
            return "a separate verifier is not played here"
        if shutil.which("docker") is None:
            return "there is no docker here"
        try:
            self.image()
        except NotStarted as error:
            return str(error)
        return None

    def image(self) -> str:
        """The agent's image, built once. Raises NotStarted."""
        if self._image is not None:
            return self._image
        name = f"forge-audit-{secrets.token_hex(6)}"
        dockerfile = self.path / "environment" / "Dockerfile"
        if dockerfile.is_file():
            text = dockerfile.read_text()
            if self.base:
                lines = text.splitlines()
                text = "\n".join(f"FROM {self.base}" if ln.startswith("FROM ") else ln for ln in lines)
            made = _docker(
                "build", "-q", "-t", name, "-f", "-", str(dockerfile.parent), text=text, within=BUILD
            )
            self._built = made.status == 0
        else:
            name = self.base or str(self.section("environment").get("docker_image", ""))
            made = _docker("image", "inspect", name) if name else Ran(1, "task.toml names no image")
        if made.status:
            raise NotStarted(f"its image cannot be had: {made.output.strip()[-300:]}")
        self._image = name
        return name

    @contextmanager
    def box(self, network: bool = True) -> Iterator[Box]:
        """A fresh box of the agent's. Raises NotStarted."""
        name = f"forge-audit-{secrets.token_hex(6)}"
        off = [] if network else ["--network", "none"]
        made = _docker("run", "-d", "--rm", *off, "--name", name, self.image(), "sleep", "3600")
        if made.status:
            raise NotStarted(f"a box does not start: {made.output.strip()[-300:]}")
        try:
            yield Box(self, name)
        finally:
            _docker("rm", "-f", name)

    def close(self) -> None:
        """Remove the image that was built for the audit."""
        if self._built and self._image is not None:
            _docker("rmi", "-f", self._image)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Box:
    """A running container of the task."""

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder, self.name = folder, name

    def run(self, command: str) -> Ran:
        """A shell command as the agent."""
        user = self.folder.section("agent").get("user")
        who = ["-u", str(user)] if user else []
        return _docker("exec", *who, self.name, "bash", "-c", command, within=self._within("agent"))

    def solve(self) -> Ran:
        """The folder's own solution, as Harbor's oracle runs it."""
        _docker("exec", self.name, "mkdir", "-p", "/solution", "/logs/agent")
        _docker("cp", f"{self.folder.path / 'solution'}/.", f"{self.name}:/solution")
        return _docker("exec", self.name, "bash", "/solution/solve.sh", within=self._within("agent"))

    def verify(self, before: str = "true") -> tuple[float | None, str]:
        """The reward that the tests leave, None if they leave none, and what they printed."""
        prepare = "rm -rf /tests /logs/verifier; mkdir -p /tests /logs/verifier"
        _docker("exec", "-u", "root", self.name, "bash", "-c", prepare)
        _docker("cp", f"{self.folder.path / 'tests'}/.", f"{self.name}:/tests")
        command = f"{before}; chmod +x /tests/test.sh; /tests/test.sh"
        ran = _docker("exec", "-u", "root", self.name, "bash", "-c", command, within=self._within("verifier"))
        read = "cat /logs/verifier/reward.json 2>/dev/null || cat /logs/verifier/reward.txt"
        return _reward(_docker("exec", "-u", "root", self.name, "bash", "-c", read)), ran.output

    def _within(self, who: str) -> float:
        declared = self.folder.section(who).get("timeout_sec", 600.0)
        return min(float(declared), max(60.0, 6 * self.folder.budget.timeout))


def _reward(ran: Ran) -> float | None:
    text = ran.output.strip()
    if ran.status or not text:
        return None
    with suppress(ValueError):
        value = json.loads(text)
        if isinstance(value, dict):
            value = value.get("reward", next(iter(value.values()), None))
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None


def _docker(*command: str, text: str | None = None, within: float = 60.0) -> Ran:
    try:
        done = subprocess.run(
            ["docker", *command], input=text, capture_output=True, text=True, errors="replace", timeout=within
        )
    except subprocess.TimeoutExpired:
        return Ran(124, f"not within {within:g} s")
    return Ran(done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr)
