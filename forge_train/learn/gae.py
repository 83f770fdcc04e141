"""Generalised advantage estimation: how much better an episode went on than a critic expected.

    delta_t = r_t + gamma V_{t+1} - V_t        A_t = delta_t + gamma lambda A_{t+1}

Schulman et al. 2016 (arXiv 1506.02438), Eq. 11, 12 and 16. What a step is, is the estimator's choice: a token
or a turn. What the world says is never a step: the value after an action's last token is that of the state
in which the next action begins. Where turns end is read from `Segment.action`, not from where rewards are
(a turn that earned exactly 0 is a turn).

Values come from `forge_train.learn.critic.Critic.values`: for each trajectory one per token the policy wrote,
of the state before that token, and one more of the state after the last, 0 where nothing could come any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from forge_train.config import AlgorithmConfig
from forge_train.learn.comparing import scaled
from forge_train.trajectory import WORLD, TokenAdvantages, Trajectory


@dataclass(frozen=True, slots=True)
class Decay:
    """How far credit reaches back, per token and per turn."""

    gamma: float
    lam: float
    turn_gamma: float
    turn_lam: float


@dataclass(frozen=True, slots=True)
class Episode:
    """A trajectory as the estimators see it.

    >>> Episode([0.1, 0.2, 0.3, 0.4, 0.0], [0.0, 1.0], [2, 4]).starts
    [0, 2]
    """

    values: list[float]
    """Of the state before each token the policy wrote, and of the one after the last."""
    rewards: list[float]
    """One per turn."""
    ends: list[int]
    """One per turn: how many of the tokens were written when it was over."""

    @property
    def starts(self) -> list[int]:
        """One per turn: the index of its first token."""
        return [0, *self.ends][: len(self.ends)]


@dataclass(frozen=True, slots=True)
class Targets:
    """What one trajectory teaches the policy and the critic."""

    advantages: list[float]
    """What the learner is given: `TokenAdvantages`, or one per action."""
    at: list[int]
    """Where the critic learns: indices among the tokens the policy wrote, one per step."""
    values: list[float]
    """What it said there."""
    returns: list[float]
    """What it should have said."""


CriticEstimator = Callable[[Episode, Decay], list[float]]
"""Advantages of an episode's steps; how many there are tells tokens from turns."""


def gae(rewards: Sequence[float], values: Sequence[float], gamma: float, lam: float) -> list[float]:
    """Advantages of the steps that earned `rewards`; `values` has one entry more, of the state after all.

    >>> [round(a, 6) for a in gae([0.0, 0.0, 1.0], [0.2, 0.4, 0.6, 0.0], 0.99, 0.9)]
    [0.686406, 0.5504, 0.4]
    """
    assert len(values) == len(rewards) + 1
    advantages, advantage = [], 0.0
    for reward, (after, value) in zip(reversed(rewards), pairwise(reversed(values)), strict=True):
        advantage = reward + gamma * after - value + gamma * lam * advantage
        advantages.append(advantage)
    return advantages[::-1]


def token_gae(episode: Episode, decay: Decay) -> list[float]:
    """Every token is a step; a turn's reward is earned by its last token (MT-PPO, arXiv 2505.11821)."""
    rewards = [0.0] * (len(episode.values) - 1)
    for end, reward in zip(episode.ends, episode.rewards, strict=True):
        rewards[end - 1] = reward
    return gae(rewards, episode.values, decay.gamma, decay.lam)


def turn_gae(episode: Episode, decay: Decay) -> list[float]:
    """Every turn is a step; its state is all that stands before its first token (Turn-PPO, 2512.17008)."""
    values = [episode.values[i] for i in [*episode.starts, len(episode.values) - 1]]
    return gae(episode.rewards, values, decay.turn_gamma, decay.turn_lam)


def bilevel_gae(episode: Episode, decay: Decay) -> list[float]:
    """Turns first, then the tokens of each turn, whose recursion starts from the turn's advantage.

    VAGEN (arXiv 2510.16907), "Bi-Level GAE": the state of a turn is the one before its last token, where
    the turn's advantage is also that of the token; the tokens before it earn nothing of their own. Nothing
    but the turn level carries credit from one turn to the turn before.
    """
    values = [episode.values[end - 1] for end in episode.ends] + episode.values[-1:]
    turns = gae(episode.rewards, values, decay.turn_gamma, decay.turn_lam)
    advantages: list[float] = []
    for start, end, turn in zip(episode.starts, episode.ends, turns, strict=True):
        last = episode.values[end - 1]
        rewards = [0.0] * (end - start - 1) + [turn + last]
        advantages += gae(rewards, [*episode.values[start:end], 0.0], decay.gamma, decay.lam)
    return advantages


CRITIC_ESTIMATORS: dict[str, CriticEstimator] = {
    "gae": token_gae,
    "turn_gae": turn_gae,
    "bilevel_gae": bilevel_gae,
}


def targets_of(
    trajectories: Sequence[Trajectory],
    values: Sequence[Sequence[float]],
    algorithm: AlgorithmConfig,
    returns_lambda: float = 1.0,
) -> list[Targets]:
    """Advantages and returns of the trajectories of one update.

    `returns_lambda` replaces lambda in the returns that the critic learns, A + V; apart from the policy's it
    can be 1 without bias from the values while the policy's is below (decoupled GAE, arXiv 2503.01491). With
    `algorithm.across` whiten (or auto) the advantages, not the returns, get mean 0 and deviation 1 over all
    steps.

    Raises ValueError where values or rewards do not fit the tokens.
    """
    if len(trajectories) != len(values):
        raise ValueError(f"{len(values)} lists of values for {len(trajectories)} trajectories")
    estimator = CRITIC_ESTIMATORS[algorithm.advantage]
    policy = Decay(algorithm.gamma, algorithm.gae_lambda, algorithm.turn_gamma, algorithm.turn_lambda)
    critic = replace(policy, lam=returns_lambda, turn_lam=returns_lambda)
    found = []
    for trajectory, row in zip(trajectories, values, strict=True):
        episode = _episode(trajectory, row)
        by_turn = algorithm.advantage == "turn_gae"
        at = episode.starts if by_turn else list(range(len(row) - 1))
        advantages = estimator(episode, policy)
        here = [row[i] for i in at]
        returns = [a + v for a, v in zip(estimator(episode, critic), here, strict=True)]
        found.append(Targets(advantages if by_turn else TokenAdvantages(advantages), at, here, returns))
    if algorithm.across == "none":
        return found
    rows = scaled([e.advantages for e in found], [1.0] * len(found), whiten=algorithm.across != "scale")
    return [replace(e, advantages=type(e.advantages)(row)) for e, row in zip(found, rows, strict=True)]


def _episode(trajectory: Trajectory, values: Sequence[float]) -> Episode:
    """Raises ValueError unless each action has a reward and its tokens in one stretch, each with a value."""
    written = [a for s in trajectory.segments for a in s.action if a != WORLD]
    if len(values) != len(written) + 1:
        raise ValueError(
            f"group {trajectory.group!r}: {len(values)} values for {len(written)} tokens of the policy; "
            "each needs one, and the state after the last needs one more"
        )
    ends, total = [], 0
    for turn, (action, run) in enumerate(groupby(written)):
        if action != turn:
            raise ValueError(
                f"group {trajectory.group!r}: action {action} stands where action {turn} is due; with a "
                "critic the actions must be trained in order, each in one stretch"
            )
        total += sum(1 for _ in run)
        ends.append(total)
    if len(trajectory.rewards) != len(ends):
        raise ValueError(
            f"group {trajectory.group!r}: {len(trajectory.rewards)} rewards for {len(ends)} actions"
        )
    return Episode(list(values), list(trajectory.rewards), ends)
