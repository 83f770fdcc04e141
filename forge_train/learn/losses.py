"""Objectives: pure functions from logprobs and advantages to one loss per trained token.

Shapes: every tensor is flat over trained tokens, suffix _N. Nothing is reduced here: the caller
multiplies with the token weights of the whole optimizer step (`forge_train.learn.batch.token_weights`) and
sums, so that how tokens are cut into micro-batches cannot change a gradient.

Every objective must be 0, with zero gradient, where the advantage is 0: the learner does not forward
trajectories without a signal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.batch import Sample

Stats = dict[str, Tensor]
"""Per-token figures without gradient, each of shape N, to be averaged over tokens for the log."""

Key = tuple[int, int]
"""Names a sample: see `forge_train.learn.batch.Sample.key`."""

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
    differently from the learner, and for the weights having changed since (`token_correction`). On policy
    (current = proximal = behaviour) the gradient is that of REINFORCE. Where A_t < 0 the paper has no bound
    on r_t; ours is that of `surrogate`.
    """
    surrogate_N, stats = surrogate(current_N, proximal_N, advantage_N, config)
    weight_N, mismatch = token_correction(proximal_N, behaviour_N, config)
    with torch.no_grad():
        stats |= {"kl": k3(current_N, behaviour_N), **mismatch}
    return -weight_N * surrogate_N, stats


def ppo(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """The clipped surrogate against the policy that sampled: PPO (arXiv 1707.06347) Eq. 7.

    J_t = min(r_t A_t, clip(r_t, 1 - e_low, 1 + e_high) A_t), loss = -J_t, r_t = pi_current / pi_behaviour,
    bounded where A_t < 0 (`surrogate`).
    Where rollouts are late (`rollout.max_lag`) this is the trust region: once a token is as much likelier
    or unlikelier than when it was sampled as the clip allows, it pushes no further, whatever happened in
    between. `clipped` starts every update anew, and lets a policy run away from its own rollouts.
    The ratio itself corrects for who sampled, so no weight is put on top; tokens outside
    `importance_range` are left out all the same.
    """
    surrogate_N, stats = surrogate(current_N, behaviour_N, advantage_N, config)
    _, mismatch = token_correction(proximal_N, behaviour_N, config)
    with torch.no_grad():
        stats |= {"kl": k3(current_N, behaviour_N), **mismatch}
    return -(1 - mismatch["importance_masked"]) * surrogate_N, stats


def surrogate(
    current_N: Tensor, reference_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """The clipped surrogate of every objective with a ratio, r = pi_current / pi_reference; dual clip.

    min(r A, clip(r) A), and where A < 0 max(that, c A): Ye et al. 2020 (arXiv 1912.09729) Eq. 5, c =
    `dual_clip`. Without it a bad token that has become likelier pushes with r |A|, and one of ratio e^5
    like 148 others; with it no token pushes with more than c |A|, and one beyond pushes not at all.
    Figures: `ratio`, and how often each clip decided, `clipped` and `dual_clipped`, 0 or 1.

    >>> current_N = torch.tensor([5.0, 1.0, 0.1, -1.0], requires_grad=True)
    >>> value_N, _ = surrogate(current_N, torch.zeros(4), -torch.ones(4), LossConfig())
    >>> value_N.sum().backward(); value_N.detach(), current_N.grad
    (tensor([-3.0000, -2.7183, -1.1052, -0.8000]), tensor([ 0.0000, -2.7183, -1.1052,  0.0000]))
    """
    ratio_N = bounded(current_N - reference_N).exp()
    clipped_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
    value_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)
    bound_N = (config.dual_clip or torch.inf) * advantage_N.clamp(max=0)  # 0 * inf is NaN, below nothing
    beyond_N = (advantage_N < 0) & (value_N < bound_N)
    with torch.no_grad():
        stats = {
            "ratio": ratio_N.detach(),
            "clipped": (clipped_N * advantage_N < ratio_N * advantage_N).float(),
            "dual_clipped": beyond_N.float(),
        }
    return torch.where(beyond_N, bound_N, value_N), stats


def nll(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """Negative log likelihood times the advantage: with advantages of 1, supervised fine-tuning.

    loss = -A_t log pi_current; with other advantages it is REINFORCE (Williams 1992) without any
    correction for where the tokens came from. Behaviour logprobs are not read.
    """
    return -advantage_N * current_N, {"nll": -current_N.detach()}


@torch.no_grad()
def token_correction(
    proximal_N: Tensor, behaviour_N: Tensor, config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """What a token's loss is multiplied with because the engine sampled it, and the mismatch for the log.

    At `importance_level` "token" the weight is that of the token's ratio pi_proximal / pi_behaviour, see
    `truncated`; at "sequence" it is 1 here, and `sequence_correction` has the factor.

    Figures: `importance` (the weight), `logprob_gap` (|proximal - behaviour|, nats), `mismatch_k3` (the
    divergence of learner from engine), and, 0 or 1, `importance_truncated` and `importance_masked`.
    """
    log_ratio_N = bounded(proximal_N - behaviour_N)
    ratio_N = log_ratio_N.exp()
    if config.importance_level == "sequence":
        ratio_N = torch.ones_like(ratio_N)
    weight_N, truncated_N, masked_N = truncated(ratio_N, config)
    return weight_N, {
        "importance": weight_N,
        "importance_truncated": truncated_N,
        "importance_masked": masked_N,
        "logprob_gap": (proximal_N - behaviour_N).abs(),
        "mismatch_k3": k3(proximal_N, behaviour_N),
    }


@torch.no_grad()
def sequence_correction(
    proximal_N: Tensor, behaviour_N: Tensor, sequence_N: Tensor, config: LossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The factor on a token's loss that depends on its whole trajectory, and the figures for the log.

    sequence_N, int64: which trajectory wrote each token; all tokens of a trajectory must be given at once.
    Two factors, by config:

    - `importance_level` "sequence": the product of the trajectory's ratios, `truncated`. Unbiased but for
      the truncation, where the weights of single tokens leave out how likely their past was.
    - `sequence_range`: 0 where the geometric mean of the ratios lies outside of it. A long trajectory is not
      likelier to be left out than a short one (geometric rejection, "seq_mean_k1" of verl).

    What is left out stays in the denominators, so it cannot raise the weight of the others.
    Figures: `sequence_truncated`, `sequence_masked`, 0 or 1, and `sequence_ratio`, the geometric mean.
    """
    log_ratio_N = proximal_N - behaviour_N
    mean_N = geometric_mean(log_ratio_N, sequence_N)
    factor_N = torch.ones_like(mean_N)
    truncated_N = masked_N = torch.zeros_like(mean_N)
    if config.importance_level == "sequence":
        product_N = bounded(_sum_by(log_ratio_N, sequence_N)).exp()
        factor_N, truncated_N, masked_N = truncated(product_N, config)
    if config.sequence_range is not None:
        outside_N = ~_inside(mean_N, config.sequence_range)
        factor_N = factor_N.masked_fill(outside_N, 0.0)
        masked_N = masked_N.maximum(outside_N.float())
    figures = {"sequence_ratio": mean_N, "sequence_truncated": truncated_N, "sequence_masked": masked_N}
    return factor_N, figures


def sequence_factors(
    found: Sequence[Sample], proximal: Mapping[Key, Tensor], config: LossConfig
) -> tuple[dict[Key, Tensor], dict[str, float]]:
    """`sequence_correction` of whole trajectories: the factors by sample, and the figures' means over tokens.

    `found` must hold all samples of the trajectories in it, `proximal` the logprobs of each.
    """
    if not found:
        return {}, {}
    factor_N, figures = sequence_correction(
        torch.cat([proximal[s.key] for s in found]),
        torch.cat([s.behaviour_N for s in found]),
        torch.cat([torch.full_like(s.at_N, s.trajectory) for s in found]),
        config,
    )
    pieces = torch.split(factor_N, [s.at_N.numel() for s in found])
    factors = {s.key: piece_N for s, piece_N in zip(found, pieces, strict=True)}
    return factors, {name: float(value_N.mean()) for name, value_N in figures.items()}


def corrects_sequences(config: LossConfig) -> bool:
    """Whether the loss needs `sequence_correction`, and so the proximal logprobs of whole trajectories."""
    return config.importance_level == "sequence" or config.sequence_range is not None


def truncated(ratio_N: Tensor, config: LossConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Weights from ratios of probabilities; which were truncated, and which left out, as 0 or 1.

    min(ratio, `importance_cap`): truncated importance sampling for engines that disagree with the learner
    (Yao et al. 2025), the first factor of Klear-AgentForge Eq. 5; 1 when the cap is 0. And 0 outside
    `importance_range` (IcePop, Ling team 2025: what is far off is an error of a machine, not a surprise).
    """
    cap = config.importance_cap
    weight_N = ratio_N.clamp(max=cap) if cap else torch.ones_like(ratio_N)
    truncated_N = (ratio_N > cap).float() if cap else torch.zeros_like(ratio_N)
    masked_N = torch.zeros_like(ratio_N)
    if config.importance_range is not None:
        masked_N = (~_inside(ratio_N, config.importance_range)).float()
    return weight_N.masked_fill(masked_N.bool(), 0.0), truncated_N, masked_N


def geometric_mean(log_ratio_N: Tensor, unit_N: Tensor) -> Tensor:
    """exp of the mean log ratio of each token's unit (trajectory, turn), at every token; GSPO Eq. 7.

    >>> geometric_mean(torch.tensor([0.1, -0.2, 0.1, 0.0]), torch.tensor([0, 0, 1, 1]))
    tensor([0.9512, 0.9512, 1.0513, 1.0513])
    """
    size_N = _sum_by(torch.ones_like(log_ratio_N), unit_N)
    return bounded(_sum_by(log_ratio_N, unit_N) / size_N).exp()


def _sum_by(value_N: Tensor, unit_N: Tensor) -> Tensor:
    """Sum over each token's unit, at every token."""
    units = int(unit_N.max()) + 1 if unit_N.numel() else 0
    return value_N.new_zeros(units).index_add(0, unit_N, value_N)[unit_N]


def _inside(ratio_N: Tensor, bounds: tuple[float, float]) -> Tensor:
    low, high = bounds
    return (ratio_N >= low) & (ratio_N <= high)


def k3(current_N: Tensor, behaviour_N: Tensor) -> Tensor:
    """Estimate of KL(behaviour || current), never negative: r - 1 - log r (Schulman 2020, "k3")."""
    log_ratio_N = bounded(current_N - behaviour_N)
    return torch.expm1(log_ratio_N) - log_ratio_N


def bounded(log_ratio_N: Tensor) -> Tensor:
    """A log ratio that can be exponentiated without overflow."""
    return log_ratio_N.clamp(-LOG_RATIO_BOUND, LOG_RATIO_BOUND)


OBJECTIVES: dict[str, Objective] = {"clipped": clipped, "ppo": ppo, "nll": nll}

AUTO = frozenset({"auto"})
"""What stands for `clipped` where the weights being trained sampled everything, else for `ppo`."""


def objective_of(config: LossConfig, *, late: bool) -> Objective:
    """The objective that `config` asks for; `late` when rollouts are of older weights.

    A correction by sequence is one that `clipped` applies: asked for, `auto` stays with it.

    >>> objective_of(LossConfig(objective="auto"), late=True).__name__
    'ppo'
    """
    if config.objective not in AUTO:
        return OBJECTIVES[config.objective]
    return ppo if late and config.importance_level == "token" else clipped
