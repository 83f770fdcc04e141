"""What of [curriculum], [shaping] and [temperature] contradicts itself or the rest, and in which words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from forge_train.config import ConfigError, dump, load
from forge_train.config.sampling_rules import WHITENED
from forge_train.learn.advantages import ACROSS
from tests.train.test_config import WORLD

PASSES = 'curriculum.passes="p.json"'


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (["curriculum.rates=[0.8, 0.2]"], ["rates = [0.8, 0.2]", "low < high", "[0.25, 0.75]"]),
        (["curriculum.window=3"], ["curriculum.window = 3", "set curriculum.rates"]),
        (["curriculum.hard=[4, 8]"], ["hard = [4, 8]", "set curriculum.hard_from"]),
        ([PASSES], ["nothing chooses by it"]),
        (["curriculum.grow_every=5"], ["no set grows"]),
        (["curriculum.recall_from=5"], ["nothing is recalled"]),
        (["shaping.length_from=5"], ["length earns nothing"]),
        (["shaping.turns_free=5"], ["turns cost nothing"]),
        (["shaping.overlong_weight=5.0"], ["nothing is too long"]),
        (["temperature.tasks=5"], ["no temperature is tried"]),
        (["curriculum.hard_from=3"], ["hard_from = 3", "forge-train difficulty", "set passes"]),
        (["curriculum.grow_by=500"], ["grow_by = 500", "forge-train difficulty"]),
        (["curriculum.hard=[8, 8]"], ["hard = [8, 8]", "second number must be the larger"]),
        (["curriculum.rates=[0, 1]", "curriculum.online=false"], ["online = false", "online = true"]),
        (["curriculum.grow_by=5", "curriculum.rates=[0, 1]", PASSES], ["grow_by = 5 with rates", "drop one"]),
        (["curriculum.grow_by=5", "curriculum.hard_from=9", PASSES], ["with hard_from", "drop one"]),
        (['curriculum.order="prioritised"', "curriculum.revisit=2"], ["revisit = 2", "no epochs"]),
        (["curriculum.horizons=[[0, 5], [10, 5]]"], ["[[0, 5], [10, 5]]", "must both grow"]),
        (["curriculum.horizons=[[3, 5]]"], ["[[3, 5]]", "update 0"]),
        (["curriculum.duplicate=true", "curriculum.top_spread=0.5"], ["top_spread = 0.5", "drop one"]),
        (["curriculum.top_spread=0.05"], ["top_spread = 0.05", "leaves none", "20 or more"]),
        (['curriculum.cycle=["x"]'], ['"x" is no world', "Forge/Retail-v0"]),
        (['curriculum.cycle=["Forge/Retail-v0"]', "worlds.0.weight=2.0"], ["worlds.0.weight = 2.0", "cycle"]),
        (
            ['curriculum.cycle=["Forge/Retail-v0"]', "worlds.1.id=a:B-v0"],
            ['"B-v0" is never played', "Forge/Retail-v0, B-v0"],
        ),
        (["curriculum.duplicate=true", "algorithm.advantage=gae"], ["duplicate = True", '"gae"', "grpo"]),
        (["curriculum.recall=2", "algorithm.advantage=turn_gae"], ["recall = 2", "compares nobody"]),
        (["curriculum.top_spread=0.5", "algorithm.across=scale"], ['algorithm.across = "none"']),
        (["curriculum.duplicate=true", "algorithm.advantage=gdpo"], ['algorithm.across = "none"']),
        (["curriculum.recall=2", "algorithm.objective=clipped"], ["older weights", '"auto" or "ppo"']),
        (["curriculum.recall=2", "curriculum.recall_from=100"], ["recall_from = 100", "run.steps = 100"]),
        (["shaping.overlong_limit=9"], ["overlong_buffer = None", "20480 and 4096"]),
        (["shaping.overlong_limit=9", "shaping.overlong_buffer=10"], ["overlong_buffer = 10", "(9)"]),
        (["shaping.turn_penalty=0.1"], ["turn_penalty = 0.1", "turns_free and turns_most"]),
        (
            ["shaping.turn_penalty=0.1", "shaping.turns_free=9", "shaping.turns_most=9"],
            ["they are 9 and 9"],
        ),
        (
            ["shaping.turn_penalty=1.5", "shaping.turns_free=1", "shaping.turns_most=9"],
            ["at most 1"],
        ),
        (["shaping.budget_penalty=0.5"], ["no world has a budget", "worlds.0.budget"]),
        (["shaping.budget_penalty=0.5", "worlds.0.budget=9"], ["masked leaves those out", '["context"']),
        (["shaping.length_weight=0.5", "algorithm.advantage=mt_grpo"], ["[shaping]", '"mt_grpo"', "gdpo"]),
        (["worlds.0.budget=9", 'agent.command=["true"]'], ["worlds.0.budget", "agent.max_requests"]),
        (['temperature.decay="linear"'], ["set end and steps"]),
        (["temperature.end=0.5"], ['decay = "none" never falls']),
        (["temperature.grid=[1.0, 1.2]"], ["grid = [1.0, 1.2]", "unset: plateau, gain"]),
        (
            ["temperature.grid=[1.0]", "temperature.plateau=5", "temperature.gain=0.0",
             "temperature.split=v"],
            ["two or more temperatures"],
        ),
        (
            ["temperature.grid=[1.0, 1.2]", 'temperature.decay="cosine"', "temperature.end=0.5",
             "temperature.steps=5"],
            ['decay = "cosine" moves', "drop one"],
        ),
        (
            ["temperature.grid=[1.0, 1.2]", "temperature.plateau=5", "temperature.gain=0.0",
             "temperature.split=v"],
            ["run.eval_every"],
        ),
        (
            ["temperature.grid=[1.0, 1.2]", "temperature.plateau=5", "temperature.gain=0.0",
             "temperature.split=test", "run.eval_every=5"],
            ['temperature.split = "test"', "split of its own"],
        ),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_refused_with_the_fix(told: list[str], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load(None, [WORLD, *told])
    assert [word for word in words if word not in str(error.value)] == []


@pytest.mark.parametrize(
    "told",
    [
        ["curriculum.rates=[0.25, 0.75]"],
        [PASSES, "curriculum.hard_from=9", "curriculum.rates=[0.25, 0.75]"],
        [PASSES, "curriculum.grow_by=500"],
        ["curriculum.duplicate=true", "algorithm.advantage=gdpo", "algorithm.across=none"],
        ["curriculum.recall=2", "algorithm.objective=ppo"],
        ["curriculum.horizons=[[0, 5], [100, 10]]"],
        ["shaping.budget_penalty=0.5", "worlds.0.budget=9", 'algorithm.masked=["context"]'],
        ["shaping.budget_penalty=0.5", "worlds.0.budget=9", "algorithm.advantage=gae"],
        ["temperature.grid=[1.0, 1.2]", "temperature.plateau=5", "temperature.gain=0.0",
         "temperature.split=validation", "run.eval_every=5"],
    ],
)  # fmt: skip
def test_what_does_not_is_read_and_what_is_written_is_read_again(told: list[str], tmp_path: Path) -> None:
    config = load(None, [WORLD, *told])
    (tmp_path / "c.toml").write_text(dump(config))
    assert load(tmp_path / "c.toml") == config


PAGES = ("curriculum.md", "sampling.md")
DOCS = Path(__file__).parents[2] / "docs" / "algorithms"
BLOCKS = [
    block for page in PAGES for block in re.findall(r"```toml\n(.*?)```", (DOCS / page).read_text(), re.S)
]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_the_pages_show_is_read(block: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(block)
    load(tmp_path / "c.toml")


def test_the_estimators_that_scale_over_an_update_are_those() -> None:
    assert set(WHITENED) == set(ACROSS), "the config cannot import them"
