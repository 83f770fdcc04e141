"""Plays that make nothing up: a value that nobody said gives way to one of the same form that somebody did.

A policy that imitated few episodes says what stood in those: an order's id that it knows by heart instead of
the one it was just told. The right one has no probability to speak of (under 0.001 a piece in the demo), so
that sampling never finds it and there is nothing to reinforce. Here it is found at once: in the policy's own
action a made-up value is replaced by one of the same form out of the conversation. That is exploration, as a
guess at an action is: no answer of anybody's is in it, the world alone says whether it was right, and what it
calls right is learned as in any round of expert iteration. The policy is never judged by such plays.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from forge_train.engine import Completion, Sampling
from forge_train.learn.kept import is_clean
from forge_train.play.encoding import Message, content_of
from forge_train.play.episode import TokenConversation, TokenPlayer
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory

VALUE = re.compile(r"[#\w@.+-]*\d[#\w@.+-]*\w|[\w.+-]+@[\w.-]+\w")
"""What can be known only by being told: words with a digit in them, and addresses."""
NEWEST = 4
"""So many of the values last heard may stand in for one that was made up."""


def form(value: str) -> str:
    """What a value looks like: its letters and digits without their number.

    >>> form("#W4023085") == form("#W93"), form("ana.lee12@example.com"), form("2025-01-31")
    (True, 'a.a0@a.a', '0-0-0')
    """
    return re.sub(r"\d+", "0", re.sub(r"[^\W\d_]+", "a", value))


def ground(text: str, known: str, heard: str, chance: random.Random) -> tuple[str, int]:
    """`text` with each value that is not in `known` replaced by one of its form in `heard`, if there is one;
    and how many were replaced.

    >>> ground('{"order_id": "#W714"}', "Where is #W4023085?", "Where is #W4023085?", random.Random(0))
    ('{"order_id": "#W4023085"}', 1)
    """
    said = list(dict.fromkeys(VALUE.findall(heard)))
    instead = {}
    for value in dict.fromkeys(VALUE.findall(text)):
        alike = [other for other in said if form(other) == form(value)]
        if value not in known and alike:
            instead[value] = chance.choice(alike[-NEWEST:])
    return VALUE.sub(lambda found: instead.get(found[0], found[0]), text), len(instead)


class GroundedPlayer(TokenPlayer):
    """A policy that makes nothing up. What it replaced it did not sample: such tokens have logprob 0."""

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> GroundedConversation:
        """Begin an episode."""
        return GroundedConversation(self, messages, name, seed)


class GroundedConversation(TokenConversation):
    """A conversation in which every value of an action stands somewhere before it."""

    def __init__(self, player: TokenPlayer, messages: Sequence[Message], name: str, seed: int) -> None:
        super().__init__(player, messages, name, seed)
        self._rules = "\n".join(content_of(m) for m in messages if m["role"] == "system")
        self._heard = [content_of(m) for m in messages if m["role"] in ("user", "tool")]
        self._chance = random.Random(derive_seed(seed, "grounded"))

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in the world's answer, and what can be said after it."""
        self._heard += [content_of(message) for message in messages]
        super().hear(messages)

    async def _say(self, sampling: Sampling, *, own: bool = True) -> Completion:
        """Sample an action, then say what was heard where it says what was not."""
        segment, start = self.segments[-1], len(self.segments[-1].tokens)
        said = await super()._say(sampling, own=own)
        heard, renderer = "\n".join(self._heard), self._player.renderer
        text = renderer.text(segment.tokens[start:])
        better, count = ground(text, f"{self._rules}\n{heard}", heard, self._chance)
        tokens = renderer.encode_action(better)
        if said.finish == "length" or not count or start + len(tokens) > self._player.engine.max_context:
            return said
        del segment.tokens[start:], segment.logprobs[start:], segment.action[start:]
        segment.act(tokens, [0.0] * len(tokens), len(self.versions) - 1)
        return replace(said, tokens=tokens, logprobs=[0.0] * len(tokens))


@dataclass(frozen=True)
class Grounding:
    """Further plays of a task of whose group nothing is worth imitating."""

    plays: int
    flawless: Sequence[str]
    """As `algorithm.flawless`."""

    def wanted(self, group: Sequence[Trajectory]) -> bool:
        """Whether nothing of a group is kept."""
        return not any(is_clean(t, self.flawless) for t in group)

    @staticmethod
    def player(player: TokenPlayer) -> GroundedPlayer:
        """Who plays them: the same policy."""
        return GroundedPlayer(player.engine, player.renderer, player.sampling, player.context)
