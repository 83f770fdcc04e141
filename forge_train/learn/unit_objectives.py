"""Objectives of whole turns and trajectories: GSPO, GMPO, OPMD, VESPO.

As in `forge_train.learn.losses`, with one more column: unit_N says which unit a token belongs to, and all
tokens of a unit are given at once. A unit's loss is shared out over its tokens, so that `denominator` weighs
and sums as for any other objective; written |u|: the tokens of a unit, A its mean advantage.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.ratios import Stats, bounded, compared_with, k3, mean_by, sum_by, surrogate


class UnitLoss(Protocol):
    """Loss of each token; the columns are those of `forge_train.learn.losses.Objective`."""

    def __call__(
        self,
        current_N: Tensor,
        proximal_N: Tensor,
        behaviour_N: Tensor,
        advantage_N: Tensor,
        unit_N: Tensor,
        config: LossConfig,
    ) -> tuple[Tensor, Stats]:
        """See above."""
        ...


def gspo(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """One ratio a sequence, clipped as a whole: GSPO (arXiv 2507.18071) Eq. 5 and 7.

    J = min(s A, clip(s, 1 - e_low, 1 + e_high) A), s = exp(1/|u| sum_t log r_t), the geometric mean of the
    ratios. It moves far less than that of a token: the paper's bounds are 3e-4 and 4e-4.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    log_s_N = mean_by(current_N - old_N, unit_N)
    value_N, stats = surrogate(log_s_N, torch.zeros_like(log_s_N), mean_by(advantage_N, unit_N), config)
    with torch.no_grad():
        stats |= {"kl": k3(current_N, behaviour_N), **figures}
    return -weight_N * value_N, stats


def gspo_token(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """GSPO whose tokens keep advantages of their own: GSPO-token (arXiv 2507.18071).

    J_t = min(s_t A_t, clip(s_t) A_t), s_t = sg(s) pi_current / sg(pi_current): the value s, the gradient of
    the token. Where all tokens of a unit have the same advantage this is `gspo`, value and gradient. Over
    turns it is the objective of AT2PO (arXiv 2601.04767), with bounds of 3e-3 and 4e-3.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    log_s_N = mean_by(current_N.detach() - old_N, unit_N) + current_N - current_N.detach()
    value_N, stats = surrogate(log_s_N, torch.zeros_like(log_s_N), advantage_N, config)
    with torch.no_grad():
        stats |= {"kl": k3(current_N, behaviour_N), **figures}
    return -weight_N * value_N, stats


def gmpo(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """The geometric mean of ratios that are clipped one by one: GMPO (arXiv 2507.20673).

    J = A exp(1/|u| sum_t c_t), c_t the log ratio, held at `clip_high` where A > 0 and at -`clip_low` where
    A < 0: logarithms here, 0.4 each in the paper. A single odd token cannot shut out a whole sequence.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    mean_N, log_ratio_N = mean_by(advantage_N, unit_N), current_N - old_N
    above_N, below_N = log_ratio_N.clamp(max=config.clip_high), log_ratio_N.clamp(min=-config.clip_low)
    held_N = torch.where(mean_N > 0, above_N, below_N)
    geometric_N = bounded(mean_by(held_N, unit_N)).exp()
    with torch.no_grad():
        stats = {
            "ratio": geometric_N.detach(),
            "clipped": (held_N != log_ratio_N).float(),
            "kl": k3(current_N, behaviour_N),
        }
    return -weight_N * geometric_N * mean_N, stats | figures


def opmd(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """Online policy mirror descent of Kimi k1.5 (arXiv 2501.12599) Eq. 3.

    loss = -A L + tau/2 L^2, L = log(pi_current / pi_old) of all that the unit said, A = r - mean(r):
    REINFORCE that is pulled back the further the policy has gone, with no clip and no ratio. The pull is
    there whatever was earned. tau is `tau`; the paper does not say its own.
    """
    log_ratio_N, advantage_N, stats = _mirrored(
        current_N, proximal_N, behaviour_N, advantage_N, unit_N, config
    )
    loss_N = -advantage_N * log_ratio_N + config.tau / 2 * log_ratio_N.square()
    return _shared(loss_N, unit_N, stats), stats


def opmd_k2(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """The squared form of Kimi K2 (arXiv 2507.20534): loss = (A - tau L)^2, L as in `opmd`.

    Its gradient is that of `opmd` times 2 tau.
    """
    log_ratio_N, advantage_N, stats = _mirrored(
        current_N, proximal_N, behaviour_N, advantage_N, unit_N, config
    )
    return _shared((advantage_N - config.tau * log_ratio_N).square(), unit_N, stats), stats


def vespo(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """The ratio of a whole sequence through a smooth kernel: VESPO (arXiv 2602.10693).

    J_t = sg(phi(W)) A_t log pi_current, phi(W) = W^k e^{l (1 - W)}, W the product of the unit's ratios and
    (k, l) = `kernel_good` where A_t >= 0, else `kernel_bad`. phi is 1 at W = 1 and falls to 0 on both sides.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    with torch.no_grad():
        log_w_N = sum_by(bounded(current_N - old_N) + weight_N.clamp(min=LEAST).log(), unit_N)
        log_w_N = log_w_N.clamp(LEAST_LOG, 20.0)
        good_N = advantage_N >= 0
        k_N = torch.where(good_N, config.kernel_good[0], config.kernel_bad[0])
        l_N = torch.where(good_N, config.kernel_good[1], config.kernel_bad[1])
        phi_N = (k_N * log_w_N + l_N * (1 - log_w_N.exp())).exp()
        ratio_N = bounded(current_N - old_N).exp()
        stats = {"ratio": ratio_N, "kernel": phi_N, "kl": k3(current_N, behaviour_N), **figures}
    return -phi_N * advantage_N * current_N, stats


LEAST = 1e-8
"""Smallest ratio that VESPO's kernel looks at."""
LEAST_LOG = -18.420680743952367
"""log(1e-8)."""


def _mirrored(
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    unit_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Tensor, Stats]:
    """The unit's log ratio with gradient, its advantage, and figures. No weight: any sampler will do."""
    old_N, _, figures = compared_with(proximal_N, behaviour_N, config)
    log_ratio_N = sum_by(current_N - old_N, unit_N)
    with torch.no_grad():
        stats = {
            "ratio": bounded(current_N - old_N).exp(),
            "log_ratio": log_ratio_N.detach(),
            "kl": k3(current_N, behaviour_N),
            **figures,
        }
    return log_ratio_N, mean_by(advantage_N, unit_N), stats


def _shared(loss_N: Tensor, unit_N: Tensor, stats: Stats) -> Tensor:
    """The unit's loss, an equal part for each token; those outside `importance_range` leave theirs."""
    size_N = sum_by(torch.ones_like(loss_N), unit_N)
    return (1 - stats["importance_masked"]) * loss_N / size_N
