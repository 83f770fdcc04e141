import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.rewards import Criterion, Rubric, Score


@given(st.dictionaries(st.text(), st.floats(0, 1)))
def test_the_outcome_is_the_product_of_the_criteria_and_each_is_named(values):
    rubric = Rubric([Criterion(name, lambda state, name=name: state[name]) for name in values])
    score = rubric(values)
    assert score.parts == values
    assert score.outcome == pytest.approx(math.prod(values.values()))


def test_one_criterion_that_fails_is_enough():
    rubric = Rubric([Criterion("a", lambda _: True), Criterion("b", lambda _: False)])
    assert rubric(None) == Score(0.0, {"a": 1.0, "b": 0.0})


@pytest.mark.parametrize("outcome", [-0.1, 1.1, math.nan])
def test_an_outcome_outside_zero_to_one_is_refused(outcome):
    with pytest.raises(ValueError, match="outcome="):
        Score(outcome)


def test_two_criteria_of_one_name_would_hide_each_other():
    with pytest.raises(ValueError, match="different names"):
        Rubric([Criterion("a", lambda _: 1.0), Criterion("a", lambda _: 0.0)])
