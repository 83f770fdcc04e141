"""What leaving the reference costs, taken from the rewards of the actions that did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forge_train.config import AlgorithmConfig
from forge_train.learn.comparing import by_turn, count_actions
from forge_train.learn.learner import Learner
from forge_train.learn.masks import OF_THE_POLICY
from forge_train.trajectory import WORLD, Trajectory


def in_reward(algorithm: AlgorithmConfig) -> bool:
    """Whether `charged` is asked for; then every group teaches, whatever its members earned."""
    return algorithm.kl_weight > 0 and algorithm.kl_in == "reward"


def charged(
    groups: Sequence[Sequence[Trajectory]], learner: Learner, algorithm: AlgorithmConfig, temperature: float
) -> tuple[list[list[Trajectory]], dict[str, float]]:
    """Copies of the groups' members that paid for each token, and `kl_reward`, the mean over actions paid.

    r_k <- r_k - beta sum over the tokens of action k of log(pi_behaviour / pi_reference), beta `kl_weight`:
    the estimate k1 as it was sampled, as in RLHF (arXiv 2203.02155; verl's `use_kl_in_reward`). A turn that
    was likelier under the reference is paid for what it did. Members that a machine failed stay as they are.
    """
    members = [t for group in groups for t in group if t.ending in OF_THE_POLICY]
    scored = iter(learner.reference_logprobs(members, temperature=temperature))
    paid: list[float] = []
    found: list[list[Trajectory]] = []
    for group in groups:
        found.append([])
        for t in group:
            if t.ending in OF_THE_POLICY:
                cost = [algorithm.kl_weight * c for c in drifts(t, next(scored))]
                rewards = [r - c for r, c in zip(by_turn(t.rewards, t), cost, strict=True)]
                paid += cost
                t = replace(t, rewards=rewards)
            found[-1].append(t)
    return found, {"kl_reward": sum(paid) / len(paid)} if paid else {}


def drifts(trajectory: Trajectory, reference: Sequence[Sequence[float]]) -> list[float]:
    """For each action, how much likelier its tokens were when they were sampled than under the reference.

    reference: its logprobs, by segment and token. In nats.
    """
    told = [0.0] * count_actions(trajectory)
    for segment, row in zip(trajectory.segments, reference, strict=True):
        for action, sampled, held in zip(segment.action, segment.logprobs, row, strict=True):
            if action != WORLD:
                told[action] += sampled - held
    return told
