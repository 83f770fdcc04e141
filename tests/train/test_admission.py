"""Admission: no group is ever too late, none is dropped, and the run never stands still."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.play.admission import Admission


def drive(
    a: Admission, updates: int, rng: random.Random, useless: float = 0.0
) -> list[list[tuple[int, int]]]:
    """Play groups in random order until `updates` are done: (index, lag) of each update's groups."""
    batches: list[list[tuple[int, int]]] = []
    while len(batches) < updates:
        while a.room and rng.random() < 0.9:
            a.start()
        if a.playing and rng.random() < 0.8:
            a.finish(rng.choice(a.playing), useful=rng.random() >= useless)
        late = {i: a.lag(i) for i in range(a.started) if i in a._began}
        batch = a.take()
        if batch is None:
            assert a.playing or a.room, "nothing plays, nothing may start, and no update can be made"
            continue
        batches.append([(i, late[i]) for i in batch])
        if rng.random() < 0.5 and a.playing:  # while the learner works, groups go on finishing
            a.finish(rng.choice(a.playing))
        a.updated()
    return batches


@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 2**32), st.sampled_from([0.0, 0.3]))
def test_lag_is_bounded_and_nothing_is_dropped(groups: int, lag: int, seed: int, useless: float) -> None:
    a = Admission(groups, lag)
    batches = drive(a, 20, random.Random(seed), useless)
    taken = [i for batch in batches for i, _ in batch]
    assert len(set(taken)) == len(taken) == 20 * groups
    assert all(late <= lag for batch in batches for _, late in batch)
    assert all(batch == sorted(batch) for batch in batches)
    if not useless:
        waiting = set(range(a.started)) - set(taken)
        assert waiting == a._began.keys(), "every group that started is trained or still waits"


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**32))
def test_what_an_update_takes_does_not_depend_on_who_finished_first(groups: int, lag: int, seed: int) -> None:
    batches = drive(Admission(groups, lag), 5, random.Random(seed))
    assert [[i for i, _ in batch] for batch in batches] == [
        list(range(k * groups, (k + 1) * groups)) for k in range(5)
    ]


def test_a_straggler_has_the_time_of_the_lag() -> None:
    a = Admission(groups=1, max_lag=2)
    for _ in range(3):
        a.start()
    a.finish(0)
    assert a.take() == [0]
    a.updated()
    a.finish(2)
    assert a.take() is None and a.due == [1], "the oldest is waited for, however many others are there"
    assert a.start() == 3 and a.room == 0
    a.finish(1)
    assert a.take() == [1]


def test_a_useless_group_makes_room_for_another_of_the_same_step() -> None:
    a = Admission(groups=2, max_lag=0)
    a.start(), a.start()
    assert a.room == 0
    a.finish(0, useful=False)
    assert a.room == 1
    assert a.start() == 2
    a.finish(1), a.finish(2)
    assert a.take() == [1, 2]
    assert a.room == 0, "the next step waits for the new weights"
    a.updated()
    assert a.room == 2


def test_nothing_starts_that_no_update_would_take() -> None:
    a = Admission(groups=2, max_lag=3, updates=2)
    started = []
    for _ in range(2):
        started += [a.start() for _ in range(a.room)]
        for i in a.playing:
            a.finish(i)
        assert a.take() is not None
        a.updated()
    assert started == [0, 1, 2, 3] and a.room == 0


def test_a_run_continues_where_it_stood() -> None:
    whole = Admission(groups=2, max_lag=1)
    for _ in range(4):
        whole.start()
    for i in (0, 1, 2):
        whole.finish(i)
    assert whole.take() == [0, 1]
    whole.updated()
    again = Admission(2, 1, version=1, started=4, waiting={2: 0, 3: 0})
    again.finish(2)
    assert (
        (again.room, again.playing, again.due) == (whole.room, whole.playing, whole.due) == (2, [3], [2, 3])
    )


@pytest.mark.parametrize(("groups", "lag"), [(0, 0), (1, -1)])
def test_impossible_settings_are_refused(groups: int, lag: int) -> None:
    with pytest.raises(ValueError, match=f"groups={groups}, max_lag={lag}"):
        Admission(groups, lag)


@given(
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 9),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.3]),
)
def test_spare_groups_are_left_over_and_never_lost_or_too_late(groups, lag, spare, seed, useless) -> None:
    a = Admission(groups, lag, spare=spare, updates=12)
    batches = drive(a, 12, random.Random(seed), useless)
    taken = [i for batch in batches for i, _ in batch]
    assert len(set(taken)) == len(taken) == 12 * groups
    assert max(late for batch in batches for _, late in batch) <= a.latest == lag + -(-spare // groups)
    assert all(batch == sorted(batch) for batch in batches)
    assert not a._began and not a.room, "every group that started has been trained or told to be useless"
    if not useless:
        assert sorted(taken) == list(range(12 * groups))


def test_the_first_to_finish_are_taken_and_the_slow_one_comes_next() -> None:
    a = Admission(groups=2, max_lag=0, spare=2)
    assert [a.start() for _ in range(a.room)] == [0, 1, 2, 3]
    a.finish(3), a.finish(1)
    assert a.take() == [1, 3] and a.playing == [0, 2]
    a.updated()
    assert [a.start() for _ in range(a.room)] == [4, 5]
    a.finish(4), a.finish(5), a.finish(2)
    assert a.take() is None, "group 0 would be two updates late"
    a.finish(0)
    assert a.take() == [0, 2]
    with pytest.raises(ValueError, match="spare=-1"):
        Admission(1, 0, spare=-1)


def test_a_run_that_continues_waits_for_what_was_left_over() -> None:
    a = Admission(groups=2, max_lag=0, spare=1, version=1, started=3, waiting={0: 0})
    assert [a.start() for _ in range(a.room)] == [3, 4]
    a.finish(3), a.finish(4)
    assert a.take() is None
    a.finish(0)
    assert a.take() == [0, 3]
