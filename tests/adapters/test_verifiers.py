"""verifiers' own episodes on our worlds, by its null harness and against a served script over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("verifiers")

import verifiers.v1 as vf
from verifiers.v1.clients import ModelContext

from forge_envs import TaskError
from forge_envs.adapters.verifiers import main, write_package
from tests.adapters.endpoint import Endpoint
from tests.adapters.gold import ARGS, EXAMPLES, TASK, WORLD, Failing, Open, gold, played

UV = shutil.which("uv")
needs_uv = pytest.mark.skipif(UV is None, reason="the null harness installs its program with uv")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package on the path, as if installed."""
    folder = write_package(WORLD, tmp_path_factory.mktemp("package"), ARGS, "forge_tried")
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def environment(**rest: Any) -> vf.Env:
    asked = {"taskset": {"id": "forge_tried", "tasks": [TASK]}, **rest}
    return vf.load_environment(vf.resolve_env_config(asked))


def episodes(url: str, n: int = 1, **rest: Any) -> list[vf.Episode]:
    """What became of `n` episodes at once of the one task."""

    async def play() -> list[vf.Episode]:
        env = environment(**rest)
        client = vf.EvalClientConfig(base_url=url, api_key_var="NO_SUCH_KEY")
        context = ModelContext(model="script", client=client)
        async with env.serving():
            slots = [slot for task in env.taskset for slot in env.slots(task, n)]
            return await asyncio.gather(*(env.run_slot(slot, context) for slot in slots))

    return asyncio.run(play())


@needs_uv
def test_episodes_at_once_earn_what_the_same_actions_earn(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, direct = Open(monkeypatch), played(gold())
    with Endpoint(gold()) as endpoint:
        found = episodes(endpoint.url, 2)
    seeds = set()
    for episode in found:
        assert episode.ok and not episode.errors
        (trace,) = episode.traces
        record = dict(trace.info["forge"])
        seeds.add(record.pop("seed"))
        assert record == direct and trace.reward == pytest.approx(direct["reward"])
        assert trace.rewards["episode_return"].score == pytest.approx(direct["reward"])
        assert trace.metrics["outcome"] == 1.0 and trace.num_turns == len(gold())
        assert trace.metrics["turn_reward"] == pytest.approx(sum(direct["turn_rewards"]))
        assert {name: trace.metrics[f"part_{name}"] for name in direct["parts"]} == direct["parts"]
        assert trace.task.key == episode.task.key
    assert len(seeds) == 2 and not held.held
    first = endpoint.asked[0]["messages"]
    assert first[0]["role"] == "system" and "# Tools" in first[0]["content"] and first[1]["role"] == "user"


@needs_uv
def test_a_machine_that_fails_is_no_reward(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = Open(monkeypatch)
    Failing(monkeypatch, range(2))
    with Endpoint(gold()) as endpoint:
        (failed,) = episodes(endpoint.url)
        assert not failed.ok and "no answer" in failed.errors[0].message
        (trace,) = failed.traces
        assert not trace.ok and not trace.rewards and trace.errors[0].type == "MachineError"
        assert trace.info["forge"]["outcome"] is None and trace.info["forge"]["error"]["kind"] == "timeout"
        assert not held.held
        rule = {"type": "EnvError", "message": "no answer", "max_retries": 1}
        (again,) = episodes(endpoint.url, retries={"rules": [rule]})
    assert again.ok and again.traces[0].metrics["outcome"] == 1.0


@needs_uv
def test_a_machine_that_fails_at_the_opening_marks_the_trace(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge_envs import MachineError
    from forge_envs.worlds.retail.env import RetailEnv

    def begin(*_: Any) -> Any:
        raise MachineError("no room", kind="start", stage="begin", retryable=True)

    monkeypatch.setattr(RetailEnv, "begin", begin)
    with Endpoint([]) as endpoint:
        (episode,) = episodes(endpoint.url)
    (trace,) = episode.traces
    assert not episode.ok and not trace.ok and not trace.rewards and trace.errors[0].message == "no room"
    assert not endpoint.asked


@needs_uv
def test_what_was_cut_is_not_heard_and_a_limit_ends_the_episode(package: Path) -> None:
    with Endpoint(["Hello, I am"], finish="length") as endpoint:
        (episode,) = episodes(endpoint.url)
    assert episode.ok and episode.traces[0].reward == 0.0
    assert episode.traces[0].info["forge"]["outcome"] == 0.0
    with Endpoint(gold()) as endpoint:
        (episode,) = episodes(endpoint.url, player={"max_turns": 2})
    record = episode.traces[0].info["forge"]
    assert episode.ok and episode.traces[0].num_turns == 2 and record["outcome"] == 0.0
    # The last answer that the limit allowed was heard, and then the world was graded.
    assert record["turn_rewards"][:2] == played(gold()[:2])["turn_rewards"]


@needs_uv
def test_a_policy_that_fails_has_no_score(package: Path) -> None:
    with Endpoint([]) as endpoint:
        url = endpoint.url
    (episode,) = episodes(url)
    assert not episode.ok and not episode.traces[0].rewards


def test_validate_finds_gold_good_and_silence_bad(package: Path, tmp_path: Path) -> None:
    program = shutil.which("vf-validate", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert program is not None
    # By module: the script's own first line may name another Python than this one.
    command = [sys.executable, "-c", "from verifiers.v1.cli.validate import main; main()", "forge_tried"]
    asked = ["--runtime.type", "subprocess", "-n", "2", "--no-rich", "-o", str(tmp_path)]
    path = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, *asked], env={**os.environ, "PYTHONPATH": path}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (summary,) = tmp_path.glob("*/summary.json")
    checks = json.loads(summary.read_text())["checks"]
    assert checks["gold"]["valid"] == checks["noop"]["valid"] == 2


def test_a_package_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert write_package("Forge/Retail-v0", tmp_path).name == "forge_retail"
    with pytest.raises(FileExistsError, match="is there already: remove it, or take another"):
        write_package("Forge/Retail-v0", tmp_path)
    with pytest.raises(ValueError, match="'json' is a module of Python's own"):
        write_package(WORLD, tmp_path, name="json")
    with pytest.raises(ValueError, match="Forge-Retail"):
        write_package(WORLD, tmp_path, name="Forge-Retail")
    with pytest.raises(ValueError, match="max_trns"):
        write_package(WORLD, tmp_path, {"max_trns": 3}, "other")
    asked = ["verifiers", WORLD, "--args", '{"turn_weight": 0.25}', "--name", "forge_asked"]
    monkeypatch.setattr(sys, "argv", [*asked, "--out", str(tmp_path)])
    main()
    monkeypatch.syspath_prepend(str(tmp_path / "forge_asked"))
    taskset = vf.load_taskset(vf.taskset_config_type("forge_asked")(id="forge_asked", n=3))
    tasks = list(taskset)
    assert len(tasks) == 3 and len({task.key for task in tasks}) == 3
    assert {(task.data.world, task.data.args["turn_weight"]) for task in tasks} == {(WORLD, 0.25)}
    assert not (tmp_path / "other").exists()


def test_bad_input_is_told(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TaskError, match="nowhere"):
        list(environment(taskset={"id": "forge_tried", "tasks": ["nowhere"]}).taskset)
    with pytest.raises(ValueError, match="no world"):
        list(environment(taskset={"id": "forge_tried", "world": ""}).taskset)
    with pytest.raises(ValueError, match="max_trns"):
        list(environment(taskset={"id": "forge_tried", "args": {"max_trns": 3}}).taskset)


@needs_uv
def test_the_example_runs(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with Endpoint(gold()) as endpoint:
        monkeypatch.setattr(sys, "argv", ["verifiers_eval.py", endpoint.url, "script"])
        runpy.run_path(str(EXAMPLES / "verifiers_eval.py"))
    assert capsys.readouterr().out.count("True 1.1") == 1
