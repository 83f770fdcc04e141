"""The audit on real libraries: their environments open and play, and a defect that is known is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_envs.audit import Audit, Budget, audit, target_of


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))


def audited(target: str, *checks: str) -> Audit:
    return audit(target_of(target, {}), Budget(timeout=60.0, sessions=4), checks)


def test_reasoning_gym() -> None:
    pytest.importorskip("reasoning_gym")
    found = audited("reasoning-gym:game_of_life_halting", "floor_gap", "seed_control", "oracle_max")
    assert [(r.check, r.status) for r in found.findings] == [("semantic.floor_gap", "fact")]
    found = audited("reasoning-gym:spiral_matrix", "host_containment")
    assert [(r.check, r.status) for r in found.findings] == [("runtime.host_containment", "fact")]


def test_textarena() -> None:
    pytest.importorskip("textarena")
    found = audited("textarena:TowerOfHanoi-v0", "episode_isolation", "seed_control", "hostile_text")
    assert [(r.check, r.status) for r in found.findings] == [("runtime.episode_isolation", "fact")]


def test_gem() -> None:
    pytest.importorskip("gem")
    found = audited("gem:game:GuessTheNumber-v0-easy", "global_randomness", "hostile_text")
    assert [(r.check, r.status) for r in found.findings] == [("forge.global_randomness", "fact")]


def test_gymnasium_s_own() -> None:
    assert audited("FrozenLake-v1").findings == []
