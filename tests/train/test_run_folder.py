"""The run folder: what it holds, what it refuses, and that no kill spoils it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from forge_train.config import Config, load
from forge_train.record.run_folder import (
    RunFolder,
    read_lines,
    repair,
    rollout_files,
    rollout_record,
    standing,
    step_of,
    token_pieces,
)
from forge_train.show.live import Live, Progress
from forge_train.trajectory import Segment, Trajectory

WORLD = "worlds.0.id=a:World-v0"


def config(path: Path, *overrides: str) -> Config:
    return load(None, [WORLD, f'run.out="{path}"', *overrides])


def trajectory(**values: Any) -> Trajectory:
    segment = Segment()
    segment.hear([5, 6])
    segment.act([7, 2], [-0.1, -0.3], 0)
    return Trajectory(
        group="0/a/t1", segments=[segment], rewards=[1.0], turn_rewards=[0.5], outcome=1.0, **values
    )


# --- what it holds ---------------------------------------------------------------------------------


def test_a_run_writes_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    with RunFolder.create(config(path, "run.seed=3")) as run:
        assert not run.resumed
        run.event("evaluation", step=0, stage="untrained", **{"pass@1": np.float32(0.25)})
        run.metrics(
            0, {"success": torch.tensor(0.5), "endings": {"terminated": 3}, "grad_norm": float("nan")}
        )
        run.metrics(1, {"success": 1.0, "steps": [float("inf"), 1]})
        run.rollouts(1, [rollout_record(trajectory(), [0.7], lambda ids: "".join(f"<{i}>" for i in ids))])
    assert load(path / "config.toml") == config(path, "run.seed=3")
    events = read_lines(path / "events.jsonl")
    assert [event["event"] for event in events] == ["start", "evaluation"]
    assert events[0]["environment"]["versions"]["torch"] == version("torch")
    assert (events[1]["pass@1"], events[1]["stage"]) == (0.25, "untrained")
    assert read_lines(path / "metrics.jsonl") == [
        {"step": 0, "success": 0.5, "endings": {"terminated": 3}, "grad_norm": None},
        {"step": 1, "success": 1.0, "steps": [None, 1]},
    ]
    (file,) = rollout_files(path)
    (record,) = read_lines(file)
    assert step_of(file) == 1
    assert record.pop("advantages") == [0.7]
    assert record.pop("pieces") == [["<5>", "<6>", "<7>", "<2>"]]
    assert Trajectory.from_dict(record) == trajectory()


def test_lines_are_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path / "r")) as run:
        run.metrics(0, {"success": 0.0})
        run.event("x")
        assert len(read_lines(tmp_path / "r/metrics.jsonl")) == 1
        assert len(read_lines(tmp_path / "r/events.jsonl")) == 2


def test_what_is_no_json_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path / "r")) as run:
        with pytest.raises(TypeError, match="object is not JSON"):
            run.metrics(0, {"bad": object()})
        run.metrics(0, {"path": tmp_path})
    assert read_lines(tmp_path / "r/metrics.jsonl") == [{"step": 0, "path": str(tmp_path)}]


def test_steps_go_up_until_rewound(tmp_path: Path) -> None:
    with RunFolder.create(config(tmp_path / "r")) as run:
        for step in range(4):
            run.metrics(step, {"try": 1})
            run.rollouts(step, [])
        run.event("evaluation", step=2, stage="a")
        run.event("evaluation", step=3, stage="b")
        with pytest.raises(ValueError, match=r"step 3 is written; rewind\(2\) first"):
            run.metrics(2, {})
    with RunFolder.create(config(tmp_path / "r")) as run:
        assert run.resumed
        with pytest.raises(ValueError, match="is written"):
            run.metrics(3, {})
        run.rewind(2)
        run.metrics(2, {"try": 2})
    steps = [(line["step"], line["try"]) for line in read_lines(tmp_path / "r/metrics.jsonl")]
    assert steps == [(0, 1), (1, 1), (2, 2)]
    assert [step_of(path) for path in rollout_files(tmp_path / "r")] == [0, 1]
    events = read_lines(tmp_path / "r/events.jsonl")
    assert [e["event"] for e in events] == ["start", "evaluation", "evaluation", "open", "resume"]
    assert [e.get("stage") for e in standing(events) if e["event"] == "evaluation"] == ["a"]


# --- what it refuses -------------------------------------------------------------------------------


def refusal(wanted: Config) -> str:
    with pytest.raises(ValueError) as caught:
        RunFolder.create(wanted)
    return str(caught.value)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/forge")):
        said = refusal(config(path))
        assert str(path) in said and "cannot be written" in said and "choose another run.out" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["thesis.tex", "config.toml", "events.jsonl", "rollouts"])
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    said = refusal(config(tmp_path))
    assert "not a run folder" in said and name in said
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_run_of_another_config_names_the_differing_keys(tmp_path: Path) -> None:
    path = tmp_path / "r"
    RunFolder.create(config(path)).close()
    said = refusal(config(path, "optim.lr=0.5", "worlds.0.args.level=2", "run.steps=7"))
    assert "optim.lr: 0.0003 there, 0.5 now" in said
    assert "worlds.0.args" in said and "run.out" in said
    assert "run.steps" not in said
    with RunFolder.create(config(path, "run.steps=999", "run.threads=1")) as run:  # prolonged: fine
        assert run.resumed
    assert load(path / "config.toml").run.steps == 999
    (path / "config.toml").write_text("[")
    assert "does not load" in refusal(config(path))


def test_two_processes_cannot_write_one_run(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RunFolder.create(config(path)):
        said = refusal(config(path))
        assert "being written by another process" in said and f"pid {os.getpid()}" in said
    RunFolder.create(config(path)).close()


def test_a_refusal_lets_go_of_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "r"
    RunFolder.create(config(path)).close()
    refusal(config(path, "run.seed=9"))
    RunFolder.create(config(path)).close()


# --- torn lines and kills --------------------------------------------------------------------------

records = st.lists(
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none(), max_size=3),
    max_size=5,
)


@given(records, st.data())
def test_a_file_cut_anywhere_loses_at_most_its_torn_line(
    tmp_path_factory: pytest.TempPathFactory, items: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("cut") / "x.jsonl"
    lines = [json.dumps(item, ensure_ascii=False).encode() for item in items]
    whole = b"".join(line + b"\n" for line in lines)
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut])
    complete, position = 0, 0
    for line in lines:
        position += len(line)
        complete += position <= cut
        position += 1
    assert read_lines(path) == items[:complete]
    repair(path)
    assert read_lines(path) == items[:complete]
    with open(path, "ab") as file:
        file.write(b'{"next": 1}\n')
    assert read_lines(path) == [*items[:complete], {"next": 1}]


def test_opening_repairs_and_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    path = tmp_path / "r"
    with RunFolder.create(config(path)) as run:
        run.metrics(0, {"a": 1})
    with open(path / "metrics.jsonl", "a") as file:
        file.write('{"step": 1, "a"')
    with RunFolder.create(config(path)) as run:
        run.metrics(1, {"a": 2})
    assert [line["a"] for line in read_lines(path / "metrics.jsonl")] == [1, 2]
    text = (path / "metrics.jsonl").read_text()
    (path / "metrics.jsonl").write_text("\0\0\n" + text)
    with pytest.raises(ValueError, match=r"metrics\.jsonl: line 1 is damaged .*delete that line"):
        RunFolder.create(config(path))


LOOP = """
import sys
from pathlib import Path
from forge_train.config import load
from forge_train.record.run_folder import RunFolder
run = RunFolder.create(load(None, ["worlds.0.id=a:World-v0", f'run.out="{sys.argv[1]}"']))
print("ready", flush=True)
for step in range(10**6):
    run.metrics(step % 50, {"text": "x" * 5000})
    run.rollouts(step % 50, [{"step": step % 50}] * 20)
    if step % 50 == 49:
        run.rewind(0)
        print(step, flush=True)
"""


def test_a_killed_writer_leaves_a_folder_that_opens(tmp_path: Path) -> None:
    path = tmp_path / "r"
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    for turn in range(3):
        command = [sys.executable, "-c", LOOP, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=env, text=True) as child:
            assert child.stdout is not None
            for _ in range(1 + turn):  # at different places
                child.stdout.readline()
            os.kill(child.pid, signal.SIGKILL)
        with RunFolder.create(config(path)) as run:  # the lock died with its holder
            assert run.resumed
            steps = [line["step"] for line in read_lines(path / "metrics.jsonl")]
            assert steps == list(range(len(steps)))
            for file in rollout_files(path):
                assert read_lines(file) == [{"step": step_of(file)}] * 20
            run.rewind(0)
        assert read_lines(path / "events.jsonl")[-1] == {
            **read_lines(path / "events.jsonl")[-1],
            "event": "resume",
        }


# --- token texts -----------------------------------------------------------------------------------


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd"), max_size=20), st.data())
def test_pieces_join_to_the_text_whatever_the_tokens(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)))) | {0, len(raw)})
    parts = [raw[a:b] for a, b in pairwise(cuts)]
    pieces = token_pieces(
        range(len(parts)), lambda ids: b"".join(parts[i] for i in ids).decode(errors="replace")
    )
    assert len(pieces) == len(parts)
    assert "".join(pieces) == text


def test_bytes_that_are_no_text_do_not_swallow_what_follows() -> None:
    table = {0: b"\xff", 1: b"a"}
    pieces = token_pieces(
        [0, 0, 0, 0, 0, 1], lambda ids: b"".join(table[i] for i in ids).decode(errors="replace")
    )
    assert pieces[-1].endswith("a") and "".join(pieces).count("\ufffd") == 5


# --- live ------------------------------------------------------------------------------------------

STEP = {
    "step": 0, "success": 0.125, "return": 0.25, "entropy": 1.5, "grad_norm": 12.5, "logprob_gap": 2e-6,
    "turns": 5.25, "sampled_tokens": 5000, "seconds": {"generate": 2.0, "update": 1.0, "total": 4.0},
    "new": [1],
}  # fmt: skip


def test_a_pipe_gets_one_plain_line_per_step() -> None:
    out = io.StringIO()
    with Live(10, done=4, console=Console(file=out, width=40)) as live:
        live.note("[untrained] pass@1 0.1")
        live.step(STEP)
        live.step({"step": 1})
    note, first, second = out.getvalue().splitlines()
    assert note == "[untrained] pass@1 0.1"
    assert first == (
        "step 0 (5/10)  success 0.125  return 0.250  entropy 1.500  grad 12.5  |dlogp| 2e-06  turns 5.250  "
        "tok/s 1,250  seconds 4.0  play 2.0  learn 1.0  eta 20.0 s"
    )
    assert second == "step 1 (6/10)    eta 8.0 s"


def test_a_terminal_gets_a_table_and_a_bar() -> None:
    out = io.StringIO()
    with Live(3, title="demo", console=Console(file=out, width=120, force_terminal=True)) as live:
        live.step(STEP)
    for word in ("demo", "success", "0.125", "1,250", "1/3", "8.0 s left"):
        assert word in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_an_evaluation_may_show_its_progress_amid_a_run(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal)
    with Live(2, console=console) as live:
        live.step(STEP)
        with Progress("evaluation", 3, console=console) as progress:
            progress.advance(3)
        live.step({**STEP, "step": 1})
    assert "evaluation" in out.getvalue() and "3/3" in out.getvalue() and "2/2" in out.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_begin_and_end(terminal: bool) -> None:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=terminal)
    with Progress("supervised", 200, console=console) as progress:
        for i in range(200):
            progress.advance(loss=1 / (i + 1))
    assert "supervised" in out.getvalue() and "200/200" in out.getvalue() and "loss 0.005" in out.getvalue()
    if not terminal:
        assert len(out.getvalue().splitlines()) == 10
