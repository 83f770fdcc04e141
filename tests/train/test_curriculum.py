"""Which tasks are drawn when: cycles, rates, hard tasks, growing sets; and after a resume the same."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_train.config import CurriculumConfig, TemperatureConfig
from forge_train.play.admission import Admission
from forge_train.play.curriculum import Curriculum, Draw, Terms
from forge_train.play.difficulty import Plays, as_passes, read_passes
from forge_train.record.played import Played, RunSoFar
from forge_train.trajectory import Trajectory

TASKS = {"a": [f"a{i}" for i in range(12)], "b": [f"b{i}" for i in range(5)]}
EVEN = {"a": 1.0, "b": 1.0}


def curriculum(*, tasks: Any = None, seed: int = 0, latest: int = 0, **told: Any) -> Curriculum:
    passes, temperature = told.pop("measured", None), told.pop("temperature", TemperatureConfig())
    terms = Terms(CurriculumConfig(**told), temperature, start=1.0, latest=latest, passes=passes)
    tasks = tasks or TASKS
    return Curriculum(tasks, dict.fromkeys(tasks, 1.0), seed=seed, terms=terms)


def group(world: str, task: str, *outcomes: float, ending: Any = "terminated") -> list[Trajectory]:
    info = {"world": world, "task": task}
    return [Trajectory("g", rewards=[o], outcome=o, ending=ending, info=dict(info)) for o in outcomes]


def drawn(found: Curriculum, updates: int, groups: int = 4, begin: int = 0) -> list[Draw]:
    return [found.draw(i, i // groups) for i in range(begin * groups, updates * groups)]


# --- worlds -----------------------------------------------------------------------------------------


def test_worlds_take_whole_updates_in_turn() -> None:
    draws = drawn(curriculum(cycle=("a", "a", "a", "b")), 8)
    assert [{d.world for d in draws if d.update == u} for u in range(8)] == [*[{"a"}] * 3, {"b"}] * 2


@given(st.integers(0, 3), st.integers(0, 3), st.integers(1, 4), st.randoms(use_true_random=False))
def test_a_group_is_meant_for_the_update_that_takes_it(lag: int, spare: int, groups: int, rng: Any) -> None:
    """Whatever finishes first: exactly so without spare groups; with them it is never taken before."""
    books = Admission(groups, lag, spare=spare, updates=12)
    meant: dict[int, int] = {}
    refilled = 0
    for update in range(12):
        while True:
            while books.room:
                index = books.start()
                meant[index] = books.meant_for
                assert max(0, books.meant_for - books.latest) <= books.version, (
                    "what is known is known by then"
                )
            taken = books.take()
            if taken is not None:
                break
            useful = refilled >= 5 or rng.random() < 0.8
            refilled += not useful
            books.finish(rng.choice(books.playing), useful=useful)
        for index in taken:
            if not spare:
                assert meant[index] == update or refilled, (index, meant[index], update)
            if not refilled and not spare:
                assert meant[index] == index // groups
        books.updated()


def test_without_a_curriculum_draws_are_those_of_always() -> None:
    plain = Curriculum(TASKS, EVEN, seed=5)
    assert [plain.draw(i, i // 3) for i in range(60)] == [
        Draw(d.index, d.world, d.task, d.epoch, i // 3)
        for i, d in enumerate(Curriculum(TASKS, EVEN, seed=5).draw(i) for i in range(60))
    ]
    for epoch in range(3):
        seen = [d.task for d in map(plain.draw, range(60)) if d.world == "a" and d.epoch == epoch]
        assert len(seen) < 12 or sorted(seen) == sorted(TASKS["a"])


# --- by what was measured before ----------------------------------------------------------------------


def measured(world: str, rows: dict[str, tuple[int, int, int | None]]) -> dict[str, dict[str, Plays]]:
    return {world: {task: Plays(*row) for task, row in rows.items()}}


PASSES = measured("a", {"a0": (8, 0, None), "a1": (8, 1, 3), "a2": (8, 2, 1), "a3": (8, 6, 0),
                        "a4": (8, 7, 0), "a5": (8, 8, 0), "a6": (512, 2, 9), "a7": (512, 1, 300),
                        "a8": (512, 0, None), "a9": (4, 2, 0)})  # fmt: skip
ONE = {"a": TASKS["a"]}


@pytest.mark.parametrize(
    ("rates", "kept"),
    [
        ((0.25, 0.75), ["a10", "a11", "a2", "a3", "a9"]),
        ((0.0, 1.0), ["a1", "a10", "a11", "a2", "a3", "a4", "a6", "a7", "a9"]),
    ],
)
def test_tasks_outside_of_the_rates_are_not_played(rates: tuple[float, float], kept: list[str]) -> None:
    found = curriculum(tasks=ONE, rates=rates, passes="p", measured=PASSES, revisit=0)
    draws = drawn(found, 10)
    assert sorted({d.task for d in draws}) == kept, "those that were never played are"
    first = [d.task for d in draws if d.epoch == 0]
    assert sorted(first) == kept, "each once an epoch"


def test_every_few_epochs_everything_is_played() -> None:
    found = curriculum(tasks=ONE, rates=(0.25, 0.75), passes="p", measured=PASSES, revisit=3, online=False)
    by_epoch = Counter(d.epoch for d in drawn(found, 30))
    assert [by_epoch[e] for e in range(6)] == [5, 5, 12, 5, 5, 12]


def test_the_second_stage_plays_what_failed_at_first_and_was_solved_in_many() -> None:
    found = curriculum(tasks=ONE, passes="p", measured=PASSES, hard_from=3)
    draws = drawn(found, 8)
    assert {d.task for d in draws if d.update >= 3} == {"a6", "a7"}
    assert len({d.task for d in draws if d.update < 3}) == 12
    other = curriculum(tasks=ONE, passes="p", measured=PASSES, hard_from=3, hard=(2, 4))
    assert {d.task for d in drawn(other, 8) if d.update >= 3} == {"a1"}


def test_the_set_begins_with_what_was_solved_and_grows() -> None:
    told = {"tasks": ONE, "passes": "p", "measured": PASSES, "grow_by": 2, "grow_every": 5}
    found = curriculum(**told)
    solved = {"a1", "a2", "a3", "a4", "a5", "a6", "a9"}
    sets = [set(found.open("a", update)) for update in range(0, 31)]
    assert sets[0] == sets[4] == solved and len(sets[5]) == 9 and len(sets[10]) == 11
    assert all(sooner <= later for sooner, later in pairwise(sets))
    assert sets[30] == set(TASKS["a"])
    others = {tuple(curriculum(**told, seed=seed).open("a", 5)) for seed in range(9)}
    assert len(others) > 1, "which come is the seed's"
    assert {d.task for d in drawn(found, 5)} == solved
    fewer = curriculum(**told | {"grow_from": 2})
    assert set(fewer.open("a", 0)) == {"a2", "a3", "a4", "a5", "a9"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"hard_from": 1, "measured": measured("a", {"a1": (8, 4, 0)})}, ["hard_from = 1", "more --samples"]),
        ({"grow_by": 1, "measured": measured("a", {"a1": (8, 0, None)})}, ["grow_by = 1", "easier tasks"]),
        ({"rates": (0.2, 0.8), "measured": measured("x", {"a1": (8, 0, None)})}, ["none of the 12 tasks"]),
    ],
)
def test_a_measure_that_leaves_nothing_is_refused(told: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ValueError, match="curriculum") as error:
        curriculum(tasks=ONE, passes="p", **told)
    assert all(word in str(error.value) for word in words)


# --- by what happens in the run -----------------------------------------------------------------------


def test_what_updates_took_closes_and_opens_tasks() -> None:
    found = curriculum(tasks={"a": ["x", "y", "z"]}, rates=(0.25, 0.75), window=4, revisit=0)
    found.learned(0, [group("a", "x", 1, 1, 1, 1), group("a", "y", 0, 1, 1, 0)])
    assert found.open("a", 0) == ["x", "y", "z"], "nothing is known for the first update"
    assert found.open("a", 1) == ["y", "z"]
    found.learned(1, [group("a", "y", 0, 0, 0, 0), group("a", "z", 0, 0, 0, 0), group("a", "x", 1, 0, 0, 1)])
    assert found.open("a", 1) == ["y", "z"] and found.open("a", 2) == ["x"], "the newest plays count"
    found.learned(2, [group("a", "x", 1, 1, 1, 1)])
    assert found.open("a", 3) == ["x", "y", "z"], "rather all than none"


def test_late_groups_are_drawn_by_what_is_surely_known() -> None:
    found = curriculum(tasks={"a": ["x", "y"]}, rates=(0.25, 0.75), latest=2)
    found.learned(0, [group("a", "x", 1, 1)])
    found.learned(1, [group("a", "y", 1, 1), group("a", "x", 0, 1)])
    assert [found.open("a", u) for u in range(5)] == [["x", "y"]] * 3 + [["y"]] + [["x"]]


def test_machines_that_failed_are_no_plays() -> None:
    assert Played.of(group("a", "x", 0, 0, ending="failed")) == Played("a", "x", plays=0, solved=0)
    found = curriculum(tasks={"a": ["x", "y"]}, rates=(0.25, 0.75))
    found.learned(0, [group("a", "x", 0, 0, ending="failed")])
    assert found.open("a", 1) == ["x", "y"]
    found.learned(1, [group("a", "x", 0, 0, ending="tokens")])
    assert found.open("a", 2) == ["y"], "running out of room is the policy's affair"


def test_hard_tasks_are_drawn_in_proportion_to_what_fails() -> None:
    found = curriculum(tasks={"a": ["never", "half", "always"]}, order="prioritised", window=8)
    found.learned(
        0, [group("a", "never", *[0] * 8), group("a", "half", *[0, 1] * 4), group("a", "always", *[1] * 8)]
    )
    counts = Counter(found.draw(i, 1).task for i in range(3000))
    assert counts["always"] == 0 and 1.8 < counts["never"] / counts["half"] < 2.2
    assert [found.draw(i, 1).epoch for i in range(9)] == [
        [found.draw(j, 1).task for j in range(i)].count(found.draw(i, 1).task) for i in range(9)
    ]
    solved = curriculum(tasks={"a": ["x", "y"]}, order="prioritised")
    solved.learned(0, [group("a", "x", 1, 1), group("a", "y", 1, 1)])
    assert len({solved.draw(i, 1).task for i in range(30)}) == 2, "all alike where all are solved"


WAYS: list[dict[str, Any]] = [
    {"rates": (0.25, 0.75), "window": 2, "revisit": 3},
    {"order": "prioritised"},
    {"cycle": ("a", "b", "b"), "rates": (0.0, 1.0), "horizons": ((0, 2), (3, 4))},
    {"grow_by": 2, "grow_every": 2, "passes": "p", "measured": PASSES | measured("b", {"b1": (4, 1, 0)})},
]


@given(st.sampled_from(WAYS), st.integers(0, 2), st.integers(0, 9), st.integers(1, 7), st.randoms())
def test_a_run_that_goes_on_draws_what_it_would_have(
    way: dict[str, Any], latest: int, seed: int, cut: int, rng: random.Random
) -> None:
    groups, falls = 3, TemperatureConfig(decay="cosine", end=0.5, steps=6)
    whole = curriculum(seed=seed, latest=latest, temperature=falls, **way)
    taken: dict[int, list[Played]] = {}
    draws: list[Draw] = []
    for update in range(10):
        while len(draws) < min(update + latest + 1, 10) * groups:
            draws.append(whole.draw(len(draws), len(draws) // groups))
        rows = [group(d.world, d.task, *(float(rng.random() < 0.5) for _ in range(2)))
                for d in draws if d.update == update]  # fmt: skip
        whole.learned(update, rows)
        taken[update] = [one for row in rows if (one := Played.of(row))]
    again = curriculum(seed=seed, latest=latest, temperature=falls, **way)
    begun = min(cut + latest, 10) * groups
    again.remember(RunSoFar([d.update for d in draws[:begun]], {u: t for u, t in taken.items() if u < cut}))
    for update in range(cut, 10):
        begun = max(begun, min(update + latest + 1, 10) * groups)
        assert [again.draw(i, i // groups) for i in range(begun)] == draws[:begun]
        again._difficulty.learned(update, taken[update])
        again._opened.clear()


# --- how they are played ------------------------------------------------------------------------------


def test_what_held_out_tasks_chose_is_the_temperature_from_then_on() -> None:
    grid = TemperatureConfig(grid=(1.0, 1.2), plateau=2, gain=0.0, split="validation")
    found = curriculum(temperature=grid)
    found.warmed(4, 1.2)
    found.warmed(8, 1.1)
    assert [found.temperature(u) for u in (0, 3, 4, 7, 8)] == [1.0, 1.0, 1.2, 1.2, 1.1]
    late = curriculum(temperature=grid, latest=1)
    late.warmed(4, 1.2)
    assert [late.temperature(u) for u in (4, 5, 6, 7)] == [1.0, 1.0, 1.2, 1.2], "chosen beside draws"
    assert curriculum().temperature(7) is None


def test_a_draw_says_how_long_and_how_warm() -> None:
    terms = Terms(
        CurriculumConfig(horizons=((0, 3), (2, 9))),
        TemperatureConfig(decay="linear", end=0.6, steps=4),
        start=1.0,
        budgets={"a": 100, "b": 0},
    )
    found = Curriculum(TASKS, EVEN, seed=0, terms=terms)
    draws = [found.draw(i, i) for i in range(6)]
    assert [d.turns for d in draws] == [3, 3, 9, 9, 9, 9]
    assert [round(d.temperature or 0, 3) for d in draws] == [1.0, 0.9, 0.8, 0.7, 0.6, 0.6]
    assert {d.tokens for d in draws if d.world == "a"} == {100}
    assert {d.tokens for d in draws if d.world == "b"} == {0}


# --- files --------------------------------------------------------------------------------------------


COUNTS = st.integers(0, 9).flatmap(
    lambda n: st.builds(Plays, st.just(n), st.integers(0, n), st.none() | st.integers(0, 9))
)


@given(
    st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(max_size=4), COUNTS, max_size=3), max_size=3)
)
@settings(max_examples=15, deadline=None)
def test_what_is_written_is_read(tmp_path_factory: Any, worlds: dict[str, dict[str, Plays]]) -> None:
    path = tmp_path_factory.mktemp("passes") / "passes.json"
    text = as_passes(worlds, by="x", temperature=1.0)
    path.write_text(text)
    assert read_passes(path) == worlds
    assert json.loads(text)["by"] == "x"


@pytest.mark.parametrize("text", ["", "[]", '{"worlds": {"a": {"t": {"plays": 1}}}}', '{"worlds": []}'])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(ValueError, match="forge-train difficulty writes such files"):
        read_passes(tmp_path / "p.json")
    with pytest.raises(ValueError, match="no such file"):
        read_passes(tmp_path / "q.json")
