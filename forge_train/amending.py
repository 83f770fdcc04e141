"""Episodes that were solved in spite of mistakes, played again without them.

A policy that meets what it was never shown (an order's id, a tool) seldom gets it right at once, and what is
kept for imitation has to be right at once: such tasks would never teach anything. But where the world says
no, one may try again, and sooner or later the right call is said. Leaving out the turns that went wrong gives
an episode that never was played: it is played now, by the world and without the policy, and kept only if it
is clean. No answer of anybody else's is in it: each action is one that this policy sampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge_train.config import Config
from forge_train.evaluation.collect import Speaker
from forge_train.learn.kept import is_clean
from forge_train.play.episode import gather, play
from forge_train.play.renderer import Renderer
from forge_train.play.world_pool import World
from forge_train.sft import trajectory_of
from forge_train.trajectory import MISTAKES, Trajectory


class Amender:
    """Mends the groups of a run."""

    def __init__(self, config: Config, worlds: Mapping[str, World], renderer: Renderer) -> None:
        self.algorithm = config.algorithm
        self.deadline = config.rollout.deadline_s
        self.worlds = worlds
        self.renderer = renderer

    async def __call__(self, groups: Sequence[Sequence[Trajectory]]) -> list[Trajectory]:
        """Of each group in which nothing is clean, what is once its mistakes are left out; at most
        `algorithm.keep` of a group, and what says the same once."""
        flawless = self.algorithm.flawless
        asked = [
            [t for t in group if is_mendable(t)]
            for group in groups
            if not any(is_clean(t, flawless) for t in group)
        ]
        found: list[Trajectory] = []
        for mended in await gather(gather(map(self.again, group)) for group in asked):
            said = {str(t.segments): t for t in mended if t is not None}
            found += list(said.values())[: self.algorithm.keep]
        return found

    async def again(self, t: Trajectory) -> Trajectory | None:
        """The episode without its mistakes; None where that is not clean."""
        said = [m["content"] for m in t.info["messages"][t.info["opening"] :] if m["role"] == "assistant"]
        wrong = set(t.info[MISTAKES])
        actions = [action for turn, action in enumerate(said) if turn not in wrong]
        world, seed = self.worlds[t.info["world"]], t.info["seed"]
        speaker = Speaker(lambda _: actions)
        played = await play(world, speaker, t.info["task"], seed=seed, group=t.group, deadline=self.deadline)
        if not is_clean(played, self.algorithm.flawless):
            return None
        grammar = world.grammar()
        mended = trajectory_of(played.info["messages"], self.renderer, [grammar] if grammar else [])
        mended.group, mended.info, mended.outcome = t.group, played.info, played.outcome
        return mended


def is_mendable(t: Trajectory) -> bool:
    """Whether an episode was solved, after mistakes that are known by their turn."""
    return t.trainable and t.solved and bool(t.info.get(MISTAKES))
