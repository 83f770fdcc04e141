"""What an audit says: a finding with its evidence, nothing found, or why a check was not made."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Certainty = Literal["fact", "suspicion"]


@dataclass(frozen=True)
class Defect:
    """One defect, and how to see it again."""

    certainty: Certainty
    """A fact was seen and needs no reading; a suspicion may be meant so by the author."""
    claim: str
    seen: str
    """What was observed."""
    again: str
    """Lines that show it."""


@dataclass(frozen=True)
class Skipped:
    """A check that was not made, and why."""

    reason: str


@dataclass(frozen=True)
class Checked:
    """What one check came to; `finding` and `skipped` are both None where nothing was found."""

    check: str
    asks: str
    finding: Defect | None
    skipped: str | None
    seconds: float

    @property
    def status(self) -> str:
        """One word: clean, skipped, fact or suspicion."""
        if self.finding is not None:
            return self.finding.certainty
        return "clean" if self.skipped is None else "skipped"

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON."""
        return {**asdict(self), "status": self.status}
