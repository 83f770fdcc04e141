"""Every planted defect is found by its check; the same environment without it has no finding."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from forge_envs.audit import Budget, audit, target_of
from forge_envs.audit.checks import CHECKS
from tests.audit.planted import PLANTED

BUDGET = Budget(timeout=3.0, sessions=6)


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parent.parent}")


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found_and_its_healthy_twin_is_clean(name: str) -> None:
    check = PLANTED[name]
    sick = audit(target_of(f"planted:Planted/{name}-v0", {}), BUDGET, [check])
    assert [result.check for result in sick.findings] == [check], sick.results
    finding = sick.findings[0].finding
    assert finding is not None and finding.claim and finding.seen and "planted:" in finding.again
    ast.parse(finding.again)  # whole, to be typed again: what was cut would be no Python
    assert "…" not in finding.again
    twin = audit(target_of(f"planted:Planted/{name}-v0", {"healthy": True}), BUDGET, [check])
    assert twin.findings == []


def test_every_check_has_a_planted_defect() -> None:
    assert set(CHECKS) - set(PLANTED.values()) == {"runtime.oracle_containment"}  # test_harbor.py


@pytest.mark.parametrize("name", ["Sum", "Known"])
def test_a_healthy_environment_has_no_finding(name: str) -> None:
    found = audit(target_of(f"planted:Planted/{name}-v0", {"healthy": True}), BUDGET)
    assert found.findings == []
    assert len(found.results) == len(CHECKS)


def test_evidence_of_a_leak_shows_that_it_wins() -> None:
    check = "semantic.no_solution_leakage"
    (found,) = audit(target_of("planted:Planted/WideAnswerInInfo-v0", {}), BUDGET, [check]).findings
    assert found.finding is not None and found.finding.certainty == "fact"
    said = found.finding.seen.rpartition("saying '")[2].partition("'")[0]
    told = subprocess.run([sys.executable, "-c", found.finding.again], capture_output=True, text=True)
    assert f"print(env.step('{said}'))" in found.finding.again and ", 1.0, True, False" in told.stdout, told
    assert max(map(len, found.finding.again.splitlines())) < 500
