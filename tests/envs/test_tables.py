import copy
import functools
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from forge_envs.tables import Base, Table, copy_json

ROWS = {"a": {"n": 1, "tags": ["x"]}, "b": {"n": 2, "tags": []}, "c": {"n": 3, "sub": {"deep": [1]}}}
KEYS = st.sampled_from(["a", "b", "c", "d", "e"])
JSON = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@functools.cache
def base() -> Base:
    return Base(copy.deepcopy(ROWS), (base,))


class TableEqualsDeepCopy(RuleBasedStateMachine):
    """Whatever is done to a table shows like on a deep copy, and never on the base."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.model = Table(base()), copy.deepcopy(ROWS)
        self.twins: list[tuple[Table, dict]] = []

    @rule(key=KEYS, value=JSON)
    def change(self, key, value):
        if key in self.model:
            for rows in (self.model[key], self.table.row(key)):
                rows["n"] = copy.deepcopy(value)
                rows.setdefault("tags", []).append("y")
        else:
            with pytest.raises(KeyError):
                self.table.row(key)

    @rule(key=KEYS, value=JSON)
    def add(self, key, value):
        row = {"n": value, "tags": []}
        if key in self.model:
            with pytest.raises(KeyError, match="taken"):
                self.table.add(key, row)
        else:
            self.table.add(key, row)
            self.model[key] = copy.deepcopy(row)
            row["tags"].append("the caller goes on with its own row")

    @rule(key=KEYS)
    def touch(self, key):
        if key in self.model:
            self.table.row(key)

    @rule()
    def go_on_from_a_pickle(self):
        self.table = pickle.loads(pickle.dumps(self.table))

    @rule()
    def go_on_from_a_copy(self):
        self.twins.append((self.table, copy.deepcopy(self.model)))
        self.table = self.table.copy()

    @invariant()
    def shows_the_same(self):
        for table, model in [(self.table, self.model), *self.twins]:
            assert set(table) == set(model) and len(table) == len(model) == len(list(table))
            for key in ("a", "d", "nowhere"):
                assert (key in table) == (key in model)
            for key, row in model.items():
                assert table.peek(key) == row
                assert table.text(key) == json.dumps(table.peek(key), ensure_ascii=False)
                assert json.loads(table.text(key)) == row
            assert table.changed() == {k: row for k, row in model.items() if ROWS.get(k) != row}
            assert {key for key in (*model, "nowhere") if table.differs(key)} == set(table.changed())

    @invariant()
    def leaves_the_base_alone(self):
        assert base().rows == ROWS


TableEqualsDeepCopy.TestCase.settings = settings(max_examples=50, stateful_step_count=20)
test_a_table_equals_a_deep_copy = TableEqualsDeepCopy.TestCase


def test_an_unknown_row_is_a_key_error():
    for read in (Table(base()).peek, Table(base()).row, Table(base()).text):
        with pytest.raises(KeyError):
            read("nowhere")


def test_a_pickled_table_carries_only_its_own_rows():
    many = Base({str(i): {"text": "x" * 1000} for i in range(1000)}, (base,))
    assert len(pickle.dumps(Table(many))) < 300


def test_text_of_untouched_rows_is_written_once_for_all():
    assert Table(base()).text("b") is Table(base()).text("b")


def spoil(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in list(inner):
        spoil(item)
    if isinstance(value, dict | list):
        value.clear()


@given(JSON)
def test_copy_json_equals_deepcopy_and_shares_nothing(value):
    before = copy.deepcopy(value)
    twin = copy_json(value)
    assert twin == value
    spoil(twin)
    assert value == before
