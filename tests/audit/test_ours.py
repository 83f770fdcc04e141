"""No finding on our own worlds that run in this process; those with containers are audited by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_envs.audit import Budget, audit, target_of

IN_PROCESS = ["Forge/Retail-v0", "Forge/Airline-v0", "Forge/NextTurn-v0"]
RESEARCH = ["Forge/Search-v0", "Forge/Report-v0"]
PAID = ["semantic.no_solution_leakage", "semantic.oracle_max", "semantic.floor_gap", "forge.reward_forgery"]
"""What is asked of a web whose making takes its time; docs/audit.md has the whole."""


@pytest.mark.parametrize("world", IN_PROCESS)
def test_our_worlds_have_no_finding(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    found = audit(target_of(world, {}), Budget(timeout=30.0, places=2, sessions=4))
    assert [(r.check, r.finding) for r in found.findings] == []
    assert not [r for r in found.results if r.skipped and "failed on the way" in r.skipped]


@pytest.mark.parametrize("world", RESEARCH)
def test_research_worlds_pay_for_answers_alone(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    found = audit(target_of(world, {"entities": 100}), Budget(timeout=30.0, places=2, sessions=4), PAID)
    assert [(r.check, r.finding, r.skipped) for r in found.results] == [(check, None, None) for check in PAID]
