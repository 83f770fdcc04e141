"""A player that says what solves a task, so that known solutions become trajectories to imitate."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forge_train.play.renderer import Message, Renderer
from forge_train.trajectory import Segment


class GoldPlayer:
    """Says a fixed list of actions, so that known solutions become trajectories to imitate.

    Its logprobs are 0.0 and its version 0: nothing was sampled.
    """

    def __init__(self, renderer: Renderer, actions_of: Callable[[str], Sequence[str]]) -> None:
        self.renderer = renderer
        self.actions_of = actions_of

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> GoldConversation:
        """Begin an episode."""
        return GoldConversation(self, messages, task)


class GoldConversation:
    """The actions of one task, one after the other."""

    def __init__(self, player: GoldPlayer, messages: Sequence[Message], task: str) -> None:
        self._renderer = player.renderer
        self._task = task
        self._actions = list(player.actions_of(task))
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self.segments = [Segment()]
        self.segments[-1].hear(player.renderer.open(messages))

    async def act(self) -> str:
        """Say the next action; ValueError when the episode outlives the list."""
        turn = len(self.versions)
        if turn == len(self._actions):
            raise ValueError(f"task {self._task!r} goes on after its {turn} gold actions")
        tokens = self._renderer.encode_action(self._actions[turn])
        self.segments[-1].act(tokens, [0.0] * len(tokens), turn)
        self.versions.append(0)
        return self._actions[turn]

    def hear(self, messages: Sequence[Message]) -> None:
        """Append the world's answer and the header of the next action."""
        self.segments[-1].hear(self._renderer.extend(messages))

    def close(self) -> None:
        """Nothing is held."""
