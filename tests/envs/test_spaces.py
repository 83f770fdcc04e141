import copy
import pickle
from typing import Annotated, Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from forge_envs.grammars import BASH, HERMES
from forge_envs.spaces import Messages, Utterance, sample_schema
from forge_envs.tools import tool, tools_of
from tests.envs.worlds import Counter, Shell

BOUNDS = st.tuples(st.integers(-5000, 5000), st.integers(0, 500)).map(lambda b: (b[0], b[0] + b[1]))
SIZES = st.tuples(st.integers(0, 12), st.integers(0, 5)).map(lambda b: (b[0], b[0] + b[1]))
LEAVES = st.one_of(
    st.sampled_from([str, int, float, bool, None, Literal["a", "b"], Literal[1], dict[str, int]]),
    BOUNDS.map(lambda b: Annotated[int, Field(ge=b[0], le=b[1])]),
    BOUNDS.map(lambda b: Annotated[int, Field(gt=b[0], lt=b[1] + 2)]),
    BOUNDS.map(lambda b: Annotated[float, Field(ge=b[0], le=b[1])]),
    BOUNDS.map(lambda b: Annotated[float, Field(gt=b[0], lt=b[1] + 1)]),
    BOUNDS.map(lambda b: Annotated[int, Field(ge=b[0])]),
    BOUNDS.map(lambda b: Annotated[float, Field(le=b[0])]),
    SIZES.map(lambda b: Annotated[str, Field(min_length=b[0], max_length=b[1])]),
    SIZES.map(lambda b: Annotated[list[int], Field(min_length=b[0], max_length=b[1])]),
)
KINDS = st.recursive(
    LEAVES,
    lambda t: t.map(lambda x: list[x]) | st.tuples(t, t).map(lambda p: str | p[0] | p[1]),
    max_leaves=4,
)


@given(KINDS, st.integers(0, 2**32))
def test_what_is_drawn_from_a_tools_schema_fits_the_tool(kind, seed):
    def use(self, value):
        """Use.

        Args:
            value: a value
        """

    use.__annotations__ = {"value": kind}
    built = tool()(use).__tool__
    arguments = sample_schema(built.parameters, np.random.default_rng(seed))
    assert built.validate(arguments) == arguments


def test_a_schema_that_cannot_be_hit_is_refused():
    with pytest.raises(ValueError, match="pattern"):
        sample_schema({"type": "string", "pattern": "a+"}, np.random.default_rng(0))


def space_of(world: type, grammar: Any) -> Utterance:
    return Utterance(grammar, [t.schema for t in tools_of(world).values()], seed=7)


@pytest.mark.parametrize(("world", "grammar"), [(Counter, HERMES), (Shell, BASH)])
def test_every_sample_is_an_action_that_can_be_read_and_fits(world, grammar):
    space, tools, kinds = space_of(world, grammar), tools_of(world), set()
    for _ in range(300):
        text = space.sample()
        action = grammar.parse(text)
        assert text in space and action.error is None
        for call in action.calls:
            tools[call.name].validate(call.arguments)
            kinds.add(call.name)
        if not action.calls:
            kinds.add("prose")
    assert kinds == set(tools) | ({"prose"} if grammar.prose_alone else set())


def test_a_seed_repeats_the_samples():
    first, second = space_of(Counter, HERMES), space_of(Counter, HERMES)
    assert [first.sample() for _ in range(20)] == [second.sample() for _ in range(20)]
    first.seed(1)
    assert [first.sample() for _ in range(20)] != [second.sample() for _ in range(20)]


def test_spaces_can_be_copied_and_compared():
    for space in (space_of(Counter, HERMES), Messages(seed=3)):
        for twin in (copy.deepcopy(space), pickle.loads(pickle.dumps(space))):
            assert twin == space and twin.sample() == copy.deepcopy(space).sample()
        assert not space.is_np_flattenable
    assert space_of(Counter, HERMES) != space_of(Shell, HERMES) != Messages()
    assert repr(space_of(Counter, HERMES)) == "Utterance(hermes, 3 tools)"


@pytest.mark.parametrize(
    ("value", "inside"),
    [
        ((), True),
        (({"role": "user", "content": "é"},), True),
        (({"role": "tool", "name": "a", "content": ""},), True),
        ([{"role": "user", "content": ""}], False),
        (({"role": "robot", "content": ""},), False),
        (({"role": "user", "content": None},), False),
        (({"role": "user"},), False),
        ("hello", False),
    ],
)
def test_messages_are_tuples_of_dicts_with_role_and_content(value, inside):
    assert (value in Messages()) is inside


def test_messages_draw_messages():
    assert Messages(seed=0).sample() in Messages()


@given(st.text(st.characters()))
def test_every_string_is_an_action(text):
    assert text in Utterance(HERMES)
    assert text.encode("utf-8", "replace") not in Utterance(HERMES)
