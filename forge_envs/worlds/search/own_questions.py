"""Questions about a corpus of the user's own, and whether what proves their answers still stands there."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forge_envs.errors import brief
from forge_envs.worlds.search.page import PageLibrary
from forge_envs.worlds.search.question import ProofStep, ResearchQuestion, Statement
from forge_envs.worlds.search.snippets import flat

FORM = (
    '{"question": "…", "answer": "…", "accepted": ["…"], "kind": "person", '
    '"evidence": [{"page": "notes/azul.md", "quote": "…"}]}'
)
"""A line of a file of questions; "accepted" and "kind" may be missing."""
_KEYS = {"question", "answer", "accepted", "kind", "evidence"}


@dataclass(frozen=True, slots=True)
class LostProof:
    """A question that is left out, and what of its proof is gone."""

    question: ResearchQuestion
    why: str


def read_questions(path: str | Path) -> list[ResearchQuestion]:
    """The questions of a JSONL file, one object of FORM a line.

    An item of "evidence" is one step of the proof; a list in its place holds several statements of which any
    will do. Raises ValueError that names file, line and what is wrong there.
    """
    file = Path(path).expanduser()
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"questions {file} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                found.append(_question(json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}, line {number}: {error}; write {FORM}") from None
    if not found:
        raise ValueError(f"questions {file}: it is empty; write one a line, {FORM}")
    return found


def _question(told: Any) -> ResearchQuestion:
    if not isinstance(told, dict):
        raise ValueError(f"no object but {brief(told)}")
    if odd := sorted(set(told) - _KEYS):
        raise ValueError(f"unknown keys {brief(odd)}")
    accepted, evidence = told.get("accepted", []), told.get("evidence")
    if not isinstance(accepted, list) or not all(isinstance(one, str) and one.strip() for one in accepted):
        raise ValueError(f'"accepted" is a list of texts, not {brief(accepted)}')
    if not isinstance(evidence, list) or not evidence:
        raise ValueError(f'"evidence" is a list with at least one page and quote, not {brief(evidence)}')
    kind = told.get("kind", "")
    if not isinstance(kind, str):
        raise ValueError(f'"kind" is a text, not {brief(kind)}')
    steps = [one if isinstance(one, list) and one else [one] for one in evidence]
    return ResearchQuestion(
        text=_text(told, "question"),
        answer=_text(told, "answer"),
        accepted=tuple(accepted),
        kind=kind,
        proof=tuple(ProofStep(tuple(_statement(one) for one in step)) for step in steps),
    )


def _statement(told: Any) -> Statement:
    if not isinstance(told, dict) or set(told) != {"page", "quote"}:
        raise ValueError(f'evidence is {{"page", "quote"}}, not {brief(told)}')
    return Statement(_text(told, "page"), _text(told, "quote"))


def _text(told: Mapping[str, Any], key: str) -> str:
    value = told.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f'"{key}" is a text, not {brief(value)}')
    return value.strip()


def proved(
    questions: Iterable[ResearchQuestion], library: PageLibrary
) -> tuple[list[ResearchQuestion], list[LostProof]]:
    """Questions whose proof stands in the pages as they are, and those to leave out, each with the reason.

    A statement stands where its page is there and has the quote, whatever its line breaks and links. A step
    needs one statement that stands; the others are taken out of it. Raises MachineError as the library does.
    """
    kept, left_out = [], []
    texts: dict[str, str | None] = {}

    def gone(one: Statement) -> str:
        if one.page not in texts:
            page = library.page(one.page)
            texts[one.page] = None if page is None else flat(page.text)
        text = texts[one.page]
        if text is None:
            return f"page {one.page!r} is gone"
        return "" if flat(one.quote) in text else f"page {one.page!r} no longer says {brief(one.quote)}"

    for question in questions:
        why, steps = "", []
        for step in question.proof:
            faults = [gone(one) for one in step.statements]
            standing = tuple(one for one, fault in zip(step.statements, faults, strict=True) if not fault)
            why = why or ("" if standing else "; ".join(faults))
            steps.append(ProofStep(standing))
        if why:
            left_out.append(LostProof(question, why))
        else:
            kept.append(
                ResearchQuestion(
                    question.text, question.answer, question.accepted, question.kind, tuple(steps)
                )
            )
    return kept, left_out
