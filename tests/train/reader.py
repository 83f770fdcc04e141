"""A policy that reads the pages of `benchmarks.memory_world` by rule: it notes, reports and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.memory_world import reading
from forge_train.config import ContextConfig
from forge_train.engine import Completion, Sampling
from forge_train.play.episode import TokenPlayer, play
from forge_train.play.renderer import ChatML, Renderer
from forge_train.play.world_pool import World
from forge_train.trajectory import WORLD, Trajectory
from tests.train.tokens import Script, tokenizer

PAGES = "benchmarks.memory_world:Bench/Memory-v0"
ASK, AGAIN, CALL = "Note all!", "Note all again!", "Last one!"
SHORT = {"ask": ASK, "ask_again": AGAIN, "note": "Notes: {text}"}
RENDERER = ChatML(tokenizer())


class Reader(Script):
    """Says what its words before it call for, and remembers what it was shown: (prompt, what it said)."""

    def __init__(
        self, renderer: Renderer, max_context: int, *, reports: bool = False, thinks: str = ""
    ) -> None:
        super().__init__(self._say, max_context)
        self.renderer, self.reports, self.thinks = renderer, reports, thinks
        self.asked: list[tuple[list[int], Completion]] = []

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        said = await super().complete(tokens, sampling, conversation=conversation, seed=seed)
        self.asked.append((list(tokens), said))
        return said

    def _say(self, tokens: Sequence[int], seed: int) -> list[int]:
        return self.renderer.encode_action(self.words(self.renderer.text(tokens)))

    def words(self, shown: str) -> str:
        return self.thinks + reading(shown, "Note all", reports=self.reports)


def player(
    max_context: int, *, renderer: Renderer = RENDERER, max_action: int = 24, thinks: str = "", **context: Any
) -> TokenPlayer:
    settings = ContextConfig(**context)
    engine = Reader(renderer, max_context, reports=settings.kind == "iterresearch", thinks=thinks)
    return TokenPlayer(engine, renderer, Sampling(max_tokens=max_action), settings)  # type: ignore[arg-type]


async def read(someone: TokenPlayer, task: str = "train/0", seed: int = 0, **world: Any) -> Trajectory:
    place = World(PAGES, {"noise": 8, **world})
    try:
        return await play(place, someone, task, seed=seed, group="g", deadline=20.0)
    finally:
        place.close()


def shown(trajectory: Trajectory) -> list[tuple[list[int], list[int]]]:
    """What stood before each action and what it said, as the segments tell it."""
    found = {}
    for segment in trajectory.segments:
        for action in dict.fromkeys(a for a in segment.action if a != WORLD):
            at = [i for i, a in enumerate(segment.action) if a == action]
            assert at == list(range(at[0], at[-1] + 1)), "an action is one stretch"
            assert action not in found, "an action is trained once"
            found[action] = (segment.tokens[: at[0]], segment.tokens[at[0] : at[-1] + 1])
    return [found[action] for action in sorted(found)]
