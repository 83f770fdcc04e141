"""Server processes: started, watched, started again, none left behind; the processes are doubles of vLLM."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from forge_train.cli import GRPO, main
from forge_train.config import VLLMConfig, load
from forge_train.engines.server_processes import ServerProcesses, ServersFailed, _end
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.vllm_http import Client
from forge_train.record.checkpoint import load_model, save
from tests.train.tokens import tokenizer
from tests.vllm.double import Double
from tests.vllm.test_engine import ask, scene, until

ROOT = Path(__file__).parents[2]


def servers(tmp_path: Path, python: Path, **options: Any) -> ServerProcesses:
    return ServerProcesses(tmp_path, python=python, logs=tmp_path / "logs", start_s=60.0, **options)


def notes(tmp_path: Path) -> list[dict[str, Any]]:
    """What the processes wrote when they started."""
    return [json.loads(path.read_text()) for path in tmp_path.glob("started-*.json")]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_they_are_started_as_a_trainer_needs_them_and_all_end(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        gpus = ["0,1", "2,3"]
        house = servers(
            tmp_path, python, count=2, max_context=64, dtype="float32", flags=["--extra"], gpus=gpus
        )
        await house.start()
        assert len(set(house.urls)) == 2 and list(house.starts.values()) == [1, 1]
        for note in notes(tmp_path):
            text = " ".join(note["argv"])
            assert "--logprobs-mode processed_logprobs --enable-scale-out" in text
            assert "--max-model-len 64 --dtype float32" in text and text.endswith("--extra")
            bind = note["env"]["VLLM_CPU_OMP_THREADS_BIND"]
            assert bind == "nobind", "two on one machine do not fight for the first core"
        assert sorted(note["env"]["CUDA_VISIBLE_DEVICES"] for note in notes(tmp_path)) == gpus
        pids = [*house.processes.values(), *(note["worker"] for note in notes(tmp_path))]
        assert all(map(alive, pids))
        await house.stop()
        await until(lambda: not any(map(alive, pids)))

    scene(play)


TORCHRUN = {
    "RANK", "LOCAL_RANK", "GROUP_RANK", "ROLE_RANK", "ROLE_NAME", "WORLD_SIZE", "LOCAL_WORLD_SIZE",
    "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RESTART_COUNT",
    "TORCHELASTIC_MAX_RESTARTS", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_USE_AGENT_STORE",
    "TORCHELASTIC_ERROR_FILE", "TORCHELASTIC_SOMETHING_NEW", "PET_NNODES",
}  # fmt: skip
"""What `torchrun` of torch 2.13 tells each of its processes, and what a later one may."""


def test_they_know_nothing_of_a_torchrun_that_started_us(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    kept = {"NCCL_SOCKET_IFNAME": "eth0", "HF_HOME": "/hub", "RANKING": "by age", "MASTER_PLAN": "x"}
    for name, value in kept.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun's, not a person's

    async def play() -> None:
        house = servers(tmp_path, python, env={"MASTER_PORT": "4"})
        await house.start()
        await house.stop()
        [note] = notes(tmp_path)
        assert {name: note["env"].get(name) for name in TORCHRUN if name in note["env"]} == {
            "MASTER_PORT": "4"
        }, "what a config says wins"
        assert kept.items() <= note["env"].items() and "OMP_NUM_THREADS" not in note["env"]

    scene(play)


def test_a_killed_one_is_started_again_and_its_workers_are_not_left(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        house = servers(tmp_path, python)
        await house.start()
        [url], [old], [note] = house.urls, house.processes.values(), notes(tmp_path)
        os.kill(old, signal.SIGKILL)  # the process alone: its worker is left for us
        await until(lambda: house.starts[url] == 2 and len(notes(tmp_path)) == 2)
        await until(lambda: not alive(note["worker"]))
        client = Client(url)
        await client.health(30.0)
        await client.close()
        await house.stop()

    scene(play)


def test_the_engine_ends_one_that_hangs_and_takes_it_back_with_the_newest_weights(
    tmp_path: Path, python: Path
) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, count=2, gpus=["0", "1"])
        config = VLLMConfig(health_s=0.05, attempt_s=1.0, deadline_s=60.0)
        engine = VLLMEngine(house.urls, config, max_context=32, transfer=Named(), processes=house, health=0.5)
        await engine.start()
        hung = house.urls[0]
        os.kill(house.processes[hung], signal.SIGSTOP)
        said = await asyncio.gather(*(ask(engine, f"c{i}") for i in range(4)))
        assert len(said) == 4
        await engine.weights_changed(5)
        await until(lambda: house.starts[hung] == 2 and hung in engine.up)
        client = Client(hung)
        assert await client.version(30.0) == "5"
        await client.close()
        pids = list(house.processes.values())
        await engine.close()
        assert not any(map(alive, pids))

    scene(play)


class Named:
    """Weights that are only a name."""

    needs: Mapping[str, str] = {}
    keeps = True

    def refuse(self, url: str, info: Mapping[str, Any]) -> None: ...
    async def publish(self, version: int, servers: Sequence[Client] = (), timeout: float = 30.0) -> None: ...
    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        await server.name_version(str(version), timeout)

    def model(self, version: int) -> None: ...
    def close(self) -> None: ...


def test_one_that_dies_or_will_not_sleep_is_not_started_before_the_learner_is_done(
    tmp_path: Path, python: Path
) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, count=2, gpus=["0", "1"], flags=["--sleepless"])
        config = VLLMConfig(health_s=0.05, attempt_s=1.0, deadline_s=60.0, load_s=60.0)
        engine = VLLMEngine(house.urls, config, max_context=32, transfer=Named(), processes=house, health=0.5)
        await engine.start()
        pids = list(house.processes.values())
        await engine.sleep()
        assert not any(map(alive, pids)), "they would not give their memory back"
        await asyncio.sleep(0.5)
        assert list(house.starts.values()) == [1, 1] and not engine.up
        await engine.weights_changed(1)
        await until(lambda: engine.up == house.urls)
        assert list(house.starts.values()) == [2, 2]
        assert (await ask(engine)).version == 1
        await engine.close()

    scene(play)


def test_one_that_never_comes_up_is_told_with_the_end_of_its_log(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, flags=["--wrong"])
        with pytest.raises(ServersFailed, match="unrecognized arguments: --wrong"):
            await house.start()
        assert list(house.starts.values()) == [1]

    scene(play)


def test_the_budget_of_restarts_ends(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, restarts=1)
        await house.start()
        for starts in (1, 2):
            await until(lambda n=starts: len(notes(tmp_path)) == n)  # type: ignore[misc]
            os.killpg(next(iter(house.processes.values())), signal.SIGKILL)
        with pytest.raises(ServersFailed, match="ended too often"):
            await house.given_up()

    scene(play)


def test_a_run_is_served_from_a_copy_that_goes_with_the_servers(tmp_path: Path, python: Path) -> None:
    """Its head is tied, which the copy says it is not: see `save_policy`."""
    size = {"hidden_size": 32, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 32}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=512, **size, **heads, tie_word_embeddings=True))
    run, logs = tmp_path / "run", tmp_path / "logs"
    save(run / "checkpoints", 3, model=model, tokenizer=tokenizer(), state={})
    command = [sys.executable, "-m", "forge_train.cli", "serve", str(run), "--port", "0"]
    command += ["--python", str(python), "--logs", str(logs), "--dtype", "float32", "--gpus", "3"]
    serving = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None and serving.stdout.readline()
    [note] = notes(tmp_path)
    served = Path(note["argv"][note["argv"].index("--model") + 1])
    assert served.is_relative_to(logs) and note["env"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert json.loads((served / "config.json").read_text())["tie_word_embeddings"] is False
    again, _ = load_model(served)
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    serving.terminate()
    assert serving.wait(60) == 0 and not served.exists()


def test_serve_says_where_they_are_and_ends_them_when_it_is_ended(tmp_path: Path, python: Path) -> None:
    command = [sys.executable, "-m", "forge_train.cli", "serve", "a/model", "--port", "0", "--count", "2"]
    command += ["--python", str(python), "--logs", str(tmp_path / "logs"), "--gpus", "0", "1"]
    command += ["--", "--more", "2"]
    serving = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    lines = [serving.stdout.readline() for _ in range(5)]
    assert lines[1:4] == ["[rollout]\n", 'engine = "vllm"\n', "[vllm]\n"]
    assert lines[4].count("http://127.0.0.1:") == 2
    found = notes(tmp_path)
    assert all(note["argv"][-2:] == ["--more", "2"] for note in found) and len(found) == 2
    serving.terminate()
    assert serving.wait(60) == 0
    assert not any(alive(note["worker"]) for note in found)


def test_they_end_with_a_parent_that_is_killed(tmp_path: Path, python: Path) -> None:
    command = [sys.executable, "-m", "forge_train.cli", "serve", "a/model", "--port", "0"]
    command += ["--python", str(python), "--logs", str(tmp_path / "logs")]
    serving = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None and serving.stdout.readline()
    [path] = tmp_path.glob("started-*.json")
    server = int(path.stem.removeprefix("started-"))
    serving.kill()
    serving.wait()
    holds(lambda: not alive(server))
    os.kill(json.loads(path.read_text())["worker"], signal.SIGKILL)  # vLLM ends its own, the double does not


def test_serve_without_vllm_says_how_to_get_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = str(tmp_path / "no/python")
    assert main(["serve", "model", "--python", missing, "--logs", str(tmp_path)]) == 2
    assert missing in (told := capsys.readouterr().err) and "make vllm" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes any head")
@pytest.mark.parametrize(
    "told", [{"head_dim": 16, "hidden_size": 64}, {"hidden_size": 64, "num_attention_heads": 4}]
)
def test_heads_that_a_server_on_a_cpu_would_die_of_are_refused(
    tmp_path: Path, python: Path, told: dict[str, int]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r'head_dim = 16; .* 32, 48, .*rollout\.engine = "local"'):
        servers(tmp_path, python)
    demo = load(GRPO).model.tiny
    for taken in (demo.hidden // demo.heads, 64):
        config.write_text(json.dumps({**told, "head_dim": taken}))
        servers(tmp_path, python)


def test_they_are_where_their_host_says(tmp_path: Path, python: Path) -> None:
    async def play() -> None:
        house = servers(tmp_path, python, host="localhost")
        await house.start()
        [url], [note] = house.urls, notes(tmp_path)
        assert url.startswith("http://localhost:") and "--host localhost" in " ".join(note["argv"])
        await house.stop()

    scene(play)
    for host in ("0.0.0.0", "192.0.2.1"):  # the second is nobody's (RFC 5737)
        with pytest.raises(ValueError, match=rf'vllm\.host = "{host}".*address of this machine'):
            servers(tmp_path, python, host=host)


def test_several_on_gpus_must_say_which_are_whose(
    tmp_path: Path, python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"vllm\.gpus = \['0'\]: .* there are 2"):
        servers(tmp_path, python, count=2, gpus=["0"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    servers(tmp_path, python, count=2, gpus=["0", "0"])
    servers(tmp_path, python)
    with pytest.raises(ValueError, match=r'vllm\.gpus = \["0", "1"\] \(serve --gpus 0 1\)'):
        servers(tmp_path, python, count=2)


def test_one_that_not_even_a_kill_ends_is_told_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Stuck:
        """A process that waits for a device: no signal ends it."""

        pid = 2**22 + 1  # beyond what Linux gives out, so that nobody gets the signals

        async def wait(self) -> int:
            await asyncio.Event().wait()
            return 0

    monkeypatch.setattr("forge_train.engines.server_processes._GRACE", 0.05)
    scene(lambda: _end(cast(asyncio.subprocess.Process, Stuck())))
    assert str(Stuck.pid) in caplog.text and "keeps its memory" in caplog.text


def holds(condition: Callable[[], bool]) -> None:
    """Wait until it does; a minute is a failure."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_double_is_a_server() -> None:
    async def play() -> None:
        double = await Double().start()
        client = Client(double.url)
        await client.health(30.0)
        assert await client.models(30.0) == {"m": 64}
        await client.close()
        await double.stop()

    scene(play)
