"""Real vLLM servers for the tests that need them: FORGE_VLLM_PYTHON, or the environment of `make vllm`."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEFAULT = Path(__file__).parents[2] / ".venv-vllm/bin/python"


@pytest.fixture(scope="session")
def vllm_python() -> Path:
    """The interpreter of vLLM's environment; without one the test is skipped, or fails if it is required."""
    python = Path(os.environ.get("FORGE_VLLM_PYTHON", DEFAULT))
    if not python.is_file():
        reason = f"no vLLM at {python}: run `make vllm`, or set FORGE_VLLM_PYTHON"
        if os.environ.get("FORGE_REQUIRE_VLLM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return python
