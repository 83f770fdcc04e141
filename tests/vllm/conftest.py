"""Real vLLM servers for the tests that need them: FORGE_VLLM_PYTHON, or the environment of `make vllm`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEFAULT = ROOT / ".venv-vllm/bin/python"


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


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Stands where the interpreter of vLLM's environment would, and starts doubles."""
    script = tmp_path / "python"
    script.write_text(
        f'#!/bin/sh\ncd "{ROOT}"\nNOTES="{tmp_path}" exec "{sys.executable}" -m tests.vllm.double "$@"\n'
    )
    script.chmod(0o755)
    return script
