"""Engine and learner in one memory, one after the other: the order of everything in a run."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_train.config import Config, load
from forge_train.engine import EngineFailed
from forge_train.learn.learner import Learner
from forge_train.record.run_folder import RunFolder, read_lines
from forge_train.run import Run
from forge_train.tiny import train_tokenizer
from tests.train import worlds  # noqa: F401  registers Test/...
from tests.train.models import qwen3_of
from tests.train.ranks import Case, figures, learner_of, model_of, plays
from tests.train.served import Loaded

SMALL = [
    "run.steps=2", "run.threads=1", "worlds.0.id=Test/Varied-v0", "worlds.0.args={turns=1}",
    "rollout.engine=vllm",
    "rollout.groups=2", "rollout.group_size=3", "rollout.max_action=24", "rollout.max_context=1024",
    'algorithm.masked=["deadline"]', "eval.tasks=2", "eval.repeats=1", "eval.k=[1]",
    "vllm.dtype=float32", "vllm.health_s=60.0", "optim.lr=1e-2",
]  # fmt: skip
SLEEP = "/sleep?level=2&mode=abort"
WEIGHTS, CACHE = "/wake_up?tags=weights", "/wake_up?tags=kv_cache"
TAKE = ["park", WEIGHTS, "/collective_rpc", "/update_weight_version", CACHE]


@pytest.fixture(scope="module", autouse=True)
def policy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A model that often ends what it says: a policy that never does has nothing to learn from."""
    path = tmp_path_factory.mktemp("policy")
    tokenizer = train_tokenizer(["Task train/0.", "On."], 300)
    tokenizer.save_pretrained(path)
    qwen3_of(tokenizer).save_pretrained(path)
    SMALL.append(f'model.path="{path}"')
    yield
    SMALL.pop()


class Log(list[str]):
    """What happened, in order; requests for tokens in a row are one."""

    def told(self) -> list[str]:
        names = [{"/inference/v1/generate": "play"}.get(what, what) for what in self]
        return [name for name, _ in groupby(names)]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    found = Log()
    for name in ("park", "unpark", "update"):
        method = getattr(Learner, name)

        def noted(self: Learner, *args: Any, name: str = name, method: Any = method, **kwargs: Any) -> Any:
            found.append(name)
            return method(self, *args, **kwargs)

        monkeypatch.setattr(Learner, name, noted)
    return found


def config(folder: Path, server: Loaded, *more: str) -> Config:
    urls = f'vllm.urls=["{server.url}"]'
    return load(None, [*SMALL, "rollout.placement=colocated", urls, f'run.out="{folder}"', *more])


def run(folder: Path, server: Loaded, log: Log, *more: str) -> list[dict[str, Any]]:
    async def play() -> None:
        await server.start()
        log.clear()
        with RunFolder.create(config(folder, server, *more)) as run_folder:
            try:
                await Run(config(folder, server, *more), run_folder).all()
            finally:
                await server.stop()

    asyncio.run(play())
    return read_lines(folder / "metrics.jsonl")


def test_one_works_while_the_other_has_given_its_memory_back(tmp_path: Path, log: Log) -> None:
    lines = run(tmp_path / "run", Loaded(told=log.append), log)
    start = log.told().index("play")
    begin = [SLEEP, *TAKE, "play"]
    step = [SLEEP, "unpark", "update", *TAKE, "play"]
    assert log.told()[start:] == ["play", *begin, *step, *step], "evaluation, and two steps, each proved"
    for line in lines:
        assert line["seconds"]["placement"] > 0
        assert line["episodes"] == 6


def test_supervised_training_has_the_memory_too(tmp_path: Path, log: Log) -> None:
    more = [
        "worlds.0.id=Test/Echo-v0",
        "worlds.0.args={}",
        "sft.episodes=4",
        "sft.epochs=1",
        "sft.batch=4",
        "run.steps=0",
    ]
    run(tmp_path / "run", Loaded(told=log.append), log, *more)
    start = log.told().index("play")
    assert log.told()[start:] == ["play", SLEEP, "update", *TAKE, "play"]


def test_a_killed_run_goes_on_in_the_same_order(tmp_path: Path, log: Log) -> None:
    server = Loaded(told=log.append)
    run(tmp_path / "run", server, log, "run.steps=1")
    lines = run(tmp_path / "run", Loaded(told=log.append), log, "run.steps=2")
    assert [line["step"] for line in lines] == [0, 1]
    told = log.told()
    assert told[told.index(SLEEP) :] == [SLEEP, *TAKE, "play", SLEEP, "unpark", "update", *TAKE, "play"]


def test_repeated_updates_are_judged_by_their_own_weights(tmp_path: Path, log: Log) -> None:
    more = ["run.eval_every=1", "run.checkpoint_every=0"]
    run(tmp_path / "run", Loaded(told=log.append), log, *more)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "step-000002")
    server = Loaded(told=log.append)
    run(tmp_path / "run", server, log, *more)
    told = log.told()
    step = [SLEEP, "unpark", "update", *TAKE, "play"]
    assert told[told.index(SLEEP) :] == [SLEEP, *TAKE, "play", *step, *step]
    assert [Path(folder).name for folder in server.loads] == [f"version-{i:06d}" for i in (0, 0, 1, 2)]


def test_it_changes_no_number(tmp_path: Path, log: Log) -> None:
    first = run(tmp_path / "a", Loaded(told=log.append), log)
    second = run(tmp_path / "b", Loaded(told=log.append), log, "rollout.placement=separate")
    assert SLEEP not in log and "park" not in log
    assert len(first) == 2
    for a, b in zip(first, second, strict=True):
        for name in ("version", "episodes", "endings", "sampled_tokens", "trained", "success", "lag"):
            assert a[name] == b[name], name


def test_a_server_that_keeps_its_memory_ends_the_run_by_name(tmp_path: Path, log: Log) -> None:
    server = Loaded(told=log.append)
    server.faults.add(SLEEP)
    with pytest.raises(EngineFailed, match=r"http://127\.0\.0\.1:.*keeps the memory that the learner needs"):
        run(tmp_path / "run", server, log)
    assert "update" not in log


@pytest.mark.skipif(torch.cuda.is_available(), reason="here servers can sleep")
def test_on_a_cpu_it_is_refused_before_anything_starts(tmp_path: Path) -> None:
    there = load(
        None, [*SMALL, "rollout.placement=colocated", "vllm.python=/bin/sh", f'run.out="{tmp_path / "run"}"']
    )
    with (
        RunFolder.create(there) as folder,
        pytest.raises(ValueError, match=r"on a CPU vLLM 0\.32 cannot sleep"),
    ):
        Run(there, folder)


def test_parked_moments_are_elsewhere_and_come_back_as_they_were() -> None:
    parked, other = learner_of(Case(), model_of(), None), learner_of(Case(), model_of(), None)
    for learner in (parked, other):
        figures(learner, Case())
    before = [value.clone() for state in parked.optimizer.state.values() for value in state.values()]
    parked.park()
    parked.unpark()
    after = [value for state in parked.optimizer.state.values() for value in state.values()]
    assert len(before) == 3 * len(list(parked.model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    group, advantages = plays(6)
    from forge_train.config import LossConfig

    for learner in (parked, other):
        learner.update(group, advantages, LossConfig())
    for name, weight in parked.model.named_parameters():
        assert torch.equal(weight, other.model.get_parameter(name))


def test_moments_move_to_where_they_are_told() -> None:
    from forge_train.learn.optimizer_state import move_moments

    learner = learner_of(Case(), model_of(), None)
    figures(learner, Case())
    move_moments(learner.optimizer, torch.device("meta"))
    values = [value for state in learner.optimizer.state.values() for value in state.values()]
    assert {value.device.type for value in values} == {"meta"}, "none is left behind"
