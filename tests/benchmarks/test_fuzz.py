"""The fuzzer: a few hundred actions of every grammar, and that it sees what it looks for."""

import random

import pytest

from benchmarks import fuzz
from forge_envs.grammars import grammar_names


def test_some_hundred_actions_of_every_grammar_do_no_harm(tmp_path, capsys):
    assert fuzz.main(["2240", "--processes", "1", "--out", str(tmp_path / "fuzz.json")]) == 0
    out = capsys.readouterr().out
    for world in fuzz.WORLDS:
        for grammar in set(grammar_names()) - {"bash"}:
            assert f"{world} {grammar}" in out
    assert "0 exceptions or changes" in out


@pytest.mark.parametrize(
    ("world", "seen"),
    [
        ("Brittle", "UnicodeEncodeError"),
        ("SeesOthers", "not as it is alone"),
        ("Moody", "not as it is alone"),
    ],
)
def test_a_world_with_a_fault_is_found_out(world, seen):
    lane = fuzz.Lane(f"tests.envs.worlds:Shop/{world}-v0", "hermes", ())
    found = fuzz.play_chunk((lane, 1, 400))
    assert found.faults and any(seen in fault for fault in found.faults)


def test_an_action_that_is_slow_each_time_is_counted(monkeypatch):
    monkeypatch.setattr(fuzz, "LIMIT_MS", 0.0)
    lane = fuzz.Lane("tests.envs.worlds:Shop/Counter-v0", "hermes", ())
    found = fuzz.play_chunk((lane, 1, 3))
    assert found.slow == found.actions and not found.faults


def test_the_same_seed_says_the_same():
    lane = fuzz.Lane("tests.envs.worlds:Shop/Counter-v0", "hermes", ())
    said = []
    for _ in range(2):
        env = lane.make()
        env.action_space.seed(3)
        plan = fuzz.actions(env, env.gold_actions("train/apple/1"), random.Random(3))
        said.append([next(plan) for _ in range(200)])
    assert said[0] == said[1] and len(set(said[0])) > 50


def test_a_world_that_no_grammar_can_play_is_named():
    with pytest.raises(ValueError, match=r"Forge/Retail-v0.*size='huge'"):
        fuzz.lanes(["Forge/Retail-v0 size=huge"])
