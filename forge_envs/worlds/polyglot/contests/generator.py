"""Problems from seeds: always the same one for a seed, checked before anybody sees it, none of them twice."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from forge_envs.errors import TaskError
from forge_envs.worlds.polyglot.contests import level1, level2, level3
from forge_envs.worlds.polyglot.contests.family import Family, choose, key
from forge_envs.worlds.polyglot.contests.problem import (
    FILE,
    Case,
    Contest,
    Style,
    make_case,
    program,
    statement,
    stub,
)
from forge_envs.worlds.polyglot.exercise import Puzzle

LEVELS: dict[int, tuple[Family[Any], ...]] = {1: level1.LEVEL, 2: level2.LEVEL, 3: level3.LEVEL}
STYLES: tuple[Style, ...] = ("stdin", "unit")
SPLITS = ("train", "test")
PREFIX = "contest"
SAMPLES, SMALL, MEDIUM, LARGE = 2, 8, 6, 2
"""How many cases are shown, and how many of each size are hidden."""
TRIALS, DIFFERENT = 12, 5
"""Of so many small cases so many have answers of their own."""
LIMIT = 10.0
"""Seconds for one case; the solutions of this package take about a tenth of one."""
SEEDS = 1 << 40


class Contests:
    """Problems of a level; 0 mixes the levels."""

    def __init__(self, level: int) -> None:
        self._level = level

    def ids(self, split: str | None, n: int | None) -> list[str]:
        """The first `n` ids of a split (without a split, of each in turn), no two of the same problem."""
        n = 100 if n is None else n
        splits = SPLITS if split is None else (split,)
        walks = [self._unlike(one) for one in splits]
        return [next(walks[i % len(walks)]) for i in range(n)]

    def find(self, task_id: str) -> Puzzle:
        """The problem of an id such as "contest/train/2/17". Raises TaskError."""
        prefix, split, level, seed = (*task_id.split("/"), "", "", "", "")[:4]
        numbers = level.isdecimal() and level.isascii() and seed.isdecimal() and seed.isascii()
        if prefix != PREFIX or split not in SPLITS or not numbers or task_id.count("/") != 3:
            raise TaskError(f"unknown task {task_id!r}; tasks are called like '{PREFIX}/train/1/0'")
        if int(level) not in LEVELS or int(seed) >= SEEDS or f"{int(seed)}" != seed:
            raise TaskError(f"unknown task {task_id!r}: levels are 1 to 3, seeds 0 to {SEEDS - 1}")
        return build(split, int(level), int(seed))

    def draw(self, split: str, rng: np.random.Generator) -> Puzzle:
        """A problem of a split at random."""
        level = self._level or int(rng.integers(1, len(LEVELS) + 1))
        return build(split, level, int(rng.integers(SEEDS)))

    def _unlike(self, split: str) -> Iterator[str]:
        """Ids of a split without end, each of another problem than all before it."""
        seen: set[str] = set()
        for seed in range(SEEDS):
            level = self._level or seed % len(LEVELS) + 1
            problem = identity(split, level, seed)
            if problem not in seen:
                seen.add(problem)
                yield f"{PREFIX}/{split}/{level}/{seed}"


def identity(split: str, level: int, seed: int) -> str:
    """What is asked by a seed's problem, as text: two seeds with the same have the same problem."""
    family, parameters, _, _ = _drawn(split, level, seed)
    return key(family.name, parameters)


def _drawn(split: str, level: int, seed: int) -> tuple[Family[Any], Any, Style, np.random.Generator]:
    """Family, parameters and style of a seed. The problem itself decides its split, so none is in both."""
    rng = np.random.default_rng([SPLITS.index(split), level, seed])
    while True:
        family = choose(rng, LEVELS[level])
        parameters = family.draw(rng)
        if split_of(key(family.name, parameters)) == split and _tells_apart(family, parameters):
            return family, parameters, choose(rng, STYLES), rng


@lru_cache(maxsize=4096)
def _tells_apart(family: Family[Any], parameters: Any) -> bool:
    """Whether answers differ from case to case: a problem that is nearly always 0 teaches nothing."""
    rng = np.random.default_rng(zlib.crc32(key(family.name, parameters).encode()))
    solve = solver(family.solution(parameters))
    return len({str(solve(*family.sample(parameters, rng, 0))) for _ in range(TRIALS)}) >= DIFFERENT


def split_of(problem: str) -> str:
    """The split of a problem: one in four is for tests."""
    return "test" if zlib.crc32(problem.encode()) % 4 == 0 else "train"


@lru_cache(maxsize=64)
def build(split: str, level: int, seed: int) -> Contest:
    """The problem of a seed, with its cases; its solution was compared with brute force on the small ones."""
    family, parameters, style, rng = _drawn(split, level, seed)
    arguments, source = family.arguments(parameters), family.solution(parameters)
    solve = solver(source)
    cases = []
    for size, count in ((0, SAMPLES + SMALL), (1, MEDIUM), (2, LARGE)):
        for _ in range(count):
            values = family.sample(parameters, rng, size)
            answer = solve(*values)
            if size == 0:
                _compare(family, parameters, values, answer)
            cases.append(make_case(style, arguments, values, answer))
    task_id = f"{PREFIX}/{split}/{level}/{seed}"
    return Contest(
        id=task_id,
        language="python",
        name="contest",
        prompt=statement(style, arguments, family.asked(parameters), cases[:SAMPLES]),
        stubs={FILE: stub(style, arguments, family.answer)},
        example={FILE: program(style, arguments, source)},
        style=style,
        cases=_hidden(cases),
        limit=LIMIT,
    )


def solver(source: str) -> Callable[..., Any]:
    """The function `solve` of a solution that this package wrote."""
    scope: dict[str, Any] = {}
    exec(source, scope)
    solve: Callable[..., Any] = scope["solve"]
    return solve


def _compare(family: Family[Any], parameters: Any, values: Any, answer: Any) -> None:
    slow = family.brute(parameters, *values)
    if slow != answer:
        text = (
            f"{family.name} with {parameters}: the solution says {answer!r}, brute force {slow!r}, on "
            f"{values!r}"
        )
        raise AssertionError(text)


def _hidden(cases: list[Case]) -> tuple[Case, ...]:
    """All cases but the shown ones, each once."""
    shown = {case.given for case in cases[:SAMPLES]}
    return tuple({case.given: case for case in cases if case.given not in shown}.values())
