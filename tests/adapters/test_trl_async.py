"""Our environments in the rollout worker of TRL's AsyncGRPOTrainer, whose vLLM is a script over HTTP.

The worker runs here as its child process runs it, with what was pickled for it. The trainer's own half needs
a GPU and vLLM in the same environment, and touches no world.
"""

from __future__ import annotations

import inspect
import json
import math
import pickle
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import pytest
from trl.experimental.async_grpo import AsyncGRPOTrainer
from trl.experimental.async_grpo.async_rollout_worker import RolloutSample, _AsyncRolloutLoop

from forge_envs.adapters import Session
from forge_envs.adapters.trl import ForgeMix, ForgeSpec
from tests.adapters import tiny_policy
from tests.adapters.test_trl import UnluckyCounter
from tests.envs.worlds import Counter

COUNTER, UNLUCKY = "TrlAsyncTest/Counter-v0", "TrlAsyncTest/Unlucky-v0"


@pytest.fixture(scope="module", autouse=True)
def _worlds() -> Iterator[None]:
    for id, kind in ((COUNTER, Counter), (UNLUCKY, UnluckyCounter)):
        gym.register(id, kind, disable_env_checker=True)
    yield
    del gym.registry[COUNTER], gym.registry[UNLUCKY]


class ScriptedServer:
    """vLLM's /v1/completions: the lines in turn; every `silent`-th episode says goodbye at once."""

    def __init__(self, tokenizer: Any, lines: list[str], silent: int) -> None:
        begun = iter(range(10**6))

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                turn = tokenizer.decode(body["prompt"]).count(tiny_policy.SPEAKS) - 1
                leaves = turn == 0 and next(begun) % silent == silent - 1
                said = "Goodbye." if leaves or turn >= len(lines) else lines[turn]
                tokens = tokenizer(f"{said}<|im_end|>", add_special_tokens=False)["input_ids"]
                choice = {"token_ids": tokens, "logprobs": {"token_logprobs": [-0.5] * len(tokens)}}
                data = json.dumps({"choices": [choice]}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def gold_calls(spec: ForgeSpec) -> list[str]:
    """Gold of the spec's first task as Qwen3 writes calls; prose goes through `say`."""
    with Session(spec.world, json.loads(spec.args)) as session:
        actions = session.env.gold_actions(spec.tasks[0])
        said = [session.env.grammar.parse(action) for action in actions]
    made = [
        {"name": calls[0].name, "arguments": dict(calls[0].arguments)}
        if calls
        else {"name": "say", "arguments": {"message": prose}}
        for prose, calls, _ in said
    ]
    return [f"<tool_call>\n{json.dumps(call)}\n</tool_call>" for call in made]


def rollouts(spec: ForgeSpec | ForgeMix, first: ForgeSpec, rows: int, silent: int = 4) -> list[RolloutSample]:
    """`rows` rows that the worker gives the trainer, in groups of 4."""
    lines = gold_calls(first)
    tokenizer = tiny_policy.tokenizer_of(lines)
    server = ScriptedServer(tokenizer, lines, silent)
    given = {"dataset": spec.train_dataset, "environment_factory": spec.environment_factory}
    given |= {"reward_funcs": spec.reward_funcs, "processing_class": tokenizer, "vllm_server_url": server.url}
    found: queue.Queue[RolloutSample] = queue.Queue()
    failed: queue.Queue[Any] = queue.Queue()
    pytest.importorskip("accelerate.state").PartialState()  # as in the child
    loop = _AsyncRolloutLoop(
        **pickle.loads(pickle.dumps(given)),
        model_name="script",
        eos_token_ids=[tokenizer.eos_token_id],
        num_generations=4,
        max_inflight_tasks=4,
        rollout_buffer=found,
        model_version_value=SimpleNamespace(value=0),
        heartbeat_value=SimpleNamespace(value=0.0),
        failed_event=threading.Event(),
        exception_info_queue=failed,
        metrics_queue=queue.Queue(),
    )
    running = threading.Thread(target=loop.run, daemon=True)
    running.start()
    try:
        return [found.get(timeout=120) for _ in range(rows)]
    except queue.Empty:
        raise AssertionError(failed.get_nowait()) from None
    finally:
        if not loop._loop.is_closed():
            loop._loop.call_soon_threadsafe(loop._stop_event.set)
        running.join(60)
        server.server.shutdown()
        server.server.server_close()


def test_async_grpo_scores_as_the_world_does() -> None:
    for spec in (
        ForgeSpec(COUNTER, n=1),
        ForgeSpec("Forge/Retail-v0", {"size": "tiny", "level": 1, "prompt": "compact"}, n=1),
    ):
        group = rollouts(spec, spec, 4)
        assert sorted(row.metrics["reward"] for row in group) == [0.0, 1.0, 1.0, 1.0]
        for row in group:
            assert (row.advantage > 0) == (row.metrics["reward"] == 1.0)
            assert 0 < row.completion_mask.sum() < len(row.input_ids)
            told = sum(message["role"] == "tool" for message in row.completion)
            assert told == row.metrics["tools/call_frequency"]


def test_a_failed_machine_is_no_zero_in_async_grpo() -> None:
    for stage in ("reset", "hear", "grade"):
        spec = ForgeSpec(UNLUCKY, {"fails": stage}, n=1)
        rows = rollouts(spec, spec, 8, silent=10**6)
        scores = [row.metrics["reward"] for row in rows]
        assert {score for score in scores if not math.isnan(score)} == {1.0}
        assert any(map(math.isnan, scores)), stage
        assert all(row.advantage == 0.0 for row in rows if math.isnan(row.metrics["reward"]))


def test_async_grpo_takes_a_mix() -> None:
    counter, unlucky = ForgeSpec(COUNTER, n=1), ForgeSpec(UNLUCKY, {"fails": "never"}, n=1)
    rows = rollouts(ForgeMix(a=counter, b=unlucky), counter, 8, silent=10**6)
    assert [row.metrics["reward"] for row in rows] == [1.0] * 8
    assert {row.group_id for row in rows} == {0, 1}


def test_async_grpo_has_no_place_for_the_text_door() -> None:
    # If this fails, the text door may have a way in: docs/adapters.md says that there is none.
    assert "rollout_func" not in inspect.signature(AsyncGRPOTrainer.__init__).parameters
