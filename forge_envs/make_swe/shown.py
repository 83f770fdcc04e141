"""An example as an issue shows it: code, what it does, and what whoever types it must see."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from forge_envs.make_swe.draft import indented
from forge_envs.make_swe.fixtures import is_literal
from forge_envs.make_swe.reproduce import Example
from forge_envs.make_swe.wording import (
    ASSERT_TOLD,
    FINE,
    OTHER_TOLD,
    RAISES_TOLD,
    SCRIPTS,
    SESSION_TOLD,
    SILENT_TOLD,
    VALUE_TOLD,
)

INLINE = 90
"""Characters of a value that stands within a sentence."""
TYPED = 9
"""Lines of an interactive session."""
FRAMES = re.compile(r"(Traceback \(most recent call last\):)\n(?:[ .].*\n)*")


@dataclass(frozen=True)
class Claim:
    """Code of an issue, and what it must do in both states: what it prints, the last line that it raises."""

    code: str
    how: str
    """`script` or `session`."""
    bug: tuple[str, str]
    gold: tuple[str, str]

    def holds(self, answers: Mapping[str, Any]) -> bool:
        """Whether four answers of `witness` (bug0, bug1, gold0, gold1) are what is claimed."""
        return all(answers[f"{state}{n}"] is not None and self._did(answers[f"{state}{n}"]) == wanted
                   for state, wanted in (("bug", self.bug), ("gold", self.gold)) for n in (0, 1))  # fmt: skip

    def _did(self, answer: Mapping[str, Any]) -> tuple[str, str]:
        raised = answer["raised"]
        said = FRAMES.sub(r"\1\n", answer["said"]) if self.how == "session" else answer["said"].rstrip("\n")
        return said, raised["last"] if raised else ""


@dataclass(frozen=True)
class Shown:
    """The parts of an issue about one example."""

    code: str
    """Fenced, as it stands in the issue."""
    actual: str
    expected: str
    both: str
    """Actual and expected in one go; empty where they need blocks of their own."""
    claim: Claim


def show(example: Example, dice: random.Random) -> Shown:
    """An example in one of the forms that fit it."""
    forms = [_script]
    if _can_be_typed(example):
        forms += [_session, _session]
    told = example.bug.written, example.gold.written
    if example.kind == "value" and not example.draft.depth and is_literal(told[1]) and _inline(*told):
        forms += [_assertion]
    return dice.choice(forms)(example, dice)


def _can_be_typed(example: Example) -> bool:
    if example.draft.depth or example.draft.after or "None" in (example.bug.written, example.gold.written):
        return False
    text = example.draft.script("")
    simple = not any(hasattr(statement, "body") for statement in ast.parse(text).body)
    return simple and text.count("\n") <= TYPED and bool(example.draft.value)


def fenced(text: str, language: str = "") -> str:
    """A block of code or output."""
    return f"```{language}\n{text}\n```"


def quoted(text: str) -> str:
    """A value within a sentence, without marks that would end it."""
    return text.replace("`", "'")


# -- a script ------------------------------------------------------------------------------------------------


def _script(example: Example, dice: random.Random) -> Shown:
    if example.kind in ("raises", "other"):
        return _failing(example, dice)
    plain = example.bug.printed != example.gold.printed or example.kind == "silent"
    clean = plain and all(_clean(t.printed) for t in (example.bug, example.gold) if t.value)
    text = example.draft.script("print") if clean else _repr_printed(example)
    bug, gold = (told.printed if clean else told.written for told in (example.bug, example.gold))
    if example.kind == "silent":
        told = dice.choice(SILENT_TOLD).format(bug=quoted(bug), wanted=quoted(example.gold.raised))
        claim = Claim(text, "script", (bug, ""), ("", example.gold.raised))
        both = told if _inline(bug, example.gold.raised) else ""
        actual, expected = f"No exception, it prints `{quoted(bug)}`.", f"`{quoted(example.gold.raised)}`"
        return Shown(fenced(text.rstrip(), "python"), actual, expected, both, claim)
    claim = Claim(text, "script", (bug, ""), (gold, ""))
    both = dice.choice(VALUE_TOLD).format(bug=quoted(bug), gold=quoted(gold)) if _inline(bug, gold) else ""
    return Shown(fenced(text.rstrip(), "python"), fenced(bug), fenced(gold), both, claim)


def _clean(text: str) -> bool:
    """Whether a printed value says where it begins and ends."""
    return bool(text) and text == text.strip() and (text.isprintable() or "\n" in text)


def _repr_printed(example: Example) -> str:
    draft = example.draft
    lines = [draft.before, indented(f"print(repr({draft.value}))", draft.depth), draft.after]
    return "\n".join(part for part in lines if part) + "\n"


def _inline(*texts: str) -> bool:
    return all(len(text) <= INLINE and "\n" not in text for text in texts)


def _failing(example: Example, dice: random.Random) -> Shown:
    """A script that ends with an exception."""
    draft, name = example.draft, dice.choice(SCRIPTS)
    text = draft.script("")
    lines = text.split("\n")
    at = example.bug.lines[1 if draft.after else 0]
    frame = (
        f'  File "{name}", line {at}, in {"main" if draft.after else "<module>"}\n    {lines[at - 1].strip()}'
    )
    trace = "\n".join(["Traceback (most recent call last):", frame, "  ...", example.bug.raised])
    block = fenced(dice.choice((trace, trace, example.bug.raised)))
    actual = f"{dice.choice(RAISES_TOLD)}\n\n{block}"
    return Shown(fenced(text.rstrip(), "python"), actual, _right(example, dice), "",
                 Claim(text, "script", ("", example.bug.raised), ("", example.gold.raised)))  # fmt: skip


def _right(example: Example, dice: random.Random) -> str:
    """What should happen in place of an exception."""
    if example.kind == "other":
        return dice.choice(OTHER_TOLD).format(wanted=quoted(example.gold.raised))
    gold = example.gold.written
    telling = gold not in ("", "None") and _inline(gold)
    return dice.choice(FINE).format(result=f", the result should be `{quoted(gold)}`" if telling else "")


# -- a session, an assertion ---------------------------------------------------------------------------------


def _session(example: Example, dice: random.Random) -> Shown:
    draft = example.draft
    before, source = [], draft.before.split("\n")
    for statement in ast.parse(draft.before).body:
        before += _typed("\n".join(source[statement.lineno - 1 : statement.end_lineno]))
    last = _typed(draft.value)
    typed = [*before, *last]
    trace = "Traceback (most recent call last):"
    bug, gold = (
        "\n".join([*typed, *([trace, told.raised] if told.raised else [told.written])])
        for told in (example.bug, example.gold)
    )
    seen = bug.replace(f"{trace}\n", f'{trace}\n  File "<stdin>", line 1, in <module>\n  ...\n')
    wanted = quoted(example.gold.raised or example.gold.written)
    if example.kind in ("raises", "other"):
        actual, expected = f"`{quoted(example.bug.raised)}`", _right(example, dice)
        both = expected
    else:
        actual = f"`{quoted(example.bug.written)}`"
        expected = f"`{wanted}`"
        phrases = ("`{}` should be raised.",) if example.kind == "silent" else SESSION_TOLD
        both = dice.choice(phrases).format(wanted)
    claim = Claim("\n".join(typed), "session", (bug, ""), (gold, ""))
    return Shown(fenced(seen, dice.choice(("python", "pycon"))), actual, expected, both, claim)


def _typed(text: str) -> list[str]:
    first, *rest = text.split("\n")
    return [f">>> {first}", *(f"... {line}" for line in rest)]


def _assertion(example: Example, dice: random.Random) -> Shown:
    draft = example.draft
    value = (
        f"({draft.value})"
        if isinstance(ast.parse(draft.value, mode="eval").body, ast.Compare)
        else draft.value
    )
    wanted = f"{value} {'is' if example.gold.written == 'None' else '=='} {example.gold.written}"
    if example.bug.kind == example.gold.kind == "bool":
        wanted = value if example.gold.written == "True" else f"not {value}"
    text = f"{draft.before}\nassert {wanted}\n".lstrip("\n")
    bug, gold = quoted(example.bug.written), quoted(example.gold.written)
    both = dice.choice(ASSERT_TOLD).format(bug=bug, gold=gold)
    claim = Claim(text, "script", ("", "AssertionError"), ("", ""))
    return Shown(
        fenced(text.rstrip(), "python"), f"`AssertionError`, the value is `{bug}`.", f"`{gold}`", both, claim
    )
