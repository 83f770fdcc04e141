"""Harbor task folders played in real boxes: honest ones are clean, each planted defect is found."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from forge_envs.audit import Budget, audit, target_of
from forge_envs.audit.harbor import HARBOR
from forge_envs.sandbox import images
from tests.audit.folders import HONEST, write
from tests.docker.conftest import missing

Statuses = Callable[..., dict[str, str]]


@pytest.fixture(scope="module")
def statuses() -> Statuses:
    try:
        base = images.build("swe")
    except Exception as error:
        missing(f"no image to build on: {error}")

    def play(folder: str, *checks: str) -> dict[str, str]:
        target = target_of(folder, {"base": base})
        return {r.check: r.status for r in audit(target, Budget(timeout=60.0), checks).results}

    return play


def test_an_honest_folder_is_clean_but_for_its_shared_box(tmp_path: Path, statuses: Statuses) -> None:
    got = statuses(write(tmp_path))
    assert got.pop("forge.reward_forgery") == "fact"  # a shared box and a root agent: nothing can help it
    assert set(got.values()) == {"clean"}
    assert set(got) == set(HARBOR) - {"forge.reward_forgery"}


def test_a_readable_solution_is_found(tmp_path: Path, statuses: Statuses) -> None:
    text = HONEST["environment/Dockerfile"] + "COPY key.sh /usr/share/doc/key.sh\n"
    folder = write(
        tmp_path, environment__Dockerfile=text, environment__key_dot_sh=HONEST["solution/solve.sh"]
    )
    assert statuses(folder, "runtime.oracle_containment") == {"runtime.oracle_containment": "fact"}


def test_a_solution_that_fails_and_a_floor_that_pays_are_found(tmp_path: Path, statuses: Statuses) -> None:
    wrong = write(tmp_path / "wrong", solution__solve_dot_sh="echo 8 > /work/answer.txt\n")
    assert statuses(wrong, "semantic.oracle_max") == {"semantic.oracle_max": "fact"}
    paid = write(tmp_path / "paid", tests__test_dot_sh="echo 1 > /logs/verifier/reward.txt\n")
    assert statuses(paid, "semantic.floor_gap") == {"semantic.floor_gap": "fact"}


def test_a_failed_download_scored_zero_is_found(tmp_path: Path, statuses: Statuses) -> None:
    script = HONEST["tests/test.sh"].replace(
        'if [ "', 'if ip route | grep -q default && curl_is_here=1 && [ "'
    )
    script = script.replace("ip route | grep -q default", 'grep -q "[1-9A-F]" <(tail -n +2 /proc/net/route)')
    got = statuses(
        write(tmp_path, tests__test_dot_sh=script + "# curl\ncurl --version\n"), "forge.machine_failure"
    )
    assert got == {"forge.machine_failure": "fact"}


def test_no_box_and_no_image_is_left(tmp_path: Path, statuses: Statuses) -> None:
    before = _there()
    statuses(write(tmp_path), "semantic.floor_gap")
    assert _there() == before


def _there() -> set[str]:
    boxes = subprocess.run(
        ["docker", "ps", "-aq", "--filter", "name=forge-audit"], capture_output=True, text=True
    )
    made = subprocess.run(["docker", "images", "-q", "forge-audit-*"], capture_output=True, text=True)
    return {*boxes.stdout.split(), *made.stdout.split()}
