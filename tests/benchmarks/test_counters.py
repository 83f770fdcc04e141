"""What benchmarks count with."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.counters import Intervals

SPANS = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (min(s), max(s))), max_size=6
)


def intervals(spans: list[tuple[int, int]]) -> Intervals:
    found = Intervals()
    found.spans = [(float(a), float(b)) for a, b in spans]
    return found


@given(SPANS, SPANS)
def test_time_in_one_and_not_in_the_other_is_that_of_a_grid(
    one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    def during(spans: list[tuple[int, int]]) -> set[int]:
        return {t for a, b in spans for t in range(a, b)}

    assert intervals(one).without(intervals(other)) == len(during(one) - during(other))


def test_overlapping_waits_count_once_and_hidden_ones_not() -> None:
    waits, sampling = intervals([(0, 4), (2, 6)]), intervals([(3, 5)])
    assert waits.without(Intervals()) == 6
    assert waits.without(sampling) == 4
