"""Every verdict is the official code's: thousands of changed episodes against what it said of them, stored.

`benchmarks/official_equality.py` plays the same episodes with the official code beside and stores the digits.
"""

from __future__ import annotations

import pytest

from tests.envs.official import DATA
from tests.envs.tau_verdicts import DIGITS, MODES, SOURCES, all_episodes, digest, open_env, ours, stored

pytestmark = pytest.mark.skipif(
    not (DATA / "tau2" / "retail" / "oracle.json").exists(),
    reason=f"the benchmarks' data is not at {DATA}; see reference/benchmarks.md for where it comes from",
)
EVERY = {"τ² retail": 3, "τ² telecom": 4, "τ retail": 4}
"""Of a source's episodes every n-th is played; the benchmark plays all."""


@pytest.mark.parametrize("name", SOURCES)
def test_verdicts_errors_and_rows_are_those_of_the_official_code(name: str) -> None:
    kind, domain = SOURCES[name]
    folder = DATA / kind / domain
    envs = {alone: open_env(kind, folder, **({"solo": True} if alone else {})) for alone in MODES[domain]}
    digits = stored()[name]
    played, unequal, seen = 0, [], set()
    for n, episode in enumerate(all_episodes(kind, folder)):
        if n % EVERY.get(name, 1) == 0:
            found = ours(envs[episode.get("solo", False)], episode)
            played += 1
            seen.add((found["reward"], found["ended"], "x" in found["errors"]))
            if digest(found) != digits[DIGITS * n : DIGITS * (n + 1)]:
                unequal.append((episode["task"], episode["change"], found))
    assert len(digits) == DIGITS * (n + 1), "the episodes are others than those that were stored"
    assert unequal[:3] == [] and played > 200
    assert {(1.0, "customer", True), (0.0, "customer", False)} <= seen
