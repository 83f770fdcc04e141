"""What the pages about worlds say is done, as a stranger would."""

import os
import re
import subprocess
import sys
from pathlib import Path

from forge_envs.env import PENALTIES, AgentEnv

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add_a_world.md").read_text()


def test_the_world_of_the_page_keeps_its_promises_and_plays(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "counter_world.py").write_text(code)
    check, play = re.findall(r"^\$ forge-envs (.*)$", PAGE, re.MULTILINE)
    for command, line in ((check, "  ok      snapshots: "), (play, "over: outcome 1")):
        run = subprocess.run(
            [
                sys.executable,
                "-c",
                "import sys; from forge_envs.cli import main; sys.exit(main())",
                *command.split(),
            ],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert line in run.stdout


def test_the_world_of_the_page_has_all_its_types(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    world = tmp_path / "counter_world.py"
    world.write_text(code)
    assert (ROOT / "forge_envs" / "py.typed").exists()
    # From here, so that what mypy has learned of this package by the same rules is not learned again.
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(world)], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_page_tells_every_hook_and_every_reserved_name():
    hooks = AgentEnv.__abstractmethods__
    assert hooks == {"begin", "hear", "progress", "grade", "gold", "task_ids", "find", "draw"}
    for name in (*(f"`{hook}(" for hook in hooks), *(f"`{part}`" for part in ("progress", *PENALTIES))):
        assert name in PAGE
