"""What the page about algorithms says is done, as a stranger would."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import torch

from forge_train.config import LossConfig
from forge_train.learn import losses
from tests.train.test_run import SMALL

ROOT = Path(__file__).parents[2]
ESTIMATOR, OBJECTIVE = re.findall(
    r"```python\n(.*?)```", (ROOT / "docs" / "add_an_algorithm.md").read_text(), re.DOTALL
)


def test_the_estimator_of_the_page_trains(tmp_path):
    (tmp_path / "median.py").write_text(ESTIMATOR)
    out = tmp_path / "run"
    run = subprocess.run(
        [sys.executable, "median.py", *SMALL, f"run.out={out}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 3
    assert tomllib.loads((out / "config.toml").read_text())["algorithm"]["advantage"] == "median"


def test_the_objective_of_the_page_is_reinforce_on_policy():
    names = {"bounded": losses.bounded, "OBJECTIVES": {}}
    exec(OBJECTIVE, names)
    current = torch.tensor([-0.5, -2.0, -30.0], requires_grad=True)
    advantage = torch.tensor([1.0, -2.0, 0.0])
    loss, _ = names["OBJECTIVES"]["plain"](
        current, current.detach(), current.detach(), advantage, LossConfig()
    )
    loss.sum().backward()
    assert torch.equal(current.grad, -advantage)
