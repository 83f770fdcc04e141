"""What all tests share."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from _pytest.doctest import DoctestModule
from hypothesis import settings

pytest_plugins = ("tests.dearest",)

# No test is about how fast this machine is today. Each run draws other examples, so few at a time do.
settings.register_profile("forge", deadline=None, max_examples=40)
settings.register_profile("all", deadline=None, max_examples=200)  # make test-all
settings.load_profile("forge")

ROOT = Path(__file__).parents[1]
FIRST = (
    "tests/vllm",
    "tests/docker/test_polyglot.py",
    "tests/train/test_run.py",
    "tests/docker/test_swe.py",
    "tests/train/test_distributed.py",
    "tests/docker/test_sandbox.py",
    "tests/real",
    "tests/train/test_ray_runner.py",
    "tests/envs/test_docs.py",
    "tests/docker",
    "tests/train/test_faults.py",
    "tests/envs/test_testing.py",
    "tests/envs/test_desk_tasks.py",
    "tests/benchmarks",
    "tests/envs/test_sandbox_process.py",
    "tests/train/test_recipe_stages.py",
    "tests/train/test_agent_training.py",
    "tests/train/test_context_training.py",
)
"""The longest, those that wait in turn with those that compute: begun first, the others fit in between."""
SERVERS = ("tests/vllm/", "tests/real/test_served.py")
"""Tests that start servers of vLLM."""


def pytest_configure(config: pytest.Config) -> None:
    """Give each worker of a parallel run temporary files of its own.

    A sandbox that begins removes what dead processes left there, which would be another worker's tests'.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker:
        run = os.environ["PYTEST_XDIST_TESTRUNUID"][:8]
        place = Path(tempfile.gettempdir()) / f"forge-tests-{run}-{worker}"
        place.mkdir()
        place.chmod(0o1777)
        os.environ["TMPDIR"] = tempfile.tempdir = str(place)
        config.add_cleanup(partial(shutil.rmtree, place, ignore_errors=True))


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as a terminal has it, here and in child processes: workers of a parallel run ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Tests before doctests, which pass over a file that cannot be imported: a door without its library."""
    found = yield
    return sorted(found, key=lambda collector: isinstance(collector, DoctestModule))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long."""
    items.sort(key=lambda item: _turn(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side, a file's tests stay together, as its fixtures do.

    Servers of vLLM stay one group: two at once would want more memory than a small machine has.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return SERVERS[0] if nodeid.startswith(SERVERS) else str(super()._split_scope(nodeid))

    return ByFile(config, log)


def _turn(nodeid: str) -> int:
    """The place in `FIRST` of the longest path that a test lies under."""
    found = [(len(path), turn) for turn, path in enumerate(FIRST) if nodeid.startswith(path)]
    return max(found)[1] if found else len(FIRST)
