"""The tables of benchmarks about worlds: what they count, on a few tasks."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import pytest

from benchmarks import generated_tasks, official_equality


@pytest.mark.parametrize("world", generated_tasks.WORLDS)
def test_generated_tasks_are_counted_and_counted_again_when_they_come_back(world: str) -> None:
    seen: dict[str, set[Any]] = {"train": set(), "test": set()}
    first, again = (generated_tasks.measure(world, 2, "small", 4, seen) for _ in range(2))
    assert first["tasks"] == first["gold"] == first["silence"] == 8
    assert (first["again"], again["again"], first["gold_breaks_rules"]) == (0, 8, 0)
    shown = generated_tasks.table({"worlds": {world: {"levels": [first]}}})
    assert f"| {world} | 2 | 8 | 8 | 0 | 8 | 0 |" in shown


def test_an_episode_that_does_not_end_is_no_result() -> None:
    env = gym.make("Forge/Retail-v0", size="tiny").unwrapped
    with pytest.raises(AssertionError, match="not over after 1 actions"):
        generated_tasks.outcome(env, "retail/tiny/train/1/0", [""])


def test_official_episodes_are_added_up_by_change_and_by_source() -> None:
    changes = {"dropped": {"played": 2, "equal": 1, "earned": 0, "errors": 1}}
    both = {"τ²": {"tasks": 3, "changes": changes}, "τ": {"tasks": 4, "changes": changes}}
    shown = official_equality.table(both)
    assert "| dropped | 4 | 2 | 0 | 2 |" in shown and "| **τ**, 4 tasks | 2 | 1 | 0 | 1 |" in shown
