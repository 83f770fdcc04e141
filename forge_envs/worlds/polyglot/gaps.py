"""Exercises of the Aider polyglot benchmark that cannot be played here, or not shown solved, and why."""

from __future__ import annotations

REFACTORING = "it asks for other code that does the same, so that its stub passes"

GAPS = {
    "java/mazy-mice": "its tests call hasDimensions of AssertJ 3.17 or newer; Debian 12 has 3.14",
    "java/hangman": "it is solved with RxJava 2, which only Maven Central has",
    "go/counter": "it asks for tests and has none of its own, so that its stub passes",
    "go/ledger": REFACTORING,
    "go/markdown": REFACTORING,
    "java/ledger": REFACTORING,
    "java/tree-building": REFACTORING,
    "javascript/ledger": REFACTORING,
}
"""Not playable, with the reason."""

NO_EXAMPLE = {
    "rust/alphametics": "itertools and permutohedron",
    "rust/decimal": "num-bigint and num-traits",
    "rust/grep": "thiserror",
    "rust/pig-latin": "regex",
    "rust/poker": "counter",
    "rust/robot-name": "rand 0.3",
}
"""Playable, but the reference solution wants crates that the exercise's own Cargo.toml does not have."""
