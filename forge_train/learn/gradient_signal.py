"""How much of an update's gradient is signal: its norm by the advantages' sign, and how far halves agree.

Four policy gradients under the weights before the update, sum_N w_N A_N grad log pi_N with the update's own
token weights: of advantages above and of those below 0, in each half of the groups. Their sums are what is
told. On policy that is the gradient of every objective with a ratio; it costs one more forward and backward
pass, so it is taken every `optim.signal_every` updates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.batch import Sample, samples, token_weights
from forge_train.learn.learner import Learner
from forge_train.trajectory import Trajectory

Gradient = list[Tensor]
"""One tensor a parameter."""


def gradient_signal(
    learner: Learner,
    trajectories: Sequence[Trajectory],
    advantages: Sequence[Sequence[float]],
    loss: LossConfig,
    *,
    temperature: float = 1.0,
) -> dict[str, float]:
    """Figures of an update that has not been taken; changes nothing.

    `grad_norm_up` and `grad_norm_down`: norm of the part of advantages above and below 0. `grad_sides`:
    cosine of these two. `grad_agreement`: cosine of the gradients of two halves of the groups, about 0 for
    noise and 1 where all is signal; members of a group stay together, for they are compared with each other.
    """
    found = samples(trajectories, advantages)
    weights = token_weights(found, loss.denominator, loss.constant)
    half_of: dict[str, int] = {}
    for trajectory in trajectories:
        half_of.setdefault(trajectory.group, len(half_of) % 2)
    parts: dict[tuple[int, bool], Gradient] = {}
    for half in (0, 1):
        mine = [i for i, s in enumerate(found) if half_of[trajectories[s.trajectory].group] == half]
        for up in (True, False):
            signed = [(found[i], weights[i] * _side(found[i], up)) for i in mine]
            parts[half, up] = _gradient(learner, [(s, w) for s, w in signed if bool(w.any())], temperature)
    above, below = (_sum(parts[0, up], parts[1, up]) for up in (True, False))
    first, second = (_sum(parts[half, True], parts[half, False]) for half in (0, 1))
    return {
        "grad_norm_up": math.sqrt(_dot(above, above)),
        "grad_norm_down": math.sqrt(_dot(below, below)),
        "grad_sides": _cosine(above, below),
        "grad_agreement": _cosine(first, second),
    }


def _side(sample: Sample, up: bool) -> Tensor:
    """The advantages [N] of a sample that are above 0, or those below."""
    return sample.advantage_N.clamp(min=0) if up else sample.advantage_N.clamp(max=0)


def _gradient(learner: Learner, weighed: Sequence[tuple[Sample, Tensor]], temperature: float) -> Gradient:
    """sum_N w_N grad log pi_N over samples, each with its w [N]."""
    learner.optimizer.zero_grad(set_to_none=True)
    weight_of = {s.key: w_N for s, w_N in weighed}
    for chosen, batch in learner.batches([s for s, _ in weighed]) if weighed else ():
        weight_N = torch.cat([weight_of[s.key] for s in chosen]).to(learner.device)
        logprob_N, _ = learner.forward(batch, temperature)
        (weight_N * logprob_N).sum().backward()  # type: ignore[no-untyped-call]
    found = [
        torch.zeros_like(p) if p.grad is None else p.grad.detach().clone()
        for p in learner.model.parameters()
        if p.requires_grad
    ]
    learner.optimizer.zero_grad(set_to_none=True)
    return found


def _sum(one: Gradient, other: Gradient) -> Gradient:
    return [a + b for a, b in zip(one, other, strict=True)]


def _dot(one: Gradient, other: Gradient) -> float:
    return math.fsum(float((a.double() * b.double()).sum()) for a, b in zip(one, other, strict=True))


def _cosine(one: Gradient, other: Gradient) -> float:
    """0 where one of the two is nothing.

    >>> round(_cosine([torch.tensor([3.0, 4.0])], [torch.tensor([4.0, 3.0])]), 6)
    0.96
    """
    size = math.sqrt(_dot(one, one) * _dot(other, other))
    return _dot(one, other) / size if size else 0.0
