"""Real vLLM servers, started, fed with weights, killed and started again. Minutes on a busy machine.

The tests share two servers and run in order; each leaves them with the weights of `POLICY`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym
import pytest
import torch
from safetensors.torch import save_file

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.errors import MachineError
from forge_envs.people.chat import chat
from forge_train.config import OptimConfig, TinyConfig, VLLMConfig, load
from forge_train.engine import Completion, Sampling
from forge_train.engines.identity import IdentityError, probe
from forge_train.engines.local import LocalEngine
from forge_train.engines.server_processes import ServerProcesses, ServersFailed
from forge_train.engines.vllm import VLLMEngine
from forge_train.engines.vllm_http import Client
from forge_train.engines.weights import AdapterTransfer, FolderTransfer, save_policy
from forge_train.learn.learner import Learner
from forge_train.play.episode import TokenPlayer, play_group
from forge_train.play.renderer import ChatML
from forge_train.play.world_pool import World
from forge_train.record.run_folder import read_lines, rollout_files
from forge_train.run import train
from forge_train.tiny import tiny_model
from forge_train.trajectory import Segment, Trajectory
from tests.train.tokens import tokenizer

pytestmark = pytest.mark.slow
T = TypeVar("T")
KEYS = [field.name for field in fields(Trajectory)]
TOKENIZER = tokenizer()
CONTEXT = 1024
PROMPTS = [[i, 40, 50 + i, 60] for i in range(10, 18)]
STOP = tuple(TOKENIZER.convert_tokens_to_ids(["<|im_end|>"]))
FLAGS = ["--enforce-eager", "--enable-lora", "--max-loras", "2", "--max-lora-rank", "8"]
CONFIG = VLLMConfig(dtype="float32", attempt_s=300.0, deadline_s=900.0, health_s=1.0, start_s=900.0)


def policy(seed: int) -> Any:
    """A model far from uniform, so that wrong weights show."""
    model = tiny_model(TOKENIZER, TinyConfig(hidden=64, layers=2, heads=2, kv_heads=1), seed=seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1 if parameter.dim() == 1 else 6
    return model


POLICY = policy(0)
LEARNER = Learner(POLICY, OptimConfig())


@dataclass
class House:
    """Two servers, the engine on them, and the one loop they live in."""

    servers: ServerProcesses
    engine: VLLMEngine
    runner: asyncio.Runner
    tmp: Path

    def run(self, play: Callable[[], Awaitable[T]], limit: float = 900.0) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(limit):
                return await play()

        return self.runner.run(bounded())

    async def ask(self, **sampling: Any) -> list[Completion]:
        how = Sampling(**{"temperature": 0.8, "max_tokens": 48, "stop": STOP, **sampling})
        asks = [
            self.engine.complete(prompt, how, conversation=f"{i}", seed=(1 << 62) + i)
            for i, prompt in enumerate(PROMPTS)
        ]
        said = await asyncio.gather(*asks)
        for i in range(len(PROMPTS)):
            self.engine.forget(f"{i}")
        return said


@pytest.fixture(scope="module")
def house(vllm_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    tmp = tmp_path_factory.mktemp("vllm")
    servers = ServerProcesses(
        save_policy(POLICY, TOKENIZER, tmp / "policy", dtype=torch.float32),
        python=vllm_python,
        logs=tmp / "logs",
        count=2,
        gpus=["0", "0"],
        max_context=CONTEXT,
        dtype="float32",
        flags=FLAGS,
        env={"VLLM_CPU_KVCACHE_SPACE": "1"},
        start_s=900.0,
    )
    transfer = FolderTransfer(POLICY, tmp, dtype=torch.float32)
    engine = VLLMEngine(servers.urls, CONFIG, max_context=CONTEXT, transfer=transfer, processes=servers)
    with asyncio.Runner() as runner:
        runner.run(engine.start())
        yield House(servers, engine, runner, tmp)
        runner.run(engine.close())


def gap(said: list[Completion], model: Any = POLICY, temperature: float = 0.8) -> float:
    """Largest |engine's logprob - learner's| over all tokens."""
    trajectories = []
    for prompt, completion in zip(PROMPTS, said, strict=True):
        segment = Segment()
        segment.hear(prompt)
        segment.act(completion.tokens, completion.logprobs, 0)
        trajectories.append(Trajectory(group="g", segments=[segment], rewards=[0.0], versions=[0]))
    learner = LEARNER if model is POLICY else Learner(model, OptimConfig())
    scored = learner.logprobs(trajectories, temperature=temperature)
    return max(
        abs(a - b)
        for t, rows in zip(trajectories, scored, strict=True)
        for a, b in zip(t.segments[0].logprobs, rows[0], strict=True)
    )


def test_they_say_what_the_local_engine_says(house: House) -> None:
    async def play() -> None:
        local = LocalEngine(POLICY, max_context=CONTEXT)
        greedy = Sampling(temperature=0.0, max_tokens=32, stop=STOP)
        theirs = await house.ask(temperature=0.0, max_tokens=32)
        for i, (prompt, said) in enumerate(zip(PROMPTS, theirs, strict=True)):
            ours = await local.complete(prompt, greedy, conversation=f"{i}", seed=0)
            assert (said.tokens, said.finish) == (ours.tokens, ours.finish)
            assert said.logprobs == pytest.approx(ours.logprobs, abs=1e-4)
        await local.close()

    house.run(play)


def test_a_seed_is_a_draw_and_its_logprobs_are_the_learners(house: House) -> None:
    async def play() -> None:
        said, again = await house.ask(), await house.ask()
        assert [c.tokens for c in said] == [c.tokens for c in again]
        assert len({tuple(c.tokens) for c in said}) == len(said)
        assert gap(said) < 1e-4
        assert house.engine.up == house.servers.urls

    house.run(play)


def test_new_weights_change_the_logprobs_to_the_new_models(house: House) -> None:
    async def play() -> None:
        old, new = house.engine.version, policy(1)
        kept = {name: value.clone() for name, value in POLICY.state_dict().items()}
        before = await house.ask()
        POLICY.load_state_dict(new.state_dict())
        await house.engine.weights_changed(old + 1)
        after = await house.ask()
        assert gap(after, new) < 1e-4 and {c.version for c in after} == {old + 1}
        assert gap(before, new) > 1.0, "the models differ"
        POLICY.load_state_dict(kept)
        await house.engine.weights_changed(old + 2)
        assert gap(await house.ask()) < 1e-4

    house.run(play)


def test_actions_under_way_go_on_and_say_who_wrote_which_token(house: House) -> None:
    async def play() -> None:
        old, new = house.engine.version, policy(1)
        kept = {name: value.clone() for name, value in POLICY.state_dict().items()}
        asking = asyncio.create_task(house.ask(max_tokens=900, stop=()))
        while not await sampling(house.servers.urls):
            await asyncio.sleep(0.05)
        POLICY.load_state_dict(new.state_dict())
        await house.engine.weights_changed(old + 1)
        said = await asking
        straddling = [(p, c) for p, c in zip(PROMPTS, said, strict=True) if c.spans]
        assert straddling, "none was under way"
        for prompt, c in straddling:
            (first, count), (second, rest) = c.spans
            assert (first, second, c.version, count + rest) == (old, old + 1, old, len(c.tokens))
            with torch.no_grad():
                logits = new(torch.tensor([[*prompt, *c.tokens]])).logits[0] / 0.8
            row = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            ours = row.gather(1, torch.tensor(c.tokens)[:, None])[:, 0].tolist()
            assert c.logprobs[count:] == pytest.approx(ours[count:], abs=1e-4), "computed anew, not stale"
            assert max(abs(a - b) for a, b in zip(c.logprobs[:count], ours[:count], strict=True)) > 1.0
        POLICY.load_state_dict(kept)
        await house.engine.weights_changed(old + 2)

    house.run(play)


def test_stale_weights_are_caught_by_the_identity_check(house: House) -> None:
    class Stale(FolderTransfer):
        """Says that it loaded, and did not."""

        async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
            await server.name_version(str(version), timeout)

    async def play() -> None:
        engine, opening = house.engine, Segment()
        opening.hear(PROMPTS[0])
        groups = [[Trajectory(group="g", segments=[opening])]]
        LEARNER.version = engine.version
        assert await probe(engine, LEARNER, groups, 0.8, 1e-3) < 1e-4
        moved = Learner(policy(1), OptimConfig())
        moved.version = engine.version + 1
        stale = Stale(moved.model, house.tmp, dtype=torch.float32)
        borrowed = VLLMEngine(
            house.servers.urls, CONFIG, max_context=CONTEXT, transfer=stale, version=moved.version
        )
        await borrowed.start()
        with pytest.raises(IdentityError, match="stale weights"):
            await probe(borrowed, moved, groups, 0.8, 1e-3)
        await borrowed.close()
        await engine.weights_changed(engine.version + 2)

    house.run(play)


def test_in_the_order_of_sleep_mode_they_take_weights_and_prove_themselves(house: House) -> None:
    """On a CPU vLLM frees no memory, but it stops, wakes by parts, and loads between as on a GPU."""

    async def play() -> None:
        engine, new = house.engine, policy(1)
        with pytest.raises(ValueError, match="cannot sleep"):
            await VLLMEngine(house.servers.urls, CONFIG, max_context=CONTEXT, sleeps=True).start()
        kept = {name: value.clone() for name, value in POLICY.state_dict().items()}
        await engine.sleep()
        assert [await asleep(url) for url in house.servers.urls] == [True, True]
        POLICY.load_state_dict(new.state_dict())
        await engine.weights_changed(engine.version + 1)
        assert [await asleep(url) for url in house.servers.urls] == [False, False]
        opening = Segment()
        opening.hear(PROMPTS[0])
        moved = Learner(new, OptimConfig())
        moved.version = engine.version
        groups = [[Trajectory(group="g", segments=[opening])]]
        assert await probe(engine, moved, groups, 0.8, 1e-3) < 1e-4
        assert gap(await house.ask(), new) < 1e-4
        POLICY.load_state_dict(kept)
        await engine.weights_changed(engine.version + 1)
        assert gap(await house.ask()) < 1e-4 and engine.up == house.servers.urls

    house.run(play)


def test_an_adapter_is_the_model_with_its_update_merged(house: House) -> None:
    torch.manual_seed(0)
    merged, adapter = policy(0), {}
    with torch.no_grad():
        for name, weight in merged.named_parameters():
            if "q_proj" in name or "v_proj" in name:
                a, b = 0.3 * torch.randn(4, weight.shape[1]), 0.3 * torch.randn(weight.shape[0], 4)
                weight += 8.0 / 4 * b @ a
                layer = f"base_model.model.{name.removesuffix('.weight')}"
                adapter |= {f"{layer}.lora_A.weight": a, f"{layer}.lora_B.weight": b}
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8.0, "target_modules": ["q_proj", "v_proj"]}

    def save(folder: Path) -> None:
        folder.mkdir()
        save_file(adapter, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(config))

    async def play() -> None:
        version = house.engine.version
        transfer = AdapterTransfer(save, house.tmp)
        engine = VLLMEngine(
            house.servers.urls, CONFIG, max_context=CONTEXT, transfer=transfer, version=version + 1
        )
        await engine.start()
        other = House(house.servers, engine, house.runner, house.tmp)
        said = await other.ask()
        assert gap(said, merged) < 1e-3 and gap(said) > 0.1
        for step in range(2, 5):
            await engine.weights_changed(version + step)
            assert {c.version for c in await other.ask()} == {version + step}
        client = Client(house.servers.urls[0])
        served = await client.models(30.0)
        assert len(served) == 3, "the model and two adapters"
        for name in served:
            if name.startswith("forge-adapter"):
                for url in house.servers.urls:
                    one = Client(url)
                    await one.unload_adapter(name, 30.0)
                    await one.close()
        await client.close()
        await engine.close()
        await house.engine.weights_changed(version + 9)
        assert gap(await house.ask()) < 1e-4, "the model itself is as it was"

    house.run(play)


def test_without_a_chat_template_they_are_failed_machines_for_customers_that_say_so(house: House) -> None:
    spec = f"openai:{house.tmp / 'policy'}@{house.servers.urls[0]}/v1#deadline=900&attempt=300&attempts=20"
    env = gym.make("Forge/Retail-v0", size="small", user=spec)
    env.reset(seed=0)
    messages, reward, terminated, truncated, info = env.step("Hello?")
    assert (messages, reward, terminated, truncated) == ((), 0.0, False, True) and "outcome" not in info
    error = info["error"]
    assert (error["kind"], error["stage"], error["retryable"]) == ("refused", "user", False)
    assert "chat template" in error["message"]
    with pytest.raises(MachineError, match="chat template"):
        chat(spec).say([{"role": "user", "content": "?"}], seed=0)


def test_a_run_trains_on_them_and_its_journal_has_every_rollout_once(house: House, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = load(
        None,
        [
            f'run.out="{folder}"', "run.steps=2", "run.threads=1", "optim.lr=1e-3",
            f'model.path="{house.tmp / "policy"}"', "model.renderer=chatml",
            "worlds.0.id=tests.train.worlds:Test/Varied-v0", "worlds.0.args={turns=1}",
            "rollout.engine=vllm", f'vllm.urls=["{house.servers.urls[0]}"]', "vllm.dtype=float32",
            "vllm.attempt_s=300.0", "vllm.deadline_s=900.0", "rollout.deadline_s=900.0",
            "rollout.max_lag=1", "rollout.groups=2", "rollout.group_size=3", "rollout.max_action=400",
            f"rollout.max_context={CONTEXT}", 'algorithm.masked=["deadline"]',
            "eval.tasks=1", "eval.repeats=1", "eval.k=[1]",
        ],
    )  # fmt: skip
    train(config)
    events = read_lines(folder / "events.jsonl")
    began = [(e["group"], e["step"]) for e in events if e["event"] == "dispatch"]
    ended = {e["group"]: e["endings"] for e in events if e["event"] == "finish"}
    taken = [e["groups"] for e in events if e["event"] == "consume"]
    assert began == [(0, 0), (1, 0), (2, 0), (3, 0)] and taken == [[0, 1], [2, 3]]
    assert len([e for e in events if e["event"] == "finish"]) == len(ended) == 4
    assert all(sum(endings.values()) == 3 and "failed" not in endings for endings in ended.values())
    assert [e["step"] for e in events if e["event"] == "weights"] == [1, 2]
    for step, path in enumerate(rollout_files(folder)):
        played = [Trajectory.from_dict({k: row[k] for k in KEYS if k in row}) for row in read_lines(path)]
        assert len(played) == 6
        for trajectory in played:
            versions = trajectory.token_versions()
            assert len(versions) == trajectory.sampled > 0
            assert versions == sorted(versions) and set(versions) <= {max(step - 1, 0), step}
            assert [v for v in trajectory.versions if v not in versions] == []
    assert len(rollout_files(folder)) == 2
    house.run(lambda: house.engine.weights_changed(house.engine.version + 9))
    assert gap(house.run(house.ask)) < 1e-4, "the servers have the weights of the tests again"


def test_a_server_killed_mid_run_costs_no_rollout_and_comes_back(house: House) -> None:
    async def play() -> None:
        engine, victim = house.engine, house.servers.urls[0]
        lost, answered = engine.lost, engine.counters.answered
        player = TokenPlayer(engine, ChatML(TOKENIZER), Sampling(temperature=0.8, max_tokens=400))
        world = World("tests.train.worlds:Test/Echo-v0")
        group = asyncio.create_task(
            play_group(world, player, "train/7", group="g", size=12, seed=3, deadline=900.0)
        )
        while not await sampling([victim]):
            await asyncio.sleep(0.05)
        os.killpg(house.servers.processes[victim], signal.SIGKILL)
        members = await group
        assert len(members) == 12 and not [m.info for m in members if m.ending == "failed"]
        assert engine.lost == lost + 1 and engine.counters.answered >= answered + 12
        while victim not in engine.up:
            await asyncio.sleep(0.2)
        assert house.servers.starts[victim] == 2
        client = Client(victim)
        assert await client.version(30.0) == str(engine.version)
        how = Sampling(temperature=0.8, max_tokens=16, stop=STOP)
        said = [await client.generate(p, how, seed=1, salt="x", model=None, timeout=300.0) for p in PROMPTS]
        await client.close()
        again = [Completion(s.tokens, s.logprobs, "length", 0) for s in said]
        assert gap(again) < 1e-4, "with the newest weights"
        world.close()

    house.run(play, 1800.0)


def test_a_server_that_cannot_start_says_why(vllm_python: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    servers = ServerProcesses(tmp_path, python=vllm_python, logs=tmp_path / "logs", start_s=900.0)
    with pytest.raises(ServersFailed, match=r"ended(.|\n)*server-0\.log(.|\n)*[Ee]rror"):
        asyncio.run(servers.start())
    assert list(servers.starts.values()) == [1], "a command that is wrong is not repeated"


async def asleep(url: str) -> bool:
    """What a server says of itself."""
    import httpx2

    async with httpx2.AsyncClient(trust_env=False, timeout=60.0) as http:
        return bool((await http.get(f"{url}/is_sleeping")).json()["is_sleeping"])


async def sampling(urls: list[str]) -> bool:
    """Whether all of these servers are in the middle of requests, by their own count."""
    import httpx2

    async with httpx2.AsyncClient(trust_env=False, timeout=60.0) as http:
        told = [(await http.get(f"{url}/metrics")).text.splitlines() for url in urls]
    running = [[line for line in lines if line.startswith("vllm:num_requests_running")] for lines in told]
    return all(float(lines[0].split()[-1]) > 0 for lines in running)
