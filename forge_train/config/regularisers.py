"""What the policy is held to beside its rewards: a reference, and episodes worth imitating."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import NonNegativeInt, PositiveInt

from forge_train.config.branching import BRANCHED
from forge_train.config.hyperparameters import CRITIC_ESTIMATORS, AlgorithmConfig, LossConfig
from forge_train.config.objectives import OPMD
from forge_train.config.section import Section

ARCHITECTURE = (
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
    "num_attention_heads", "num_key_value_heads", "head_dim",
)  # fmt: skip
"""Keys of a model's config.json that a reference shares with its policy."""
OWN_SUMS = frozenset({"mt_grpo", "gdpo"})
"""Estimators that do not read the rewards of turns as they stand, but outcome and parts."""


ONE_ADVANTAGE = frozenset({"gspo", "gmpo", *OPMD})
"""Objectives that look at what a whole trajectory earned."""
OF_TURNS = frozenset({"turn_rloo", "mt_grpo", "marshal", "gigpo", *BRANCHED, *CRITIC_ESTIMATORS})
"""Estimators whose credit is of turns or tokens."""


def asks_reference(loss: LossConfig) -> bool:
    """Whether a policy is held to the weights that [reference] names: by a penalty, or by its objective.

    >>> [asks_reference(LossConfig(objective="opmd", old_policy=old)) for old in ("auto", "reference")]
    [False, True]
    """
    return loss.kl_weight > 0 or loss.old_policy == "reference"


class ReferenceConfig(Section):
    """Whom algorithm.kl_weight, or algorithm.old_policy, holds the policy to. Costs the trained weights once
    more, and a forward pass of every update."""

    path: str = ""
    """Folder of a model of the policy's architecture and vocabulary; empty: the weights with which
    reinforcement began, after supervised training."""
    refresh: NonNegativeInt = 0
    """Every so many steps the policy of that moment becomes the reference; 0: never."""
    reset_optimizer: bool = False
    """Whether the optimizer forgets its moments then (Kimi k1.5, arXiv 2501.12599)."""


class PTXConfig(Section):
    """Episodes that are imitated a little in every update: algorithm.ptx_weight."""

    path: str = ""
    """A file of episodes (`forge-train collect`); empty is sft.path, or the gold of the worlds."""
    episodes: PositiveInt = 256
    """Episodes to draw from, the first ones."""
    batch: PositiveInt = 16
    """Episodes of one optimizer step."""


def refuse_regularisers(algorithm: AlgorithmConfig, reference: ReferenceConfig, lora_rank: int) -> None:
    """Raise ValueError for objectives and regularisers that cannot be had with the rest of the config."""
    advantage = algorithm.advantage
    if algorithm.objective in ONE_ADVANTAGE and advantage in OF_TURNS:
        instead = "gspo_turn" if algorithm.objective.startswith("gspo") else "clipped"
        raise ValueError(
            f'algorithm.objective = "{algorithm.objective}": it has one advantage for a whole trajectory, '
            f'and algorithm.advantage = "{advantage}" tells its turns apart; use objective = "{instead}", or '
            'advantage = "dr_grpo"'
        )
    if algorithm.objective in ONE_ADVANTAGE and algorithm.blame != "all":
        raise ValueError(
            f'algorithm.blame = "{algorithm.blame}": it tells the turns of a failure apart, and objective = '
            f'"{algorithm.objective}" has one advantage for a whole trajectory; use blame = "all"'
        )
    if algorithm.kl_weight and algorithm.kl_in == "reward" and advantage in OWN_SUMS:
        raise ValueError(
            f'algorithm.kl_in = "reward": algorithm.advantage = "{advantage}" reads outcome and parts apart, '
            'and would not see it; use kl_in = "loss"'
        )
    if reference.path and lora_rank:
        raise ValueError(
            f'reference.path = "{reference.path}": with model.lora_rank = {lora_rank} the reference is the '
            "model with the adapters it began with, which costs no second model; leave path out"
        )


def refuse_reference(reference: ReferenceConfig, model_path: str) -> None:
    """Raise ValueError for a reference that is no model, or not one like the policy; hub names pass."""
    if not reference.path:
        return
    folder, policy = Path(reference.path).expanduser(), Path(model_path).expanduser()
    if not (folder / "config.json").is_file():
        raise ValueError(
            f'reference.path = "{reference.path}": no folder of a model (no config.json); give one that '
            "transformers reads, or leave it out for the weights with which reinforcement begins"
        )
    if not model_path or not (policy / "config.json").is_file():
        return  # made on the spot, or on the hub: compared when it is there
    ours, theirs = _shape(policy), _shape(folder)
    wrong = [key for key in ARCHITECTURE if ours.get(key) != theirs.get(key)]
    if wrong:
        told = ", ".join(f"{key} {theirs.get(key)} instead of {ours.get(key)}" for key in wrong)
        raise ValueError(
            f'reference.path = "{reference.path}": not a model like the policy ({told}), so their tokens '
            "cannot be compared; use one that was trained from the same model"
        )


def _shape(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found
