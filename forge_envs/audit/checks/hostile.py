"""Texts that nobody would say, and what a target makes of them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from forge_envs.audit.bench import NOT_AN_ANSWER, Rig
from forge_envs.audit.child import Full, NotStarted
from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.play import Act, Reply, Sitting, lines
from forge_envs.audit.target import shown
from forge_envs.probe import HOSTILE

HEAVY = (
    "9**9**9**9",
    "\\boxed{9**9**9**9}",
    "<answer>9**9**9**9</answer>",
    "\\boxed{" + "(" * 3_000 + "}",
    "<answer>" + "a" * 30_000 + "!",
    "[" + " " * 30_000 + "x",
    "<answer>" * 3_000,
    "(a+)+" * 3_000,
)
"""What is short to say and long to evaluate."""
USUAL = (
    "",
    "[]",
    "[a]",
    "[1 2 3]",
    "[-1]",
    "[99999999999999999999]",
    "\\boxed{}",
    "\\boxed{x}",
    "\\boxed{-1}",
    "\\boxed{1e999}",
    "<answer></answer>",
    "<answer>nan</answer>",
    "<answer>1/0</answer>",
    "1/0",
    "nan",
    "inf",
    "None",
    "[1",
    "{",
    '{"a": [}',
    "²",
    "٣",
    "1,2,x",
    "<answer>{'a': 1}</answer>",
    "\n\n",
    "A1",
    "[A1]",
    "[up] [up]",
)
"""What a model says that has half understood the form."""
TEXTS = tuple(text for text in (*USUAL, *HOSTILE) if "\ud800" not in text and "rm -rf" not in text)
"""No tokenizer decodes to a lone surrogate, so that no model can say one; and a target may really run what is
said, on this machine."""
MOST_HUNG = 2
"""After so many steps that do not return, no more texts are said."""


@dataclass(frozen=True)
class Said:
    """One text, the turn it led to, and lines that show it."""

    turn: Reply
    again: str


def hostile(bench: Rig) -> list[Said]:
    """Every text said once; done once for all checks that ask."""
    known: list[Said] | None = getattr(bench, "_hostile", None)
    if known is None:
        known = _say_all(bench)
        bench._hostile = known  # type: ignore[attr-defined]
    return known


def _say_all(bench: Rig) -> list[Said]:
    said: list[Said] = []
    texts = [*TEXTS, *HEAVY]
    while texts and sum(one.turn.hung for one in said) < MOST_HUNG:
        try:
            with bench.session() as session:
                if not _say_some(bench, session, texts, said):
                    break
        except (*NOT_AN_ANSWER, Full, NotStarted):
            if not said:
                raise
            break  # what was said last has taken the target down, and is found as that
    return said


def _say_some(bench: Rig, session: Sitting, texts: list[str], said: list[Said]) -> bool:
    """Say texts until the episode ends; False where none can be begun."""
    if session.reset(*bench.places[len(said) % len(bench.places)]).fault:
        return False
    while texts:
        turn = session.step(Act(say=texts.pop(0)))
        again = _shortest(bench, session) if turn.fault else ""
        if isinstance(turn.reward, dict):
            again = lines(bench.target, session)
        said.append(Said(turn, again))
        if turn.fault or turn.over:
            break
    return True


def _shortest(bench: Rig, session: Sitting) -> str:
    """The last action alone where that is enough, else the whole episode."""
    last = session.turns[-1]
    assert last.action is not None
    if len(session.turns) > 2 and not last.hung and not bench.about["remote"]:
        with bench.session() as again:
            again.reset(*session.began)
            if again.step(last.action).fault == last.fault:
                return lines(bench.target, again)
    return lines(bench.target, session)


def hostile_text(bench: Rig) -> Defect | Skipped | None:
    """Whether every text is answered, rubbish too."""
    if not bench.about["talks"]:
        return Skipped("actions are no text")
    crashes = [one for one in hostile(bench) if one.turn.fault and not one.turn.hung]
    if not crashes:
        return None
    worst = next((one for one in crashes if one.turn.admitted is not False), crashes[0])
    kinds = sorted({one.turn.fault.partition(":")[0] for one in crashes})
    where = f" ({worst.turn.where[-1]})" if worst.turn.where else ""
    certain = worst.turn.admitted is not False
    return Defect(
        "fact" if certain else "suspicion",
        f"step raises on {len(crashes)} of {len(hostile(bench))} texts: {', '.join(kinds)}",
        f"{worst.turn.action}: {worst.turn.fault}{where}"
        + ("" if certain else "; the text lies outside the declared action space"),
        worst.again,
    )


def step_deadline(bench: Rig) -> Defect | Skipped | None:
    """Whether every step returns."""
    if not bench.about["talks"]:
        return _samples_return(bench)
    for one in hostile(bench):
        if one.turn.hung:
            seen = f"{one.turn.action}: {one.turn.fault}; the process was killed"
            return Defect("fact", "a step does not return", seen, one.again)
    return _samples_return(bench)


def _samples_return(bench: Rig) -> Defect | None:
    with bench.session() as session:
        for place in bench.places:
            session.reset(*place)
            turns = session.play(bench.wander(session))
            if turns[-1].hung:
                seen = f"{turns[-1].action or 'reset'}: {turns[-1].fault}; the process was killed"
                return Defect("fact", "a step does not return", seen, lines(bench.target, session))
            if turns[-1].fault:
                return None
    return None


CARRIERS = ("{}", "\\boxed{{{}}}", "<answer>{}</answer>", "[{}]", "({})")
BLOCKS = ("```python\n{}\n```", "<python>{}</python>", '{{"code": "{}"}}')
"""Forms in which code is meant to be run, though not with the rights of the environment."""


def host_containment(bench: Rig) -> Defect | Skipped | None:
    """Whether what an agent says is run as code where the environment runs."""
    if not bench.about["talks"]:
        return Skipped("actions are no text")
    with tempfile.TemporaryDirectory(prefix="forge-audit-") as folder, bench.session() as session:
        canary = Path(folder, "canary")
        codes = (
            f"open('{canary}', 'w')",
            f"__import__('os').open('{canary}', 65)",
            f"$(touch {canary})",
            f"touch {canary}",
        )
        for block in (*CARRIERS, *BLOCKS):
            for code in codes:
                turn = _fresh(bench, session)
                if turn.fault:
                    return None
                said = session.step(Act(say=block.format(code)))
                if canary.exists():
                    return Defect(
                        "suspicion" if block in BLOCKS or bench.about["shell"] else "fact",
                        "what the agent says runs as code with the rights of the environment",
                        f"after {shown(block.format(code))} the file {canary} exists",
                        lines(bench.target, session),
                    )
                if said.hung or said.fault.startswith("the process"):
                    return None
    return None


def _fresh(bench: Rig, session: Sitting) -> Reply:
    return session.reset(*bench.places[0])
