"""What a step tells of its judge: scores, how steady it is, and how often it agrees with what a rule
knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forge_train.config.rubric import PART
from forge_train.trajectory import Trajectory

Group = Sequence[Trajectory]


def episodes_of(group: Group) -> list[Trajectory]:
    """The members of a group without the judgements beside them."""
    return [t for t in group if not t.is_judgement]


def judged(groups: Sequence[Group]) -> dict[str, Any]:
    """Under `rubric`, what was judged in these groups; nothing where nobody was asked.

    `score`: mean over episodes. `turned`: share of comparisons that the order of the two decided. `left`:
    episodes that left their group for want of a verdict. `agreement`: share of comparisons of known outcome
    that prefer the better one (1/2 is chance), of `checked` such. `lessons`: judgements that can be trained.
    `tokens`: what the policy sampled as a judge.
    """
    everyone = [t for group in groups for t in group]
    notes = [t.info[PART] for t in everyone if PART in t.info]
    lessons = [t for t in everyone if t.is_judgement]
    if not notes and not lessons:
        return {}
    scores = [note["score"] for note in notes if "score" in note]
    compared = sum(note.get("compared", 0) for note in notes)
    agreed = [value for note in notes for value in note.get("agreed", ())]
    return {
        PART: {
            "score": _mean(scores),
            "turned": sum(note.get("turned", 0) for note in notes) / compared if compared else None,
            "left": sum(t.info.get("error", {}).get("stage") == PART for t in everyone if PART in t.info),
            "agreement": _mean(agreed),
            "checked": len(agreed),
            "lessons": len(lessons),
            "tokens": sum(note.get("tokens", 0) for note in notes) + sum(t.sampled for t in lessons),
        }
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
