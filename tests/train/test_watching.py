"""What watches a run: the profiler's traces."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from forge_train import cli
from forge_train.config import RunConfig, load
from forge_train.config.watching import ProfileConfig
from forge_train.learn.kernels import in_thread
from forge_train.record.profile import profiled


def asked(folder: Path, *steps: int) -> RunConfig:
    return RunConfig(out=str(folder), profile=ProfileConfig(steps=steps))


def operations(path: Path) -> set[str]:
    with gzip.open(path) as file:
        return {e["name"] for e in json.load(file)["traceEvents"] if e.get("cat") == "cpu_op"}


def test_a_profiled_step_is_a_trace_of_all_threads(tmp_path: Path) -> None:
    said: list[str] = []

    async def steps() -> None:
        for step in range(3):
            with profiled(asked(tmp_path, 1), step, said.append):
                torch.ones(8).add(1)
                await in_thread(lambda: torch.ones(8, 8) @ torch.ones(8, 8))

    asyncio.run(steps())
    (path,) = (tmp_path / "profile").iterdir()
    assert path.name == "step-000001.json.gz"
    assert operations(path) >= {"aten::add", "aten::matmul"}
    assert len(said) == 1 and str(path) in said[0] and "perfetto" in said[0]


def test_a_disk_that_is_full_costs_the_run_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "file").write_text("")
    config = RunConfig(out=str(tmp_path), profile=ProfileConfig(steps=(0,), folder=str(tmp_path / "file")))
    with profiled(config, 0, said.append):
        torch.ones(2).add(1)
    assert "could not be written" in said[0] and "the run goes on" in said[0]


def test_where_nothing_is_profiled_the_profiler_is_not_even_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom forge_train.config import RunConfig\n"
        "from forge_train.record.profile import profiled\n"
        "with profiled(RunConfig(), 0): pass\nprint([m for m in sys.modules if m.startswith('torch')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ})
    assert (run.stdout.strip(), run.returncode) == ("[]", 0), run.stderr


def test_a_step_below_0_is_refused() -> None:
    with pytest.raises(ValueError, match=r"run.profile.steps.0 = -1: must be greater than or equal to 0"):
        load(cli.GRPO, ["run.profile.steps=[-1]"])
