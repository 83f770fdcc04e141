"""Objectives: pure functions from logprobs and advantages to one loss per trained token.

Shapes: every tensor is flat over trained tokens, suffix _N. Nothing is reduced here: the caller
multiplies with the token weights of the whole optimizer step (`forge_train.learn.batch.token_weights`) and
sums, so that how tokens are cut into micro-batches cannot change a gradient.

Most objectives look at one token at a time (`OBJECTIVES`); some at all that a turn or a trajectory said
(`UNIT_OBJECTIVES`). Every objective must be 0, with zero gradient, where the advantage is 0: the learner does
not forward trajectories without a signal. Those for which it is not so are in `HOLDING`, and then it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from forge_train.config import LossConfig
from forge_train.learn.ratios import (
    LOG_RATIO_BOUND,
    Key,
    Stats,
    bounded,
    corrects_sequences,
    geometric_mean,
    k3,
    mean_by,
    sequence_correction,
    sequence_factors,
    surrogate,
    token_correction,
    truncated,
)
from forge_train.learn.token_objectives import cispo, dppo_kl, dppo_tv, gppo, sapo
from forge_train.learn.unit_objectives import UnitLoss, gmpo, gspo, gspo_token, opmd, opmd_k2, vespo

__all__ = [
    "AUTO",
    "HOLDING",
    "LOG_RATIO_BOUND",
    "OBJECTIVES",
    "UNIT_OBJECTIVES",
    "Key",
    "Objective",
    "PolicyLoss",
    "Stats",
    "UnitObjective",
    "bounded",
    "clipped",
    "corrects_sequences",
    "geometric_mean",
    "holds",
    "k3",
    "nll",
    "objective_of",
    "ppo",
    "sequence_correction",
    "sequence_factors",
    "settled",
    "surrogate",
    "token_correction",
    "truncated",
]


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


def nll(
    current_N: Tensor, proximal_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, config: LossConfig
) -> tuple[Tensor, Stats]:
    """Negative log likelihood times the advantage: with advantages of 1, supervised fine-tuning.

    loss = -A_t log pi_current; with other advantages it is REINFORCE (Williams 1992) without any
    correction for where the tokens came from. Behaviour logprobs are not read.
    """
    return -advantage_N * current_N, {"nll": -current_N.detach()}


@dataclass(frozen=True, slots=True)
class UnitObjective:
    """An objective of whole units: what all tokens of one say decides what each of them is pushed with."""

    unit: Literal["turn", "trajectory"]
    loss: UnitLoss


OBJECTIVES: dict[str, Objective] = {
    "clipped": clipped,
    "ppo": ppo,
    "nll": nll,
    "cispo": cispo,
    "sapo": sapo,
    "gppo": gppo,
    "ce_gppo": gppo,
    "dppo_tv": dppo_tv,
    "dppo_kl": dppo_kl,
}
UNIT_OBJECTIVES = {
    "gspo": UnitObjective("trajectory", gspo),
    "gspo_token": UnitObjective("trajectory", gspo_token),
    "gspo_turn": UnitObjective("turn", gspo_token),
    "gmpo": UnitObjective("trajectory", gmpo),
    "opmd": UnitObjective("trajectory", opmd),
    "opmd_k2": UnitObjective("trajectory", opmd_k2),
    "vespo": UnitObjective("trajectory", vespo),
}
HOLDING = frozenset({"opmd", "opmd_k2"})
"""Objectives that pull a policy back to where it was whatever it earned: not 0 where the advantage is."""

AUTO = frozenset({"auto"})
"""What stands for `clipped` where the weights being trained sampled everything, else for `ppo`."""


def objective_of(config: LossConfig, *, late: bool) -> Objective:
    """The objective of tokens that `config` asks for; `late` when rollouts are of older weights.

    A correction by sequence is one that `clipped` applies: asked for, `auto` stays with it.

    >>> objective_of(LossConfig(objective="auto"), late=True).__name__
    'ppo'
    """
    return OBJECTIVES[settled(config, late=late).objective]


def settled(config: LossConfig, *, late: bool) -> LossConfig:
    """`config` with what it leaves open decided: the objective, and whom ratios are taken to.

    >>> settled(LossConfig(objective="gspo"), late=True).old_policy
    'behaviour'
    """
    behind = late and config.importance_level == "token"
    chosen: dict[str, str] = {}
    if config.objective in AUTO:
        chosen["objective"] = "ppo" if behind else "clipped"
    if config.old_policy == "auto":
        chosen["old_policy"] = "behaviour" if behind else "proximal"
    return config.model_copy(update=chosen)


def holds(config: LossConfig) -> bool:
    """Whether something is learned from trajectories whose advantages are all 0.

    >>> [holds(LossConfig(**c)) for c in ({}, {"objective": "opmd"}, {"entropy_weight": 0.01})]
    [False, True, True]
    """
    return config.objective in HOLDING or penalises(config) or config.entropy_weight > 0


def penalises(config: LossConfig) -> bool:
    """Whether the distance to a reference is part of the loss, beside the objective."""
    return config.kl_weight > 0 and config.kl_in == "loss"


class PolicyLoss:
    """The objective of a settled config, of tokens or of whole units, and the mask of bad stale episodes."""

    def __init__(self, config: LossConfig) -> None:
        self.config = config
        self.of_unit = UNIT_OBJECTIVES.get(config.objective)

    @property
    def of_trajectories(self) -> bool:
        """Whether a token's loss depends on what its whole trajectory said, under the weights of now.

        A turn lies in one segment, which nobody cuts; a trajectory of several does not lie in one batch.
        """
        by_unit = self.of_unit is not None and self.of_unit.unit == "trajectory"
        return by_unit or self.config.off_policy_delta is not None

    def __call__(
        self,
        current_N: Tensor,
        proximal_N: Tensor,
        behaviour_N: Tensor,
        advantage_N: Tensor,
        trajectory_N: Tensor,
        action_N: Tensor,
    ) -> tuple[Tensor, Stats]:
        """Loss of each token and figures, as of `Objective`.

        trajectory_N, action_N: int64, who wrote a token. Where `of_trajectories`, all tokens of a trajectory
        must be given at once; all of an action always.
        """
        columns = (current_N, proximal_N, behaviour_N, advantage_N)
        if self.of_unit is None:
            loss_N, stats = OBJECTIVES[self.config.objective](*columns, self.config)
        else:
            unit_N = trajectory_N if self.of_unit.unit == "trajectory" else turns(trajectory_N, action_N)
            loss_N, stats = self.of_unit.loss(*columns, unit_N, self.config)
        if self.config.off_policy_delta is not None:
            stale_N = stale(current_N, behaviour_N, advantage_N, trajectory_N, self.config.off_policy_delta)
            loss_N, stats = loss_N * (1 - stale_N), {**stats, "off_policy_masked": stale_N}
        return loss_N, stats


@torch.no_grad()
def stale(
    current_N: Tensor, behaviour_N: Tensor, advantage_N: Tensor, trajectory_N: Tensor, delta: float
) -> Tensor:
    """1 for tokens that are left out: bad ones of trajectories that the policy would hardly play any more.

    A_t < 0 and mean over the trajectory of log(pi_behaviour / pi_current) > delta: the off-policy sequence
    mask of DeepSeek-V3.2 (arXiv 2512.02556) Eq. 9. A policy learns from its own mistakes, and pushing down
    what it no longer says disturbs it; good episodes are kept however old.

    >>> current_N, sampled_N = torch.tensor([-3.0, -1.0, -1.0]), torch.tensor([-1.0, -1.0, -1.0])
    >>> stale(current_N, sampled_N, -torch.ones(3), torch.tensor([0, 0, 1]), 0.5)
    tensor([1., 1., 0.])
    """
    drifted_N = mean_by(behaviour_N - current_N, trajectory_N) > delta
    return (drifted_N & (advantage_N < 0)).float()


def turns(trajectory_N: Tensor, action_N: Tensor) -> Tensor:
    """A number for each turn, at each of its tokens.

    >>> turns(torch.tensor([0, 0, 3, 3]), torch.tensor([0, 1, 0, 0]))
    tensor([0, 1, 2, 2])
    """
    pair_N2 = torch.stack([trajectory_N, action_N], dim=1)
    number_N: Tensor = torch.unique(pair_N2, dim=0, return_inverse=True)[1]
    return number_N
