"""Phrases drawn from the patterns of benchmarks/hearing/turns.txt."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATTERNS = Path(__file__).parent / "hearing" / "turns.txt"
CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
NAMED = re.compile(r"([A-Z0-9]+) = (.*)")
Slots = dict[str, list[str]]


def draw(pattern: str, slots: Slots, dice: random.Random) -> str:
    """One phrase of a pattern."""
    forms = dice.choice(slots["VERBS"]).split()
    verb = dict(zip(("V", "VED", "VING", "N"), forms, strict=True))
    text = pattern
    while "[" in text or "{" in text:
        text = CHOICE.sub(lambda found: dice.choice(found[1].split("|")), text)
        text = SLOT.sub(lambda found: verb.get(found[1]) or dice.choice(slots[found[1]]), text)
    text = re.sub(r" +", " ", text).strip()
    return text[:1].upper() + text[1:] if dice.random() < 0.7 else text


def blurred(text: str, dice: random.Random) -> str:
    """As somebody writes who is in a hurry, sometimes."""
    if dice.random() < 0.1:
        text = text.replace("'", "")
    if dice.random() < 0.06:
        text = text.replace("'", "’")
    return text.upper() if dice.random() < 0.05 else text


def phrases(each: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Labelled phrases, without repetition: about `each` of a pattern, more where it holds more."""
    dice = random.Random(seed)
    slots: Slots = {}
    act, label = "", False
    for line in PATTERNS.read_text("utf-8").splitlines():
        if line.startswith("== "):
            _, act, sign = line.split()
            label = sign == "+"
        elif named := NAMED.fullmatch(line):
            slots[named[1]] = named[2].split("|")
        elif line and not line.startswith("#"):
            seen = set()
            for _ in range(each * (1 + line.count("|") // 12) // 2):
                text = blurred(draw(line, slots, dice), dice)
                if act != "agrees" and dice.random() < 0.15:
                    text = f"{draw('{BEFORE}', slots, dice)} {text}"
                if act != "agrees" and dice.random() < 0.1 and text[-1] in ".!?":
                    text = f"{text} {draw('{AFTER}', slots, dice)}"
                if text not in seen:
                    seen.add(text)
                    yield {"act": act, "label": label, "text": text}
