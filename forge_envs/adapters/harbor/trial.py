"""Tries a task folder out as Harbor does, with nothing but a Docker daemon: the proof where Harbor is not.

An image from environment/, a container for the agent without a network, the oracle's solve.sh or nothing at
all as the agent's user, the collect hook, a fresh container for tests/test.sh, and what it left in
/logs/verifier. `shared=True` judges in the agent's own container instead, as some consumers do.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forge_envs.adapters.harbor.grade import LOGS, REWARDS
from forge_envs.errors import MachineError
from forge_envs.sandbox import images
from forge_envs.sandbox.engine import Engine

ORACLE = "bash /solution/solve.sh"
NOP = ""
ACTING = 600.0
"""Seconds that the agent of a trial may take."""
LIFE = 600.0
"""Seconds that a container lives beyond what is done in it."""
SPARE = 30.0


@dataclass(frozen=True)
class FolderTrial:
    """How a trial ended."""

    reward: float | None
    """None where the verifier left no reward: a machine failed."""
    rewards: Mapping[str, float] = field(default_factory=dict)
    agent: tuple[int, str] = (0, "")
    """Status and output of what the agent did."""
    verifier: tuple[int, str] = (0, "")
    """The same of tests/test.sh."""


class TaskFolder:
    """A folder on disk, and its image."""

    def __init__(self, path: Path, *, base: str = images.BASE) -> None:
        """Build the image, on `base` instead of Debian's own. Raises SandboxError, OSError."""
        self.path = path
        self.config: dict[str, Any] = tomllib.loads((path / "task.toml").read_text(encoding="utf-8"))
        self._engine = Engine()
        text = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
        self.image = f"forge/harbor-folder:{text}"
        self._build(base)

    def _build(self, base: str) -> None:
        with self._engine.asking(f"building {self.image}", patience=images.PATIENCE):
            lines = self._engine.api.build(
                path=str(self.path / "environment"), tag=self.image, buildargs={"BASE": base}, rm=True,
                forcerm=True, decode=True, network_mode="host", timeout=images.PATIENCE,
            )  # fmt: skip
            for line in lines:
                if "error" in line:
                    raise MachineError(line["error"], kind="build", stage="image", retryable=False)

    def close(self) -> None:
        """Remove the image's name."""
        with suppress(MachineError), self._engine.asking(self.image):
            self._engine.api.remove_image(self.image, force=True)

    def play(
        self, agent: str = ORACLE, *, shared: bool = False, hook: bool = True, tests: Mapping[str, bytes] = {}
    ) -> FolderTrial:
        """Do `agent`, a bash command, and judge.

        `hook=False` is a harness that does not run the hook; `tests` are files that replace some of tests/.
        Raises SandboxError.
        """
        verifier = self.config["verifier"]
        with self._container({}) as box:
            if agent == ORACLE:
                box.upload(self.path / "solution", "/solution")
            did = box.run(agent or "true", self._user("agent"), ACTING)
            if shared:
                return self._judged(box, did, tests)
            for one in verifier["collect"] if hook else ():
                box.run(one["command"], one.get("user", ""), one["timeout_sec"])
            artifacts = box.download(f"{LOGS}/artifacts")
        with self._container(verifier["environment"].get("env", {})) as fresh:
            fresh.put(f"{LOGS}", artifacts)
            return self._judged(fresh, did, tests)

    def _judged(self, box: _Container, did: tuple[int, str], tests: Mapping[str, bytes]) -> FolderTrial:
        box.upload(self.path / "tests", "/tests", tests)
        verifier = self.config["verifier"]
        told = box.run("bash /tests/test.sh", verifier.get("user", ""), verifier["timeout_sec"])
        found = {Path(name).name: data for name, data in _unpacked(box.download(f"{LOGS}/verifier"))}
        if not any(name in found for name in REWARDS):
            return FolderTrial(None, agent=did, verifier=told)
        rewards = json.loads(found["reward.json"])
        assert float(found["reward.txt"]) == rewards["reward"], "the two reward files differ"
        return FolderTrial(rewards["reward"], rewards, did, told)

    def _user(self, phase: str) -> str:
        return str(self.config[phase].get("user", ""))

    @contextmanager
    def _container(self, env: Mapping[str, str]) -> Iterator[_Container]:
        table = self.config["environment"]
        life = ACTING + self.config["verifier"]["timeout_sec"] + LIFE
        api = self._engine.api
        with self._engine.asking(self.image):
            made = api.create_container(
                self.image, ["sleep", f"{life:.0f}"], environment={**table.get("env", {}), **env},
                network_disabled=True, labels={"forge.harbor": "trial"},
                host_config=api.create_host_config(
                    network_mode="none", auto_remove=True, init=True, mem_limit=f"{table['memory_mb']}m",
                ),
            )["Id"]  # fmt: skip
        try:
            with self._engine.asking(self.image):
                api.start(made)
            box = _Container(self._engine, made)
            box.run(
                f"mkdir -p {LOGS}/agent {LOGS}/verifier {LOGS}/artifacts && chmod 777 {LOGS}/*", "root", 60
            )
            yield box
        finally:
            self._engine.remove(made)


class _Container:
    """A running container."""

    def __init__(self, engine: Engine, box: str) -> None:
        self._engine, self._box = engine, box

    def run(self, command: str, user: str, timeout: float) -> tuple[int, str]:
        """Status and output of a bash command; 124 after the timeout, which is kept inside the container."""
        said: list[bytes] = []
        words = ["bash", "-c", f'printf .; cd "$0" && exec timeout -k 5 {timeout:g} bash -c "$1" 2>&1']
        code = self._engine.exec(
            self._box, [*words, self._workdir(), command], said.append, user=user, timeout=timeout + SPARE,
            end=lambda: None,
        )  # fmt: skip
        return (124 if code is None else code), b"".join(said).decode("utf-8", "replace")

    def _workdir(self) -> str:
        with self._engine.asking(self._box[:12]):
            found: str = self._engine.api.inspect_container(self._box)["Config"]["WorkingDir"]
        return found or "/"

    def upload(self, folder: Path, target: str, instead: Mapping[str, bytes] = {}) -> None:
        """Put a folder's files at `target`, owned by root."""
        files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for path, data in {**files, **instead}.items():
                entry = tarfile.TarInfo(f"{target.strip('/')}/{path}")
                entry.size, entry.mode = len(data), 0o755 if path.endswith(".sh") else 0o644
                tar.addfile(entry, io.BytesIO(data))
        self.put("/", made.getvalue())

    def put(self, target: str, archive: bytes) -> None:
        """Unpack a tar at `target`."""
        with self._engine.asking(self._box[:12]):
            self._engine.api.put_archive(self._box, target, archive)

    def download(self, path: str) -> bytes:
        """A folder as a tar."""
        with self._engine.asking(self._box[:12]):
            return b"".join(self._engine.api.get_archive(self._box, path)[0])


def proof(path: Path) -> str:
    """ "proved", or in words what a folder's own scripts do not show. Raises SandboxError."""
    folder = TaskFolder(path)
    try:
        nothing = folder.play(NOP)
        if nothing.reward != 0:
            return f"NOT proved: an agent that does nothing earns {nothing.reward}"
        if not (path / "solution" / "solve.sh").is_file():
            return "half proved: nothing earns 0, and no solution is known"
        solved = folder.play(ORACLE)
        return "proved" if solved.reward == 1 else f"NOT proved: its solution earns {solved.reward}"
    finally:
        folder.close()


def _unpacked(archive: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for entry in tar:
            file = tar.extractfile(entry) if entry.isfile() else None
            if file is not None:
                yield entry.name, file.read()
