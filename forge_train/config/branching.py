"""Where episodes branch: turns from which the policy goes on several times."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from forge_train.config.agent_program import AgentConfig
from forge_train.config.context import ContextConfig
from forge_train.config.hyperparameters import AlgorithmConfig
from forge_train.config.section import Section

BRANCHED = frozenset({"branch", "arpo", "tree_grpo"})
"""Estimators of groups in which some episodes began inside of others."""

READ = {
    "branch": ("at", "continuations", "episodes", "tokens", "replay"),
    "arpo": ("chance", "rise", "rise_unit", "continuations", "first_tokens", "episodes", "replay"),
    "tree_grpo": ("points", "rounds", "replay"),
}
"""Keys of [branching] that each of them reads."""
CHOOSING = {
    "every": (),
    "random": ("chance",),
    "entropy": ("points", "first_tokens"),
    "best": (),
    "undecided": (),
}
"""Those that "branch" reads besides, by `at`."""


class BranchingConfig(Section):
    """Episodes that begin inside of another: with advantage = "branch", "arpo" or "tree_grpo"."""

    at: Literal["every", "random", "entropy", "best", "undecided"] = "every"
    """For branch: the turns to go on from again. every: all but the first, which the members of a group
    share anyway. random: each with `chance`. entropy: the `points` of an episode at which the policy was
    least sure, by the mean surprise (-log p) of the first tokens it said there. best: all later turns of the
    episodes that earned most, where a group's earned unequally: there what follows may turn out either way,
    and behind a mistake nothing would. undecided: each later state that several of the group came through and
    from which they earned unequally, once."""
    chance: float = Field(default=0.5, ge=0, le=1)
    """Probability to branch at a turn; for arpo that of a turn as sure as the first one (alpha)."""
    points: PositiveInt = 2
    """With at = "entropy": turns of an episode. For tree_grpo: nodes of a tree expanded in a round (N)."""
    continuations: PositiveInt = 4
    """Episodes that go on from a chosen turn (K), with "undecided" from a state; for arpo at most so many (Z;
    its scripts have 1)."""
    rounds: PositiveInt = 1
    """For tree_grpo: rounds of expansion (L), each of nodes that the tree has by then."""
    first_tokens: PositiveInt = 20
    """How many tokens of an action say how sure the policy was (k; 20 in ARPO's code)."""
    rise: NonNegativeFloat = 0.5
    """For arpo: how much the probability grows with the rise of entropy since the first turn (beta)."""
    rise_unit: PositiveFloat = 11.93
    """For arpo: the rise is that of the sum over the first tokens, in nats, over this: the logarithm of the
    vocabulary's size, by default that of Qwen's 151,936 tokens."""
    episodes: NonNegativeInt = 0
    """Most branches of a group; 0: no bound. For arpo exactly so many, those for which no turn was chosen
    from the beginning (M - N, with N = rollout.group_size)."""
    tokens: NonNegativeInt = 0
    """For branch: most tokens of a group's branches, as foreseen by what their origins said from there on; 0:
    no bound."""
    replay: bool = False
    """Come back to a turn by playing the actions before it again, with the same seed, in worlds that cannot
    be snapshot. Only where that is exact; what the world says is compared, and a difference ends the run."""

    @property
    def peers(self) -> bool:
        """Whether turns are chosen without a look at what followed: then who was there first is as good a
        sample as those that go on from there."""
        return self.at in ("every", "random") and not self.episodes and not self.tokens


class BranchedSections(Protocol):
    """What is read here of a `Config`."""

    agent: AgentConfig
    algorithm: AlgorithmConfig
    branching: BranchingConfig
    context: ContextConfig


def refuse_branching(config: BranchedSections) -> None:
    """Raise ValueError for settings of branches that would bias what is learned or that nobody can play."""
    branching, algorithm = config.branching, config.algorithm
    if algorithm.advantage not in BRANCHED:
        return
    asked = f'algorithm.advantage = "{algorithm.advantage}"'
    if not config.context.plain:
        raise ValueError(
            f"[context] with {asked}: branches share what their origin was shown, which is rewritten or cut "
            'here; leave it out, or use an advantage without branches, e.g. "turn_rloo"'
        )
    if config.agent.used:
        raise ValueError(
            f"[agent] with {asked}: an agent program cannot be taken back to an earlier turn; "
            'use another advantage, e.g. "turn_rloo"'
        )
    if algorithm.branch_form == "values" and not branching.peers:
        which = "episodes" if branching.episodes else "tokens" if branching.tokens else "at"
        raise ValueError(
            f'algorithm.branch_form = "values" with branching.{which} = {getattr(branching, which)!r}: turns '
            "would be chosen by what followed, and the values between them biased; use branch_form = "
            '"siblings", or at = "every" or "random" without a bound'
        )
    if algorithm.advantage == "arpo" and not branching.episodes:
        raise ValueError(
            f"branching.episodes = 0 with {asked}: it plays so many more than rollout.group_size in each "
            "group; set it, e.g. to group_size"
        )


def unread_keys(advantage: str, branching: BranchingConfig) -> tuple[str, ...]:
    """Keys of [branching] that nothing reads with this estimator."""
    read = {*READ.get(advantage, ()), *(CHOOSING[branching.at] if advantage == "branch" else ())}
    return tuple(key for key in BranchingConfig.model_fields if key not in read)
