"""Objectives and regularisers in a config: what follows what, what is refused, what a step does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from forge_train.config import CRITIC_ESTIMATORS, LossConfig, dump, load
from forge_train.config.explain import ConfigError
from forge_train.config.hyperparameters import SHIPPED_OBJECTIVES
from forge_train.config.objectives import OF_PAPER, OPMD, READS, SAMPLER, UNITS
from forge_train.config.regularisers import OF_TURNS, ONE_ADVANTAGE, OWN_SUMS
from forge_train.learn.advantages import ESTIMATORS
from forge_train.learn.losses import AUTO, HOLDING, OBJECTIVES, UNIT_OBJECTIVES
from forge_train.trajectory import Trajectory
from tests.train.models import qwen3
from tests.train.test_config import WORLD, problem
from tests.train.test_trainer import trainer, trajectory


def test_what_is_not_said_is_what_the_paper_says() -> None:
    config = load(None, [WORLD, "algorithm.objective=gspo"]).algorithm
    assert (config.clip_low, config.clip_high, config.denominator) == (3e-4, 4e-4, "trajectory")
    config = load(None, [WORLD, "algorithm.objective=gspo", "algorithm.clip_low=0.01"]).algorithm
    assert (config.clip_low, config.clip_high) == (0.01, 4e-4)
    config = load(None, [WORLD, "algorithm.objective=opmd"]).algorithm
    assert (config.denominator, config.constant) == ("constant", 1.0)
    assert load(None, [WORLD, "algorithm.kl_in=reward", "algorithm.kl_weight=0.1"]).algorithm.kl == "k1"


@pytest.mark.parametrize("objective", sorted([*OBJECTIVES, *UNIT_OBJECTIVES, *AUTO]))
def test_every_objective_can_be_asked_for_and_written_down(objective: str, tmp_path: Path) -> None:
    config = load(None, [WORLD, f"algorithm.objective={objective}"])
    (tmp_path / "config.toml").write_text(dump(config))
    assert load(tmp_path / "config.toml") == config


def test_the_tables_of_the_config_name_what_there_is() -> None:
    there = {*OBJECTIVES, *UNIT_OBJECTIVES, *AUTO}
    assert {*OF_PAPER, *SAMPLER, *UNITS}.union(*READS.values()) <= there
    assert {*UNIT_OBJECTIVES} == UNITS and HOLDING == OPMD and ONE_ADVANTAGE <= UNITS
    assert {*ESTIMATORS, *CRITIC_ESTIMATORS} >= OF_TURNS and {*ESTIMATORS} >= OWN_SUMS


def test_without_a_word_nothing_is_changed() -> None:
    told = LossConfig().model_dump()
    assert (told["objective"], told["clip_low"], told["clip_high"], told["dual_clip"]) == (
        "auto",
        0.2,
        0.28,
        3.0,
    )
    assert not any(told[key] for key in ("entropy_weight", "kl_weight", "ptx_weight", "off_policy_delta"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["objective=gspo", "importance_level=sequence"], ["count twice", '"proximal"']),
        (["objective=dppo_tv", "importance_level=sequence"], ["holds the ratio to who sampled", "twice"]),
        (["objective=opmd", "importance_level=sequence"], ["has no ratio to correct"]),
        (["objective=cispo", "importance_level=sequence", "old_policy=behaviour"], ["count twice"]),
        (["old_policy=reference"], ['old_policy = "reference"', 'use objective = "opmd", or kl_weight']),
        (["objective=opmd", "denominator=turn"], ['denominator = "turn"', "the square of what a whole"]),
        (["objective=opmd", "advantage=gae"], ['algorithm.objective = "opmd"', 'advantage = "dr_grpo"']),
        (["objective=gspo", "advantage=turn_rloo"], ["tells its turns apart", 'objective = "gspo_turn"']),
        (["objective=cispo", "tau=0.5"], ["algorithm.tau = 0.5", "does not read it"]),
        (["objective=sapo", "clip_low=0.1"], ["algorithm.clip_low = 0.1", "does not read it"]),
        (["objective=opmd", "importance_cap=5.0"], ["importance_cap = 5.0", "no weight on who sampled"]),
        (
            ["objective=gspo", "old_policy=behaviour", "importance_cap=5.0"],
            ["the ratio to who sampled already"],
        ),
        (["old_policy=behaviour"], ['old_policy = "behaviour"', "does not read it"]),
        (["kl=k2"], ['algorithm.kl = "k2"', "kl_weight = 0 asks no reference"]),
        (["kl_weight=0.1", "kl_in=reward", "kl=k3"], ['kl = "k3"', "in the reward"]),
        (["kl_weight=0.1", "kl_in=reward", "advantage=gdpo"], ["reads outcome and parts apart"]),
        (["objective=nll", "dual_clip=2.0"], ["dual_clip = 2.0", "no ratio of probabilities"]),
        (["objective=gspoo"], ['did you mean "gspo"?']),
    ],
)
def test_refusals_name_key_value_and_fix(overrides: list[str], words: list[str]) -> None:
    said = problem(*(f"algorithm.{override}" for override in overrides))
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["reference.refresh=5"], ["reference.refresh = 5", "kl_weight = 0 asks no reference"]),
        (["algorithm.kl_weight=0.1", "reference.reset_optimizer=true"], ["never makes a new reference"]),
        (["ptx.batch=4"], ["ptx.batch = 4", "set ptx_weight"]),
        (
            ["algorithm.kl_weight=0.1", "reference.path=/nowhere"],
            ['reference.path = "/nowhere"', "no config.json"],
        ),
        (
            ["algorithm.kl_weight=0.1", "reference.path=/nowhere", "model.lora_rank=4"],
            ["with model.lora_rank = 4", "costs no second model"],
        ),
    ],
)
def test_a_section_that_nobody_asks_is_refused(overrides: list[str], words: list[str]) -> None:
    said = problem(*overrides)
    assert all(word in said for word in words)


def test_a_reference_of_another_vocabulary_is_refused_when_the_config_is_read(tmp_path: Path) -> None:
    ours, theirs = qwen3(), qwen3()
    theirs.resize_token_embeddings(80)
    ours.save_pretrained(tmp_path / "ours")
    theirs.save_pretrained(tmp_path / "theirs")
    keys = [WORLD, f'model.path="{tmp_path / "ours"}"', "algorithm.kl_weight=0.1"]
    assert load(None, [*keys, f'reference.path="{tmp_path / "ours"}"']).reference.path
    with pytest.raises(ConfigError, match="vocab_size 80 instead of 64"):
        load(None, [*keys, f'reference.path="{tmp_path / "theirs"}"'])


def test_a_tuple_of_two_is_a_kernel() -> None:
    with pytest.raises(ValidationError):
        LossConfig(objective="vespo", kernel_good=(0.0, 1.0))


# --- what a step does with it --------------------------------------------------------------------------


def group(*outcomes: float) -> list[Trajectory]:
    return [trajectory(outcome) for outcome in outcomes]


@pytest.mark.parametrize(
    ("algorithm", "idle"),
    [
        ({}, True),
        ({"objective": "gspo"}, True),
        ({"objective": "opmd"}, False),
        ({"kl_weight": 0.1}, False),
        ({"entropy_weight": 0.1}, False),
        ({"ptx_weight": 0.1}, False),
    ],
)
def test_equal_groups_teach_nothing_unless_the_policy_is_held(
    algorithm: dict[str, object], idle: bool
) -> None:
    some = trainer(**algorithm)
    assert some.idles([some.credit(group(1.0, 1.0))]) is idle
    assert not some.idles([some.credit(group(1.0, 0.0))])


@pytest.mark.parametrize("algorithm", [{"objective": "opmd"}, {"kl_weight": 0.1}])
def test_where_nobody_can_be_compared_there_is_nothing_to_hold(algorithm: dict[str, object]) -> None:
    some = trainer(**algorithm)
    assert some.idles([some.credit([trajectory(1.0), trajectory(None, "failed")])])


def test_what_ships_is_known_without_torch() -> None:
    assert {*OBJECTIVES, *UNIT_OBJECTIVES, *AUTO} == SHIPPED_OBJECTIVES
