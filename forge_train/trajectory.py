"""One play of one task, as the trainer sees it: tokens, who wrote them, and what they earned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Ending = Literal["terminated", "max_turns", "context", "tokens", "deadline", "failed", "cancelled"]
"""terminated: the world ended the episode. max_turns: the world's turn limit, or the player stopped before
the world did; graded all the same. context, tokens: the policy ran out of context or of tokens for one
action. deadline: the rollout took too long. failed: a machine failed (never a reward of 0). cancelled: the
run stopped."""

SUCCESS = 1 - 1e-6
"""An outcome from which on an episode is solved."""
MISTAKES = "mistakes"
"""Key of `Trajectory.info`: turns, from 0, that the world answered with a part `malformed` or `refused`."""

GROUNDED = "grounded"
"""Key of `Trajectory.info` of plays in which what was made up was replaced: `Trajectory.is_grounded`."""

WORLD = -1
"""The action index of tokens that the policy did not write."""


@dataclass(slots=True)
class Segment:
    """A stretch of a trajectory that is one token sequence.

    >>> s = Segment()
    >>> s.hear([5, 6]); s.act([7, 2], [-0.1, -0.3], action=0); s.hear([8])
    >>> s.tokens, s.action
    ([5, 6, 7, 2, 8], [-1, -1, 0, 0, -1])
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    """Behaviour logprob of each token; 0.0 where the world wrote it."""
    action: list[int] = field(default_factory=list)
    """Index of the action that wrote the token, `WORLD` (-1) for the world's."""
    confidence: list[float] = field(default_factory=list)
    """Of each token up to the last one of the policy's: see `Completion`; 0.0 where the world wrote it. Empty
    when nobody asked for it."""

    def hear(self, tokens: list[int]) -> None:
        """Append tokens of the world."""
        self.tokens += tokens
        self.logprobs += [0.0] * len(tokens)
        self.action += [WORLD] * len(tokens)

    def act(
        self, tokens: list[int], logprobs: list[float], action: int, confidence: Sequence[float] = ()
    ) -> None:
        """Append tokens that the policy sampled as its `action`-th action."""
        assert len(tokens) == len(logprobs)
        if confidence:
            assert len(tokens) == len(confidence)
            self.confidence += [0.0] * (len(self.tokens) - len(self.confidence)) + list(confidence)
        self.tokens += tokens
        self.logprobs += logprobs
        self.action += [action] * len(tokens)


@dataclass(slots=True)
class Trajectory:
    """One episode. Lists named by turn have one entry per action, in order.

    >>> t = Trajectory(group="0/retail/t1", rewards=[0.0, 1.0], outcome=1.0)
    >>> t.episode_return, t.trainable
    (1.0, True)
    """

    group: str
    """Names the task and opening; trajectories with the same group are compared with each other."""
    segments: list[Segment] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    """What `step` returned: the outcome on the last turn plus `turn_weight` times the turn reward."""
    turn_rewards: list[float] = field(default_factory=list)
    """Each turn's own credit, unweighted; 0.0 where the world gives none."""
    outcome: float | None = None
    """The verdict on the episode; None when the world never gave one."""
    ending: Ending = "terminated"
    versions: list[int] = field(default_factory=list)
    """Weights version that began each action."""
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    """For actions under way while the weights changed: (version, tokens) in order."""
    temperature: float | None = None
    """What it was sampled at, where that is not the run's `rollout.temperature`."""
    info: dict[str, Any] = field(default_factory=dict)
    """JSON only: task, world, seed, messages, named reward parts, error, seconds."""

    @property
    def episode_return(self) -> float:
        """Sum of what `step` returned; what group baselines compare."""
        return sum(self.rewards)

    @property
    def trainable(self) -> bool:
        """A verdict exists: machines worked and the episode came to an end the world graded."""
        return self.ending in ("terminated", "max_turns")

    @property
    def solved(self) -> bool:
        """Whether the verdict says that all was done that was asked for."""
        return (self.outcome or 0.0) >= SUCCESS

    @property
    def is_judgement(self) -> bool:
        """Whether it is a judgement of other episodes (`forge_train.rubric`), and none of a world.

        >>> Trajectory("7/retail/t3", info={"world": "retail"}).is_judgement
        False
        """
        return "judges" in self.info

    @property
    def is_grounded(self) -> bool:
        """Whether what was made up in it was replaced (`forge_train.play.grounded`): it teaches, and says
        nothing of how good the policy is."""
        return GROUNDED in self.info

    def token_versions(self) -> list[int]:
        """Weights version behind each token the policy wrote, in order."""
        counts = Counter(a for s in self.segments for a in s.action if a != WORLD)
        return [
            version
            for action, began in enumerate(self.versions)
            for version, count in self.spans.get(action, [(began, counts[action])])
            for _ in range(count)
        ]

    def put_in_order(self) -> None:
        """Number the actions as they stand in the segments, one segment after the other.

        A player that carries on several conversations at once does not finish one before it begins the next.

        >>> main, aside = Segment([5, 6, 7], [0.0] * 3, [-1, 0, 2]), Segment([5, 8], [0.0] * 2, [-1, 1])
        >>> t = Trajectory("g", [main, aside])
        >>> t.rewards, t.turn_rewards, t.versions = [0.1, 0.2, 0.3], [0.0] * 3, [4, 4, 5]
        >>> t.put_in_order(); [s.action for s in t.segments], t.rewards, t.versions
        ([[-1, 0, 1], [-1, 2]], [0.1, 0.3, 0.2], [4, 5, 4])
        """
        order = list(dict.fromkeys(a for s in self.segments for a in s.action if a != WORLD))
        if order == sorted(order):
            return
        place = {WORLD: WORLD, **{action: i for i, action in enumerate(order)}}
        for segment in self.segments:
            segment.action = [place[a] for a in segment.action]
        self.rewards = [self.rewards[a] for a in order]
        self.turn_rewards = [self.turn_rewards[a] for a in order]
        self.versions = [self.versions[a] for a in order]
        self.spans = {place[a]: spans for a, spans in self.spans.items()}
        if MISTAKES in self.info:
            self.info[MISTAKES] = sorted(place[a] for a in self.info[MISTAKES])

    @property
    def sampled(self) -> int:
        """Number of tokens the policy wrote."""
        return sum(1 for s in self.segments for a in s.action if a != WORLD)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` reverses it."""
        return {
            "group": self.group,
            "segments": [
                {"tokens": s.tokens, "logprobs": s.logprobs, "action": s.action}
                | ({"confidence": s.confidence} if s.confidence else {})
                for s in self.segments
            ],
            "rewards": self.rewards,
            "turn_rewards": self.turn_rewards,
            "outcome": self.outcome,
            "ending": self.ending,
            "versions": self.versions,
            "spans": [[action, *span] for action, spans in self.spans.items() for span in spans],
            **({} if self.temperature is None else {"temperature": self.temperature}),
            "info": self.info,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Trajectory:
        """The trajectory that `as_dict` described."""
        spans: dict[int, list[tuple[int, int]]] = {}
        for action, version, count in data["spans"]:
            spans.setdefault(action, []).append((version, count))
        return cls(**{**data, "segments": [Segment(**s) for s in data["segments"]], "spans": spans})


@dataclass(frozen=True, slots=True)
class Branch:
    """Where an episode of a group began.

    >>> Branch(id=4, tree=0, of=0, turn=2).root, Branch(id=1, tree=1).root
    (False, True)
    """

    id: int
    """Its number in the group."""
    tree: int
    """The number of the episode that began at the beginning, and that it goes back to."""
    of: int = -1
    """The number of the episode that it began in; -1 for one that began at the beginning."""
    turn: int = 0
    """Turns before its own."""
    earned: float = 0.0
    """What these earned, undiscounted."""
    peer: bool = False
    """Whether what its origin did at that turn can be compared with what it did: the turn was chosen without
    a look at what followed."""

    @property
    def root(self) -> bool:
        """Whether it began at the beginning."""
        return self.of < 0

    def as_info(self) -> dict[str, Any]:
        """How it stands in a trajectory's `info`, under "branch"."""
        return asdict(self)


def branch_of(trajectory: Trajectory, place: int) -> Branch:
    """Where a trajectory began; one that says nothing of it, at `place` in its group, at the beginning."""
    told = trajectory.info.get("branch")
    return Branch(id=place, tree=place) if told is None else Branch(**told)


class TokenAdvantages(list[float]):
    """One advantage per token the policy wrote, in order, the segments one after the other.

    A plain list has one per action; the type tells them apart, for the lengths could agree by chance.
    """


def by_action(trajectory: Trajectory, advantages: Sequence[float]) -> list[float]:
    """One advantage per action, whichever kind is given: that of an action's tokens is their mean.

    >>> s = Segment([5, 6, 7, 8], [0.0, -0.1, -0.2, -0.3], [-1, 0, 0, 1])
    >>> by_action(Trajectory("g", [s]), TokenAdvantages([1.0, 2.0, -1.0]))
    [1.5, -1.0]
    """
    if not isinstance(advantages, TokenAdvantages):
        return list(advantages)
    tokens: dict[int, list[float]] = {}
    written = (a for s in trajectory.segments for a in s.action if a != WORLD)
    for action, advantage in zip(written, advantages, strict=True):
        tokens.setdefault(action, []).append(advantage)
    return [math.fsum(row) / len(row) for _, row in sorted(tokens.items())]
