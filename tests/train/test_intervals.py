"""Intervals hold the truth as often as they say, also at the edges."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_train.record.intervals import interval, paired, wilson, worth

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=30)


def covers(chances, repeats, truth, tries=800):
    """How often the interval holds the truth; `chances` draws the tasks of a try."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(tries):
        drawn = chances(rng)
        low, high = interval((rng.binomial(repeats, drawn) / repeats).tolist(), repeats * len(drawn))
        held += low - 1e-12 <= truth <= high + 1e-12
    return held / tries


@pytest.mark.parametrize("repeats", [1, 4])
@pytest.mark.parametrize("alike", [0.2, 2.0], ids=["plays agree", "plays differ"])
@pytest.mark.parametrize("tasks", [5, 20, 100])
@pytest.mark.parametrize("truth", [0.5, 0.9, 0.99])
def test_an_interval_of_95_percent_holds_the_truth_nine_times_in_ten(truth, tasks, alike, repeats):
    def chances(rng):
        return rng.beta(truth * alike, (1 - truth) * alike, size=tasks)

    assert covers(chances, repeats, truth) > 0.9


def test_where_the_plays_of_a_task_agree_tasks_are_what_counts():
    assert interval([1.0] * 40, 160) == wilson(1.0, 40) and interval([0.0] * 40, 160) == wilson(0.0, 40)
    assert interval([1.0, 0.0, 1.0, 1.0], 16) == wilson(0.75, 4)


def test_an_interval_is_as_wide_as_theory_says():
    values = np.random.default_rng(0).random(400)
    low, high = interval(values.tolist(), 10**9)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.02)


@given(SHARES, st.integers(1, 8))
def test_an_interval_holds_its_mean_and_more_tasks_narrow_it(shares, repeats):
    plays = repeats * len(shares)
    low, high = interval(shares, plays)
    assert 0 <= low <= np.mean(shares) + 1e-12 and np.mean(shares) - 1e-12 <= high <= 1 and low < high
    assert len(shares) <= worth(shares, plays) <= plays
    more = interval(shares * 3, plays * 3)
    assert more[1] - more[0] <= high - low + 1e-12


def test_what_one_task_or_no_difference_tells():
    assert interval([1.0], 4) is None and interval([], 0) is None
    assert interval([-3.0, -3.0], 2) is None, "returns know no bounds"
    low, high = interval([-3.0, -1.0], 2)
    assert low < -2 < high


SHARES = st.integers(0, 1000).map(lambda n: n / 1000)
"""Success of a task; no evaluation tells apart what lies closer together."""


class TestPaired:
    def test_tasks_that_only_one_graded_are_left_out(self):
        change = paired({"a": 0.0, "b": 0.5, "c": 1.0}, {"b": 1.0, "c": 1.0, "d": 1.0})
        assert (change.tasks, change.mean, change.better, change.worse) == (2, 0.25, 1, 0)
        assert paired({"a": 1.0}, {"b": 1.0}) is None

    def test_one_task_has_no_interval(self):
        assert str(paired({"a": 0.0}, {"a": 1.0})) == "+100.0 points, no interval"

    def test_nothing_that_changed_is_no_proof(self):
        change = paired(dict.fromkeys("abcd", 0.5), dict.fromkeys("abcd", 0.5))
        assert change.low < 0 == change.mean < change.high

    def test_it_sees_what_two_intervals_hide(self):
        before = {str(i): float(i < 50) for i in range(100)}
        after = {str(i): float(i < 60) for i in range(100)}
        assert paired(before, after).low > 0
        assert wilson(0.5, 100)[1] > wilson(0.6, 100)[0], "which overlap"

    @given(st.lists(st.tuples(SHARES, SHARES), min_size=2, max_size=30))
    def test_it_holds_its_mean_and_turns_around(self, pairs):
        one, other = ({str(i): p[side] for i, p in enumerate(pairs)} for side in (0, 1))
        there, back = paired(one, other), paired(other, one)
        assert -1 <= there.low <= there.mean <= there.high <= 1 and there.low < there.high
        assert (there.mean, there.low, there.better) == pytest.approx((-back.mean, -back.high, back.worse))

    def test_it_covers(self):
        rng = np.random.default_rng(0)
        held = 0
        for _ in range(400):
            chance = rng.beta(1, 1, size=30)
            plays = rng.binomial(2, chance) / 2, rng.binomial(2, 0.8 * chance) / 2
            change = paired(*({str(i): float(v) for i, v in enumerate(p)} for p in plays))
            held += change.low <= -0.1 <= change.high
        assert held / 400 > 0.9


def resampled(changes, rng, times=300):
    """The percentile bootstrap over tasks, which is what most would do."""
    means = changes[rng.integers(len(changes), size=(times, len(changes)))].mean(1)
    return np.quantile(means, [0.025, 0.975])


@pytest.mark.parametrize(("tasks", "plays"), [(5, 1), (5, 4), (20, 1), (40, 4)])
@pytest.mark.parametrize("start", [(1, 1), (1, 19)], ids=["from anywhere", "from near nothing"])
def test_a_difference_of_pairs_covers_where_resampling_them_does_not(start, tasks, plays):
    rng, times = np.random.default_rng(3), 300
    grown = lambda chance: np.minimum(chance * (0.8 if start == (1, 1) else 3.0), 1.0)  # noqa: E731
    many = rng.beta(*start, size=200_000)
    truth, held, bootstrap = (grown(many) - many).mean(), 0, 0
    for _ in range(times):
        chance = rng.beta(*start, size=tasks)
        before, after = rng.binomial(plays, chance) / plays, rng.binomial(plays, grown(chance)) / plays
        change = paired(*({str(i): float(v) for i, v in enumerate(p)} for p in (before, after)))
        held += change.low - 1e-12 <= truth <= change.high + 1e-12
        low, high = resampled(after - before, rng)
        bootstrap += low - 1e-12 <= truth <= high + 1e-12
    assert held > 0.9 * times
    if (tasks, plays) == (5, 1):
        assert bootstrap < 0.75 * times


@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize("truth", [0.0, 0.01, 0.5, 0.99, 1.0])
def test_few_tasks_say_little_and_never_too_much(truth, tasks):
    def chances(rng):
        return np.full(tasks, truth) if truth in (0.0, 1.0) else rng.beta(truth, 1 - truth, size=tasks)

    assert covers(chances, 4, truth, tries=400) > 0.93, "84 in 100 without Student's part"
    low, high = interval([float(round(truth))] * tasks, 4 * tasks)
    assert high - low > 0.5, "two or three tasks that agree are no proof"
