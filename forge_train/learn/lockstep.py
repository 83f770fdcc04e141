"""Rank 0's learner and critic, which the other processes follow.

    rank 0:  lead(Learner, ...)   update(...) ─┐ tells, then does the same     dismiss(processes)
    others:  follow(processes)    ............ └> update(...)                  return

Which methods are told is said where they are written (`distributed.together`). What only rank 0 has
(trajectories, advantages) travels with the call; each process then takes its share.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from transformers import AutoModelForCausalLM

from forge_train.learn.distributed import Processes
from forge_train.learn.kernels import fuse_kernels
from forge_train.learn.lora import add_lora
from forge_train.trajectory import Trajectory

P = ParamSpec("P")
M = TypeVar("M")

BEGIN = "the beginning"
"""In place of a method: the others make theirs."""


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


def lead(
    kind: Callable[Concatenate[Any, P], M],
    processes: Processes,
    model: Any,
    *args: P.args,
    **kwargs: P.kwargs,
) -> M:
    """Make a learner or a critic on rank 0 whose every step all processes take. `model` is whole.

    A learner's is spread in place. Use one at a time, from one thread at a time: the others do one thing
    after the other.
    """
    # Of a model that is spread already, the others have their parts.
    shape = None if hasattr(model, "is_spread") else Shape.of(model)
    processes.tell((kind, BEGIN, (shape, *args), kwargs))
    with processes.waiting("spreading the weights"):
        begin: Any = _leading(kind)
        leader: M = begin(model, *args, **kwargs, processes=processes)
        return leader


@functools.cache
def _leading(kind: Any) -> Any:
    """`kind` with the methods that are marked `together` told to the others first."""
    marked = [name for name in dir(kind) if hasattr(getattr(kind, name), "together")]
    told = {name: _told(kind, getattr(kind, name)) for name in marked}
    return type(f"Leading{kind.__name__}", (kind,), told)


def _told(kind: type, method: Callable[..., Any]) -> Callable[..., Any]:
    """`method` of `kind`, told to the others, who do the same; what it calls of its own they know."""

    @functools.wraps(method)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(self, "_in_step", False):
            return method(self, *args, **kwargs)
        args = tuple(_bare(arg) for arg in args)
        self.processes.tell((kind, method.__name__, args, kwargs))
        self._in_step = True
        try:
            with self.processes.waiting(method.together):  # type: ignore[attr-defined]
                return method(self, *args, **kwargs)
        finally:
            self._in_step = False

    return run


def dismiss(processes: Processes) -> None:
    """Rank 0, when all is done: let the others return from `follow`, and close the connections."""
    processes.tell(None)
    processes.leave()


def follow(processes: Processes) -> None:
    """Every other rank: do what rank 0 does, until it dismisses. Raises RankFailed when it is gone."""
    held: dict[type, Any] = {}
    while (work := processes.hear()) is not None:
        kind, method, args, kwargs = work
        with processes.waiting(f"following {processes.names[0]} in {method} of the {kind.__name__}"):
            if method == BEGIN:
                shape, *others = args
                model = held[kind].model if shape is None else shape.build(processes.device)
                held[kind] = kind(model, *others, **kwargs, processes=processes)
            else:
                getattr(held[kind], method)(*args, **kwargs)
    processes.leave()


def _bare(value: Any) -> Any:
    """Trajectories without what only reports read: it is not worth sending. Anything else as it is."""
    if isinstance(value, list | tuple) and value and isinstance(value[0], Trajectory):
        return [replace(trajectory, info={}) for trajectory in value]
    return value
