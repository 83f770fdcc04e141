"""Answers to small files as Aider's own code read them; `benchmarks/aider_answers.py` wrote that down."""

import json
from pathlib import Path

import pytest

from forge_envs.worlds.polyglot.edits import read_diff, read_whole

KEPT = json.loads(Path(__file__).with_name("aider_verdicts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("edit_format", "read"), [("whole", read_whole), ("diff", read_diff)])
def test_an_answer_is_read_as_aider_reads_it(edit_format, read):
    cases = [case for case in KEPT["cases"] if case[0] == edit_format]
    assert len(cases) > 130
    for _, number, text, changed, accepted in cases:
        files = KEPT["files"][number]
        answer = read(text, files)
        after = {**files, **answer.changed}
        assert (after, answer.error is None) == ({**files, **changed}, accepted), text
