"""Inspect's own evaluations on our worlds; the model is its mockllm with a script."""

from __future__ import annotations

import math
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("inspect_ai")

from inspect_ai import eval
from inspect_ai.log import EvalLog
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from forge_envs import TaskError
from forge_envs.adapters.inspect_ai import forge_world
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played


def run(tmp_path: Path, said: Sequence[str], stop: Any = "stop", epochs: int = 1, **rest: Any) -> EvalLog:
    """The log of the one task, with the n-th line in each conversation's n-th turn."""

    def answer(messages: Any, *_: Any) -> ModelOutput:
        turn = sum(message.role == "assistant" for message in messages)
        output = ModelOutput.from_content("script", said[turn], stop_reason=stop)
        output.usage = ModelUsage()  # else mockllm asks the net for a tokenizer
        return output

    pass_k = rest.pop("pass_k", None)
    task = forge_world(WORLD, ARGS, tasks=[TASK], epochs=epochs, pass_k=pass_k)
    model = get_model("mockllm/script", custom_outputs=answer, memoize=False)
    (log,) = eval(task, model=model, log_dir=str(tmp_path), display="none", **rest)
    return log


def means(log: EvalLog) -> dict[str | None, float]:
    assert log.results is not None
    return {score.reducer: score.metrics["mean"].value for score in log.results.scores}


def test_gold_earns_what_the_same_actions_earn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held, direct = Open(monkeypatch), played(gold())
    log = run(tmp_path, gold(), epochs=3, pass_k=2)
    assert log.status == "success" and means(log) == {"mean": 1.0, "pass_k_2": 1.0}
    assert log.samples is not None and len(log.samples) == 3
    for sample in log.samples:
        (score,) = (sample.scores or {}).values()
        assert score.value == direct["outcome"] and score.metadata == direct
        assert sample.store["forge"] == direct
        assert sum(message.role == "assistant" for message in sample.messages) == len(gold())
        assert "# Tools" in sample.messages[0].text and sample.messages[0].role == "system"
    assert not held.held


def test_half_of_the_tries_are_no_pass_of_both(tmp_path: Path) -> None:
    turns = {"asked": 0}

    class Half(list[str]):
        def __getitem__(self, turn: Any) -> Any:
            turns["asked"] += turn == 0
            return super().__getitem__(turn) if turns["asked"] != 2 else "Nothing."

    log = run(tmp_path, Half(gold()), epochs=2, pass_k=2, max_samples=1)
    assert means(log) == {"mean": 0.5, "pass_k_2": 0.0}


def test_a_machine_that_fails_ends_the_evaluation_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Open(monkeypatch)
    Failing(monkeypatch, range(1))
    log = run(tmp_path, gold())
    assert log.status == "error" and log.error is not None and "no answer" in log.error.message
    assert not held.held


@pytest.mark.parametrize("score_on_error", [False, True])
def test_a_machine_that_fails_counts_for_nothing(
    score_on_error: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing(monkeypatch, range(1))
    log = run(tmp_path, gold(), epochs=3, fail_on_error=False, score_on_error=score_on_error)
    assert log.status == "success" and means(log) == {"mean": 1.0} and log.samples is not None
    (failed,) = (sample for sample in log.samples if sample.error is not None)
    assert "no answer" in failed.error.message and failed.store["forge"]["outcome"] is None
    for score in (failed.scores or {}).values():
        assert math.isnan(float(score.value)) and "timeout" in (score.explanation or "")  # type: ignore[arg-type]


def test_a_sample_is_played_again_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Failing(monkeypatch, range(1))
    log = run(tmp_path, gold(), retry_on_error=1)
    assert log.status == "success" and means(log) == {"mean": 1.0}


def test_what_is_cut_is_graded_where_it_stands(tmp_path: Path) -> None:
    log = run(tmp_path, ["Hello, I am"], stop="max_tokens")
    assert log.status == "success" and means(log) == {"mean": 0.0} and log.samples is not None
    assert not log.samples[0].store["forge"]["parts"].get("malformed")
    limited = run(tmp_path, gold(), message_limit=5)
    assert limited.status == "success" and means(limited) == {"mean": 0.0} and limited.samples is not None
    assert limited.samples[0].limit is not None


def test_bad_input_is_told() -> None:
    with pytest.raises(TaskError, match="nowhere"):
        forge_world(WORLD, tasks=["nowhere"])
    with pytest.raises(ValueError, match="max_trns"):
        forge_world(WORLD, {"max_trns": 3})
    with pytest.raises(ValueError, match="pass_k=3 of epochs=2"):
        forge_world(WORLD, epochs=2, pass_k=3)


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "inspect_eval.py"))
    told = capsys.readouterr().out
    assert "success mean 1.0" in told and "success pass_k_2 1.0" in told
