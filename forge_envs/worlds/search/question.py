"""A question and its proof: which facts the answer needs, and where each is stated."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Statement:
    """A fact as one page says it: the quote stands in that page's text word for word."""

    page: str
    """The page's address."""
    quote: str


@dataclass(frozen=True, slots=True)
class ProofStep:
    """One fact that the answer needs. Any of its statements gives it."""

    statements: tuple[Statement, ...]
    fact: str = ""
    """The fact in plain words, for people who check a proof."""


@dataclass(frozen=True, slots=True)
class ResearchQuestion:
    """A task of Forge/Search-v0 as it is told and judged."""

    text: str
    answer: str
    accepted: tuple[str, ...] = ()
    """Other spellings of the answer that count."""
    kind: str = ""
    """What the answer is: person, place, year, ..."""
    proof: tuple[ProofStep, ...] = ()
