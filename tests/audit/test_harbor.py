"""Harbor task folders as files say them; tests/docker/test_audit_harbor.py plays them."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge_envs.audit import Budget, NotStarted, audit, target_of
from forge_envs.audit.harbor import HARBOR
from tests.audit.folders import HONEST, write

STATIC = ["semantic.no_solution_leakage"]


def found(folder: str, checks: list[str]) -> list[str]:
    return [result.check for result in audit(target_of(folder, {}), Budget(), checks).findings]


def test_an_honest_folder_has_no_finding(tmp_path: Path) -> None:
    assert found(write(tmp_path), STATIC) == []


def test_tests_in_the_build_context_are_found(tmp_path: Path) -> None:
    folder = write(tmp_path, environment__check_dot_sh=HONEST["tests/test.sh"])
    assert found(folder, STATIC) == STATIC


def test_a_dockerfile_that_copies_the_solution_is_found(tmp_path: Path) -> None:
    text = HONEST["environment/Dockerfile"] + "COPY solution/solve.sh /work/\n"
    assert found(write(tmp_path, environment__Dockerfile=text), STATIC) == STATIC


def test_a_verifier_in_the_agents_box_is_a_suspicion_where_it_cannot_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no docker
    shared = audit(target_of(write(tmp_path), {}), Budget(), ["forge.reward_forgery"]).results[0]
    assert shared.status == "suspicion"
    separate = HONEST["task.toml"].replace("[verifier]", '[verifier]\nenvironment_mode = "separate"')
    apart = audit(target_of(write(tmp_path, task_dot_toml=separate), {}), Budget(), ["forge.reward_forgery"])
    assert apart.results[0].status == "clean"


def test_a_download_scored_zero_is_a_suspicion_where_it_cannot_be_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script = (
        "pip install pytest\nif pytest /tests; then echo 1 > /logs/verifier/reward.txt\n"
        "else echo 0 > /logs/verifier/reward.txt; fi\n"
    )
    folder = write(tmp_path, tests__test_dot_sh=script)
    assert found(folder, ["forge.machine_failure"]) == ["forge.machine_failure"]


def test_without_docker_what_must_be_played_is_skipped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    results = {r.check: r for r in audit(target_of(write(tmp_path), {}), Budget()).results}
    assert set(results) == set(HARBOR)
    assert results["semantic.oracle_max"].skipped == "there is no docker here"


def test_a_folder_that_is_no_task_never_starts(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text("[")
    with pytest.raises(NotStarted, match="no Harbor task"):
        audit(target_of(str(tmp_path), {}))
    with pytest.raises(ValueError, match=r"has no task\.toml"):
        target_of(str(tmp_path.parent), {})
