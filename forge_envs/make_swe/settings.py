"""How tasks are made, and the ground that is prepared for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from forge_envs.make_swe import image
from forge_envs.make_swe.choose import SEVERITY
from forge_envs.make_swe.lab import Baseline, Lab, load, save
from forge_envs.make_swe.package import Package
from forge_envs.sandbox.progress import Progress


@dataclass(frozen=True)
class Settings:
    """How tasks are made."""

    out: Path
    """Folder of the task repository; what was done in it before is not done again."""
    tasks: int = 20
    """Tasks wanted of each package."""
    seed: int = 0
    kinds: Sequence[str] = field(default_factory=tuple)
    """Kinds of bugs, by default all."""
    split: str = "test"
    repeats: int = 3
    """Runs of the untouched tests; what does not pass in all of them is left out."""
    timeout: float = 60.0
    """Seconds for one run of the tests."""
    severity: tuple[float, float] = (0.0, SEVERITY)
    """The least and the largest share of the tests that a bug may break."""
    needs: Sequence[str] = field(default_factory=tuple)
    """What pip installs besides what the package declares, for its tests."""


@contextmanager
def open_lab(package: Package, settings: Settings, show: Progress) -> Iterator[tuple[Lab, Baseline, Path]]:
    """A package's boxes, what its tests do, and the folder where the work is kept.

    Raises NoTests, TestsFail, MakeError, SandboxError.
    """
    _ = package.tests  # NoTests before an image is built in vain
    state = settings.out / ".make" / f"{package.label}-{package.digest[:8]}"
    state.mkdir(parents=True, exist_ok=True)
    show.step(f"{package.label}: building its image")
    with Lab(package, image.prepare(package, state / "image"), settings.timeout) as lab:
        kept = state / "baseline.json"
        if not kept.exists():
            show.step(f"{package.label}: running its tests {settings.repeats + 1} times")
            save(lab.baseline(settings.repeats), kept)
        base = load(kept)
        show.step(f"{package.label}: {len(base.good)} tests to rely on, {base.left_out} left out")
        yield lab, base, state
