"""A task whose fix is in its image, where the agent can read it, is none."""

from __future__ import annotations

import json.decoder
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge_envs.make_swe.diff import git_diff
from forge_envs.make_swe.prove import elsewhere
from forge_envs.sandbox import Sandbox, provider

pytest.importorskip("swebench")

LINE = "    def decode(self, s, _w=WHITESPACE.match):"
"""In json/decoder.py, which any Python has."""


@pytest.fixture
def box() -> Iterator[Sandbox]:
    box = provider("process").open("")
    yield box
    box.close()


@pytest.mark.parametrize(
    ("path", "before", "after", "copied"),
    [
        ("json/decoder.py", "x\n", f"{LINE}\n", True),
        ("src/json/decoder.py", "x\n", f"\n{LINE}\n", True),
        ("src/json/decoder.py", "x\ny\n", "x\n", True),  # to take away is no proof that it is another file
        ("json/decoder.py", "x\n", f"{LINE}\n    return self.of_nobody\n", False),
        ("json/other.py", "x\n", f"{LINE}\n", False),
        ("other/decoder.py", "x\n", f"{LINE}\n", False),
    ],
)
def test_copies_of_the_fix_are_found(box: Sandbox, path: str, before: str, after: str, copied: bool) -> None:
    assert LINE in Path(json.decoder.__file__).read_text()
    found = elsewhere(box, git_diff({path: before.encode()}, {path: after.encode()}).decode())
    assert bool(found) is copied
    assert all(place.endswith("/json/decoder.py") for place in found)
    assert box.run("ls -A").output == ""


def test_the_repository_itself_is_no_copy(box: Sandbox) -> None:
    for name in ("__init__.py", "only.py"):
        box.write(f"mine/{name}", b"fixed = 1\n")
    assert elsewhere(box, git_diff({"mine/only.py": b"x\n"}, {"mine/only.py": b"fixed = 1\n"}).decode()) == []
