"""Objectives: pure functions from logprobs and advantages to one loss per trained token.

Shapes: every tensor is flat over trained tokens, suffix _N. Nothing is reduced here: the caller
multiplies with the token weights of the whole optimizer step (`forge_train.batch.token_weights`) and
sums, so that how tokens are cut into micro-batches cannot change a gradient.

Every objective must be 0, with zero gradient, where the advantage is 0: the learner does not forward
trajectories without a signal.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from forge_train.config import LossConfig

Stats = dict[str, Tensor]
"""Per-token figures without gradient, each of shape N, to be averaged over tokens for the log."""

LOG_RATIO_BOUND = 20.0
"""Bound on a difference of logprobs before it is exponentiated: e^20 is still finite in float32."""


class Objective(Protocol):
    """Loss of each trained token.

    current_N: logprobs under the weights being trained, with gradient. proximal_N: under the learner's
    weights before this update. behaviour_N: the engine's, when it sampled. advantage_N: credit.
    Returns the loss of each token (to be minimised) and figures for the log.
    """

    def __call__(
        self,
        current_N: Tensor,
        proximal_N: Tensor,
        behaviour_N: Tensor,
        advantage_N: Tensor,
        config: LossConfig,
    ) -> tuple[Tensor, Stats]:
        """See above."""
        ...


def clipped(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """The clipped surrogate with a truncated importance weight: Klear-AgentForge, Eq. 5-6.

    J_t = min(w_t, C) * min(r_t A_t, clip(r_t, 1 - e_low, 1 + e_high) A_t), loss = -J_t, where
    r_t = pi_current / pi_proximal is clipped asymmetrically (DAPO, arXiv 2503.14476, Eq. 10) and
    w_t = pi_proximal / pi_behaviour, a constant for the gradient, corrects what the engine computes
    differently from the learner. C is `importance_cap`; 0 leaves the weight out. On policy (current =
    proximal = behaviour) the gradient is that of REINFORCE.
    """
    ratio_N = bounded(current_N - proximal_N).exp()
    clipped_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
    surrogate_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
    weight_N = importance(proximal_N, behaviour_N, config.importance_cap)
    with torch.no_grad():
        stats = {
            "ratio": ratio_N.detach(),
            "clipped": (clipped_N * advantage_N < ratio_N * advantage_N).float(),
            "importance": weight_N,
            "kl": k3(current_N, behaviour_N),
            "logprob_gap": (proximal_N - behaviour_N).abs(),
        }
    return -weight_N * surrogate_N, stats


def nll(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """Negative log likelihood times the advantage: with advantages of 1, supervised fine-tuning.

    loss = -A_t log pi_current; with other advantages it is REINFORCE (Williams 1992) without any
    correction for where the tokens came from. Behaviour logprobs are not read.
    """
    return -advantage_N * current_N, {"nll": -current_N.detach()}


def importance(proximal_N: Tensor, behaviour_N: Tensor, cap: float) -> Tensor:
    """Truncated importance weight min(pi_proximal / pi_behaviour, cap), detached; ones when cap is 0.

    Truncated importance sampling for engines that disagree with the learner (Yao et al. 2025); the first
    factor of Klear-AgentForge Eq. 5.
    """
    if cap == 0:
        return torch.ones_like(behaviour_N)
    return bounded(proximal_N.detach() - behaviour_N).exp().clamp(max=cap)


def k3(current_N: Tensor, behaviour_N: Tensor) -> Tensor:
    """Estimate of KL(behaviour || current), never negative: r - 1 - log r (Schulman 2020, "k3")."""
    log_ratio_N = bounded(current_N - behaviour_N)
    return torch.expm1(log_ratio_N) - log_ratio_N


def bounded(log_ratio_N: Tensor) -> Tensor:
    """A log ratio that can be exponentiated without overflow."""
    return log_ratio_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


OBJECTIVES: dict[str, Objective] = {"clipped": clipped, "nll": nll}
