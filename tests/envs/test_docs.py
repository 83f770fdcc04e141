"""What the pages about worlds say is done, as a stranger would."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from forge_envs.env import PENALTIES, AgentEnv

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add_a_world.md").read_text()


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """The folder of an environment's commands: the wheel is installed there, from a copy of this checkout."""
    room = tmp_path_factory.mktemp("stranger")
    source = room / "source"
    source.mkdir()
    for name in ("forge_envs", "forge_train", "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    venv = room / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    # What the wheel depends on is read where this Python has it; the wheel itself comes first.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "--no-index", source], check=True, timeout=300)
    return venv / "bin"


def typed(line: str, commands: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """What a line of a page does in a shell, in a folder, without any help of ours."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    env["PATH"] = f"{commands}{os.pathsep}{env['PATH']}"
    return subprocess.run(line, shell=True, cwd=folder, env=env, capture_output=True, text=True, timeout=300)


def test_the_page_works_word_for_word_with_the_wheel_from_an_empty_folder(tmp_path, stranger):
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "counter_world.py").write_text(code)
    install, check, play = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
    assert install == "pip install forge-envs"
    for command, line in (
        (check, "  ok      snapshots: "),
        (play, "over: outcome 1"),
        (play.replace("forge-envs", "python -m forge_envs"), "over: outcome 1"),
        (play.replace("forge-envs", "python -m forge_envs.cli"), "over: outcome 1"),
    ):
        run = typed(command, stranger, tmp_path)
        assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr
        assert line in run.stdout
    where = typed("python -c 'import forge_envs; print(forge_envs.__file__)'", stranger, tmp_path)
    assert where.stdout.startswith(str(stranger.parent)), "it is the wheel that was asked"


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
