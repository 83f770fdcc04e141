"""Arguments of worlds: checked when a world is made, by name, in every world."""

import math
from typing import Annotated, Any, Literal

import gymnasium as gym
import pytest
from pydantic import Field

import forge_envs
from forge_envs.arguments import arguments_of
from forge_envs.worlds.retail.env import RetailEnv
from forge_envs.wrappers import NextTurn
from tests.envs.worlds import SPARE, Counter

WORLDS = forge_envs.world_ids()
BAD = (1.0, 1.5, True, "5", -1, 10**30, math.nan, math.inf, None, [], {}, b"full", "ful", object())


class Typed(Counter):
    def __init__(
        self,
        *,
        shelf: Literal["top", "low", 1] = "top",
        width: Annotated[float, Field(gt=0, le=9)] = 1.0,
        count: Annotated[int, Field(ge=1)] | None = None,
        seller: Counter | None = None,
        open: bool = True,
        names: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ({"shelf": "tpo"}, "shelf='tpo': known are top, low, 1; did you mean top?"),
        ({"shelf": True}, "shelf=True: known are"),
        ({"shelf": 1.0}, "shelf=1.0: known are"),
        ({"width": "1"}, "width='1': it must be a finite number above 0 and of at most 9"),
        ({"width": True}, "width=True"),
        ({"width": math.nan}, "width=nan"),
        ({"width": 0}, "width=0"),
        ({"count": 0}, "count=0: it must be a whole number of at least 1 or null"),
        ({"count": 1.0}, "count=1.0"),
        ({"seller": "me"}, "seller='me': it must be of type Counter or null"),
        ({"open": 1}, "open=1: it must be true or false"),
        ({"names": ["a", 1]}, "names="),
        ({"fails": None}, "fails=None: it must be text"),
        ({"max_turns": 1}, "max_turns=1: it must be a whole number of at least 2"),
        (
            {"max_trns": 3},
            "max_trns=3: did you mean max_turns? Typed takes no max_trns; known are shelf, width",
        ),
        ({"colour": "red" * 1000}, "Typed takes no colour"),
        ({"width": 10**5000}, "width=<a number of"),
    ],
)
def test_what_does_not_fit_is_told_with_what_would(args, told):
    with pytest.raises(ValueError) as caught:
        Typed(**args)
    assert told in str(caught.value) and len(str(caught.value)) < 400


def test_all_that_is_wrong_is_told_at_once_and_what_fits_passes():
    with pytest.raises(ValueError, match=r"shelf='x'.*open=2.*colr=1"):
        Typed(shelf="x", open=2, colr=1)
    Typed(shelf=1, width=2, count=3, seller=Counter(), names=["a"], open=False, max_turns=4, fails="hear")


@pytest.mark.parametrize("world", WORLDS)
def test_a_typo_is_answered_with_the_nearest_name_in_every_world(world):
    for typo, name in (("turn_wieght", "turn_weight"), ("rendermode", "render_mode")):
        with pytest.raises(ValueError, match=rf"{typo}=1: did you mean {name}\?"):
            gym.make(world, **{typo: 1})


def test_a_level_misspelt_is_a_level():
    for world in ("Forge/Retail-v0", "Forge/Airline-v0", "Forge/Polyglot-v0", "Forge/NextTurn-v0"):
        with pytest.raises(ValueError, match=r"levle=3: did you mean level\?"):
            gym.make(world, levle=3)


@pytest.mark.parametrize("world", WORLDS)
def test_no_argument_of_a_world_takes_what_it_has_no_use_for(world):
    """Whatever passes at `make` is of the type that the annotation names."""
    kind = type(gym.make(world, **SPARE.get(world, {})).unwrapped)
    for name, argument in arguments_of(kind)[0].items():
        assert argument.kind is not Any and argument.meaning, name
        assert argument.fault(argument.default) is None, name
        assert argument.fault(object()) and argument.fault([]) and argument.fault(b"x"), name
        kinds = {type(argument.default)} | ({type(None)} if "null" in argument.allowed else set())
        for bad in BAD:
            if (
                type(bad) not in kinds
                and argument.default is not None
                and type(argument.default) is not float
            ):
                assert argument.fault(bad), f"{name}={bad!r}"
            if isinstance(bad, float) and not math.isfinite(bad):
                assert argument.fault(bad), f"{name}={bad!r}"


def test_other_arguments_are_the_other_worlds():
    assert arguments_of(NextTurn)[1] and "level" not in arguments_of(NextTurn)[0]
    with pytest.raises(ValueError, match=r"level=True: known are 0, 1"):
        gym.make("Forge/NextTurn-v0", level=True)


def test_meanings_come_from_the_docstrings_of_the_class_and_its_bases():
    taken, others = arguments_of(RetailEnv)
    assert not others and list(taken)[:3] == ["split", "level", "size"]
    assert taken["level"].meaning.startswith("1 one fact; 2") and taken["max_turns"].meaning
    assert taken["size"].allowed == "full, small or tiny"
