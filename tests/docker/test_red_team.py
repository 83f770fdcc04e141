"""A small part of the red team, and honest solutions that look a little like it, in containers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the worlds
from forge_envs.red_team.run import attack_polyglot, attack_swe
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.worlds.polyglot.env import PolyglotEnv
from forge_envs.worlds.swe import patch as patches
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import judge
from forge_envs.worlds.swe.site import open_site

TASK = "forge__ledger-2"
FOOLED = (
    *("name_with_a_tab", "modify_items", "reports_lie", "xfail_called"),
    *("forged_stream", "rewrite_and_run_again", "reads_the_caller", "votes_of_copies", "reads_the_shell"),
)
"""Attacks that earn 1 from the official harness; all of them are tried by `forge-envs red-team`."""
ELSEWHERE = {"votes_of_copies": "forge__cronline-1", "reads_the_shell": "forge__ledger-3"}
"""Those to which this task does not fall, and one that does."""


@pytest.fixture(scope="module")
def env(swe_image: str, docker: DockerProvider) -> Iterator[SweEnv]:
    made = gym.make("Forge/SWE-v0", eval_timeout=120.0).unwrapped
    assert isinstance(made, SweEnv)
    yield made
    made.close()


@pytest.mark.parametrize("name", FOOLED)
def test_what_fools_the_official_harness_earns_nothing(env: SweEnv, name: str) -> None:
    (outcome,) = attack_swe(env, [ELSEWHERE.get(name, TASK)], [name], 120.0)
    assert outcome.official == 1.0, "so it was an attack"
    assert outcome.ours == 0.0 and outcome.holds, outcome


SOURCE = "ledger/money.py"
HONEST = {
    "reformatted": f"sed -i 's/^def /\\n\\ndef /; s/[ ]*$//' {SOURCE}; echo '# the end' >> {SOURCE}",
    "tests and docs": "mkdir -p docs; echo x > docs/money.md; echo 'def test_a(): pass' > tests/test_a.py",
    "a helper in the package": "printf 'def sign(text):\\n    return text\\n' > ledger/signs.py\n"
    f"sed -i '0,/^import/s//from ledger.signs import sign  # noqa\\nimport/' {SOURCE}",
    "a moved function": f"mv {SOURCE} ledger/amounts.py; echo 'from ledger.amounts import *' > {SOURCE}",
}
"""What is done to the repository after gold is applied."""


@pytest.mark.parametrize("name", HONEST)
def test_honest_solutions_earn_one(env: SweEnv, name: str) -> None:
    task = env.find(TASK)
    site = open_site(task, env.ground)
    try:
        path = site.put("gold.patch", task.patch.encode())
        done = site.run(f"set -e; git apply {path}; {HONEST[name]}", timeout=60.0)
        assert done.code == 0, done.output
        patch = patches.take(site, 1_000_000)
    finally:
        site.close()
    found = judge(task, patch, env.ground, timeout=120.0)
    assert found.resolved, (found.reason, found.log[-2000:])


def test_a_git_of_the_agents_own_is_not_asked_for_the_patch(env: SweEnv) -> None:
    (outcome,) = attack_swe(env, [TASK], ["lying_git"], 120.0)
    assert outcome.official == outcome.ours == 0.0


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("python", "python_assertions"),
        ("python", "python_kills_the_second_run"),
        ("java", "java_assertions"),
        ("javascript", "javascript_swallow"),
        ("rust", "rust_leaves"),
        ("python", "python_known_names"),
        ("go", "go_first_value_told"),
    ],
)
def test_attacks_on_exercises_earn_nothing(
    docker: DockerProvider, image: Callable[[str], str], language: str, name: str
) -> None:
    image(f"polyglot-{language}")
    made = gym.make("Forge/Polyglot-v0", language=language).unwrapped
    assert isinstance(made, PolyglotEnv)
    (outcome,) = attack_polyglot(made, [f"forge/{language}/water-meter"], [name], 120.0)
    assert outcome.official in (None, 1.0) and outcome.ours == 0.0, outcome
    made.close()
