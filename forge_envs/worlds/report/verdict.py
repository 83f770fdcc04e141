"""A report judged by rule: each demand by its name, and each fault with the sentence it is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forge_envs.worlds.report.claims import CITATION, ClaimChecker, SentenceVerdict, sentences_of
from forge_envs.worlds.report.outline import OutlineSection

PARTS = ("cited", "supported", "consistent", "covered", "structured", "length")


@dataclass(frozen=True, slots=True)
class ReportText:
    """A report as it is judged."""

    outline: tuple[OutlineSection, ...]
    written: tuple[tuple[str, str], ...]
    """Title and text of each section, in the order in which they were written."""
    evidence: Mapping[str, str]
    """From the ids of the evidence to the addresses of its pages."""

    @property
    def words(self) -> int:
        """Words of all texts, without citations."""
        return sum(len(CITATION.sub(" ", text).split()) for _, text in self.written)


@dataclass(frozen=True, slots=True)
class ReportVerdict:
    """What was found of a report."""

    parts: Mapping[str, float]
    """By the names in PARTS. cited, supported: shares of the sentences that claim anything; covered: share of
    the required facts that such sentences tell; the others are 1 or 0."""
    faults: tuple[str, ...]
    """"part: what, and where", in the order of the report."""
    told: frozenset[int]
    """Numbers of the facts that it tells rightly."""

    @property
    def outcome(self) -> float:
        """1 where every part is 1, else 0."""
        return float(all(value == 1.0 for value in self.parts.values()))


def judge_report(
    checker: ClaimChecker, report: ReportText, required: Sequence[int], most_words: int
) -> ReportVerdict:
    """The verdict on a report that has to tell the `required` facts in at most `most_words` words.

    A citation counts only where the outline gives the section that evidence.
    """
    sections = {one.title: one for one in report.outline if one.ids}
    verdicts: list[tuple[str, SentenceVerdict]] = []
    faults = _structure(report, list(sections))
    for title, text in report.written:
        section = sections.get(title)
        evidence = (
            {one: report.evidence[one] for one in section.ids if one in report.evidence} if section else {}
        )
        about = checker.lexicon.read(title).entities
        sentences = sentences_of(text)
        verdicts += [(title, checker.check(one, evidence, about)) for one in sentences]
    faults += _repeats(verdicts, len(sections))
    claims = [one for _, one in verdicts if one.claims]
    uncited = [one for one in claims if one.fault.startswith(("uncited", "unknown id"))]
    unsupported = [one for one in claims if one.fault]
    told = frozenset(number for one in claims for number in one.facts)
    missing = [number for number in required if number not in told]
    for title, one in verdicts:
        if one.fault:
            name = "cited" if one in uncited else "supported"
            faults.append(f"{name}: {one.fault}, in {title!r:.60}: {one.sentence.text!r:.120}")
        if one.wrong:
            faults.append(f"consistent: the web says otherwise, in {title!r:.60}: {one.sentence.text!r:.120}")
    faults += [f"covered: {checker.graph.told(checker.graph.facts[number])}" for number in missing]
    if report.words > most_words:
        faults.append(f"length: {report.words} words, and at most {most_words} are wanted")
    parts = {
        "cited": 1 - len(uncited) / len(claims) if claims else 0.0,
        "supported": 1 - len(unsupported) / len(claims) if claims else 0.0,
        "consistent": float(bool(claims) and not any(one.wrong for one in claims)),
        "covered": 1 - len(missing) / len(required) if required else 1.0,
        "structured": float(bool(claims) and not any(fault.startswith("structured") for fault in faults)),
        "length": float(0 < report.words <= most_words),
    }
    return ReportVerdict(parts, tuple(faults), told)


def _structure(report: ReportText, wanted: Sequence[str]) -> list[str]:
    """Sections that are missing, twice, not in the outline, or out of its order."""
    faults = []
    titles = [title for title, _ in report.written]
    outlined = [one.title for one in report.outline]
    for title in sorted({one for one in outlined if outlined.count(one) > 1}):
        faults.append(f"structured: two headings of the outline are called {title!r:.60}")
    for title in dict.fromkeys(titles):
        if titles.count(title) > 1:
            faults.append(f"structured: section {title!r:.60} is there {titles.count(title)} times")
        if title not in wanted:
            faults.append(f"structured: section {title!r:.60} is none of the outline that cites evidence")
    for title in wanted:
        if title not in titles:
            faults.append(f"structured: section {title!r:.60} is not written")
    if not faults and titles != list(wanted):
        faults.append("structured: the sections are not in the outline's order")
    return faults


def _repeats(verdicts: Sequence[tuple[str, SentenceVerdict]], sections: int) -> list[str]:
    """Sentences that are there twice or say nothing the web knows, and sections without one that stands."""
    faults, seen = [], set[str]()
    for title, one in verdicts:
        text = " ".join(one.sentence.text.lower().split())
        if text in seen:
            faults.append(f"structured: twice, in {title!r:.60}: {one.sentence.text!r:.120}")
        seen.add(text)
    empty = [one for _, one in verdicts if not one.claims]
    if len(empty) > sections:
        faults.append(f"structured: {len(empty)} sentences that claim nothing, in {sections} sections")
    for title in dict.fromkeys(title for title, _ in verdicts):
        if not any(one.facts for where, one in verdicts if where == title):
            faults.append(f"structured: no sentence of {title!r:.60} stands")
    return faults
