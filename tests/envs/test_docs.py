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


SMALL = "run.steps=1 sft.episodes=8 sft.epochs=1 rollout.groups=1 rollout.group_size=2 eval.tasks=2"
"""What makes the training of the page a matter of seconds."""


def test_the_page_works_word_for_word_with_the_wheel_from_an_empty_folder(tmp_path, stranger):
    install, new, go, *lines = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
    check, play, tests, types, again, train, judge = lines
    assert (
        install == "pip install 'forge-envs[train]' pytest mypy" and go == "cd corner_shop" and again == check
    )
    folder = tmp_path / "corner_shop"
    world = folder / "corner_shop" / "world.py"

    def does(line, where=folder, code=0):
        run = typed(line, stranger, where)
        assert run.returncode == code, run.stdout + run.stderr
        return run.stdout

    assert "corner_shop holds a world that works" in does(new, tmp_path)
    assert "  ok      snapshots: " in does(check)
    for program in ("forge-envs", "python -m forge_envs", "python -m forge_envs.cli"):
        assert "over: outcome 1" in does(play.replace("forge-envs", program))
    assert "2 passed" in does(tests)
    assert "Success: no issues found" in does(types)
    rule, told = "<= MOST - basket", re.search(r"FAILED  gold: (.*)", PAGE)[1]
    assert rule in world.read_text()
    world.write_text(world.read_text().replace(rule, "<= 6 - basket"))
    assert told in does(check, code=1)
    world.write_text(world.read_text().replace("MOST = 9", "MOST = 6"))
    assert "  ok      gold: " in does(check)
    assert "report: runs/corner_shop/report.html" in does(f"{train} {SMALL} model.tiny.hidden=32")
    assert "Own/CornerShop-v0" in does(judge.replace("--tasks 48", "--tasks 2 --repeats 1"))
    where = does(
        "python -c 'import forge_envs, forge_train; print(forge_envs.__file__, forge_train.__file__)'"
    )
    assert where.count(str(stranger.parent)) == 2, "it is the wheel that was asked"


def test_the_page_tells_every_hook_and_every_reserved_name():
    hooks = AgentEnv.__abstractmethods__
    assert hooks == {"begin", "hear", "progress", "grade", "gold", "task_ids", "find", "draw"}
    for name in (*(f"`{hook}(" for hook in hooks), *(f"`{part}`" for part in ("progress", *PENALTIES))):
        assert name in PAGE
