"""Whether an answer is right: the same after normalisation, and one answer, not a list of guesses."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable

from forge_envs.worlds.search.question import ResearchQuestion
from forge_envs.worlds.search.sentences import STRUCK, says_only
from forge_envs.worlds.search.spelling import LETTERS, MONTH, MONTH_NUMBERS

_TAG = re.compile(r"<answer>(.*?)</answer>", re.IGNORECASE | re.DOTALL)
_CLOSED = re.compile("</answer>", re.IGNORECASE)
_ARTICLES = {"a", "an", "the"}
_DATES = (
    re.compile(r"(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})"),
    re.compile(rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[ .-]*(?:of )?(?P<w>{MONTH})[ .,-]+(?P<y>\d{{4}})"),
    re.compile(rf"(?P<w>{MONTH})[ .-]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[ ,.-]+(?P<y>\d{{4}})"),
    re.compile(rf"(?P<y>\d{{4}})[ ,-]+(?P<w>{MONTH})[ .-]+(?P<d>\d{{1,2}})"),
)
_WEEKDAY = re.compile(r"^(mon|tues?|wednes|thurs?|fri|satur|sun)(day)?,? ")
_NUMBER = re.compile(r"[-+]?\d{1,3}(?:[ ,'_]\d{3})+(?:\.\d+)?|[-+]?\d{1,3}(?:\.\d{3}){2,}|[-+]?\d+(?:\.\d+)?")
_TAIL = re.compile(r" (people|inhabitants|persons|residents)$")
_LEAD = re.compile(r"^(the )?(final |exact |correct )?answer( is|:| is:)? +")
_CHANGED = re.compile(f"{STRUCK.pattern}|[$€£¥]")
"""Marks that strike an answer out, or say of what it is so much."""
MOST_CHARACTERS = 300
"""A longer text is no answer to a question of this world."""


def answer_in(prose: str) -> str | None:
    """What stands in the answer tags of a text; None without tags, "" where there are two different ones.

    >>> answer_in("I have read it: <answer>Port Azul</answer>"), answer_in("Port Azul?")
    ('Port Azul', None)
    >>> answer_in("<answer>Port Azul</answer> or <answer>Lornwick</answer>")
    ''
    """
    # What opens behind the last end never closes, and would be looked through for each opening.
    end = max((closed.end() for closed in _CLOSED.finditer(prose)), default=0)
    found = [" ".join(text.split()) for text in _TAG.findall(prose, 0, end)]
    said = [text for text in found if text.strip(" .…")]
    return None if not found else said[-1] if len({same_form(text) for text in said}) == 1 else ""


def right(question: ResearchQuestion, said: str) -> bool:
    """Whether `said` is the answer, or one of its accepted spellings, and nothing more."""
    if len(said) > MOST_CHARACTERS:
        return False
    heard = same_form(said)
    if heard and heard in _forms((question.answer, *question.accepted)) and not _CHANGED.search(said):
        return True
    return says_only(question, said)


def _forms(texts: Iterable[str]) -> set[str]:
    return {same_form(text) for text in texts} - {""}


def same_form(text: str) -> str:
    """One spelling for all usual ones of a day, a number or a name.

    >>> same_form("May 7th, 2031"), same_form("7 May 2031"), same_form("2031-05-07")
    ('2031-05-07', '2031-05-07', '2031-05-07')
    >>> same_form("12,400 people"), same_form("12400")
    ('12400', '12400')
    >>> same_form("The Café of Ålby & Sons."), same_form("Port Azul or Lornwick")
    ('cafe of alby and sons', 'port azul or lornwick')
    """
    plain = unicodedata.normalize("NFKD", text.casefold().translate(LETTERS))
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    plain = _LEAD.sub("", " ".join(plain.split())).strip(" .!?\"'`*_“”‘’()[]")
    day = _day(plain)
    if day:
        return day
    number = _number(_TAIL.sub("", plain))
    if number:
        return number
    words = re.sub(r"[^\w]+", " ", plain.replace("&", " and ").replace("’", "'").replace("'", "")).split()
    while words and words[0] in _ARTICLES:
        del words[0]
    return " ".join(words).replace("_", " ")


def _day(plain: str) -> str:
    """A day as 2031-05-07, "" where the text is none."""
    text = _WEEKDAY.sub("", plain.removeprefix("on ")).removeprefix("the ")
    for form in _DATES:
        found = form.fullmatch(text)
        if found:
            parts = found.groupdict()
            month = MONTH_NUMBERS[parts["w"]] if "w" in parts else int(parts["m"])
            try:
                return dt.date(int(parts["y"]), month, int(parts["d"])).isoformat()
            except ValueError:
                return ""
    return ""


def _number(plain: str) -> str:
    """A number in digits alone, "" where the text is none."""
    if not plain.isascii() or not _NUMBER.fullmatch(plain):
        return ""
    dots = plain.count(".")
    digits = re.sub(r"[ ,'_+]", "", plain.replace(".", "") if dots > 1 else plain)
    sign, digits = ("-", digits[1:]) if digits[0] == "-" else ("", digits)
    whole, _, part = digits.partition(".")
    part = part.rstrip("0")
    return sign + (whole.lstrip("0") or "0") + (f".{part}" if part else "")
