"""No finding on our own worlds that run in this process; those with containers are audited by command."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_envs.audit import Budget, audit, target_of

IN_PROCESS = ["Forge/Retail-v0", "Forge/Airline-v0", "Forge/NextTurn-v0"]


@pytest.mark.parametrize("world", IN_PROCESS)
def test_our_worlds_have_no_finding(world: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    found = audit(target_of(world, {}), Budget(timeout=30.0, places=2, sessions=4))
    assert [(r.check, r.finding) for r in found.findings] == []
    assert not [r for r in found.results if r.skipped and "failed on the way" in r.skipped]
