"""Words of an answer in one spelling: days, numbers in words or digits, units; no marks of chat."""

from __future__ import annotations

import datetime as dt
import json
import re
import unicodedata
from typing import Any

from forge_envs.worlds.search.graph import MONTHS

LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "ı": "i", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ħ": "h", "ŧ": "t"}
)
"""Letters that are spelled otherwise where a keyboard lacks them, and that no normal form takes apart."""
GERMANIC = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})
"""The same for languages that write two letters for one."""
MONTH_NUMBERS = {month.lower(): at for at, month in enumerate(MONTHS, 1)}
MONTH_NUMBERS |= {month[:3]: at for month, at in MONTH_NUMBERS.items()} | {"sept": 9}
"""Months by their names and usual short forms, in small letters."""
MONTH = "|".join(sorted(MONTH_NUMBERS, key=len, reverse=True))
"""A pattern of one of them."""
_CLOCK = r"(?:t00:00(?::00(?:\.0+)?)?(?:z|\+00:00)?)?"
_NTH = r"(?:st|nd|rd|th)?"
_DAYS = tuple(
    re.compile(rf"(?<![\w,./-]){form}(?![\w/-]|[.,]\d)")
    for form in (
        rf"(?P<y>\d{{4}})([-/.])(?P<m>\d{{1,2}})\2(?P<d>\d{{1,2}}){_CLOCK}",
        rf"(?P<d>\d{{1,2}}){_NTH}[ .-]*(?:day )?(?:of )?(?P<w>{MONTH})[ .,-]+(?:of )?(?P<y>\d{{4}})",
        rf"(?P<w>{MONTH})[ .-]*(?:the )?(?P<d>\d{{1,2}}){_NTH}[ ,.-]+(?P<y>\d{{4}})",
        rf"(?P<y>\d{{4}})[ ,-]+(?P<w>{MONTH})[ .-]+(?P<d>\d{{1,2}})",
    )
)
_ASIAN_DAY = re.compile(r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日")
_EITHER_WAY = re.compile(r"(?<![\w./-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4})(?![\w./-]*\d)")
_GROUPED = re.compile(r"(?<![\w.,])(\d{1,3})([ ,'_]|\{,\})(\d{3}(?:\2\d{3})*)(?!\d|[,'_]\d)")
_MILLIONS_BY_DOTS = re.compile(r"(?<![\w.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.]\d)")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−―", "-"))
_QUOTES = str.maketrans(dict.fromkeys("’‘`´ʼ", "'"))
_RAISED = re.compile("[⁰¹²³⁴-⁹]+")
_MONEY = {"$": "usd", "€": "eur", "£": "gbp", "¥": "jpy"}
_BEFORE_MONEY = re.compile(
    r"(?:\bus ?|\busd ?|\beur ?|\bgbp ?)?([$€£¥])\s?(\d[\d.]*(?: (?:thousand|million|billion))?)"
)
_CODE_FIRST = re.compile(r"\b(usd|eur|gbp|jpy) (\d[\d.]*(?: (?:thousand|million|billion))?)")
_SCALED = re.compile(r"(?<![\w.])(\d+(?:\.\d+)?) (thousand|million|billion)\b")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_TOKEN = re.compile(r"#\d{8}|-?\d+(?:\.\d+)?(?:(?:st|nd|rd|th)\b)?|'s\b|[^\W\d_]+|%")
_SMALL = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen
""".split()  # noqa: SIM905
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
_WORD_VALUES = {word: at for at, word in enumerate(_SMALL)} | {
    word: 10 * at for at, word in enumerate(_TENS, 2)
}
_IRREGULAR = {"first": 1, "second": 2, "third": 3, "fifth": 5, "eighth": 8, "ninth": 9, "twelfth": 12}
ORDINALS = _IRREGULAR | {
    f"{word.removesuffix('y')}ieth" if word in _TENS else f"{word}th": value
    for word, value in _WORD_VALUES.items()
    if value not in (0, 1, 2, 3, 5, 8, 9, 12)
}
_NUMBER_WORD = "|".join(sorted((*_WORD_VALUES, "hundred", "thousand"), key=len, reverse=True))
_FIRST_WORD = "|".join(sorted(_WORD_VALUES, key=len, reverse=True))
_NTH_WORD = "|".join(sorted(ORDINALS, key=len, reverse=True))
_SPELLED = re.compile(
    rf"\b(?:{_FIRST_WORD})(?:(?:[ ,-]+|,? and )(?:{_NUMBER_WORD}))*(?:[ -]+(?:{_NTH_WORD}))?\b"
    rf"|\b(?:{_NTH_WORD})\b"
)
_SAME = {
    "kilometer": "km", "kilometers": "km", "kilometre": "km", "kilometres": "km", "meter": "m", "meters": "m",
    "metre": "m", "metres": "m", "kilograms": "kg", "kilogram": "kg", "percent": "%", "dollar": "usd",
    "dollars": "usd", "euro": "eur", "euros": "eur", "pounds": "gbp", "st": "saint", "theater": "theatre",
    "center": "centre", "harbor": "harbour",
}  # fmt: skip
"""Units and spellings of two sides of an ocean."""
_WRAPPED = re.compile(r"\\(?:boxed|text|textbf|textit|textrm|mathrm|mathbf|emph)\s*\{((?:[^{}]|\{,\})*)\}")
_TAGS = re.compile(r"</?(?:b|i|u|em|strong|p|span|div|code|answer|name|br|final_answer)\s*/?>", re.IGNORECASE)
_FENCE = re.compile(r"```(?:json|text|markdown)?")
_NOTE = re.compile(r"\[\^?\d{1,3}\]|【[^】]*】|[✅☑✔🎉]\ufe0f?")
_ASIDE = re.compile(r"\(?\bconfidence[: ]+\w+(?:\.\d+)? ?%?\)?", re.IGNORECASE)
_LINK = re.compile(r"\[([^\[\]]*)\]\(([^()\s]*)\)")
_ADDRESS = re.compile(r"(?<![\w/.])[a-z]+/(?:[\w%-]+/)*([\w%-]+)(?:\.\w+)?(?![\w/])")
_CHINESE = re.compile(r"(?:最终)?答案(?:是|为)?\s*[:：]?\s*|(?<=\d)\s*人(?!\w)")
_JSON_KEYS = frozenset(
    ("answer", "final_answer", "name", "value", "result", "title", "date", "population", "number")
)
_JSON_ASIDE = frozenset(("confidence", "source", "sources"))


def unwrapped(text: str) -> str:
    """A text without the marks of Markdown, LaTeX, JSON and HTML, footnotes, and how sure the writer is.

    >>> unwrapped("$\\\\boxed{\\\\text{Port Azul}}$"), unwrapped('{"answer": "Port Azul", "confidence": 0.9}')
    ('Port Azul', 'Port Azul')
    >>> unwrapped("**[Port Azul](towns/port-azul)** [1]")
    'Port Azul (port azul)'
    """
    plain = _FENCE.sub(" ", text).strip()
    if plain[:1] in ("{", "["):
        plain = _from_json(plain)
    plain = re.sub(r"^\$\$?([^$]+)\$\$?$|\\[(\[](.+?)\\[)\]]", lambda m: m[1] or m[2], plain)
    plain = re.sub(r"\\[ ,;!]", " ", plain)
    for _ in range(3):
        plain = _WRAPPED.sub(r"\1", plain)
    plain = _LINK.sub(r"\1 (\2)", _ASIDE.sub(" ", _NOTE.sub(" ", _TAGS.sub(" ", plain))))
    plain = re.sub(r"https?://(?:[\w.:-]+/)+", " ", plain)
    plain = _ADDRESS.sub(lambda found: found[1].replace("-", " "), _RAISED.sub("", plain))
    plain = re.sub(r"(?<!~)\*+|(?<!\w)_+|_+(?!\w)", "", _CHINESE.sub(" ", plain))
    plain = re.sub(r"^(?:[-•>#]+|1[.)]) +", "", plain.strip())
    return " ".join(plain.split())


def _from_json(text: str) -> str:
    """The one answer of a piece of JSON; what it is else, as it stands."""
    try:
        told: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(told, dict):
        kept = {key: value for key, value in told.items() if key not in _JSON_ASIDE}
        told = [*kept.values()] if len(kept) == 1 and set(kept) <= _JSON_KEYS else None
    one = told[0] if isinstance(told, list) and len(told) == 1 else None
    return text if one is None or isinstance(one, dict | list | bool) else str(one)


def tokens_of(text: str) -> list[str]:
    """The words of a text, each in one spelling; a day is one word, so is a number.

    >>> tokens_of("Born on March 3rd, 1921"), tokens_of("sixty-seven thousand and six people")
    (['born', 'on', '#19210303'], ['67006', 'people'])
    >>> tokens_of("the Thirty-first Café"), tokens_of("$3 million"), tokens_of("It's O’Hara's")
    (['the', '31', 'cafe'], ['3000000', 'usd'], ['it', "'s", 'ohara', "'s"])
    """
    plain = text.translate(_DASHES).casefold().translate(LETTERS).translate(_QUOTES)
    plain = unicodedata.normalize("NFKD", _ASIAN_DAY.sub(_asian, plain)).translate(_DASHES)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("&", " and ")
    plain = re.sub(r"\bper cent\b", "percent", " ".join(plain.split()))
    plain = _GROUPED.sub(lambda found: found[1] + re.sub(r"\D", "", found[3]), plain)
    plain = _MILLIONS_BY_DOTS.sub(lambda found: found[0].replace(".", ""), plain)
    plain = _SPELLED.sub(_in_digits, plain)
    plain = _EITHER_WAY.sub(_numbered, plain)
    for form in _DAYS:
        plain = form.sub(_day, plain)
    plain = _CODE_FIRST.sub(r"\2 \1", _BEFORE_MONEY.sub(lambda m: f"{m[2]} {_MONEY[m[1]]}", plain))
    plain = _SCALED.sub(lambda m: _short(float(m[1]) * _SCALES[m[2]]), plain)
    plain = re.sub(r"(?<=[^\W_])'(?!s\b)(?=[^\W_])", "", plain)
    plain = re.sub(r"(?<=\d)(?!(?:st|nd|rd|th)\b)(?=[^\W\d_])|(?<=[^\W_])-", " ", plain)
    return [_one(token) for token in _TOKEN.findall(plain)]


def _one(token: str) -> str:
    if token[0].isdigit() or (token[0] == "-" and token[1:2].isdigit()):
        digits = re.sub(r"(?:st|nd|rd|th)$", "", token)
        sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
        whole, _, part = digits.partition(".")
        part = part.rstrip("0")
        return sign + (whole.lstrip("0") or "0") + (f".{part}" if part else "")
    return _SAME.get(token, token)


def _short(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _asian(found: re.Match[str]) -> str:
    return f" {found['y']}-{int(found['m']):02d}-{int(found['d']):02d} "


def _numbered(found: re.Match[str]) -> str:
    """A day in digits, year last, if only one reading is a day: 24/12/1995, 12/24/1995, not 3/4/1995."""
    one, other, year = int(found[1]), int(found[3]), int(found[4])
    ways = {(month, day) for month, day in ((one, other), (other, one)) if month <= 12 and day <= 31}
    if len(ways) != 1:
        return found[0]
    month, day = ways.pop()
    return f"{year}-{month:02d}-{day:02d}"


def _day(found: re.Match[str]) -> str:
    parts = found.groupdict()
    month = MONTH_NUMBERS[parts["w"]] if "w" in parts else int(parts["m"])
    try:
        return f"#{dt.date(int(parts['y']), month, int(parts['d'])):%Y%m%d}"
    except ValueError:
        return found[0]


def _in_digits(found: re.Match[str]) -> str:
    """A number in words, in digits: two thousand and five, nineteen twenty-one (a year), thirty-first."""
    words = [word for word in re.split(r"[ ,-]+", found[0]) if word != "and"]
    nth = ORDINALS.get(words[-1])
    if nth is not None:
        words.pop()
    total, part, last = 0, 0, 0
    for word in words:
        if word == "thousand":
            total, part = total + (part or 1) * _SCALES[word], 0
        elif word == "hundred":
            part = (part or 1) * 100
        else:
            value = _WORD_VALUES[word]
            century = 10 <= part < 100 and value >= 10 and last != 100
            part = part * 100 + value if century else part + value
        last = _WORD_VALUES.get(word, 100 if word == "hundred" else 0)
    value = total + part + (nth or 0)
    return f"{value}th" if nth is not None else str(value)
