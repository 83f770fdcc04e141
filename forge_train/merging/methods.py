"""How experts become one: pure functions of one weight at a time.

Shapes: every tensor is about one weight of the model, of any shape. `deltas_E` has, for each of E experts,
its weight minus that of the model all began as, the base (a task vector), in float32. Returned is what is
added to the base's. Nothing here knows of other weights, so that a model of any size is merged one by one.

Sources: task arithmetic arXiv 2212.04089, TIES 2306.01708, DARE 2311.03099, SCE 2408.07990 (FuseChat) and, as
Klear-AgentForge prints it, 2511.05951 Eq. 9-11; where arcee-ai/mergekit 0.1.4 differs, it is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Consensus = Literal["minority", "unanimous", "none"]
"""Which entries survive that experts disagree on: see `sce_paper`."""

TINY = 1e-6
"""Below this weights are no weights: mergekit's bound."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to merge.

    >>> Recipe("ties", (1.0, 2.0)).kept
    0.2
    """

    method: str
    weights: tuple[float, ...]
    """One an expert. SCE measures its own and does not look at them."""
    density: float | None = None
    """Share of a weight's entries that count; None is the method's own."""
    scale: float = 1.0
    """What the merged change is multiplied with (lambda)."""
    renormalize: bool = True
    """SCE: divide each entry by the weights of the experts that kept it, as mergekit does."""
    consensus: Consensus = "minority"
    """SCE as Klear prints it: what C stands for."""
    floor: float = 0.0
    """SCE: experts whose mean squared entries add up to less weigh the same. mergekit has 1e-6, which the
    small changes of reinforcement never reach: a weight that moved by 1e-4 everywhere has 1e-8."""
    seed: int = 0
    """DARE: which entries are dropped."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: use one of {', '.join(METHODS)}")
        if self.density is not None and not 0 < self.density <= 1:
            raise ValueError(f"density={self.density}: the share of entries that count lies in (0, 1]")
        if len(self.weights) < 1 or not all(map(math.isfinite, self.weights)):
            raise ValueError(f"weights={list(self.weights)}: give a number for each expert")
        if self.method in NORMALISED and abs(math.fsum(self.weights)) < TINY:
            raise ValueError(
                f"weights={list(self.weights)}: {self.method} divides by their sum, and it is 0; give others"
            )
        if not math.isfinite(self.scale):
            raise ValueError(f"scale={self.scale}: give a number")

    @property
    def kept(self) -> float:
        """`density`, or what the method's paper takes."""
        return DENSITY.get(self.method, 1.0) if self.density is None else self.density

    def change(self, deltas: Sequence[Tensor], generator: torch.Generator) -> Tensor:
        """What is added to the base; `generator` is of this weight alone."""
        return self.scale * METHODS[self.method](torch.stack(list(deltas)), self, generator)


def linear(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """The mean of the experts (model soups, arXiv 2203.05482): sum_i w_i D_i / sum_i w_i.

    That of the weights themselves is base + this, whatever the base is.
    """
    return _weighted(deltas_E, recipe).sum(0) / math.fsum(recipe.weights)


def task_arithmetic(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """sum_i w_i D_i (arXiv 2212.04089, sec. 2): the changes add up, they are not averaged."""
    return _weighted(deltas_E, recipe).sum(0)


def ties(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Trim, elect a sign, merge those that agree with it (arXiv 2306.01708, Algorithm 1).

    Each expert keeps its `density` largest entries; the sign of an entry is that of sum_i w_i D_i; its value
    the weighted mean over experts whose entry has that sign. Where the sum is 0 the sign is +, as in
    mergekit.

    >>> deltas_E = torch.tensor([[1.0, -2.0, 0.1], [2.0, 1.0, 0.1]])
    >>> ties(deltas_E, Recipe("ties", (1, 1), 1.0), torch.Generator())
    tensor([ 1.5000, -2.0000,  0.1000])
    """
    trimmed_E = torch.stack([_largest(delta, recipe.kept) for delta in deltas_E])
    return _agreeing(trimmed_E, recipe, mean=True)


def dare_linear(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Drop entries at random, rescale the others by 1 / density, add up (arXiv 2311.03099, Eq. 2-4).

    Its expectation is task arithmetic. mergekit rescales to the same L1 norm instead, which is nearly that
    for a large weight and is not unbiased.
    """
    return _weighted(_dropped(deltas_E, recipe.kept, generator), recipe).sum(0)


def dare_ties(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """DARE's dropping, then TIES' election of a sign; what agrees is added up, as in mergekit."""
    return _agreeing(_dropped(deltas_E, recipe.kept, generator), recipe, mean=False)


def sce(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """Select, calculate, erase (arXiv 2408.07990, sec. 3.2), as mergekit computes it.

    1. Of the entries on which experts differ, the `density` share with the largest variance over experts is
       kept: k = int(number of entries with variance > 0 x density).
    2. w_i = mean of D_i^2, of what was kept, over the sum of these; equal ones where that is below `floor`.
    3. The sign of an entry is that of sum_i D_i (0 counts as +); what has another one, or is 0, is erased.

    With `renormalize` an entry is sum_i w_i D_i / sum_i w_i over those that kept it, else the sum alone.

    >>> deltas_E = torch.tensor([[1.0, -2.0, 0.1, 3.0], [2.0, 1.0, 0.1, -1.0]])
    >>> sce(deltas_E, Recipe("sce", (1, 1), 0.5), torch.Generator())
    tensor([0.0000, 0.0000, 0.0000, 3.0000])
    """
    count = int(torch.count_nonzero(_variance(deltas_E)) * recipe.kept)
    if recipe.kept < 1:
        deltas_E = deltas_E * _most_varied(deltas_E, count)
    weight_E = energies(deltas_E, recipe.floor).view(-1, *[1] * (deltas_E.dim() - 1))
    kept_E = weight_E * agree(deltas_E)
    merged = (deltas_E * kept_E).sum(0)
    return merged / kept_E.sum(0).clamp(min=TINY) if recipe.renormalize else merged


def sce_paper(deltas_E: Tensor, recipe: Recipe, generator: torch.Generator) -> Tensor:
    """SCE as Klear-AgentForge prints it (arXiv 2511.05951, Eq. 9-11): (sum_i w_i D_i) x C x M.

    w_i = |D_i|^2 over the sum of these, of all entries; M keeps the k = int(entries x density) with the
    largest variance; nothing is renormalised. C is "a sign-consensus mask" that the paper does not define:
    "minority" erases, expert by expert, what has not the sign of the sum (SCE's own third step); "unanimous"
    keeps an entry where no two experts have opposite signs; "none" is C = 1.

    >>> deltas_E = torch.tensor([[1.0, -2.0, 0.1, 3.0], [2.0, 1.0, 0.1, -1.0]])
    >>> sce_paper(deltas_E, Recipe("sce_paper", (1, 1), 0.5, consensus="none"), torch.Generator())
    tensor([ 0.0000, -1.0994,  0.0000,  1.7992])
    """
    weight_E = energies(deltas_E, recipe.floor).view(-1, *[1] * (deltas_E.dim() - 1))
    weighted_E = weight_E * deltas_E
    if recipe.consensus == "minority":
        weighted_E = weighted_E * agree(deltas_E)
    merged = weighted_E.sum(0)
    if recipe.consensus == "unanimous":
        merged = merged * ~((deltas_E > 0).any(0) & (deltas_E < 0).any(0))
    if recipe.kept < 1:
        merged = merged * _most_varied(deltas_E, int(deltas_E[0].numel() * recipe.kept))
    return merged


def energies(deltas_E: Tensor, floor: float = 0.0) -> Tensor:
    """Weights of SCE, E of them: mean of D_i^2 over the sum of these; equal ones where that is below `floor`.

    >>> energies(torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -1.0]]))
    tensor([0.9000, 0.1000])
    """
    energy_E = deltas_E.flatten(1).square().mean(1)
    total = energy_E.sum()
    return energy_E / total if float(total) > floor else torch.full_like(energy_E, 1 / len(energy_E))


def agree(deltas_E: Tensor) -> Tensor:
    """Whether an entry has the sign of the sum over experts; 0 has none, a sum of 0 counts as +."""
    return deltas_E.sign() == torch.where(deltas_E.sum(0) >= 0, 1.0, -1.0)


def _weighted(deltas_E: Tensor, recipe: Recipe) -> Tensor:
    weight_E = torch.tensor(recipe.weights, dtype=deltas_E.dtype)
    return deltas_E * weight_E.view(-1, *[1] * (deltas_E.dim() - 1))


def _agreeing(deltas_E: Tensor, recipe: Recipe, *, mean: bool) -> Tensor:
    """Sum, or weighted mean, of what has the elected sign."""
    weighted_E = _weighted(deltas_E, recipe)
    agreed_E = agree(weighted_E)
    merged = (weighted_E * agreed_E).sum(0)
    if not mean:
        return merged
    divisor = _weighted(agreed_E.to(deltas_E.dtype), recipe).sum(0)
    return merged / torch.where(divisor == 0, 1.0, divisor)


def _largest(delta: Tensor, density: float) -> Tensor:
    """The largest entries by magnitude, at least one; 0 elsewhere."""
    if density >= 1:
        return delta
    flat = delta.flatten()
    kept = flat.abs().topk(max(1, int(density * flat.numel()))).indices
    return torch.zeros_like(flat).index_copy(0, kept, flat[kept]).view_as(delta)


def _dropped(deltas_E: Tensor, density: float, generator: torch.Generator) -> Tensor:
    if density >= 1:
        return deltas_E
    kept_E = torch.rand(deltas_E.shape, generator=generator) < density
    return deltas_E * kept_E / density


def _variance(deltas_E: Tensor) -> Tensor:
    return deltas_E.var(0, unbiased=False)


def _most_varied(deltas_E: Tensor, count: int) -> Tensor:
    """1 at the `count` entries with the largest variance over experts, 0 elsewhere."""
    variance = _variance(deltas_E)
    mask = torch.zeros_like(variance)
    if count:
        mask.view(-1)[variance.flatten().topk(count).indices] = 1
    return mask


Method = Callable[[Tensor, Recipe, torch.Generator], Tensor]

METHODS: dict[str, Method] = {
    "sce": sce,
    "sce_paper": sce_paper,
    "linear": linear,
    "task_arithmetic": task_arithmetic,
    "ties": ties,
    "dare_linear": dare_linear,
    "dare_ties": dare_ties,
}
NORMALISED = frozenset({"linear", "ties"})
"""Methods that divide by weights."""
WITHOUT_BASE = frozenset({"linear"})
"""Methods whose result does not depend on where the experts began."""
MEASURED = frozenset({"sce", "sce_paper"})
"""Methods that measure their own weights."""
DENSITY = {"ties": 0.2, "dare_linear": 0.1, "dare_ties": 0.1}
"""What the papers keep: TIES the top 20%, DARE drops 90%. SCE: everything (mergekit's default)."""
