"""Selection of patches by tests that were written without seeing them: Kimi-Dev (arXiv 2509.23045, Sec. 4).

    S_i = sum_j FP(i, j) / sum_j F(j) + sum_j PP(i, j) / sum_j P(j)

over test files j: of its tests F(j) fail and P(j) pass on the code as it was; of the former FP(i, j) and of
the latter PP(i, j) pass with patch i. A test file that fails nowhere on the code as it was shows no fault
and is left out. Neither patches nor test files are compared with hidden tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

PatchT = TypeVar("PatchT")
FileT = TypeVar("FileT")

Outcome = Mapping[str, bool]
"""Whether each test of a test file passes, by name; empty for a file that could not be run."""


@dataclass(frozen=True)
class Executed:
    """What every test file said of the code as it was and of every patch.

    >>> before = ({"a": False, "b": True},)
    >>> Executed(before, (({"a": True, "b": True},), ({"a": False, "b": True},))).scores()
    [2.0, 1.0]
    """

    before: tuple[Outcome, ...]
    """Of each test file."""
    after: tuple[tuple[Outcome, ...], ...]
    """Of each patch, of each test file."""

    def counts(self) -> tuple[list[list[int]], list[int], list[list[int]], list[int]]:
        """FP, F, PP and P, of the test files that fail somewhere on the code as it was.

        A test that is not there with a patch does not pass with it.
        """
        kept = [j for j, outcome in enumerate(self.before) if not all(outcome.values())]
        failing = [{name for name, passed in self.before[j].items() if not passed} for j in kept]
        passing = [{name for name, passed in self.before[j].items() if passed} for j in kept]

        def passed(names: Sequence[set[str]]) -> list[list[int]]:
            return [
                [sum(patch[j].get(name, False) for name in names[k]) for k, j in enumerate(kept)]
                for patch in self.after
            ]

        return passed(failing), [*map(len, failing)], passed(passing), [*map(len, passing)]

    def scores(self) -> list[float]:
        """S of each patch."""
        return patch_scores(*self.counts())

    def repeated(self, times: Sequence[int]) -> Executed:
        """The same with test file j counted `times[j]` times."""
        order = [j for j, count in enumerate(times) for _ in range(count)]
        return Executed(
            tuple(self.before[j] for j in order),
            tuple(tuple(outcomes[j] for j in order) for outcomes in self.after),
        )


def patch_scores(
    fp: Sequence[Sequence[float]], f: Sequence[float], pp: Sequence[Sequence[float]], p: Sequence[float]
) -> list[float]:
    """S of each patch from FP[i][j], F[j], PP[i][j], P[j]; a sum over nothing adds nothing.

    >>> found = patch_scores([[1, 0], [1, 1], [0, 1]], [1, 1], [[4, 3], [2, 3], [4, 3]], [4, 3])
    >>> [round(s, 6) for s in found]
    [1.5, 1.714286, 1.5]
    """
    failing, passing = sum(f), sum(p)
    return [
        (sum(fixed) / failing if failing else 0.0) + (sum(kept) / passing if passing else 0.0)
        for fixed, kept in zip(fp, pp, strict=True)
    ]


def execute(
    patches: Sequence[PatchT],
    files: Sequence[FileT],
    run: Callable[[PatchT | None, Sequence[FileT]], Sequence[Outcome]],
) -> Executed:
    """Run every test file on the code as it was (None) and with every patch: one call of `run` for each.

    Files that fail nowhere are not run with patches: they do not count.
    """
    before = tuple(run(None, files))
    shown = [file for file, outcome in zip(files, before, strict=True) if not all(outcome.values())]
    after = []
    for patch in patches:
        found = iter(run(patch, shown) if shown else ())
        after.append(tuple({} if all(outcome.values()) else next(found) for outcome in before))
    return Executed(before, tuple(after))
