"""Real containers for the tests that need them: any Docker daemon, and images built without a registry.

Without a daemon the tests are skipped; with FORGE_REQUIRE_DOCKER=1 that is an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from forge_envs.sandbox import SandboxError, images, provider
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.owner import Owner
from forge_envs.sandbox.reaper import OWNER

REQUIRED = os.environ.get("FORGE_REQUIRE_DOCKER") == "1"


def missing(reason: str) -> None:
    """Skip the test, or fail where containers are required."""
    if REQUIRED:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The daemon."""
    try:
        return Engine()
    except SandboxError as error:
        missing(str(error))
        raise


@pytest.fixture(scope="session")
def image(engine: Engine) -> Callable[[str], str]:
    """Builds one of our images by name unless it is there and current; its tag."""
    built: dict[str, str] = {}

    def build(name: str) -> str:
        if name not in built:
            try:
                built[name] = images.build(name)
            except SandboxError as error:
                missing(str(error))
        return built[name]

    return build


@pytest.fixture(scope="session")
def swe_image(image: Callable[[str], str]) -> str:
    """The image of the built-in SWE tasks."""
    return image("swe")


@pytest.fixture(scope="session")
def docker(engine: Engine) -> Iterator[DockerProvider]:
    """The provider that worlds use; at the end of the session no container of this process is left."""
    found = provider("docker")
    assert isinstance(found, DockerProvider)
    yield found
    found.close()
    until = time.monotonic() + 30
    while mine(engine) and time.monotonic() < until:
        time.sleep(0.1)  # one whose removal somebody else began may still be seen
    assert not mine(engine), "tests left containers"


def mine(engine: Engine) -> list[dict[str, Any]]:
    """Containers of this process, whatever their state."""
    with engine.asking("the list of boxes"):
        found: list[dict[str, Any]] = engine.api.containers(
            all=True, filters={"label": f"{OWNER}={Owner.me()}"}
        )
        return found
