"""The recipes load, and what they ask of their worlds can be done; gold that cannot be played says why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tests.train.worlds  # noqa: F401  (registers worlds)
from forge_train.cli import main
from forge_train.config import ConfigError, load
from forge_train.play.world_pool import World
from forge_train.sft import gold_episodes

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "forge_train" / "recipes").glob("*.toml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_gold_can_be_played_in_the_worlds_of_a_recipe(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    config = load(recipe, [f"model.path={tmp_path}"])
    for world in config.worlds:
        place = World(world.id, world.args, world.label)
        tasks = place.tasks(world.split, 4) + place.tasks(config.eval.split, 4)
        assert len(gold_episodes(place, tasks)) == 8


def test_your_model_is_asked_for_yours() -> None:
    with pytest.raises(
        ConfigError, match=r'model\.path = "\./your-model": no such folder; give that of a model'
    ):
        load(ROOT / "forge_train" / "recipes" / "your_model.toml")


def test_gold_that_is_cut_off_names_max_turns() -> None:
    cut = World("Test/Echo-v0", {"turns": 5, "max_turns": 3})
    with pytest.raises(
        ValueError, match=r"takes 5 actions and .* max_turns = 3 ends the episode after 3; raise"
    ):
        gold_episodes(cut, ["train/1"])
    full = World("forge_envs:Forge/Retail-v0", {"size": "full", "level": 0, "max_turns": 2})
    with pytest.raises(ValueError, match="max_turns = 2 ends the episode after 2; raise max_turns"):
        gold_episodes(full, full.tasks("train", 8))


CODE = """
import sys
from forge_train.cli import main
code = main({argv!r})
print(code, "torch" in sys.modules, "transformers" in sys.modules)
"""


@pytest.mark.parametrize("argv", [["train", "missing.toml"], ["demo", "optim.lrr=1"], []], ids=str)
def test_what_is_mistyped_is_told_before_torch_is_imported(argv: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(argv=argv)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "2 False False", done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) >= 1


def test_the_light_install_says_what_the_trainer_needs(tmp_path: Path) -> None:
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(
            "raise ModuleNotFoundError('No module named ' + __name__, name=__name__)"
        )
    done = subprocess.run(
        [sys.executable, "-m", "forge_train.cli", "demo", f"run.out={tmp_path / 'run'}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.strip().endswith("pip install 'forge-envs[train]'") and "Traceback" not in done.stderr


def test_the_recipes_that_ship_are_listed_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "--list"]) == 0 and capsys.readouterr().out.split() == ["agentforge", "iterate"]
    assert main(["recipe"]) == 2 and "forge-train recipe NAME --out DIR" in capsys.readouterr().err
