"""`forge-envs new-world`: what it writes works, what it is not asked for it leaves alone."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.cli import main
from forge_envs.new_world import command
from forge_envs.new_world.names import LONGEST, check_name, title_of

ROOT = Path(__file__).parents[2]


def listing(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
    }


def test_a_project_is_written_and_what_comes_next_is_told(tmp_path, capsys):
    assert main(["new-world", "corner_shop", "--folder", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "forge-envs check corner_shop:Own/CornerShop-v0" in out
    written = listing(tmp_path / "corner_shop")
    assert {name for name, text in written.items() if text} == {
        "README.md", "pyproject.toml", "train.toml", "corner_shop/__init__.py", "corner_shop/world.py",
        "tests/test_corner_shop.py",
    }  # fmt: skip
    assert not any(b"$" in text.replace(b"`", b"") for text in written.values()), "no placeholder is left"
    project = tomllib.loads(written["pyproject.toml"].decode())
    assert project["project"]["entry-points"] == {"forge_envs.worlds": {"corner_shop": "corner_shop"}}
    assert project["project"]["dependencies"] == ["forge-envs"]


def test_whatever_it_is_called_it_keeps_every_promise(tmp_path):
    names = ["order", "task", "message", "a", "x2", "x" * LONGEST]
    for name in names:
        command.write(name, tmp_path)
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(str(tmp_path / name) for name in names)]),
    }
    worlds = [f"{name}:{command.id_of(name)}" for name in names]
    code = f"from forge_envs.testing import check_world; [check_world(w, tasks=1) for w in {worlds!r}]"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("CornerShop", "corner_shop"),
        ("corner-shop", "corner_shop"),
        ("Corner Shop!", "corner_shop"),
        ("HTTPShop", "httpshop"),
        ("été", "ete"),
        ("店", "my_world"),
        ("", "my_world"),
        ("_", "my_world"),
        ("9lives", "lives"),
        ("../evil", "evil"),
        ("a/b", "a_b"),
        ("json", "json_world"),
        ("class", "class_world"),
        ("numpy", "numpy_world"),
        ("forge_envs", "forge_envs_world"),
        ("tests", "tests_world"),
        ("x" * 41, "x" * 34),
        ("-n", "n"),
    ],
)
def test_a_name_that_python_cannot_find_is_refused_with_one_that_will_do(tmp_path, name, fix, capsys):
    assert main(["new-world", "--folder", str(tmp_path), "--", name]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"forge-envs: name {name!r}: ") and err.endswith(f"; say {fix}\n")
    assert listing(tmp_path) == {}
    assert check_name(fix) == fix


@given(st.text(max_size=60) | st.from_regex(r"[A-Za-z0-9_ -]{0,60}", fullmatch=True))
def test_every_name_is_taken_or_mended(name):
    try:
        assert check_name(name) == name and title_of(name).isidentifier()
    except ValueError as error:
        fix = str(error).rpartition("; say ")[2]
        assert check_name(fix) == fix != name


@pytest.mark.parametrize("kind", ["folder", "full folder", "file", "link"])
def test_what_is_there_is_never_touched(tmp_path, kind, capsys):
    target = tmp_path / "corner_shop"
    if kind == "file":
        target.write_text("mine")
    elif kind == "link":
        target.symlink_to(tmp_path / "nowhere")
    else:
        target.mkdir()
    if kind == "full folder":
        (target / "world.py").write_text("mine")
    before = listing(tmp_path)
    assert main(["new-world", "corner_shop", "--folder", str(tmp_path)]) == 2
    assert "corner_shop is there already" in capsys.readouterr().err
    assert listing(tmp_path) == before


def test_a_folder_that_cannot_be_made_is_told(tmp_path, capsys):
    assert main(["new-world", "corner_shop", "--folder", str(tmp_path / "none")]) == 2
    assert "No such file or directory" in capsys.readouterr().err


def test_a_project_that_cannot_be_finished_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(command.FILES, "too/deep/to/be/made", "readme.txt")
    with pytest.raises(ValueError, match="cannot be written"):
        command.write("corner_shop", tmp_path)
    assert listing(tmp_path) == {}
