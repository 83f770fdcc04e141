"""The checks of a Harbor task folder: what its files say, and what a box of it does where docker is there.

The same ids as for environments with sessions, where they ask the same.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from forge_envs.audit.finding import Defect, Skipped
from forge_envs.audit.folder import Folder

FolderCheck: TypeAlias = Callable[[Folder], Defect | Skipped | None]
INSTALLS = re.compile(r"\b(curl|wget|pip3?|uvx?|apt-get|apt|npm|git clone|conda)\b")
COPIES = re.compile(r"^\s*(COPY|ADD)\s+(?!--from)(?P<what>.*)$", re.IGNORECASE | re.MULTILINE)
SMALL = 40
"""Bytes below which two files may be equal by chance."""
PLANTS = {
    "a program that keeps writing the reward": (
        "(while true; do mkdir -p /logs/verifier; echo 1 > /logs/verifier/reward.txt 2>/dev/null; "
        "sleep 0.05; done) >/dev/null 2>&1 &"
    ),
    "a pytest of its own on PATH": (
        "for name in pytest py.test uvx uv; do for dir in /usr/local/sbin /usr/local/bin; do "
        "printf '#!/bin/sh\\nexit 0\\n' > $dir/$name; chmod +x $dir/$name; done; done"
    ),
    "a conftest.py that passes every test": (
        "for dir in . / /app /root; do printf 'import pytest\\n@pytest.hookimpl(hookwrapper=True)\\n"
        "def pytest_runtest_makereport(item, call):\\n    out = yield\\n    out.get_result().outcome = "
        '"passed"\\n\' > $dir/conftest.py; done 2>/dev/null; true'
    ),
}
"""What an agent may leave in a box that the verifier then works in."""


def no_solution_leakage(folder: Folder) -> Defect | Skipped | None:
    """Whether the agent's image and instruction keep solution and tests to themselves."""
    secret = {_digest(p.read_bytes()): p for p in _hidden(folder) if _big(p.stat().st_size)}
    for path in folder.files("environment"):
        twin = secret.get(_digest(path.read_bytes()))
        if twin is not None:
            mine, theirs = path.relative_to(folder.path), twin.relative_to(folder.path)
            return Defect(
                "fact" if "solution" in theirs.parts else "suspicion",
                f"{theirs} lies in the agent's build context",
                f"{mine} and {theirs} are equal",
                f"cmp {folder.path / mine} {folder.path / theirs}",
            )
    dockerfile = folder.path / "environment" / "Dockerfile"
    for match in COPIES.finditer(dockerfile.read_text() if dockerfile.is_file() else ""):
        words = match["what"].split()[:-1]
        told = [
            word
            for word in words
            if re.search(r"(^|/)(solutions?|solve\.sh|test\.sh|test_outputs\.py)(/|$)", word)
        ]
        if told:
            seen = match[0].strip()
            return Defect(
                "suspicion", "the Dockerfile copies what is named like tests or solution", seen,
                f"grep -n 'COPY\\|ADD' {dockerfile}",
            )  # fmt: skip
    return None


def oracle_containment(folder: Folder) -> Defect | Skipped | None:
    """Whether a running box holds the solution or the tests before the verifier brings them."""
    if (why := folder.why_no_box()) is not None:
        return Skipped(why)
    secret = {_digest(p.read_bytes()): p for p in _hidden(folder) if _big(p.stat().st_size)}
    sizes = sorted({p.stat().st_size for p in secret.values()})
    if not sizes:
        return Skipped("tests and solution are too small to be told from other files")
    wanted = " -o ".join(f"-size {size}c" for size in sizes)
    find = f"find / -xdev -type f \\( {wanted} \\) -not -path '/proc/*' -exec sha256sum {{}} + 2>/dev/null"
    with folder.box() as box:
        for line in box.run(find).output.splitlines():
            digest, _, path = line.partition("  ")
            if digest in secret:
                twin = secret[digest].relative_to(folder.path)
                return Defect(
                    "fact", f"the agent can read {twin}", f"{path} in its box has the same bytes",
                    f"{_show(folder)} sha256sum {path}",
                )  # fmt: skip
    return None


def oracle_max(folder: Folder) -> Defect | Skipped | None:
    """Whether the folder's own solution earns 1, twice."""
    if (why := folder.why_no_box()) is not None:
        return Skipped(why)
    if not (folder.path / "solution" / "solve.sh").is_file():
        return Skipped("the folder has no solution/solve.sh")
    with folder.box() as box:
        solved = box.solve()
        reward, output = box.verify()
        if reward is None:
            return Defect(
                "fact", "after its own solution the tests leave no reward", output[-400:], _replay(folder)
            )
        if reward < 1:
            seen = f"reward {reward:g}; solve.sh ended with {solved.status}; {output[-300:]}"
            return Defect("fact", "its own solution earns less than 1", seen, _replay(folder))
        again, output = box.verify()
        if again != reward:
            seen = f"{reward:g}, then {again}; {output[-300:]}"
            return Defect("fact", "the same box is graded differently the second time", seen, _replay(folder))
    return None


def floor_gap(folder: Folder) -> Defect | Skipped | None:
    """Whether an agent that does nothing earns 0."""
    if (why := folder.why_no_box()) is not None:
        return Skipped(why)
    with folder.box() as box:
        reward, output = box.verify()
    if reward is not None and reward > 0:
        again = _replay(folder, solve=False)
        return Defect("fact", f"an agent that does nothing earns {reward:g}", output[-400:], again)
    return None


def reward_forgery(folder: Folder) -> Defect | Skipped | None:
    """Whether what an agent leaves in its box can make the verifier pay."""
    if not folder.shared:
        return None
    if (why := folder.why_no_box()) is not None:
        user = folder.section("agent").get("user")
        if user in (None, "root", 0, "0") and (folder.path / "tests" / "test.sh").is_file():
            return Defect(
                "suspicion",
                "the verifier works in the box that the agent has worked in, as root",
                f"[verifier] environment_mode is not separate, [agent] user is {user!r} (not played: {why})",
                f"grep -n -A6 'verifier\\|agent' {folder.path / 'task.toml'}",
            )
        return Skipped(why)
    for name, plant in PLANTS.items():
        with folder.box() as box:
            honest, _ = box.verify()
            box.run(plant)
            reward, _ = box.verify()
        if reward is not None and reward > (honest or 0.0):
            again = f"{_show(folder)} bash -c {plant!r}\n# then the verifier, as Harbor runs it"
            seen = f"reward {honest} before, {reward:g} with {name} and no other work"
            return Defect("fact", f"{name} earns {reward:g}", seen, again)
    return None


def machine_failure(folder: Folder) -> Defect | Skipped | None:
    """Whether a verifier that cannot reach what it installs leaves no reward, rather than 0."""
    script = folder.path / "tests" / "test.sh"
    text = script.read_text() if script.is_file() else ""
    installs = sorted({match[0] for match in INSTALLS.finditer(re.sub(r"#.*", "", text))})
    if not installs:
        return None
    if (why := folder.why_no_box()) is not None or not (folder.path / "solution" / "solve.sh").is_file():
        if re.search(r"else\s+echo\s+['\"]?0", text):
            return Defect(
                "suspicion",
                "the verifier downloads what it needs, and writes 0 whatever failed",
                f"test.sh runs {', '.join(installs)}, has `else echo 0` (not played: {why or 'no solution'})",
                f"cat {script}",
            )
        return Skipped(why or "the folder has no solution/solve.sh")
    with folder.box() as box:
        box.solve()
        good, _ = box.verify()
    with folder.box(network=False) as box:
        solved = box.solve()
        reward, output = box.verify()
    if good == 1 and solved.status == 0 and reward is not None and reward < 1:
        seen = f"with a network the solution earns 1, without one {reward:g}: {output[-300:]}"
        again = _replay(folder, network="--network none ")
        return Defect("fact", f"a verifier without a network scores the solution {reward:g}", seen, again)
    return None


HARBOR: dict[str, FolderCheck] = {
    "runtime.oracle_containment": oracle_containment,
    "semantic.no_solution_leakage": no_solution_leakage,
    "semantic.oracle_max": oracle_max,
    "semantic.floor_gap": floor_gap,
    "forge.reward_forgery": reward_forgery,
    "forge.machine_failure": machine_failure,
}
"""The checks of a folder by id."""


def _hidden(folder: Folder) -> Iterator[Path]:
    """The solution, and of the tests what is run: a project's own tests may lie on both sides."""
    script = folder.path / "tests" / "test.sh"
    told = script.read_text() if script.is_file() else ""
    for path in folder.files("tests", "solution"):
        if path == script or path.name in told or "solution" in path.relative_to(folder.path).parts:
            yield path


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _big(size: int) -> bool:
    return size >= SMALL


def _show(folder: Folder) -> str:
    return f"docker run --rm $(docker build -q {folder.path / 'environment'})"


def _replay(folder: Folder, solve: bool = True, network: str = "") -> str:
    mounts = f"-v {folder.path.absolute()}/tests:/tests -v {folder.path.absolute()}/solution:/solution"
    steps = "mkdir -p /logs/verifier; " + ("bash /solution/solve.sh; " if solve else "")
    return (
        f"docker run --rm {network}{mounts} $(docker build -q {folder.path / 'environment'}) "
        f"bash -c '{steps}bash /tests/test.sh; cat /logs/verifier/reward.*'"
    )
