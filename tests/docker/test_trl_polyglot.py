"""TRL's trainer through the text door on real containers: two steps of a tiny model on Forge/Polyglot-v0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("trl")

from forge_envs.adapters.trl import ForgeSpec
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from tests.adapters.trl_runs import replayed, said_in, text_policy, train
from tests.docker.conftest import mine
from tests.docker.test_polyglot_training import checkout

WORLD = "Forge/Polyglot-v0"


def test_two_steps(
    tmp_path: Path,
    image: Callable[[str], str],
    docker: DockerProvider,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    image("polyglot-python")
    args = {"source": str(checkout(tmp_path / "checkout")), "language": "python", "reflections": 0}
    spec = ForgeSpec(WORLD, args, n=1, door="text")
    policy = text_policy(spec, 60, 25)
    trainer, watch = train(spec, policy, tmp_path / "run", most=200)
    records = [row["record"] for row in watch.rows]
    assert len(records) == 8 and all(record["error"] is None for record in records)
    assert any(record["outcome"] == 1.0 for record in records), "the tests passed in a container"
    rewards = [line["reward"] for line in trainer.state.log_history if "reward" in line]
    assert rewards == pytest.approx(
        [sum(r["reward"] for r in part) / 4 for part in (records[:4], records[4:])]
    )
    best = next(i for i, record in enumerate(records) if record["outcome"] == 1.0)
    _, actions = said_in(watch.rows[best]["ids"], watch.masks[best], policy[1])
    again = replayed(WORLD, args, spec.tasks[0], lambda session: [session.act(action) for action in actions])
    assert again == records[best]
    for free in spec.rollout_func._free.values():  # type: ignore[union-attr]
        for session in free:
            session.close()
    docker.close()
    assert not mine(engine), "the door left containers"
