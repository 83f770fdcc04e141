"""What a sentence is made of, as features: its words, the turns of speech in it, and their order."""

from __future__ import annotations

import functools
import itertools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from forge_envs.worlds.desk.hearing.words import Sentence, Word

_MOST = 48
"""Words of a sentence that count; the rest of a longer one is drivel."""
_SILENT = frozenset(
    ("w", "OBJ", "NUM", "ID", "a", "an", "the", "of", "for", "in", "on", "at", "with", "by", "so")
)
_SLOT = re.compile(r"\(([^)]*)\)(\??)|(\S+)")


Slot = tuple[dict[str, list[tuple[str, ...]]], bool]
"""What may stand in one place of a turn of speech, by its first word; whether it may be left out."""
Turn = tuple[Word, tuple[Slot, ...]]


def compiled(table: Mapping[str, Sequence[str]]) -> dict[str, list[Turn]]:
    """The turns of speech that may begin with a word."""
    found: dict[str, list[Turn]] = {}
    for role, phrases in table.items():
        word = Word("", role, role)
        for phrase in phrases:
            slots: list[Slot] = []
            for several, may, one in _SLOT.findall(phrase):
                choices: dict[str, list[tuple[str, ...]]] = {}
                for choice in filter(str.strip, (several or one).split("|")):
                    first, *others = choice.split()
                    choices.setdefault(first, []).append(tuple(others))
                slots.append((choices, bool(may)))
            turn = (word, tuple(slots))
            for choices, may_lack in slots:
                for first in choices:
                    found.setdefault(first, []).append(turn)
                if not may_lack:
                    break
    return found


@functools.cache
def _turns() -> tuple[frozenset[str], dict[str, list[Turn]], dict[str, list[Turn]]]:
    with (Path(__file__).parent / "phrases.toml").open("rb") as file:
        table = tomllib.load(file)
    return frozenset(table["adverbs"].split()), compiled(table["helpers"]), compiled(table["turns"])


def ends(slots: Sequence[Slot], words: Sequence[Word], at: int) -> int:
    """Where the longest reading of these slots ends that begins here; -1 if there is none."""
    if not slots:
        return at
    choices, may_lack = slots[0]
    best = ends(slots[1:], words, at) if may_lack else -1
    if at < len(words):
        word = words[at]
        for key in word.keys:
            for others in choices.get(key, ()):
                end = at + 1
                for other in others:
                    if end == len(words) or other not in words[end].keys:
                        break
                    end += 1
                else:
                    best = max(best, ends(slots[1:], words, end))
    return best


def _longest(root: dict[str, list[Turn]], words: Sequence[Word], at: int) -> tuple[int, Word | None]:
    """Where the longest turn ends that begins here, and what it is."""
    best, turn = at, None
    word = words[at]
    for key in word.keys:
        for found, slots in root.get(key, ()):
            end = ends(slots, words, at)
            if end > best:
                best, turn = end, found
    return best, turn


def _merge(words: Sequence[Word], root: dict[str, list[Turn]]) -> list[Word]:
    merged = []
    at = 0
    while at < len(words):
        end, turn = _longest(root, words, at)
        if turn is None:
            merged.append(words[at])
            at += 1
        else:
            merged.append(turn)
            at = end
    return merged


def turns(sentence: Sentence) -> list[Word]:
    """The words of a sentence, turns of speech made one."""
    silent, helpers, phrases = _turns()
    words = [word for word in sentence.words[:_MOST] if word.said not in silent]
    return _merge(_merge(words, helpers), phrases)


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
    found += map(" ".join, zip(stems, stems[1:], strict=False))
    found += [". " + a for a in roles[1:-1]]
    found += map(". {} {}".format, roles, roles[1:])
    found += map(". {} {} {}".format, roles, roles[1:], roles[2:])
    found += map("k {} {} {}".format, core, core[1:], core[2:])
    found += ["p " + a + " " + b for a, b in itertools.combinations(core, 2)]
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
