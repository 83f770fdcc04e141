"""The evaluation script of a task: hidden tests in, all that decides about tests as it was, run, out."""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote

DELIMITER = "EOF_114329324912"
STEERING = (
    *("conftest.py", "sitecustomize.py", "usercustomize.py", "*.pth"),
    *("pytest.ini", ".pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml"),
)
"""Files that decide how tests are found and run, in any folder."""
PLUGINS = ("*.dist-info/**", "*.egg-info/**")
"""Folders in which pytest finds plugins, whatever their case."""
SHADOWS = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "py")
"""What at the top would be imported in place of pytest, as a folder or a module of any kind."""


def eval_script(
    test_patch: str,
    targets: Sequence[str],
    options: Sequence[str],
    restored: Sequence[str],
    tests: Sequence[str],
) -> str:
    """The script, as swebench 5 wants it.

    `restored` are files of the base commit that are put back, `tests` the folders and files where whatever is
    not in the base commit goes. Tests that a patch brings are not run, nor are its settings of pytest heard.
    """
    words = [f":(glob)**/{name}" for name in STEERING]
    words += [f":(glob,icase)**/{name}" for name in PLUGINS]
    words += [word for name in SHADOWS for word in (name, f":(glob){name}.*")] + list(tests)
    clean = "git clean -fdxq -- " + " ".join(map(quote, words))
    restore = "git checkout HEAD -- " + " ".join(map(quote, restored))
    extra = "".join(f" {quote(option)}" for option in options)
    run = f"python3 -m pytest -rA --color=no --tb=short --show-capture=no -p no:cacheprovider{extra} "
    lines = [
        "#!/bin/bash",
        "set -uxo pipefail",
        "cd /testbed",
        "git config --global --add safe.directory /testbed",
        "git status",
        "git -c core.fileMode=false diff HEAD --stat",
        "git reset -q HEAD",  # a patch applied by --3way is staged
        restore,
        clean,
        f"git apply -v --whitespace=nowarn - <<'{DELIMITER}'",
        test_patch.removesuffix("\n"),
        DELIMITER,
        ": '>>>>> Start Test Output'",
        run + " ".join(map(quote, targets)),
        ": '>>>>> End Test Output'",
        restore,
        clean,
    ]
    return "\n".join(lines) + "\n"
