"""A world so small that every gradient is known, and the properties that any trainer should keep in it.

The policy is a table: the logit of the next token depends on the token before it alone, so the gradient of
-sum(w A log pi) is -w A (onehot - softmax), written down here by hand. A trainer is given whole episodes and
asked for the gradient it would step with. Needs torch and nothing else: it runs in each library's own Python.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from typing import Protocol

import torch
from torch import Tensor

VOCAB = 8
PAD, EOS, START, A, B, WORLD_ONLY, MASKED_ONLY, HEARD = range(VOCAB)
"""WORLD_ONLY is followed by the world's tokens alone, MASKED_ONLY said by members without a verdict alone."""
CONSTANT = 10.0
"""What the unit "constant" divides by, per episode."""
CLOSE = 1e-4
"""Largest distance of two gradients that are the same, over the length of the longer."""

GREEN, RED, NOT_OFFERED = "green", "red", "not offered"
Cell = tuple[str, str]
"""How a property fared, and what was seen."""


@dataclass(frozen=True)
class Episode:
    """Rows of tokens with the turn that wrote each (-1: the world), and what each turn earned."""

    rows: list[list[tuple[int, int]]]
    rewards: list[float]
    graded: bool = True
    """False: a machine failed, so nobody may learn from it."""


Group = list[Episode]


class Trainer(Protocol):
    """What is asked of a library: the gradient [VOCAB, VOCAB] of its loss by the table."""

    units: tuple[str, ...]
    """What it can divide by: of token, episode, constant, sum; the first is the one used elsewhere."""
    rows: bool
    """Whether an episode may have several rows."""

    def gradient(
        self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None
    ) -> Tensor: ...


def episode(*rows: str, earns: Sequence[float] = (), graded: bool = True) -> Episode:
    """Rows as text: stretches of tokens, the world's and the policy's in turns.

    >>> episode("2 | 3 1", earns=[1.0]).rows
    [[(2, -1), (3, 0), (1, 0)]]
    """
    turn, found = -1, []
    for text in rows:
        row: list[tuple[int, int]] = []
        for i, stretch in enumerate(text.split("|")):
            turn += i % 2
            row += [(int(token), turn if i % 2 else -1) for token in stretch.split()]
        found.append(row)
    return Episode(found, [*earns, *[0.0] * (turn + 1 - len(earns))], graded)


def groups() -> list[Group]:
    """Two groups of three; lengths, turns and openings differ."""
    return [
        [
            episode("2 | 3 4 | 5 7 | 3 1", earns=[0.0, 1.0]),
            episode("2 | 4 1", earns=[0.0]),
            episode("2 | 3 3 4 3 | 5 7 | 4 | 5 7 | 4 1", earns=[0.0, 0.0, 0.25]),
        ],
        [
            episode("2 7 | 4 | 5 7 | 1", earns=[0.0, 0.5]),
            episode("2 7 | 3 1", earns=[0.25]),
            episode("2 7 | 4 4 3 3 3 1", earns=[1.0]),
        ],
    ]


def table() -> Tensor:
    return torch.randn(VOCAB, VOCAB, generator=torch.Generator().manual_seed(0)) * 0.7


def centred(group: Group) -> list[float]:
    """Return minus the mean of those that were graded; 0 for the others."""
    returns = [sum(e.rewards) for e in group if e.graded]
    mean = sum(returns) / max(len(returns), 1)
    return [sum(e.rewards) - mean if e.graded else 0.0 for e in group]


def by_hand(table: Tensor, moves: Sequence[tuple[int, int, float]]) -> Tensor:
    """Gradient of -sum(weight log pi(token | before)) for (before, token, weight)."""
    gradient, chances = torch.zeros(VOCAB, VOCAB), table.softmax(-1)
    for before, token, weight in moves:
        gradient[before] += weight * chances[before]
        gradient[before, token] -= weight
    return gradient


def moves(e: Episode, credit: Callable[[int], float]) -> list[tuple[int, int, float]]:
    """Each token the policy wrote, with the credit of its turn."""
    return [
        (row[i - 1][0], token, credit(turn))
        for row in e.rows
        for i, (token, turn) in enumerate(row)
        if turn >= 0
    ]


def reference(table: Tensor, groups: list[Group], unit: str) -> Tensor:
    """REINFORCE with the centred return, divided by what the unit says; members not graded do not exist."""
    kept = [(e, a) for g in groups for e, a in zip(g, centred(g), strict=True) if e.graded]
    tokens = [sum(turn >= 0 for row in e.rows for _, turn in row) for e, _ in kept]
    divisor = {
        "token": lambda n: sum(tokens),
        "episode": lambda n: n * len(kept),
        "constant": lambda n: CONSTANT * len(kept),
        "sum": lambda n: 1,
    }[unit]
    weighted = []
    for (e, advantage), n in zip(kept, tokens, strict=True):
        weight = advantage / divisor(n)
        weighted += moves(e, lambda turn, weight=weight: weight)  # type: ignore[misc]
    return by_hand(table, weighted)


def apart(a: Tensor, b: Tensor) -> float:
    """Distance of two gradients over the length of the longer; not a number counts as far."""
    longer = max(float(a.norm()), float(b.norm()), 1e-12)
    distance = float((a - b).norm()) / longer
    return distance if distance == distance else float("inf")


def same(a: Tensor, b: Tensor, what: str) -> Cell:
    distance = apart(a, b)
    return (GREEN if distance <= CLOSE else RED), f"{what}: {distance:.1e} apart"


# -- the properties --------------------------------------------------------------------------------


def on_policy(t: Trainer) -> Cell:
    unit = t.units[0]
    return same(t.gradient(table(), groups(), unit), reference(table(), groups(), unit), "REINFORCE by hand")


def world_tokens(t: Trainer) -> Cell:
    moved = float(t.gradient(table(), groups(), t.units[0])[WORLD_ONLY].abs().max())
    return (GREEN if moved == 0.0 else RED), f"gradient where only the world speaks: {moved:.1e}"


def unit_of(unit: str) -> Callable[[Trainer], Cell]:
    def check(t: Trainer) -> Cell:
        if unit not in t.units:
            return NOT_OFFERED, f"divides by: {', '.join(t.units)}"
        return same(
            t.gradient(table(), groups(), unit), reference(table(), groups(), unit), f"mean by {unit}"
        )

    return check


def with_failed() -> list[Group]:
    """Each group with one member more, whom a machine failed."""
    failed = episode(f"2 | 3 {MASKED_ONLY} {MASKED_ONLY} {MASKED_ONLY} 4", graded=False)
    return [[*group, failed] for group in groups()]


def masked_itself(t: Trainer) -> Cell:
    moved = float(t.gradient(table(), with_failed(), t.units[0])[MASKED_ONLY].abs().max())
    return (GREEN if moved == 0.0 else RED), f"gradient where only it speaks: {moved:.1e}"


def masked_others(t: Trainer) -> Cell:
    cells = []
    for unit in t.units:
        without = t.gradient(table(), groups(), unit)
        cells.append(same(t.gradient(table(), with_failed(), unit), without, f"mean by {unit}"))
    return (RED if RED in dict(cells) else GREEN), "; ".join(seen for _, seen in cells)


def micro_batches(t: Trainer) -> Cell:
    cells = [
        same(t.gradient(table(), groups(), unit, micro=1), t.gradient(table(), groups(), unit), unit)
        for unit in t.units
    ]
    return (RED if RED in dict(cells) else GREEN), "; ".join(seen for _, seen in cells)


def group_split(t: Trainer) -> Cell:
    unit = t.units[0]
    return same(
        t.gradient(table(), groups(), unit, micro=2),
        reference(table(), groups(), unit),
        "groups of 3 in twos",
    )


def constant_groups(t: Trainer) -> Cell:
    alike = [[episode(f"2 | {said} 1", earns=[0.7]) for said in ("3", "4", "3 3")]] * 2
    moved = float(t.gradient(table(), alike, t.units[0]).abs().max())
    return (GREEN if moved <= 1e-7 else RED), f"largest gradient: {moved:.1e}"


def several_rows(t: Trainer) -> Cell:
    if not t.rows:
        return NOT_OFFERED, "one row an episode"
    cut = groups()
    cut[0][2] = episode("2 | 3 3 4 3", "7 | 4 | 5 7 | 4 1", earns=[0.0, 0.0, 0.25])
    cells = [same(t.gradient(table(), cut, u), reference(table(), cut, u), f"mean by {u}") for u in t.units]
    return (RED if RED in dict(cells) else GREEN), "; ".join(seen for _, seen in cells)


def toy() -> tuple[Tensor, Group]:
    """Stop (1/3) or go on (2/3), and then right or wrong: three episodes, each with probability 1/3."""
    logits = torch.full((VOCAB, VOCAB), -30.0)
    logits[START, A], logits[START, EOS] = torch.log(torch.tensor(2 / 3)), torch.log(torch.tensor(1 / 3))
    logits[HEARD, A] = logits[HEARD, B] = 0.0
    right = episode(f"2 | {A} | 5 7 | {A}", earns=[0.1, 1.0])
    return logits, [episode("2 | 1", earns=[0.5]), right, episode(f"2 | {A} | 5 7 | {B}", earns=[0.1, 0.2])]


def toy_groups() -> list[Group]:
    """All groups of three; each is equally likely, so their mean is the expectation."""
    return [list(found) for found in itertools.product(toy()[1], repeat=3)]


def toy_truth() -> Tensor:
    """Gradient of minus the expected return."""
    logits, outcomes = toy()
    return by_hand(
        logits, [m for e in outcomes for m in moves(e, lambda turn, e=e: sum(e.rewards[turn:]) / 3)]
    )  # type: ignore[misc]


def direction(gradient: Tensor) -> float:
    """Cosine of a gradient with the truth of the toy."""
    truth = toy_truth()
    return float((gradient * truth).sum() / (gradient.norm() * truth.norm()).clamp(min=1e-12))


def stop_or_continue(t: Trainer) -> Cell:
    cosine = direction(t.gradient(toy()[0], toy_groups(), t.units[0]))
    return (GREEN if cosine > 1 - CLOSE else RED), f"cosine of expected and true gradient {cosine:.4f}"


PROPERTIES: dict[str, Callable[[Trainer], Cell]] = {
    "on policy it is REINFORCE": on_policy,
    "the world's tokens get none": world_tokens,
    "mean by token": unit_of("token"),
    "mean by episode": unit_of("episode"),
    "a constant divisor": unit_of("constant"),
    "a failed member's tokens move nothing": masked_itself,
    "a failed member changes nobody's gradient": masked_others,
    "micro-batches change no gradient": micro_batches,
    "a group split over micro-batches": group_split,
    "equal returns give zero": constant_groups,
    "several rows an episode": several_rows,
    "stop or continue": stop_or_continue,
}
"""Asked of every trainer in the same way."""

OWN = ("a group of one", "padding changes nothing", "a turn's reward moves no later turn")
"""Properties that each library is asked in its own words."""


@dataclass
class Library:
    """One trainer under test: how it is asked, what is special to it, and what shows its faults."""

    trainer: Trainer
    version: str
    own: dict[str, Callable[[], Cell]] = field(default_factory=dict)
    overrides: dict[str, Cell] = field(default_factory=dict)
    """Properties it does not offer, with the reason."""
    shown: dict[str, str] = field(default_factory=dict)
    """For a red property: at most three lines that show it, run as they stand."""


class Remembered:
    """A trainer that is asked once for each gradient."""

    def __init__(self, trainer: Trainer) -> None:
        self.units, self.rows, self._trainer = trainer.units, trainer.rows, trainer
        self._found: dict[str, Tensor] = {}

    def gradient(self, table: Tensor, groups: list[Group], unit: str, *, micro: int | None = None) -> Tensor:
        key = repr((table.tolist(), groups, unit, micro))
        if key not in self._found:
            self._found[key] = self._trainer.gradient(table, groups, unit, micro=micro)
        return self._found[key]


def examine(library: Library) -> dict[str, object]:
    """All cells, and what the three lines of each red one print."""
    trainer = Remembered(library.trainer)
    checks: dict[str, Callable[[], Cell]] = {
        name: lambda check=check: check(trainer)  # type: ignore[misc]
        for name, check in PROPERTIES.items()
    }
    checks |= {name: lambda: (NOT_OFFERED, "") for name in OWN} | library.own
    cells: dict[str, dict[str, str]] = {}
    for name, check in checks.items():
        try:
            state, seen = library.overrides.get(name) or check()
        except ImportError as error:
            state, seen = NOT_OFFERED, f"cannot be imported here: {error}"
        cells[name] = {"state": state, "seen": seen}
        if state == RED and name in library.shown:
            cells[name] |= {"lines": library.shown[name], "prints": run_lines(library.shown[name])}
    return {"version": library.version, "cells": cells}


def run_lines(lines: str) -> str:
    printed = StringIO()
    with redirect_stdout(printed):
        exec(lines, {})
    return printed.getvalue().strip()


def answer(library: Library) -> None:
    """Print the examination as the last line, for the parent."""
    print(json.dumps(examine(library)))
    sys.stdout.flush()
