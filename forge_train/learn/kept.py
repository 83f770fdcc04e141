"""Which episodes are worth imitating, and whom failures teach: filters and weights by parts of an episode.

Rejection sampling is an estimator like any other (`kept`): an advantage of 1 for what is imitated, none for
the rest. What tempers failures (`temper`) stands after every estimator.
"""

from __future__ import annotations

from collections.abc import Sequence

from forge_train.config import AlgorithmConfig
from forge_train.learn.comparing import DEFAULTS, broadcast
from forge_train.trajectory import MISTAKES, WORLD, TokenAdvantages, Trajectory


def kept(group: Sequence[Trajectory], config: AlgorithmConfig = DEFAULTS) -> list[list[float]]:
    """An advantage of 1 for the first `algorithm.keep` episodes that are clean (`is_clean`), 0 for others.

    Rejection sampling: RFT (arXiv 2308.01825), RAFT (2304.06767); with the objective "nll" the update is
    supervised training on what is kept. Two episodes that said the same count once, so that a task the policy
    solves in one way only does not weigh more than one it solves in several.
    """
    values = [0.0] * len(group)
    known: set[tuple[tuple[int, ...], ...]] = set()
    for i, t in enumerate(group):
        said = tuple(tuple(s.tokens) for s in t.segments)
        if len(known) < config.keep and said not in known and is_clean(t, config.flawless):
            known.add(said)
            values[i] = 1.0
    return broadcast(group, values)


def is_clean(trajectory: Trajectory, flawless: Sequence[str]) -> bool:
    """Whether an episode was solved and none of these reward parts came up in it.

    >>> t = Trajectory("g", outcome=1.0, info={"parts": {"refused": -0.1}})
    >>> is_clean(t, ("malformed", "refused")), is_clean(t, ("malformed",))
    (False, True)
    """
    parts = trajectory.info.get("parts", {})
    solved = trajectory.trainable and trajectory.solved and not trajectory.is_judgement
    return solved and not any(parts.get(name) for name in flawless)


def temper(
    groups: Sequence[Sequence[Trajectory]], credit: Sequence[Sequence[list[float]]], config: AlgorithmConfig
) -> list[list[list[float]]]:
    """The advantages of all groups of an update, each trajectory's `tempered`."""
    return [
        [tempered(t, row, config) for t, row in zip(group, rows, strict=True)]
        for group, rows in zip(groups, credit, strict=True)
    ]


def tempered(trajectory: Trajectory, advantages: list[float], config: AlgorithmConfig) -> list[float]:
    """Advantages of a trajectory, those below 0 times `algorithm.negative_weight`; with `blame` =
    "first_mistake" 0 in turns after the first mistake.

    Of a kind with `advantages`: by action, or by token. The baseline stays what it was; the gradient is no
    longer that of the expected return, which is the point: of the surprise in the demo's failed episodes
    three quarters stood after the mistake.

    >>> t = Trajectory("g", rewards=[0.0] * 3, info={"mistakes": [1]})
    >>> tempered(t, [-2.0, -2.0, -2.0], AlgorithmConfig(negative_weight=0.25, blame="first_mistake"))
    [-0.5, -0.5, 0.0]
    >>> tempered(t, [2.0, 2.0, 2.0], AlgorithmConfig(negative_weight=0.25, blame="first_mistake"))
    [2.0, 2.0, 2.0]
    """
    if config.negative_weight == 1 and config.blame == "all":
        return advantages
    by_token = isinstance(advantages, TokenAdvantages)
    turns = [a for s in trajectory.segments for a in s.action if a != WORLD] if by_token else []
    last = float("inf")
    if config.blame == "first_mistake":
        last = min(trajectory.info.get(MISTAKES, ()), default=last)
    weighed = [
        a if a >= 0 else a * config.negative_weight if turn <= last else 0.0
        for a, turn in zip(advantages, turns or range(len(advantages)), strict=True)
    ]
    return TokenAdvantages(weighed) if by_token else weighed
