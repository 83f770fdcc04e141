"""Builds the environments of matrix.toml and runs their tests: `python tests/adapters/matrix.py [NAME...]`.

Each environment lies in .venv-adapters/NAME and is built again when its packages change. Forge itself is
read from this checkout. The exit status is 0 if all tests of all environments passed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PLACES = ROOT / ".venv-adapters"
NEEDED = ("pytest>=8.3", "hypothesis>=6.120")


def built(name: str, packages: list[str], base: str) -> Path:
    """The Python of an environment on `base`, which holds these packages. Raises CalledProcessError."""
    place = PLACES / name
    python, stamp = place / "bin" / "python", place / ".packages"
    wanted = "\n".join([*packages, *NEEDED])
    if not stamp.exists() or stamp.read_text() != wanted:
        subprocess.run([base, "-m", "venv", "--clear", str(place)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", *os.environ.get("PIP_ARGS", "").split()]
        torch = [package for package in packages if package.startswith("torch==")]
        if torch:  # first and alone: another package's range would take a build with CUDA
            subprocess.run([*pip, *torch], check=True)
        subprocess.run([*pip, *packages, *NEEDED, "-e", str(ROOT)], check=True)
        stamp.write_text(wanted)
    return python


def main() -> int:
    """Run the environments named, or all; returns how many failed."""
    matrix = tomllib.loads((HERE / "matrix.toml").read_text("utf-8"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(matrix)}")
    names = parser.parse_args().names or list(matrix)
    unknown = set(names) - set(matrix)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(matrix)}")
    failed = 0
    for name in names:
        tests = [str(HERE / test) for test in matrix[name]["tests"]]
        if not tests:
            continue
        print(f"-- {name}", flush=True)
        base = shutil.which(matrix[name].get("python", sys.executable))
        if base is None:
            print(f"skipped: there is no {matrix[name]['python']} on PATH")
            continue
        python = built(name, matrix[name]["packages"], base)
        failed += bool(subprocess.run([str(python), "-m", "pytest", "-q", *tests], cwd=ROOT).returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
