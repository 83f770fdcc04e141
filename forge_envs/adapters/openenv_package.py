"""An OpenEnv package of a world: what `openenv validate`, `build` and `push` take.

Its server is `forge_envs.adapters.openenv.create_server`; nothing of the world is copied, so its image needs
this package.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forge_envs.adapters.openenv_wire import MOST_TASKS
from forge_envs.adapters.session import Session

PORT = 8000

APP = '''"""OpenEnv's server of {world}."""

from forge_envs.adapters.openenv import create_server

app = create_server({world!r}, {args!r})


def main() -> None:
    """Serve, for `uv run server` and `python -m server.app`."""
    import uvicorn

    uvicorn.run(app, host="0.0.0.0", port={port})


if __name__ == "__main__":
    main()
'''
PYPROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "openenv-{name}"
version = "{version}"
description = "{about}"
requires-python = ">=3.11"
dependencies = ["forge-envs[serve]", "openenv>=0.10,<0.11"]

[project.scripts]
server = "{module}.server.app:main"

[tool.setuptools]
packages = ["{module}", "{module}.server"]
package-dir = {{ "{module}" = ".", "{module}.server" = "server" }}
"""
DOCKERFILE = """FROM python:3.11-slim
WORKDIR /app
# forge-envs is on no index yet: put its wheel into wheels/, or name an index that has it.
COPY . /app
RUN pip install --no-cache-dir --find-links /app/wheels "forge-envs[serve]" "openenv>=0.10,<0.11"
EXPOSE {port}
CMD ["python", "-m", "uvicorn", "server.app:app", "--host", "0.0.0.0", "--port", "{port}"]
"""
README = """# {world} for OpenEnv

{about}

    from forge_envs.adapters.openenv import ForgeAction, ForgeClient

    with ForgeClient(base_url="http://localhost:{port}").sync() as env:
        result = env.reset(task="{task}")
        result = env.step(ForgeAction(text="Hello"))

A reset takes `task`, or `split` and `index`, or a `seed` that draws a task. Reward parts, the outcome and
whether the episode was cut off are in `metadata`. A machine failure is an error and no reward.
"""


def write_package(world: str, out: Path, args: Mapping[str, Any] | None = None) -> list[Path]:
    """Write the package of a world into `out`, which is made, and return its files.

    Raises ValueError for a world or arguments that cannot be used, and for a folder that is not empty.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out}: it is there and not empty")
    with Session(world, args) as session:
        env = session.env
        about = " ".join((type(env).__doc__ or world).partition("\n\n")[0].split()).replace('"', "'")
        counts = {split: len(env.task_ids(split, MOST_TASKS)) for split in env.splits}
        task, weight = env.task_ids(env.splits[0], 1)[0], env.turn_weight
    name = re.sub(r"[^a-z0-9]+", "-", world.lower().rpartition("/")[2]).strip("-")
    name = "forge-" + re.sub(r"-v\d+$", "", name)
    told = {
        "world": world,
        "args": dict(args or {}),
        "name": name,
        "module": name.replace("-", "_"),
        "version": importlib.metadata.version("forge-envs"),
        "about": about,
        "task": task,
        "port": PORT,
    }
    files = {
        "openenv.yaml": json.dumps(_manifest(told, weight, counts), indent=2) + "\n",  # which is YAML
        "server/app.py": APP.format_map(told),
        "server/__init__.py": "",
        "__init__.py": "",
        "pyproject.toml": PYPROJECT.format_map(told),
        "Dockerfile": DOCKERFILE.format_map(told),
        "README.md": README.format_map(told),
    }
    for path, text in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        (out / path).write_text(text, "utf-8")
    return [out / path for path in files]


def _manifest(told: Mapping[str, Any], weight: float, counts: Mapping[str, int]) -> dict[str, Any]:
    """What the package declares. Turn rewards widen the range; see PENALTIES and MOST_LOST."""
    return {
        "spec_version": 1,
        "name": told["name"],
        "version": told["version"],
        "type": "space",
        "runtime": "fastapi",
        "app": "server.app:app",
        "port": PORT,
        "validation": {
            "reward": {
                "range": [min(0.0, -10.0 * abs(weight)), 1.0 + 10.0 * abs(weight)],
                "oracle_tolerance": 0.0,
                "floor_margin": 0.9,
            },
            "resources": {"cpu": 1.0, "memory_mb": 2048, "disk_mb": 1024, "episode_timeout_s": 3600.0},
            "capabilities": {
                "verifier": {"kind": "reward_channel"},
                "task_api": True,
                "declared_task_count": dict(counts),
            },
            "types": {"tags": ["forge", told["name"]]},
        },
    }
