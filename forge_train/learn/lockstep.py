"""Rank 0's learner and critic, which the other processes follow.

    rank 0:  Leader(model, ...)   update(...) ─┐ tells, then does the same     close()
    others:  follow(processes)    ............ └> update(...)                  return

What only rank 0 has (trajectories, advantages) travels with the call; each process then takes its share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from forge_train.config import CriticConfig, LossConfig, OptimConfig
from forge_train.learn.critic import Critic
from forge_train.learn.distributed import Processes
from forge_train.learn.gae import Estimate
from forge_train.learn.kernels import fuse_kernels
from forge_train.learn.learner import Learner
from forge_train.learn.lora import add_lora
from forge_train.trajectory import Trajectory


@dataclass(frozen=True, slots=True)
class Shape:
    """What the others must know of a model to hold their parts of it; the weights come from rank 0."""

    config: Any
    dtype: torch.dtype
    lora: tuple[int, float] | None
    """Rank and alpha of its adapters."""
    fused: bool

    @classmethod
    def of(cls, model: Any) -> Shape:
        """The shape of a whole model."""
        return cls(model.config, model.dtype, getattr(model, "lora", None), hasattr(model, "fused"))

    def build(self, device: torch.device) -> Any:
        """A model of this shape without memory for its weights."""
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(self.config, dtype=self.dtype)
            if self.lora is not None:
                add_lora(model, rank=self.lora[0], alpha=self.lora[1], seed=0)
        if self.fused:
            fuse_kernels(model, device.type)
        return model


class Leader(Learner):
    """A learner on rank 0 whose every step all processes take. `model` is whole; it is spread in place.

    Use one at a time, from one thread at a time: the others do one thing after the other.
    """

    def __init__(
        self, model: Any, optim: OptimConfig, *, processes: Processes, dtype: str = "float32"
    ) -> None:
        self.team = processes
        # Of a model that is spread already, the others have their parts.
        shape = None if hasattr(model, "is_spread") else Shape.of(model)
        self._all("begin", shape, optim, dtype)
        with processes.waiting("spreading the weights"):
            super().__init__(model, optim, dtype=dtype, processes=processes)

    def update(
        self,
        trajectories: Sequence[Trajectory],
        advantages: Sequence[Sequence[float]],
        loss: LossConfig,
        *,
        temperature: float = 1.0,
    ) -> dict[str, float]:
        """See `Learner.update`."""
        bare = _bare(trajectories)
        self._all("update", bare, advantages, loss, temperature=temperature)
        with self.team.waiting("in an update"):
            return super().update(bare, advantages, loss, temperature=temperature)

    def logprobs(
        self, trajectories: Sequence[Trajectory], *, temperature: float = 1.0
    ) -> list[list[list[float]]]:
        """See `Learner.logprobs`."""
        bare = _bare(trajectories)
        self._all("logprobs", bare, temperature=temperature)
        with self.team.waiting("scoring"):
            return super().logprobs(bare, temperature=temperature)

    def gather(self, names: list[str]) -> dict[str, Tensor]:
        """See `Learner.gather`. Between two calls the others wait for work, in no collective."""
        self._all("gather", names)
        with self.team.waiting("gathering weights"):
            return super().gather(names)

    def adapter(self) -> dict[str, Tensor]:
        """See `Learner.adapter`."""
        self._all("adapter")
        with self.team.waiting("gathering adapters"):
            return super().adapter()

    def save_moments(self, folder: Path) -> None:
        """See `Learner.save_moments`."""
        self._all("save_moments", folder)
        with self.team.waiting("saving"):
            super().save_moments(folder)

    def load_moments(self, folder: Path, *, version: int, steps: int) -> None:
        """See `Learner.load_moments`."""
        self._all("load_moments", folder, version=version, steps=steps)
        with self.team.waiting("loading"):
            super().load_moments(folder, version=version, steps=steps)

    def park(self) -> None:
        """See `Learner.park`."""
        self._all("park")
        super().park()

    def unpark(self) -> None:
        """See `Learner.unpark`."""
        self._all("unpark")
        super().unpark()

    def state_dict(self) -> dict[str, Any]:
        """Not for many processes: raises ValueError."""
        raise ValueError("the state of many processes is not one dict: use save_moments and weights")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Not for many processes: raises ValueError."""
        raise ValueError("the state of many processes is not one dict: use load_moments")

    def _all(self, method: str, *args: object, **kwargs: object) -> None:
        self.team.tell(("learner", method, args, kwargs))


class LeadingCritic(Critic):
    """A critic on rank 0 whose every step all processes take; used as `Leader` is. `model` is whole."""

    def __init__(
        self,
        model: Any,
        config: CriticConfig,
        optim: OptimConfig,
        *,
        processes: Processes,
        dtype: str = "float32",
    ) -> None:
        self.team = processes
        self._all("begin", Shape.of(model), config, optim, dtype)
        with processes.waiting("spreading the critic"):
            super().__init__(model, config, optim, dtype=dtype, processes=processes)

    def values(self, trajectories: Sequence[Trajectory]) -> list[list[float]]:
        """See `Critic.values`."""
        bare = _bare(trajectories)
        self._all("values", bare)
        with self.team.waiting("valuing"):
            return super().values(bare)

    def update(
        self, trajectories: Sequence[Trajectory], estimates: Sequence[Estimate], loss: LossConfig
    ) -> dict[str, float]:
        """See `Critic.update`."""
        bare = _bare(trajectories)
        self._all("update", bare, estimates, loss)
        with self.team.waiting("in an update of the critic"):
            return super().update(bare, estimates, loss)

    def save(self, folder: Path) -> None:
        """See `Critic.save`."""
        self._all("save", folder)
        with self.team.waiting("saving the critic"):
            super().save(folder)

    def load(self, folder: Path, *, version: int, steps: int) -> None:
        """See `Critic.load`."""
        self._all("load", folder, version=version, steps=steps)
        with self.team.waiting("loading the critic"):
            super().load(folder, version=version, steps=steps)

    def park(self) -> None:
        """See `Critic.park`."""
        self._all("park")
        super().park()

    def unpark(self) -> None:
        """See `Critic.unpark`."""
        self._all("unpark")
        super().unpark()

    def state_dict(self) -> dict[str, Any]:
        """Not for many processes: raises ValueError."""
        raise ValueError("the state of many processes is not one dict: use save")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Not for many processes: raises ValueError."""
        raise ValueError("the state of many processes is not one dict: use load")

    def _all(self, method: str, *args: object, **kwargs: object) -> None:
        self.team.tell(("critic", method, args, kwargs))


def dismiss(processes: Processes) -> None:
    """Rank 0, when all is done: let the others return from `follow`, and close the connections."""
    processes.tell(None)
    processes.leave()


def follow(processes: Processes) -> None:
    """Every other rank: do what rank 0 does, until it dismisses. Raises RankFailed when it is gone."""
    held: dict[str, Any] = {}
    while (work := processes.hear()) is not None:
        whose, method, args, kwargs = work
        with processes.waiting(f"following {processes.names[0]} in {method} of the {whose}"):
            if method != "begin":
                getattr(held[whose], method)(*args, **kwargs)
            elif whose == "learner":
                held[whose] = _join_learner(held.get(whose), processes, *args)
            else:
                held[whose] = _join_critic(processes, *args)
    processes.leave()


def _join_learner(
    before: Learner | None, processes: Processes, shape: Shape | None, optim: OptimConfig, dtype: str
) -> Learner:
    """This process's part of a learner that begins; without a `shape` on the model of the one before it."""
    model: Any
    if shape is not None:
        model = shape.build(processes.device)
    else:
        assert before is not None, "the first model comes with its shape"
        model = before.model
    return Learner(model, optim, dtype=dtype, processes=processes)


def _join_critic(
    processes: Processes, shape: Shape, config: CriticConfig, optim: OptimConfig, dtype: str
) -> Critic:
    """This process's part of a critic that begins."""
    return Critic(shape.build(processes.device), config, optim, dtype=dtype, processes=processes)


def _bare(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Without what only reports read: it is not worth sending."""
    return [replace(trajectory, info={}) for trajectory in trajectories]
