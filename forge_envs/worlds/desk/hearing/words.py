"""A text in words: normalised, split into sentences, each word with its class.

Everything here takes time linear in the text, and of a text only the first `LIMIT` characters are heard.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

LIMIT = 12_000
"""Characters that a customer listens to; nobody takes in more at once."""

_LETTERS = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ`´′", "'"),
        **dict.fromkeys("“”„«»", '"'),
        **dict.fromkeys("–—―", " - "),
        **dict.fromkeys("‐‑‒", "-"),
        **dict.fromkeys("\u200b\u200d\ufe0f\ufeff", ""),
        **dict.fromkeys("👍👌🆗", " thumbsup "),
        **dict.fromkeys("✅✔☑", " checkmark "),
        **dict.fromkeys("❌🚫⛔🙅👎", " crossmark "),
        "…": "...",
        "\r": "\n",
    }
)
_EDGE = "*_#~>|\"'()[]{}<,`+=\\^-/"
_LONGEST = 40
"""A longer word is none."""
_SHORT = {
    "cannot": "can not", "won't": "will not", "can't": "can not", "shan't": "shall not", "ain't": "is not",
    "cant": "can not", "wont": "will not", "dont": "do not", "doesnt": "does not", "didnt": "did not",
    "isnt": "is not", "arent": "are not", "wasnt": "was not", "werent": "were not", "aint": "is not",
    "couldnt": "could not", "wouldnt": "would not", "shouldnt": "should not", "hasnt": "has not",
    "havent": "have not", "hadnt": "had not", "im": "i am", "ive": "i have", "youre": "you are",
    "weve": "we have", "theres": "there is", "thats": "that is", "whats": "what is", "its": "it is",
    "ill": "i will", "youll": "you will", "let's": "let us", "lets": "let us", "gonna": "going to",
    "wanna": "want to", "gotta": "have to", "lemme": "let me", "gimme": "give me", "dunno": "do not know",
    "hows": "how is", "wheres": "where is", "whos": "who is", "y'all": "you", "o'clock": "time",
    "w/o": "without", "y/n": "yes no", "theyre": "they are", "theyve": "they have", "id": "id",
    "cannae": "can not", "canny": "can not", "dinnae": "do not", "dinna": "do not", "didnae": "did not",
    "isnae": "is not", "wasnae": "was not", "doesnae": "does not", "couldnae": "could not",
    "wouldnae": "would not", "shouldnae": "should not", "hasnae": "has not", "havenae": "have not",
    "winnae": "will not", "willnae": "will not", "nae": "no", "tae": "to", "noo": "now", "dae": "do",
    "isny": "is not", "wisnae": "was not", "cudnt": "could not", "wudnt": "would not", "dnt": "do not",
    "cnt": "can not", "wnt": "will not",
}  # fmt: skip
_TAILS = {"'ll": "will", "'ve": "have", "'re": "are", "'m": "am", "'d": "would", "'s": "is"}
_NO_STOP = frozenset(
    ["mr", "mrs", "ms", "dr", "st", "no", "apt", "ave", "e.g", "i.e", "vs", "etc", "approx", "a.m", "p.m"]
)
_ID = re.compile(r"(?=[a-z_#]*\d)[a-z0-9_#]{5,}")
_NUMBER = re.compile(r"[$€£]?[-+]?[$€£]?\d[\d.,:/%-]*(?:st|nd|rd|th|am|pm|h|gb|ml|l|x)?")
_SEVERAL = re.compile(r"(.)\1{2,}")
_PARTS = re.compile(r"[/+&=,]|\.{2,}|[.!?]+(?=[a-z])|-")


@dataclass(frozen=True, slots=True, eq=False)
class Word:
    """A word as it was said, the word it is a form of, and what it does in a sentence.

    Those of the same text are one object, most often, and compared as such.
    """

    said: str
    stem: str
    role: str
    keys: tuple[str, ...] = ()
    """All three, each once: what a turn of speech may call it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(dict.fromkeys((self.said, self.stem, self.role))))


VALUES = {
    stem: Word(stem, stem, role)
    for stem, role in (("<email>", "ID"), ("<id>", "ID"), ("<money>", "NUM"), ("<number>", "NUM"))
}
"""Words that differ from text to text, by their stem, as all of them are heard."""


@functools.cache
def lexicon() -> dict[str, Word]:
    """All words whose role is known."""
    with (Path(__file__).parent / "words.toml").open("rb") as file:
        table = tomllib.load(file)
    found = {}
    for role, listed in table["classes"].items():
        for word in listed.split():
            found[word] = Word(word, word, role)
    for word in table["plain"]["words"].split():
        found.setdefault(word, Word(word, word, word))
    for stem, listed in table["nouns"].items():
        for word in listed.split():
            found[word] = Word(word, stem, "OBJ")
    for stem, listed in table["verbs"].items():
        for form, words in zip(("", ".ing", ".ed", ".noun"), listed.split("|"), strict=False):
            for word in words.split():
                found[word] = Word(word, stem + form, "SVC" + form)
    return found


@functools.cache
def _misspelt() -> dict[str, str]:
    """What is left of a long known word when a letter is dropped -> that word."""
    found: dict[str, str] = {}
    for word in lexicon():
        if len(word) >= 6 and word.isalpha():
            for n in range(1, len(word)):
                found.setdefault(word[:n] + word[n + 1 :], word)
    return found


@functools.cache
def common() -> frozenset[str]:
    """Words that are spelt right, whatever they mean."""
    return frozenset((Path(__file__).parent / "common.txt").read_text("utf-8").split())


def _spelt(word: str) -> str:
    """The known word that a misspelt one stands for: one letter too many, too few, wrong or swapped."""
    known = lexicon()
    if word in known or len(word) < 3:
        return word
    once = _SEVERAL.sub(r"\1", word)
    if once != word:
        twice = _SEVERAL.sub(r"\1\1", word)
        return twice if twice in known else once
    if len(word) < 5 or word in common() or not word.isalpha():
        return word
    near = _misspelt()
    if word in near:
        return near[word]
    for n in range(1, len(word)):
        less = word[:n] + word[n + 1 :]
        if less in known and len(less) >= 5:
            return less
        if less in near and (len(word) >= 7 or sorted(near[less]) == sorted(word)):
            return near[less]
    return word


@functools.lru_cache(maxsize=16384)
def _word(text: str) -> tuple[Word, ...]:
    """The words that a piece without spaces and punctuation stands for."""
    known = lexicon()
    if text in known:
        return (known[text],)
    if text in _SHORT:
        return tuple([known.get(word) or Word(word, word, word) for word in _SHORT[text].split()])
    if text.endswith("n't") and len(text) > 3:
        return (*_word(text[:-3]), known["not"])
    for tail, word in _TAILS.items():
        if text.endswith(tail) and len(text) > len(tail):
            return (*_word(text[: -len(tail)]), known[word])
    if "@" in text:
        return (Word(text, "<email>", "ID"),)
    if text[-1].isdigit() or text[0] in "$€£" or text[0].isdigit():
        if _NUMBER.fullmatch(text):
            money = text[0] in "$€£+-" or "." in text
            return (Word(text, "<money>" if money else "<number>", "NUM"),)
        if _ID.fullmatch(text):
            return (Word(text, "<id>", "ID"),)
    if _ID.fullmatch(text):
        return (Word(text, "<id>", "ID"),)
    right = _spelt(text)
    if right in known:
        return (Word(text, known[right].stem, known[right].role),)
    return (Word(text, right, "w"),)


@functools.lru_cache(maxsize=16384)
def _chunk(text: str) -> tuple[tuple[tuple[Word, ...], str], ...]:
    """What stands between two spaces: words, and the mark that ends them, for each part of it."""
    core = text.lstrip(_EDGE + ".").rstrip(_EDGE)
    bare = core.rstrip(".,:;!?" + _EDGE)
    marks = core[len(bare) :]
    comma = text.rstrip("\"')]}*_").endswith(",")
    mark = (
        "?" if "?" in marks else "!" if "!" in marks else "." if "." in marks else ";" if ";" in marks else ""
    )
    if not mark and (comma or ":" in marks):
        mark = ","
    if not bare:
        return (((), "-" if text in ("-", "--") else mark),)
    if len(bare) > _LONGEST:
        bare = bare[:_LONGEST] if bare.isalpha() else "w"
    if mark == "." and (
        (bare in _NO_STOP and bare != "no")
        or (bare.isdigit() and len(bare) < 3)
        or (len(bare) == 1 and bare not in "yn")
    ):
        mark = ""
    known = lexicon()
    if bare in known or bare in _SHORT or _NUMBER.fullmatch(bare) or "@" in bare:
        return ((_word(bare), mark),)
    parts = [part for part in _PARTS.split(bare) if part]
    if len(parts) < 2:
        return ((_word(bare), mark),)
    inner = "?" if "?" in bare else ""
    return tuple([(_word(part), mark if n == len(parts) - 1 else inner) for n, part in enumerate(parts)])


@dataclass(slots=True)
class Sentence:
    """What stands between two stops, in words."""

    text: str
    words: Sequence[Word]
    mark: str
    """"?", "!", ".", "-", "," or ""."""


def normal(text: str) -> str:
    """The part of a text that is heard, in plain letters and lower case."""
    text = text[:LIMIT]
    if not text.isascii():
        text = normalize("NFKC", text.translate(_LETTERS))
    return text.lower()


def sentences(text: str) -> list[Sentence]:
    """The sentences of a normal text; a line, a dash, a "but" and an offer of more end one too."""
    found: list[Sentence] = []
    words: list[Word] = []
    said: list[str] = []
    if "else" in text or " any" in text:
        text = _OFFER.sub("\n", text)
    for line in text.split("\n"):
        for chunk in line.split():
            for more, mark in _chunk(chunk):
                if len(words) > 3 and len(more) == 1 and more[0].role == "BUT":
                    found.append(Sentence(" ".join(said), words, ","))
                    words, said = [], []
                words.extend(more)
                if mark and mark != "," and words:
                    found.append(Sentence(" ".join([*said, chunk]), words, mark))
                    words, said = [], []
            said.append(chunk)
        if words:
            found.append(Sentence(" ".join(said), words, ""))
        words, said = [], []
    return found


_OFFER = re.compile(
    r"[,;:] +(?:(?:and|so|now) )?(?=(?:(?:is|was) there |do you (?:need|want|have) |"
    r"(?:can|may|could) i (?:help|do|get|assist)[a-z ]{0,20} )?"
    r"(?:(?:anything|something) (?:else|more|further)|any other|what else|how else)\b)"
)
"""Where an offer of more help begins that was joined to what came before: "It is done, anything else?"."""


_SPACES = bytes(32 if chr(n) in '.,:;!?()"#$*' else n for n in range(256))
"""Turns punctuation into spaces; on bytes this is ten times as fast as on text."""


def plain(text: str) -> list[str]:
    """The words of a text as they stand, without punctuation."""
    return text.encode("utf-8", "replace").translate(_SPACES).decode().split()
