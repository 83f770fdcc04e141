"""Objectives of single tokens beside `clipped` and `ppo`: CISPO, SAPO, GPPO and CE-GPPO, DPPO.

As in `forge_train.learn.losses`: flat tensors over trained tokens, one loss a token, nothing reduced. r is
the ratio of the current policy to the one that `old_policy` names; J is what is maximised. At r = 1 all have
the gradient of REINFORCE.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.ratios import Stats, bounded, compared_with, k3, token_correction


def cispo(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """The ratio is a clipped weight and no token loses its gradient: MiniMax-M1 (arXiv 2506.13585).

    J_t = sg(clip(r_t, 1 - e_low, 1 + e_high)) A_t log pi_current. The paper sets no lower bound (`clip_low` =
    1) and does not say its upper one; 5 is ScaleRL's (arXiv 2510.13786), `clip_high` = 4.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    with torch.no_grad():
        ratio_N = bounded(current_N - old_N).exp()
        held_N = ratio_N.clamp(1 - config.clip_low, 1 + config.clip_high)
        stats = {"ratio": ratio_N, "clipped": (held_N != ratio_N).float(), "kl": k3(current_N, behaviour_N)}
    return -weight_N * held_N * advantage_N * current_N, stats | figures


def sapo(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """A soft gate in a clip's place: SAPO (arXiv 2511.20347).

    J_t = 4 / tau sigmoid(tau (r_t - 1)) A_t, tau = `tau_good` where A_t > 0 and `tau_bad` elsewhere. Its
    gradient is 4 p (1 - p) r A grad log pi, p the sigmoid: that of REINFORCE at r = 1, and fading on both
    sides; faster for bad tokens, whose gradient spreads over all the words that were not said.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    ratio_N = bounded(current_N - old_N).exp()
    tau_N = torch.where(advantage_N > 0, config.tau_good, config.tau_bad)
    gate_N = torch.sigmoid(tau_N * (ratio_N - 1)) * 4 / tau_N
    with torch.no_grad():
        stats = {"ratio": ratio_N.detach(), "gate": gate_N.detach(), "kl": k3(current_N, behaviour_N)}
    return -weight_N * gate_N * advantage_N, stats | figures


def gppo(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """The clipped surrogate whose clipped tokens keep a bounded gradient: GPPO (arXiv 2508.07629), CE-GPPO.

    Where the clip decides, J_t = b (1 -+ e) r_t / sg(r_t) A_t: the value of the clip, and its gradient as if
    the ratio stood at the bound. b is `beta_low` below (A_t < 0, r_t < 1 - e_low) and `beta_high` above; both
    1 is GPPO, 0.75 and 1 CE-GPPO (arXiv 2509.20712), with more entropy. Dual clip as in `surrogate`.
    """
    old_N, weight_N, figures = compared_with(proximal_N, behaviour_N, config)
    log_ratio_N = bounded(current_N - old_N)
    ratio_N = log_ratio_N.exp()
    one_N = (log_ratio_N - log_ratio_N.detach()).exp()  # the value 1, with the gradient of log pi
    below_N = (advantage_N < 0) & (ratio_N < 1 - config.clip_low)
    above_N = (advantage_N > 0) & (ratio_N > 1 + config.clip_high)
    held_N = torch.where(below_N, config.beta_low * (1 - config.clip_low) * one_N, ratio_N)
    held_N = torch.where(above_N, config.beta_high * (1 + config.clip_high) * one_N, held_N)
    bound_N = (config.dual_clip or torch.inf) * advantage_N.clamp(max=0)
    beyond_N = (advantage_N < 0) & (held_N * advantage_N < bound_N)
    with torch.no_grad():
        stats = {
            "ratio": ratio_N.detach(),
            "clipped": (below_N | above_N).float(),
            "dual_clipped": beyond_N.float(),
            "kl": k3(current_N, behaviour_N),
        }
    return -weight_N * torch.where(beyond_N, bound_N, held_N * advantage_N), stats | figures


def dppo_tv(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """A trust region in probabilities, not ratios: DPPO (arXiv 2602.04879) with binary total variation.

    D_t = |pi_current - pi_behaviour| of the sampled token; see `_within`. A rare token may become many times
    likelier, a common one may not lose half of its probability: ratios say the opposite.
    """
    with torch.no_grad():
        divergence_N = (_probability(current_N) - _probability(behaviour_N)).abs()
    return _within(divergence_N, current_N, proximal_N, behaviour_N, advantage_N, config)


def dppo_kl(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """DPPO (arXiv 2602.04879) with the binary Kullback-Leibler divergence.

    D_t = m log(m / p) + (1 - m) log((1 - m) / (1 - p)), p = pi_current and m = pi_behaviour of the sampled
    token; see `_within`.
    """
    with torch.no_grad():
        was_N, is_N = _probability(behaviour_N), _probability(current_N)
        rest_N = torch.log1p(-was_N.clamp(max=ALMOST_ONE)) - torch.log1p(-is_N.clamp(max=ALMOST_ONE))
        divergence_N = was_N * (behaviour_N - current_N) + (1 - was_N) * rest_N
    return _within(divergence_N, current_N, proximal_N, behaviour_N, advantage_N, config)


ALMOST_ONE = 1 - 1e-7
"""Largest probability whose complement still has a logarithm in float32."""


def _probability(logprob_N: Tensor) -> Tensor:
    return logprob_N.clamp(max=0).exp()


def _within(
    divergence_N: Tensor,
    current_N: Tensor,
    proximal_N: Tensor,
    behaviour_N: Tensor,
    advantage_N: Tensor,
    config: LossConfig,
) -> tuple[Tensor, Stats]:
    """J_t = M_t sg(min(r_t, C)) A_t log pi_current, r_t = pi_current / pi_behaviour, C = `importance_cap`.

    M_t is 0 where D_t > `clip_high` and a good token has become likelier, or D_t > `clip_low` and a bad one
    less likely: a step on would lead further away. The paper's bounds are 0.15 for TV and 0.05 for KL.
    """
    _, figures = token_correction(proximal_N, behaviour_N, config)
    with torch.no_grad():
        ratio_N = bounded(current_N - behaviour_N).exp()
        away_N = torch.where(
            advantage_N > 0,
            (divergence_N > config.clip_high) & (current_N > behaviour_N),
            (divergence_N > config.clip_low) & (current_N < behaviour_N),
        )
        held_N = ratio_N.clamp(max=config.importance_cap or torch.inf)
        held_N = held_N * (1 - figures["importance_masked"]) * (~away_N)
        stats = {
            "ratio": ratio_N,
            "divergence": divergence_N,
            "clipped": away_N.float(),
            "kl": k3(current_N, behaviour_N),
        }
    return -held_N * advantage_N * current_N, stats | figures
