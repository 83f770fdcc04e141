"""What a question is about."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources

from forge_envs.worlds.desk.hearing.clauses import State, compiled
from forge_envs.worlds.desk.hearing.words import Sentence, normal, sentences

_SHORT = 9
"""Words of a line that goes on with a list."""
_LONG = 30
"""Words of one that a bullet or a number begins."""
_BULLET = re.compile(r"(?:[-*+\u2022\u00b7\u2013]+|\(?\d{1,2}[.):]|\(?[a-h]\))(?:\s|\*)")


class Topics:
    """What may be asked for at one desk.

    Args:
        turns: topic -> turns of speech that name it, as in phrases.toml.
        other: what a question is about that names none, nor does the sentence before it.
    """

    def __init__(self, turns: Mapping[str, Sequence[str]], other: str) -> None:
        self.names = tuple(turns)
        self._turns = compiled(turns)
        self._other = other

    @classmethod
    def load(cls, package: str, other: str) -> Topics:
        """Those of a world's topics.toml."""
        return cls(tomllib.loads(resources.files(package).joinpath("topics.toml").read_text("utf-8")), other)

    def named(self, text: str) -> set[str]:
        """The topics that a text names anywhere."""
        return {topic for sentence in sentences(normal(text)) for topic in self.of(sentence)}

    def of(self, sentence: Sentence) -> list[str]:
        """The topics that a sentence names, in the order in which they are answered."""
        words = sentence.words
        found = set()
        for at in range(len(words)):
            state: State | None = self._turns
            for word in words[at:]:
                state = state.after(word) if state else None
                if state is None:
                    break
                found.update([turn.role for turn in state.turns])
        return [name for name in self.names if name in found]

    def asked(self, said: Sequence[Sentence], asking: Iterable[int]) -> dict[int, list[str]]:
        """The topics of the sentences that ask; the lines of a list below one ask too."""
        found: dict[int, list[str]] = {}
        for at in asking:
            found[at] = self.of(said[at])
            after = at + 1
            while after < len(said) and _goes_on(said[after]):
                found[after] = self.of(said[after])
                after += 1
        if found and not any(found.values()):
            first = min(found)
            found[first] = (self.of(said[first - 1]) if first else []) or [self._other]
        return found


def _goes_on(line: Sentence) -> bool:
    """Whether a line goes on with the list that the one above it began."""
    if _BULLET.match(line.text):
        return line.mark != "?" and len(line.words) <= _LONG
    return line.mark in ("", ",", "-") and len(line.words) <= _SHORT
