"""The loss of one optimizer step: an objective, what the policy is held to beside it, and their weights.

    loss = sum_t w_t (objective_t + kl_weight KL_t - entropy_weight H_t)

The weights w are those of the whole step (`token_weights`), so micro-batches only sum. An objective of whole
trajectories looks at tokens that may lie in several micro-batches, on several processes: then all tokens are
scored first, and each enters with the slope of the whole loss there, a constant. Since

    d loss / d theta = sum_t (d loss / d log pi_t) (d log pi_t / d theta)

and the slopes are taken at the weights of now, that is the same gradient, to the last token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.batch import Batch, Sample, counted, token_weights
from forge_train.learn.distributed import IDLE
from forge_train.learn.losses import PolicyLoss, penalises
from forge_train.learn.ratios import Key, Stats, bounded, k3


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an update's samples before its first step, by sample [N]."""

    proximal: Mapping[Key, Tensor] | None = None
    """Logprobs under the weights before the update; None where the first step is the only one."""
    factors: Mapping[Key, Tensor] = field(default_factory=dict)
    """See `sequence_factors`."""
    reference: Mapping[Key, Tensor] = field(default_factory=dict)
    """Logprobs under the reference."""


@dataclass(frozen=True, slots=True)
class Linear:
    """A sample's losses [N] at the weights of now, their slopes in its own logprobs, and figures."""

    loss_N: Tensor
    slope_N: Tensor
    """Weights included."""
    stats: Stats


class StepLoss:
    """The loss of the samples of one minibatch, of which micro-batches are given one after the other."""

    def __init__(
        self, policy: PolicyLoss, part: Sequence[Sample], known: Known, device: torch.device
    ) -> None:
        config = policy.config
        self.policy, self.known, self.device = policy, known, device
        weights = token_weights(part, config.denominator, config.constant)
        weights = counted(part, weights, config.denominator)
        self.plain = {s.key: w_N for s, w_N in zip(part, weights, strict=True)}
        """Weight of each token, by sample."""
        self.weights = {key: w_N * known.factors.get(key, 1.0) for key, w_N in self.plain.items()}
        """And with the factor of its trajectory."""
        self.plain[IDLE.key] = self.weights[IDLE.key] = torch.zeros(1)
        self.linear: dict[Key, Linear] = {}

    @property
    def _then(self) -> Mapping[Key, Tensor] | None:
        """Logprobs of whom the objective compares with: the reference, or the learner before the update; None
        where that is the learner of now."""
        held = self.policy.config.old_policy == "reference"
        return self.known.reference if held else self.known.proximal

    def spread(self, live: Sequence[Sample], present: Mapping[Key, Tensor]) -> None:
        """Take the slopes of all tokens at once; `present` are their logprobs under the weights of now."""
        current_N = torch.cat([present[s.key] for s in live]).requires_grad_()
        then = self._then if self._then is not None else present
        proximal_N = torch.cat([then[s.key] for s in live])
        loss_N, stats = self.policy(current_N, proximal_N, *_columns(live))
        weight_N = torch.cat([self.weights[s.key] for s in live])
        (slope_N,) = torch.autograd.grad((weight_N * loss_N).sum(), current_N)
        lengths, loss_N = [s.at_N.numel() for s in live], loss_N.detach()
        rows = {name: torch.split(value_N.detach(), lengths) for name, value_N in stats.items()}
        pieces = zip(live, torch.split(loss_N, lengths), torch.split(slope_N, lengths), strict=True)
        for i, (s, own_N, own_slope_N) in enumerate(pieces):
            self.linear[s.key] = Linear(own_N, own_slope_N, {name: row[i] for name, row in rows.items()})

    def __call__(
        self, chosen: Sequence[Sample], batch: Batch, current_N: Tensor, entropy_N: Tensor
    ) -> tuple[Tensor, Stats]:
        """The sum over a micro-batch, with gradient, and figures of its tokens [N].

        current_N: logprobs under the weights of now, with gradient. entropy_N: in nats, with gradient where
        it is rewarded.
        """
        config = self.policy.config
        if all(s.key in self.linear for s in chosen):
            total, stats = self._linear(chosen, current_N)
        else:
            total, stats = self._direct(chosen, batch, current_N)
        penalised = bool(self.known.reference) and penalises(config)
        if config.entropy_weight or penalised:
            plain_N = torch.cat([self.plain[s.key] for s in chosen]).to(self.device)
        if config.entropy_weight:
            total = total - config.entropy_weight * (plain_N * entropy_N).sum()
        if penalised:
            reference_N = torch.cat([self.known.reference.get(s.key, s.behaviour_N) for s in chosen])
            kl_N = divergence(current_N, reference_N.to(self.device), batch.behaviour_N, config)
            total = total + config.kl_weight * (plain_N * kl_N).sum()
            stats |= {"kl_reference": k3(reference_N.to(self.device), current_N.detach())}
        return total, {"entropy": entropy_N.detach(), **stats}

    def _linear(self, chosen: Sequence[Sample], current_N: Tensor) -> tuple[Tensor, Stats]:
        known = [self.linear[s.key] for s in chosen]
        weight_N = torch.cat([self.weights[s.key] for s in chosen])
        value = (weight_N * torch.cat([each.loss_N for each in known])).sum().to(self.device)
        slope_N = torch.cat([each.slope_N for each in known]).to(self.device)
        names = known[0].stats
        stats = {name: torch.cat([each.stats[name] for each in known]).to(self.device) for name in names}
        return value + (slope_N * (current_N - current_N.detach())).sum(), stats

    def _direct(self, chosen: Sequence[Sample], batch: Batch, current_N: Tensor) -> tuple[Tensor, Stats]:
        weight_N = torch.cat([self.weights[s.key] for s in chosen]).to(self.device)
        proximal_N = current_N.detach()
        if (then := self._then) is not None:
            proximal_N = torch.cat([then.get(s.key, s.behaviour_N) for s in chosen]).to(self.device)
        columns = [column_N.to(self.device) for column_N in _columns(chosen)]
        loss_N, stats = self.policy(current_N, proximal_N, *columns)
        return (weight_N * loss_N).sum(), stats


def _columns(found: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Behaviour logprobs, advantages, and whose token each is: trajectory and action."""
    return (
        torch.cat([s.behaviour_N for s in found]),
        torch.cat([s.advantage_N for s in found]),
        torch.cat([torch.full_like(s.at_N, max(s.trajectory, 0)) for s in found]),  # IDLE is of none
        torch.cat([s.action_N for s in found]),
    )


def crosses(live: Sequence[Sample]) -> bool:
    """Whether a trajectory has several samples, which may come to lie in several micro-batches."""
    return any(count > 1 for count in Counter(s.trajectory for s in live).values())


def divergence(current_N: Tensor, reference_N: Tensor, behaviour_N: Tensor, config: LossConfig) -> Tensor:
    """An estimate of KL(current || reference) from each token that was sampled, with gradient.

    Written x = log(pi_current / pi_reference) (Schulman 2020, joschu.net/blog/kl-approx.html):

    - k1 = x. Its mean is the divergence; the mean of its gradient is 0, so in a loss it is nothing but noise.
    - k2 = x^2 / 2. Its gradient is that of the divergence, on policy; its value is biased.
    - k3 = e^-x - 1 + x, GRPO's (arXiv 2402.03300). Its value is right and never negative; its gradient is
      that of KL(reference || current), on policy.
    - unbiased = r k3, r = pi_current / pi_behaviour with gradient (DeepSeek-V3.2, arXiv 2512.02556): value
      and gradient are those of the divergence, whoever sampled.

    >>> current_N, reference_N = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> kinds = ("k1", "k2", "k3", "unbiased")
    >>> found = [divergence(current_N, reference_N, current_N, LossConfig(kl=k)) for k in kinds]
    >>> [round(float(f), 4) for f in found]
    [1.0, 0.5, 0.3679, 0.3679]
    """
    match config.kl:
        case "k1":
            return current_N - reference_N
        case "k2":
            return (current_N - reference_N).square() / 2
        case "k3":
            return k3(reference_N, current_N)
        case "unbiased":
            return bounded(current_N - behaviour_N).exp() * k3(reference_N, current_N)
