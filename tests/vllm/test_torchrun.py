"""torchrun, two processes that learn and two real vLLM servers of ours: killed, started again, and done.

Minutes on a busy machine.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from forge_train.record.checkpoint import latest, load_model
from forge_train.record.run_folder import read_lines
from tests.waiting import until

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
LIMIT = 900.0
"""Seconds for what takes half a minute on a machine with nothing else to do."""
SMALL = [
    "run.threads=1", "run.checkpoint_every=1", "run.keep_checkpoints=2",
    "worlds.0.id=tests.train.worlds:Test/Varied-v0", "worlds.0.args={turns=1}",
    "model.tiny.hidden=64", "model.tiny.layers=1", "model.tiny.heads=2", "model.tiny.kv_heads=1",
    "model.tiny.vocab=320", "rollout.engine=vllm", "rollout.groups=2", "rollout.group_size=4",
    "rollout.max_action=8", "rollout.max_context=512", 'algorithm.masked=["deadline"]', "optim.lr=1e-2",
    "eval.tasks=2", "eval.repeats=1", "eval.k=[1]", "vllm.count=2", 'vllm.gpus=["0", "0"]',
    "vllm.dtype=float32", 'vllm.flags=["--enforce-eager"]', "vllm.health_s=1.0",
    'vllm.env={VLLM_CPU_KVCACHE_SPACE = "1", OMP_NUM_THREADS = "1"}', "vllm.start_s=900",
]  # fmt: skip
CASES = {
    "all weights": ["vllm.transfer=folder"],
    "adapters": ["vllm.transfer=adapter", "model.lora_rank=4"],
}


@contextmanager
def torchrun(folder: Path, python: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A run on two processes; whatever the test does, none of them is left."""
    config = folder / "config-of-test.toml"
    config.write_text("")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "forge_train.cli", "train", str(config), *SMALL, f'vllm.python="{python}"']
    with (folder / "output.txt").open("a") as out:
        process = subprocess.Popen(
            [*command, f'run.out="{folder / "run"}"', *more],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for pid in [*descendants(process.pid), process.pid] if process.poll() is None else []:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def descendants(pid: int) -> list[int]:
    """Its children and theirs."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, more = [], [pid]
    while more:
        more = [child for child, parent in parents.items() if parent in more]
        found += more
    return found


def of(pid: int, word: str, kind: str = "cmdline") -> list[int]:
    """Descendants whose command or environment holds `word`."""
    found = []
    for child in descendants(pid):
        try:
            if word.encode() in Path(f"/proc/{child}/{kind}").read_bytes().split(b"\0"):
                found.append(child)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def steps(folder: Path) -> int:
    """Updates that are done."""
    path = folder / "run" / "metrics.jsonl"
    return len(read_lines(path)) if path.is_file() else 0


@pytest.mark.parametrize("case", ["all weights", pytest.param("adapters", marks=pytest.mark.matrix)])
def test_a_killed_rank_and_a_killed_server_cost_time_alone(
    case: str, tmp_path: Path, vllm_python: Path
) -> None:
    said = lambda: (tmp_path / "output.txt").read_text()[-4000:]  # noqa: E731
    with torchrun(tmp_path, vllm_python, *CASES[case], "run.steps=1000") as process:
        until(lambda: steps(tmp_path) >= 2 or process.poll() is not None, LIMIT)
        assert process.poll() is None, said()
        rank_1 = [pid for pid in of(process.pid, "RANK=1", "environ") if pid in of(process.pid, "train")]
        servers = of(process.pid, "vllm.entrypoints.openai.api_server")
        assert len(rank_1) == 1 and len(servers) == 2, said()
        strays = [pid for pid in servers if pid in of(process.pid, "RANK=0", "environ")]
        assert not strays, "a server thinks that it is one of our processes"
        os.kill(rank_1[0], signal.SIGKILL)
        assert process.wait(LIMIT) != 0
        until(lambda: not any(Path(f"/proc/{pid}/cmdline").exists() for pid in servers), LIMIT)
    done = steps(tmp_path)
    assert latest(tmp_path / "run" / "checkpoints") is not None
    with torchrun(tmp_path, vllm_python, *CASES[case], f"run.steps={done + 3}") as process:
        until(lambda: steps(tmp_path) > done or process.poll() is not None, LIMIT)
        assert process.poll() is None, said()
        victim = of(process.pid, "vllm.entrypoints.openai.api_server")[0]
        os.killpg(victim, signal.SIGKILL)
        assert process.wait(LIMIT) == 0, said()
    assert steps(tmp_path) == done + 3
    saved = latest(tmp_path / "run" / "checkpoints")
    assert saved is not None and saved.step == done + 3
    load_model(saved.path)
