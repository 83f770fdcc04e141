"""Ratios of probabilities: of one policy to another, of tokens and of all that a turn or a trajectory said.

Three policies say how likely a token was: the one being trained (current), the learner's before the update
(proximal), and the engine's when it sampled (behaviour). Shapes: flat over trained tokens, suffix _N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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


def compared_with(
    proximal_N: Tensor, behaviour_N: Tensor, config: LossConfig
) -> tuple[Tensor, Tensor, Stats]:
    """The logprobs that a ratio is taken to, what the loss is multiplied with, and figures for the log.

    By `old_policy`: the learner's before the update, and then a weight corrects for the engine
    (`token_correction`); or those of who sampled, and then the ratio itself does, so that only tokens outside
    `importance_range` have a weight of 0. "reference": who it is stands in `proximal_N`.
    """
    if config.old_policy == "reference":  # stands in the place of the proximal one; no weight is due
        _, figures = token_correction(behaviour_N, behaviour_N, config)
        return proximal_N, torch.ones_like(proximal_N), figures
    weight_N, figures = token_correction(proximal_N, behaviour_N, config)
    if config.old_policy == "behaviour":
        return behaviour_N, 1 - figures["importance_masked"], figures
    return proximal_N, weight_N, figures


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
        product_N = bounded(sum_by(log_ratio_N, sequence_N)).exp()
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
    return bounded(mean_by(log_ratio_N, unit_N)).exp()


def mean_by(value_N: Tensor, unit_N: Tensor) -> Tensor:
    """Mean over each token's unit, at every token; with the values' gradient."""
    return sum_by(value_N, unit_N) / sum_by(torch.ones_like(value_N), unit_N)


def sum_by(value_N: Tensor, unit_N: Tensor) -> Tensor:
    """Sum over each token's unit (trajectory, turn), at every token; with the values' gradient."""
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
