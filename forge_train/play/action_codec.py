"""Actions as text and as tokens: which special tokens spell a call, what ends an action, what stays."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forge_train.play.encoding import Encoder, backend_of, cached_encoder, decode, unused
from forge_train.play.thoughts import Thoughts


class Spelling:
    """The special tokens of a tokenizer, found in text and taken for text where they are only spelled."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = backend_of(tokenizer, data=False)
        self.encode: Encoder = cached_encoder(self.tokenizer)
        added = tokenizer.added_tokens_decoder
        self.ids = {token.content: id for id, token in added.items() if token.special}
        longest_first = sorted((s for s in self.ids if len(s) > 1), key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")

    def broken(self, text: str, mark: str, kept: Collection[str] = ()) -> str:
        """The text with `mark` inside every special token it spells, except those that are `kept`."""
        at = 0
        while found := self.pattern.search(text, at):
            if found[0] in kept:
                at = found.end()
            else:
                text = text[: found.start() + 1] + mark + text[found.start() + 1 :]
        return text

    def pieces(self, text: str, mark: str) -> list[int]:
        """Tokens of a text that is to be cut at every `mark`."""
        return [token for piece in text.split(mark) for token in self.encode(piece)]

    def tokens(self, text: str, kept: Collection[str]) -> list[int]:
        """Tokens of a text in which only the `kept` special tokens are what they are."""
        mark = unused(text)
        return self.pieces(self.broken(text, mark, kept), mark)


@dataclass(frozen=True, slots=True)
class Ends:
    """The tokens that end actions; `stop` are all of them, those of prose and of calls first."""

    prose: int
    call: int
    stop: tuple[int, ...]
    later: Mapping[int, int] = field(default_factory=dict)
    """What stands in earlier turns in the place of those that stand at the end of a conversation alone."""


class ActionCodec:
    """Text of an action to tokens and back.

    `prompt` is a prompt with a header at its end; `spoken` are an action of prose and one with a call, as the
    template writes them, and `opener` what stands before the name in a call.
    """

    def __init__(
        self,
        spelling: Spelling,
        thoughts: Thoughts,
        ends: Ends,
        *,
        prompt: str,
        spoken: Sequence[str],
        opener: str,
    ) -> None:
        self._spelling, self._thoughts, self._ends, self._opener = spelling, thoughts, ends, opener
        # An end inside, as where one message follows another in one action, ends nothing by itself.
        spoken = [*spoken, thoughts.start, thoughts.end]
        self._kept = frozenset(found for text in spoken for found in spelling.pattern.findall(text)) - {
            content for content, id in spelling.ids.items() if id in ends.stop
        }
        with_opening = spelling.encode(prompt)
        without = spelling.encode(prompt.removesuffix(thoughts.opening))
        same = next((i for i, (a, b) in enumerate(zip(with_opening, without, strict=False)) if a != b), None)
        same = min(len(with_opening), len(without)) if same is None else same
        self._header, self._later_header = with_opening[same:], without[same:]

    def encode(self, text: str) -> list[int]:
        """Tokens of an action to follow a prompt, its end included.

        Where the prompt opens a thought, an action that closes none closes it at once. Special tokens with
        which calls are spelled are what they are; all others are text.
        """
        end = self._ends.call if self._opener and self._opener in text else self._ends.prose
        return [*self.tokens(self._thoughts.closed(text)), end]

    def tokens(self, text: str) -> list[int]:
        """Tokens of what an agent said."""
        return self._spelling.tokens(text, self._kept)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its stop token."""
        return decode(self._spelling.tokenizer, tokens, self._ends.stop)

    def interrupt(self, said: Sequence[int]) -> list[int]:
        """Tokens that end the thought in which an action still is; none where it is in none."""
        return self.tokens(self._thoughts.interruption) if self._thoughts.open_in(self.text(said)) else []

    def remembered(self, heard: Sequence[int], said: Sequence[int]) -> list[int]:
        """What stands in later turns for a prompt and the action after it, the thought left out."""
        text, later = self.text(said), self._ends.later
        if not self._header and self._thoughts.end not in text:
            return [*heard, *said[:-1], later.get(said[-1], said[-1])]
        assert tuple(heard[len(heard) - len(self._header) :]) == self._header
        before = [*heard[: len(heard) - len(self._header)], *self._later_header]
        left = self._thoughts.lead + self._thoughts.left(text)
        end = said[-1] if said[-1] in self._ends.stop else self._ends.prose
        return [*before, *self.tokens(left), later.get(end, end)]
