"""What the papers of the objectives say about their keys, and what goes with what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OF_PAPER: dict[str, dict[str, Any]] = {
    "cispo": {"clip_low": 1.0, "clip_high": 4.0},
    "sapo": {"denominator": "trajectory"},
    "ce_gppo": {"beta_low": 0.75},
    "dppo_tv": {"clip_low": 0.15, "clip_high": 0.15, "importance_cap": 20.0},
    "dppo_kl": {"clip_low": 0.05, "clip_high": 0.05, "importance_cap": 20.0},
    "gspo": {"clip_low": 3e-4, "clip_high": 4e-4, "dual_clip": 0.0, "denominator": "trajectory"},
    "gspo_token": {"clip_low": 3e-4, "clip_high": 4e-4, "dual_clip": 0.0, "denominator": "trajectory"},
    "gspo_turn": {"clip_low": 3e-3, "clip_high": 4e-3, "dual_clip": 0.0, "denominator": "trajectory"},
    "gmpo": {"clip_low": 0.4, "clip_high": 0.4, "denominator": "trajectory"},
    "opmd": {"denominator": "constant", "constant": 1.0},
    "opmd_k2": {"denominator": "constant", "constant": 1.0},
}
"""Keys of [algorithm] that follow the objective where they are not said."""

OPMD = frozenset({"opmd", "opmd_k2"})
"""Squares of what a whole trajectory said."""
UNITS = frozenset({"gspo", "gspo_token", "gspo_turn", "gmpo", "vespo", *OPMD})
"""Objectives of whole turns and trajectories (`forge_train.learn.losses.UNIT_OBJECTIVES`)."""
SAMPLER = frozenset({"ppo", "dppo_tv", "dppo_kl"})
"""Objectives whose ratio is always to who sampled."""

READS = {
    "clip_low": {"auto", "clipped", "ppo", "cispo", "gppo", "ce_gppo", "dppo_tv", "dppo_kl",
                 "gspo", "gspo_token", "gspo_turn", "gmpo"},
    "clip_high": {"auto", "clipped", "ppo", "cispo", "gppo", "ce_gppo", "dppo_tv", "dppo_kl",
                  "gspo", "gspo_token", "gspo_turn", "gmpo"},
    "dual_clip": {"auto", "clipped", "ppo", "gppo", "ce_gppo", "gspo", "gspo_token", "gspo_turn"},
    "old_policy": {"cispo", "sapo", "gppo", "ce_gppo", *UNITS},
    "tau_good": {"sapo"},
    "tau_bad": {"sapo"},
    "beta_low": {"gppo", "ce_gppo"},
    "beta_high": {"gppo", "ce_gppo"},
    "tau": {*OPMD},
    "kernel_good": {"vespo"},
    "kernel_bad": {"vespo"},
}  # fmt: skip
"""Keys of [algorithm] by the objectives that read them."""


def with_papers_values(told: Mapping[str, Any]) -> dict[str, Any]:
    """What is not said follows the objective; a resolved config says all of it.

    >>> with_papers_values({"objective": "gspo", "clip_high": 0.01})["clip_high"]
    0.01
    >>> with_papers_values({"objective": "opmd", "denominator": "token"})
    {'denominator': 'token', 'objective': 'opmd'}
    """
    filled = {**OF_PAPER.get(str(told.get("objective")), {}), **told}
    if filled.get("denominator") != "constant" and "constant" not in told:
        filled.pop("constant", None)
    return filled


def unread(objective: str) -> tuple[str, ...]:
    """Keys of [algorithm] that belong to other objectives.

    >>> unread("clipped")
    ('old_policy', 'tau_good', 'tau_bad', 'beta_low', 'beta_high', 'tau', 'kernel_good', 'kernel_bad')
    """
    known = set().union(*READS.values()) | {"nll"}
    return tuple(key for key, readers in READS.items() if objective in known and objective not in readers)


def refuse_objective(objective: str, importance_level: str, old_policy: str, denominator: str) -> None:
    """Raise ValueError for keys of [algorithm] that contradict the objective."""
    if old_policy == "reference" and objective not in OPMD:
        raise ValueError(
            f'old_policy = "reference": objective = "{objective}" has a ratio to who sampled, or to the '
            'learner before the update; use objective = "opmd", or kl_weight to hold it to a reference'
        )
    if importance_level == "sequence" and (objective in SAMPLER or objective in OPMD):
        holds = (
            "already holds the ratio to who sampled" if objective in SAMPLER else "has no ratio to correct"
        )
        raise ValueError(
            f'importance_level = "sequence": objective = "{objective}" {holds}, so '
            'it would count twice; use objective = "clipped", or importance_level = "token"'
        )
    if importance_level == "sequence" and objective in UNITS and old_policy != "proximal":
        raise ValueError(
            f'importance_level = "sequence": objective = "{objective}" has the ratio of all that was said '
            'already, so it would count twice; use "token", or old_policy = "proximal" and both'
        )
    if importance_level == "sequence" and old_policy == "behaviour":
        raise ValueError(
            'importance_level = "sequence": with old_policy = "behaviour" the ratio is to who sampled, so it '
            'would count twice; use "token", or old_policy = "proximal"'
        )
    if objective in OPMD and denominator in ("turn", "segment"):
        raise ValueError(
            f'denominator = "{denominator}": objective = "{objective}" is the square of what a whole '
            'trajectory said, which no part of it has; use "constant", "trajectory" or "token"'
        )
