import datetime
import decimal
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypedDict

from forge_envs.errors import ToolError
from forge_envs.grammars import HERMES
from forge_envs.spaces import Utterance
from forge_envs.tools import BadArguments, tool, tools_of


class Line(TypedDict):
    title: str
    count: Annotated[int, Field(ge=1)]


class Tree(TypedDict):
    children: "list[Tree]"


class Till:
    @tool(writes=True)
    def sell(
        self,
        lines: list[Line],
        to: str,
        *,
        method: Literal["cash", "card"] = "cash",
        tip: float | None = None,
    ) -> str:
        """Sell items
        to somebody.

        Only once.

        Args:
            lines: what and how many,
                one line per item
            to (str): name of the customer: first and last
            method: how it is paid
            tip: on top

        Returns:
            a receipt: not part of the schema
        """
        return f"{to} {method} {tip} {lines}"

    @tool()
    def refuse(self) -> str:
        """Refuse.

        Raises:
            ToolError: always
        """
        raise ToolError("no")


SELL = tools_of(Till)["sell"]
GOOD = {"lines": [{"title": "tea", "count": 1}], "to": "Ada"}


def test_the_schema_says_what_the_signature_and_the_docstring_say():
    assert SELL.schema == {
        "type": "function",
        "function": {
            "name": "sell",
            "description": "Sell items to somebody. Only once.",
            "parameters": {
                "type": "object",
                "properties": {
                    "lines": {
                        "description": "what and how many, one line per item",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {
                                "title": {"type": "string"},
                                "count": {"type": "integer", "minimum": 1},
                            },
                            "required": ["title", "count"],
                            "additionalProperties": False,
                        },
                    },
                    "to": {"description": "name of the customer: first and last", "type": "string"},
                    "method": {
                        "description": "how it is paid",
                        "enum": ["cash", "card"],
                        "type": "string",
                        "default": "cash",
                    },
                    "tip": {
                        "description": "on top",
                        "anyOf": [{"type": "number"}, {"type": "null"}],
                        "default": None,
                    },
                },
                "required": ["lines", "to"],
            },
        },
    }
    assert SELL.writes and not tools_of(Till)["refuse"].writes
    assert tools_of(Till)["refuse"].description == "Refuse."


def test_the_schema_is_the_callers_own():
    SELL.schema["function"]["parameters"]["properties"]["to"]["type"] = "integer"
    assert SELL.schema["function"]["parameters"]["properties"]["to"]["type"] == "string"


def test_valid_arguments_reach_the_function_and_defaults_fill_in():
    assert SELL.call(Till(), GOOD) == "Ada cash None [{'title': 'tea', 'count': 1}]"
    assert SELL.call(Till(), {**GOOD, "tip": 1, "method": "card"}).startswith("Ada card 1")


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"to": 1}, "to=1: input should be a valid string"),
        ({"lines": [{"title": "tea", "count": 0}]}, "lines.0.count=0"),
        ({"lines": [{"title": "tea", "count": "1"}]}, "lines.0.count='1'"),
        ({"lines": [{"title": "tea", "count": True}]}, "lines.0.count=True"),
        ({"lines": [{"title": "tea"}]}, "lines.0.count is missing"),
        ({"lines": [{"title": "tea", "count": 1, "x": 1}]}, "lines.0.x is not an argument"),
        ({"method": "coins"}, "method='coins'"),
        ({"tip": float("inf")}, "tip"),
        ({"change": 1}, "change is not an argument of this tool"),
    ],
)
def test_what_does_not_fit_the_schema_is_told_by_name(change, hint):
    with pytest.raises(BadArguments, match="It takes: lines, to, method, tip") as caught:
        SELL.call(Till(), {**GOOD, **change})
    assert hint in str(caught.value)


def test_the_agents_mistake_is_not_read_back_at_length():
    nested = deep = []
    for _ in range(500):
        nested.append(nested := [])
    wrong = {"x" * 10_000: 1, **{f"x{i}": 1 for i in range(1000)}, "to": deep, "lines": "y" * 10_000}
    with pytest.raises(BadArguments) as caught:
        SELL.call(Till(), wrong)
    assert len(str(caught.value)) < 1000
    assert "and 998 more" in str(caught.value)


def test_what_a_tool_raises_comes_through():
    with pytest.raises(ToolError, match="no"):
        tools_of(Till)["refuse"].call(Till(), {})


def test_tools_are_inherited_overridden_and_taken_away():
    class Child(Till):
        refuse = None

        @tool()
        def extra(self) -> str:
            """Do more."""
            return "more"

    class Plain(Till):
        def sell(self, lines, to, *, method="cash", tip=None):
            return "no tool any more"

    assert list(tools_of(Till)) == ["sell", "refuse"]
    assert list(tools_of(Child)) == ["sell", "extra"]
    assert list(tools_of(Plain)) == ["refuse"]


def test_a_tool_that_is_not_described_is_an_error_at_once():
    def silent(self) -> str:
        return ""

    def untyped(self, a) -> str:
        """Do.

        Args:
            a: a
        """
        return ""

    def undescribed(self, a: int) -> str:
        """Do."""
        return ""

    def stale(self) -> str:
        """Do.

        Args:
            gone: was here
        """
        return ""

    def open_ended(self, *rest: int) -> str:
        """Do.

        Args:
            rest: more
        """
        return ""

    def endless(self, tree: Tree) -> str:
        """Do.

        Args:
            tree: a tree
        """
        return ""

    for function, hint in (
        (silent, "docstring"),
        (untyped, "'a' has no type"),
        (undescribed, "does not describe 'a'"),
        (stale, "gone"),
        (open_ended, "cannot be given by name"),
        (endless, "Tree contains itself"),
    ):
        with pytest.raises(TypeError, match=hint) as caught:
            tool()(function)
        assert function.__name__ in str(caught.value)


def tool_with(kind: object, default: object = None) -> type:
    def use(self, value):
        return "used"

    use.__doc__ = "Use.\n\nArgs:\n    value: a value\n"
    use.__annotations__ = {"value": kind}
    if default is not None:
        use.__defaults__ = (default,)
    return type("Holder", (), {"use": tool()(use)})


class Colour(Enum):
    RED = "red"


class Model(BaseModel):
    count: int


@dataclass
class Record:
    count: int


class Pair(TypedDict, total=False):
    both: tuple[int, int]


@pytest.mark.parametrize(
    "kind",
    [
        tuple[int, str],
        tuple[int, ...],
        list[tuple[int, int]],
        set[int],
        frozenset[str],
        bytes,
        datetime.datetime,
        datetime.date,
        decimal.Decimal,
        uuid.UUID,
        Path,
        Colour,
        Record,
        Pair,
        dict[int, str],
        dict[str, set[int]],
        Callable[[int], int],
        int | tuple[int, int],
        Annotated[str, Field(pattern="^a+$")],
        Annotated[int, Field(multiple_of=7)],
        pytest.param(Annotated[str, AfterValidator(lambda value: Colour(value).value)], id="a function"),
    ],
    ids=str,
)
def test_a_type_that_no_call_can_give_is_refused_at_import(kind):
    with pytest.raises(TypeError, match="tool use: "):
        tool_with(kind)


@pytest.mark.parametrize(
    "kind",
    [
        str,
        int | None,
        Optional[list[str]],  # noqa: UP045
        Any,
        list,
        dict,
        dict[str, Any],
        dict[str, list[int]],
        dict[Literal["a", "b"], int],
        Annotated[dict[str, int], Field(min_length=2)],
        Literal["a", 1, None],
        list[Line],
        Model,
        Sequence[int],
        float,
    ],
    ids=str,
)
def test_what_passes_import_is_called_by_what_is_drawn(kind):
    holder = tool_with(kind)
    space = Utterance(HERMES, [tools_of(holder)["use"].schema], seed=3)
    called = 0
    for _ in range(60):
        for call in HERMES.parse(space.sample()).calls:
            assert tools_of(holder)["use"].call(holder(), call.arguments) == "used"
            called += 1
    assert called > 20


def test_a_default_stands_in_the_schema_and_fits_its_type():
    shown = tools_of(tool_with(int, 3))["use"].parameters
    assert shown["properties"]["value"]["default"] == 3 and shown["required"] == []
    with pytest.raises(TypeError, match="default"):
        tool_with(int, "3")


def test_a_tool_needs_no_parentheses_and_a_method():
    class Plain:
        @tool
        def look(self) -> str:
            """Look."""
            return "seen"

    assert tools_of(Plain)["look"].call(Plain(), {}) == "seen"

    async def later(self) -> str:
        """Later."""
        return ""

    def many(self):
        """Many."""
        yield ""

    def alone() -> str:
        """Alone."""
        return ""

    for wrong, hint in ((later, "async"), (many, "yield"), (alone, "self"), (property(alone), "method")):
        with pytest.raises(TypeError, match=hint):
            tool(wrong)


def test_advice_keeps_the_case_that_was_declared():
    holder = tool_with(Literal["USD", "EUR"])
    with pytest.raises(BadArguments, match="value='usd': input should be 'USD' or 'EUR'"):
        tools_of(holder)["use"].call(holder(), {"value": "usd"})


def test_a_number_that_python_cannot_write_is_told():
    holder = tool_with(str)
    with pytest.raises(BadArguments, match="value=<a number of 33220 bits>"):
        tools_of(holder)["use"].call(holder(), {"value": 10**10_000})
