"""Whoever reads an agent's prose reads it in time linear in its length, whatever it is made of."""

from __future__ import annotations

import time

import pytest

from forge_envs.worlds.report.claims import sentences_of
from forge_envs.worlds.report.lexicon import claimed
from forge_envs.worlds.report.outline import read_outline
from forge_envs.worlds.search.answers import answer_in
from forge_envs.worlds.search.relations import relations
from forge_envs.worlds.telecom.hearing import errands
from forge_envs.worlds.tooluse.numerals import in_digits

LONG = 200_000


@pytest.mark.parametrize(
    "read",
    [
        lambda: read_outline(f"# Azul\n## Its{' ' * LONG}mayor <citation>id_2</citation>"),
        lambda: sentences_of(f"She was born in Azul{'.' * LONG}x"),
        lambda: sentences_of(f"She was born in Azul{'?!' * LONG}x"),
        lambda: sentences_of(f"She was born in a{'_' * LONG}b."),
        lambda: list(claimed(next(iter(relations().values())), ["a"] * (LONG // 4))),
        lambda: answer_in("<answer>" * (LONG // 8)),
        lambda: answer_in("<ANSWER>" * (LONG // 8) + "a</answer>" + "<answer>" * (LONG // 8)),
        lambda: errands(f"Please check{' ' * LONG}whether a VPN is connected."),
        lambda: in_digits("9" * LONG),
        lambda: in_digits("two hundred and " * (LONG // 16)),
    ],
    ids=[
        "outline",
        "dots",
        "marks",
        "underscores",
        "words",
        "answers",
        "more answers",
        "blanks",
        "digits",
        "numerals",
    ],
)
def test_long_prose_is_read_in_linear_time(read):
    begun = time.thread_time()
    read()
    assert time.thread_time() - begun < 5  # quadratic takes minutes
