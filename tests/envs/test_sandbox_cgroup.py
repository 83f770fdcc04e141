"""Control groups on both layouts of the kernel, in folders made to look like them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from forge_envs.sandbox import Limits, census, cgroup
from forge_envs.sandbox.cgroup import Group

LIMITS = Limits(cpus=0.5, memory_mb=256, pids=64)
MEMORY = str(256 << 20)
BOX = "0123456789ab" * 4


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cgroup, "ROOT", tmp_path)
    monkeypatch.setattr(census, "CGROUPS", tmp_path)
    monkeypatch.setattr(census, "PROC", tmp_path / "proc")
    return tmp_path


def first(root: Path) -> None:
    """Version 1: a tree for each resource."""
    for name in ("pids", "memory", "cpu"):
        (root / name).mkdir()


def second(root: Path, given: str = "cpuset cpu io memory pids") -> None:
    """Version 2: one tree, which hands on what its root says."""
    (root / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    (root / "cgroup.subtree_control").write_text(given + "\n")


def settings(group: Group | None, root: Path) -> dict[str, str]:
    assert group is not None
    files = [file for folder in group.folders for file in folder.iterdir()]
    return {str(file.relative_to(root)): file.read_text() for file in files}


def test_version_1_limits_in_a_folder_for_each_resource(root: Path) -> None:
    first(root)
    assert settings(cgroup.make("box", LIMITS), root) == {
        "pids/box/pids.max": "64",
        "memory/box/memory.limit_in_bytes": MEMORY,  # this kernel does not count swap
        "cpu/box/cpu.cfs_period_us": "100000",
        "cpu/box/cpu.cfs_quota_us": "50000",
    }


def test_version_2_limits_in_one_folder(root: Path) -> None:
    second(root)
    assert settings(cgroup.make("box", LIMITS), root) == {
        "box/memory.max": MEMORY,
        "box/pids.max": "64",
        "box/cpu.max": "50000 100000",
    }


def test_version_2_hands_on_what_it_may(root: Path) -> None:
    second(root, "memory pids")
    assert set(settings(cgroup.make("box", LIMITS), root)) == {"box/memory.max", "box/pids.max"}


def test_where_processes_or_memory_cannot_be_limited_there_is_no_group(root: Path) -> None:
    assert cgroup.make("box", LIMITS) is None
    second(root, "cpu pids")
    assert cgroup.make("box", LIMITS) is None and not (root / "box").exists()


@pytest.mark.parametrize("layout", [first, second])
def test_a_command_joins_every_folder_first(root: Path, layout: object) -> None:
    assert callable(layout)
    layout(root)
    group = cgroup.make("box", LIMITS)
    assert group is not None
    done = subprocess.run([*group.words(), "echo", "a  b"], capture_output=True, text=True, check=True)
    assert done.stdout == "a  b\n"
    assert [(folder / "cgroup.procs").read_text() for folder in group.folders] == ["0\n"] * len(group.folders)
    lost = Group((*group.folders, root / "gone"))
    assert subprocess.run([*lost.words(), "echo"], capture_output=True).returncode == 125


def test_what_is_in_a_group_is_ended(root: Path) -> None:
    child = subprocess.Popen(["sleep", "4242"])
    (root / "cgroup.procs").write_text(f"0\n{child.pid}\n")
    Group((root,)).end_all(patience=0.05)  # a file does not forget who has ended
    assert child.wait() == -9
    Group(()).end_all()
    Group((root / "gone",)).end_all()


@pytest.mark.parametrize("layout", [first, second])
def test_what_the_dead_left_is_removed(root: Path, layout: object) -> None:
    assert callable(layout)
    layout(root)
    above = root / "pids" if (root / "pids").exists() else root
    names = ["forge-box-7-99-x", "forge-box-8-99-x", "other"]
    for name in names:
        (above / name).mkdir()
    cgroup.sweep("forge-box-", ["7-99"])
    assert [name for name in names if (above / name).exists()] == names[1:]


@pytest.mark.parametrize(
    ("told", "folder"),
    [
        (f"9:pids:/docker/{BOX}\n4:memory:/docker/{BOX}\n", f"pids/docker/{BOX}"),
        (f"0::/docker/{BOX}\n9:pids:/docker/{BOX}\n", f"pids/docker/{BOX}"),
        (f"0::/system.slice/docker-{BOX}.scope\n", f"system.slice/docker-{BOX}.scope"),
    ],
    ids=["version 1", "both", "version 2"],
)
def test_the_kernels_list_of_a_container_is_found(root: Path, told: str, folder: str) -> None:
    (root / "proc" / "7").mkdir(parents=True)
    (root / "proc" / "7" / "cgroup").write_text(told)
    (root / folder).mkdir(parents=True)
    procs = root / folder / "cgroup.procs"
    procs.write_text("7\n8\n")
    assert census.census_file(7, BOX) == procs
    procs.write_text("8\n")  # another box's, or another host's: not where the first process is
    assert census.census_file(7, BOX) is None
    assert census.census_file(7, "another") is None and census.census_file(os.getpid(), BOX) is None
