"""What a sentence is made of, as features: its words, the turns of speech in it, and their order."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from forge_envs.worlds.desk.hearing.words import Sentence, Word

_MOST = 48
"""Words of a sentence that count; the rest of a longer one is drivel."""
_SILENT = frozenset(
    ("w", "OBJ", "NUM", "ID", "a", "an", "the", "of", "for", "in", "on", "at", "with", "by", "so")
)
_REMEMBERED = 4096
"""Words whose way on is kept, at each place."""
_FAR = 6
"""How far apart two turns of speech may be that make sense together."""
_SLOT = re.compile(r"\(([^)]*)\)(\??)|(\S+)")


def compiled(table: Mapping[str, Sequence[str]]) -> State:
    """What to look for at a word: the turns of speech of a table, whose keys are their roles."""
    net = [_Node()]
    for role, phrases in table.items():
        turn = Word("", role, role)
        for phrase in phrases:
            ends = [0]
            for several, may_lack, one in _SLOT.findall(phrase):
                end = len(net)
                net.append(_Node())
                for choice in filter(str.strip, (several or one).split("|")):
                    *others, last = choice.split()
                    at = ends
                    for word in others:
                        for n in at:
                            net[n].after.setdefault(word, []).append(len(net))
                        at = [len(net)]
                        net.append(_Node())
                    for n in at:
                        net[n].after.setdefault(last, []).append(end)
                ends = [*ends, end] if may_lack else [end]
            for n in ends:
                net[n].turns.append(turn)
    return State(net, frozenset([0]))


class _Node:
    """A place within turns of speech."""

    __slots__ = ("after", "turns")

    def __init__(self) -> None:
        self.after: dict[str, list[int]] = {}
        """Where each word leads."""
        self.turns: list[Word] = []
        """Those that end here."""


class State:
    """Where the words so far may have led: what ends here, and where the next word leads.

    Worked out when first needed and remembered: a word costs one look-up, however many turns there are.
    """

    __slots__ = ("_after", "_net", "_places", "turns")

    def __init__(self, net: list[_Node], places: frozenset[int]) -> None:
        self._net = net
        self._places = places
        self._after: dict[tuple[str, ...], State | None] = {}
        self.turns = [turn for n in sorted(places) for turn in net[n].turns]

    def words(self) -> set[str]:
        """All words that lead on anywhere."""
        return {word for node in self._net for word in node.after}

    def after(self, word: Word) -> State | None:
        """The state after a word; None if nothing goes on with it."""
        keys = word.keys
        if keys in self._after:
            return self._after[keys]
        here = [self._net[place].after for place in self._places]
        places = [n for after in here for key in keys for n in after.get(key, ())]
        state = State(self._net, frozenset(places)) if places else None
        if len(self._after) < _REMEMBERED:
            self._after[keys] = state
        return state


def found(state: State, words: Sequence[Word], at: int) -> tuple[int, list[Word]]:
    """Where the longest turn ends that begins at a word, and the turns that are as long."""
    best, turns = at, state.turns
    while at < len(words):
        after = state.after(words[at])
        if after is None:
            break
        state = after
        at += 1
        if state.turns:
            best, turns = at, state.turns
    return best, turns


def _merge(words: Sequence[Word], start: State) -> list[Word]:
    merged = []
    at = 0
    while at < len(words):
        end, turns = found(start, words, at)
        if end == at:
            merged.append(words[at])
            at += 1
        else:
            merged.append(turns[0])
            at = end
    return merged


@functools.cache
def _turns() -> tuple[frozenset[str], State, State]:
    with (Path(__file__).parent / "phrases.toml").open("rb") as file:
        table = tomllib.load(file)
    return frozenset(table["adverbs"].split()), compiled(table["helpers"]), compiled(table["turns"])


def turns(sentence: Sentence) -> list[Word]:
    """The words of a sentence, turns of speech made one."""
    silent, helpers, phrases = _turns()
    words = [word for word in sentence.words[:_MOST] if word.said not in silent]
    return _merge(_merge(words, helpers), phrases)


@functools.cache
def _manners() -> State:
    with (Path(__file__).parent / "phrases.toml").open("rb") as file:
        return compiled(tomllib.load(file)["manners"])


@functools.cache
def phrase_words() -> frozenset[str]:
    """All words that are looked at one by one: those of turns of speech, and those that are not heard."""
    silent, *nets = _turns()
    return silent.union(*[net.words() for net in (*nets, _manners())])


def mannered(said: Iterable[Sentence]) -> bool:
    """Whether something is said for manners' sake: a greeting, thanks, a word while one is at work."""
    words = [sentence.words[:_MOST] for sentence in said]
    return any(found(_manners(), some, at)[0] > at for some in words for at in range(len(some)))


def features(sentence: Sentence, merged: Sequence[Word]) -> list[str]:
    """All that a sentence shows on its own."""
    words = sentence.words[:_MOST]
    last = "$" + sentence.mark
    stems = ["^", *[word.stem for word in words], last]
    roles = ["^", *[word.role for word in merged], last]
    core = ["^", *[role for role in roles[1:-1] if role not in _SILENT], last]
    if len(core) > 14:
        core = [*core[:13], last]
    found = stems[1:]
    found += [f"{a} {b}" for a, b in pairwise(stems)]
    found += [f". {a}" for a in roles[1:-1]]
    found += [f". {a} {b}" for a, b in pairwise(roles)]
    found += [f". {a} {b} {c}" for a, b, c in zip(roles, roles[1:], roles[2:], strict=False)]
    found += [f"k {a} {b} {c}" for a, b, c in zip(core, core[1:], core[2:], strict=False)]
    found += [f"p {a} {b}" for n, a in enumerate(core) for b in core[n + 1 : n + _FAR]]
    length = len(words)
    found.append("n 1" if length == 1 else "n 3" if length < 4 else "n 4" if length < 8 else "n 8")
    return found


def around(all_of: Sequence[Sentence], merged: Sequence[Sequence[Word]], at: int) -> Iterable[str]:
    """What stands before and after a sentence."""
    found = []
    if at + 1 < len(all_of):
        after = all_of[at + 1]
        found = [f"> {word.role}" for word in merged[at + 1][:6]]
        found.append(f"> n{min(len(after.words), 3)}${after.mark}")
    else:
        found.append("> end")
    found.append(f"< ${all_of[at - 1].mark}" if at else "< start")
    if any([other.mark == "?" for n, other in enumerate(all_of) if n != at]):
        found.append("other ?")
    return found


def heard(all_of: Sequence[Sentence]) -> list[list[str]]:
    """The features of each of several sentences."""
    merged = [turns(sentence) for sentence in all_of]
    return [[*features(one, merged[n]), *around(all_of, merged, n)] for n, one in enumerate(all_of)]
