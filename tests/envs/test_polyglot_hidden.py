"""What the agent reads of a run holds what the runner quotes, and not the hidden tests as a whole."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forge_envs.worlds.polyglot.builtin import Builtin
from forge_envs.worlds.polyglot.hidden import without_tests
from forge_envs.worlds.polyglot.languages import LANGUAGES

LEFT_OUT = re.compile(r"… (\d+) lines of the hidden tests left out …")


def filled(text):
    return [line for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", LANGUAGES)
def test_a_file_that_is_printed_is_left_out_and_one_test_of_it_is_not(name):
    begins = LANGUAGES[name].begins
    for task in Builtin().ids(name):
        (text,) = Builtin().find(task).tests.values()
        whole = LEFT_OUT.fullmatch(without_tests(text, [text], begins))
        assert whole and int(whole[1]) == len(filled(text)), task
        lines = text.splitlines()
        starts = [at for at, line in enumerate(lines) if re.match(begins, line.strip())]
        assert len(starts) >= LANGUAGES[name].expected({"a": text}).total()
        one = "\n".join(lines[starts[1] : starts[2]])
        assert without_tests(one, [text], begins) == one


TESTS = [
    "import a\n\ndef test_a():\n    x = '1\\n2'\n    assert a(x)\n\n\ndef test_b():\n    assert b()\n",
    "cases\n",
]


@pytest.mark.parametrize(
    ("printed", "shown"),
    [
        ("{0}", "… 6 lines of the hidden tests left out …"),
        ("mine\n{0}{1}mine", "mine\n… 7 lines of the hidden tests left out …\nmine"),
        ("E   Key: {0}", "E   Key: import a\n… 5 lines of the hidden tests left out …"),
        ("E   Key:\nE   {0}", "E   Key:\n… 6 lines of the hidden tests left out …"),
        ("KeyError: {quoted}", "… 4 lines of the hidden tests left out …"),
        ("    def test_a():\n        x = '1\\n2'\n>       assert a(x)\nE       assert False", None),
        ("cases\ncases\ncases", None),
        ("", None),
    ],
)
def test_rows_longer_than_the_longest_test_are_left_out(printed, shown):
    said = printed.format(*TESTS, quoted=json.dumps(TESTS[0]))
    got = without_tests(said, TESTS, "def test")
    assert got.rstrip("\n") == (said if shown is None else shown)


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="".join(TESTS) + "E\\"), max_size=80))
def test_what_is_not_of_the_tests_stays(text):
    assert without_tests(text, TESTS, "def test") == text
