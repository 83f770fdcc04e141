"""What a run is made of, for the simulator: the work, how fast machines do it, and which machines.

Read from a stage-times file, as benchmarks/stage_times.toml.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Workload:
    """What episodes need, whoever plays them. Spreads are standard deviations of logarithms."""

    groups: int
    """Groups of one update."""
    group_size: int
    turns: float
    """Turns of an episode, the median."""
    turns_spread: float
    max_turns: int
    tokens: float
    """Tokens sampled in a turn, the median."""
    tokens_spread: float
    world_s: float
    """Seconds the world takes to answer, the median."""
    world_spread: float
    grade_s: float
    """Seconds of the verdict, after the last turn."""
    opening: int
    """Tokens of the opening, once per group where prefixes are shared."""
    heard: int
    """Tokens of an answer of the world."""
    flat: float = 0.0
    """Share of groups whose members all earn the same: they are refilled."""


@dataclass(frozen=True, slots=True)
class Speeds:
    """What machines need for it, in seconds."""

    token_s: float
    sequence_s: float
    train_rate: float
    """Positions a GPU of the learner puts forward and backward in a second."""
    logprob_rate: float
    """Positions a GPU of the learner scores in a second."""
    update_s: float
    """Part of an update that more GPUs do not shorten."""
    weights_s: float
    """Handing weights to engines elsewhere."""
    swap_s: float
    """Handing GPUs from engine to learner and back, weights included, when they are shared."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Which GPUs do what; shared ones do both, in turn."""

    engine_gpus: int
    learner_gpus: int
    shared: bool = False

    def __post_init__(self) -> None:
        if min(self.engine_gpus, self.learner_gpus) < 1 or (
            self.shared and self.engine_gpus != self.learner_gpus
        ):
            raise ValueError(f"{self}: engine and learner need GPUs, and as many as the other when shared")

    @property
    def gpus(self) -> int:
        """GPUs altogether."""
        return self.engine_gpus if self.shared else self.engine_gpus + self.learner_gpus


def load(path: Path, variant: str = "") -> tuple[Workload, Speeds]:
    """The tables [workload] and [speeds] of a stage-times file, with what [VARIANT.workload] and
    [VARIANT.speeds] change. Raises ValueError for a key that is missing or unknown.
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    try:
        changes = tables[variant] if variant else {}
        workload, speeds = (tables[name] | changes.get(name, {}) for name in ("workload", "speeds"))
        return Workload(**workload), Speeds(**speeds)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{path}: {error}; see Workload and Speeds in forge_train/simulator/stages.py"
        ) from None
