"""What judged code does to its own judgement is a 0, told with the test that ran; the machine fails alone."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the worlds
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.worlds.swe import script_run
from forge_envs.worlds.swe.builtin import builtin_tasks, diff
from forge_envs.worlds.swe.env import SweEnv
from forge_envs.worlds.swe.judge import PatchVerdict, judge

TASK = next(task for task in builtin_tasks() if task.id == "forge__ledger-2")
SOURCE = "ledger/money.py"
LOOP = "while True: pass"
AT_IMPORT = {
    "an endless loop": LOOP,
    "a lock": "__import__('threading').Event().wait()",
    "a regular expression": "__import__('re').match('(a+)+$', 'a' * 60 + 'b')",
}
WAYS = {
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    "stops all others": "import os, signal; os.kill(-1, signal.SIGSTOP)",
    "stops its parent": "import os, signal; os.kill(os.getppid(), signal.SIGSTOP); os._exit(0)",
    "kills its parent": "import os, signal; os.kill(os.getppid(), signal.SIGKILL)",
    "kills everything": "import os, signal; os.kill(-1, signal.SIGKILL)",
    "leaves": "import os; os._exit(0)",
    "forks": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "takes memory": "hoard = []\nwhile True: hoard.append(bytearray(1 << 26))",
    "fills the disk": "with open('big', 'wb') as f:\n    while True: f.write(bytes(1 << 24))",
    "fills another folder": "with open('/tmp/big', 'wb') as f:\n    while True: f.write(bytes(1 << 24))",
    "opens files": "hoard = [open('/dev/null') for _ in range(100000)]",
    "closes everything": "import os; os.closerange(0, 4096)",
    "crashes": "import ctypes; ctypes.string_at(0)",
    "prints without end": "while True: print('x' * 100000)",
}


@pytest.fixture(scope="module")
def env(swe_image: str, docker: DockerProvider) -> Iterator[SweEnv]:
    made = gym.make("Forge/SWE-v0", disk_mb=256, memory_mb=512, pids=64).unwrapped
    assert isinstance(made, SweEnv)
    yield made
    made.close()


def verdict(env: SweEnv, text: str, timeout: float = 8.0) -> PatchVerdict:
    """The verdict on a source of this text below its docstring."""
    assert TASK.files is not None
    head, _, rest = TASK.files[SOURCE].partition("\n\n")
    changed = {**TASK.files, SOURCE: f"{head}\n\n{text}\n\n{rest}"}
    return judge(TASK, diff(dict(TASK.files), changed).encode(), env.ground, timeout=timeout)


@pytest.mark.parametrize("way", AT_IMPORT)
def test_a_file_that_is_never_imported_is_named_before_the_time_is_up(
    env: SweEnv, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(script_run, "LEAST_PATIENCE", 4.0)
    monkeypatch.setattr(script_run, "PATIENCE", 0.001)
    found = verdict(env, AT_IMPORT[way], timeout=600.0)
    assert not found.resolved and "tests/test_money.py had begun and did not end" in found.reason
    assert "needed more than" not in found.reason


def test_a_test_that_never_ends_is_named_before_the_time_is_up(
    env: SweEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script_run, "LEAST_PATIENCE", 4.0)
    monkeypatch.setattr(script_run, "PATIENCE", 0.001)
    loop = "def parse_amount(text):\n    while True:\n        text = text.strip()\n"
    assert TASK.files is not None
    text = TASK.files[SOURCE].replace("def parse_amount(text):", f"{loop}\n\ndef _parse(text):")
    patch = diff(dict(TASK.files), {**TASK.files, SOURCE: text}).encode()
    found = judge(TASK, patch, env.ground, timeout=600.0)
    assert not found.resolved and "tests/test_money.py::test_" in found.reason, found.reason
    assert found.reason.endswith("had begun and did not end") and "needed more than" not in found.reason


def test_a_loop_that_nothing_notices_ends_with_the_time_and_is_named(env: SweEnv) -> None:
    found = verdict(env, f"import faulthandler\n\nfaulthandler.cancel_dump_traceback_later()\n{LOOP}")
    assert found.reason.startswith("the tests needed more than 8 s: tests/test_money.py had begun")


@pytest.mark.parametrize("way", WAYS)
def test_who_breaks_the_judgement_gets_nothing_and_is_scored(env: SweEnv, way: str) -> None:
    found = verdict(env, WAYS[way])
    assert not found.resolved and found.applied and found.reason


def test_after_all_that_gold_earns_one(env: SweEnv) -> None:
    assert judge(TASK, TASK.patch.encode(), env.ground, timeout=120.0).resolved
