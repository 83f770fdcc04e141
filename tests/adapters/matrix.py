"""Builds the environments of matrix.toml and runs their tests: `python tests/adapters/matrix.py [NAME...]`.

Each environment lies in .venv-adapters/NAME and is built again when its packages change. Forge itself is
read from this checkout. `--ci` leaves out those with `ci = false`, which are too heavy for each push; one
with `python = "python3.12"` is skipped where that is not on the PATH. The exit status is 0 if all tests of
all environments passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACES = ROOT / ".venv-adapters"
NEEDED = ("pytest>=8.3", "hypothesis>=6.120")
UV = "uv>=0.9"
"""Resolves what pip takes very long for: 290 packages in half a minute."""


def built(name: str, packages: list[str], base: str) -> Path:
    """The Python of an environment on `base`, which holds these packages. Raises CalledProcessError."""
    place = PLACES / name
    own, stamp = place / "bin" / "python", place / ".packages"
    wanted = "\n".join([base, *packages, *NEEDED])
    if not stamp.exists() or stamp.read_text() != wanted:
        began = time.monotonic()
        subprocess.run([base, "-m", "venv", "--clear", str(place)], check=True)
        given = os.environ.get("PIP_ARGS", "").split()
        pip = [str(own), "-m", "pip", "install", "-q", *given]
        # By pip, first and alone: uv, or another package's range, would take a build with CUDA.
        torch = [package for package in packages if package.startswith("torch==")]
        subprocess.run([*pip, UV, *torch], check=True)
        wheels = [f"--find-links={place}" for place in os.environ.get("PIP_FIND_LINKS", "").split()]
        uv = [str(place / "bin" / "uv"), "pip", "install", "-q", "--python", str(own), *wheels, *given]
        subprocess.run([*uv, *packages, *NEEDED, "-e", str(ROOT)], check=True)
        stamp.write_text(wanted)
        print(f"-- {name}: built in {time.monotonic() - began:.0f} s", flush=True)
    return own


def chosen(matrix: dict[str, dict[str, Any]]) -> list[str]:
    """The environments that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(matrix)}")
    parser.add_argument("--ci", action="store_true", help="leave out what is too heavy for each push")
    asked = parser.parse_args()
    unknown = set(asked.names) - set(matrix)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(matrix)}")
    return [
        name
        for name in asked.names or matrix
        if matrix[name]["tests"] and not (asked.ci and not matrix[name].get("ci", True))
    ]


def main() -> int:
    """Run the environments that were asked for; returns how many failed."""
    matrix = tomllib.loads((HERE / "matrix.toml").read_text("utf-8"))
    failed = 0
    for name in chosen(matrix):
        print(f"-- {name}", flush=True)
        base = shutil.which(matrix[name].get("python", sys.executable))
        if base is None:
            print(f"skipped: there is no {matrix[name]['python']} on the PATH")
            continue
        python = built(name, matrix[name]["packages"], base)
        tests = [str(HERE / test) for test in matrix[name]["tests"]]
        # Some libraries call programs of their environment, as verifiers calls uv.
        env = {**os.environ, "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])}
        run = subprocess.run([str(python), "-m", "pytest", "-q", *tests], cwd=ROOT, env=env)
        failed += bool(run.returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
