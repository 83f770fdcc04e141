"""The memory bank of a report: evidence by id, each a page that was visited."""

from __future__ import annotations

from dataclasses import dataclass, field

from forge_envs.worlds.search.page import WebPage

_SUMMARY = 160
"""Characters of a summary."""
_LONGEST = 12_000
"""Characters of one piece of evidence, from however many visits."""


@dataclass
class BankEntry:
    """What is kept of a page."""

    id: str
    address: str
    title: str
    date: str
    summary: str
    evidence: list[str] = field(default_factory=list)
    """What was shown of it, each visit once."""


@dataclass
class EvidenceBank:
    """Pages that were visited, in order; a page has one id, however often it is visited."""

    entries: dict[str, BankEntry] = field(default_factory=dict)

    def keep(self, page: WebPage, shown: str) -> BankEntry:
        """The entry of a page, with what was shown of it now."""
        for entry in self.entries.values():
            if entry.address == page.address:
                break
        else:
            words = " ".join(shown.split("\n", 1)[-1].split())[:_SUMMARY]
            entry = BankEntry(f"id_{len(self.entries) + 1}", page.address, page.title, page.date, words)
            self.entries[entry.id] = entry
        if shown not in entry.evidence and sum(map(len, entry.evidence)) + len(shown) <= _LONGEST:
            entry.evidence.append(shown)
        return entry

    def told(self) -> str:
        """Ids with titles and summaries, one a line."""
        return "\n".join(
            f"{one.id}: {one.title} | {one.date} | {one.summary}" for one in self.entries.values()
        )

    @property
    def addresses(self) -> dict[str, str]:
        """From ids to addresses."""
        return {one.id: one.address for one in self.entries.values()}
