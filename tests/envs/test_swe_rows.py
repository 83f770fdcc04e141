"""Where tasks come from: rows of swebench 5 in every form, task repositories, and the words for bad ones."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from forge_envs.errors import TaskError
from forge_envs.worlds.swe.builtin import builtin_tasks
from forge_envs.worlds.swe.rows import load
from forge_envs.worlds.swe.task import SweTask, task_of
from tests.envs.official import DATA

ROWS = DATA / "swebench"
public = pytest.mark.skipif(not ROWS.is_dir(), reason=f"no public data at {ROWS}")


def own(number: int = 0) -> SweTask:
    return builtin_tasks()[number]


def as_read(task: SweTask, **changes: Any) -> SweTask:
    """Our own task as a row has it, which holds no files and is not watched."""
    return dataclasses.replace(
        task, files=None, visible=(), visible_script="", watched=False, split=None, **changes
    )


def write(path: Path, rows: Any) -> str:
    if path.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    else:
        path.write_text(json.dumps(rows))
    return f"swebench:{path}"


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".json"])
@pytest.mark.parametrize("as_text", [True, False])
def test_every_form_is_read(tmp_path: Path, suffix: str, as_text: bool) -> None:
    rows = [own(number).row for number in (0, 1)]
    if as_text:
        for row in rows:
            row.update({key: json.dumps(row[key]) for key in ("FAIL_TO_PASS", "PASS_TO_PASS")})
    tasks = load(write(tmp_path / f"rows{suffix}", rows))
    assert list(tasks.by_id.values()) == [as_read(own(0)), as_read(own(1))]
    assert tasks.splits == {"test": (own(0).id, own(1).id)}


def test_rows_by_id_are_read(tmp_path: Path) -> None:
    assert load(write(tmp_path / "rows.json", {own().id: own().row})).splits == {"test": (own().id,)}


def test_splits(tmp_path: Path) -> None:
    rows = [{**own(0).row, "split": "dev"}, own(1).row]
    tasks = load(write(tmp_path / "rows.json", rows), "train")
    assert tasks.splits == {"dev": (own(0).id,), "train": (own(1).id,)}


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(TaskError, match=r"'no/such'.*forge__"):
        load("builtin").find("no/such")


def test_what_older_rows_lack_is_filled_in_where_swebench_can() -> None:
    row = {**own().row, "instance_id": "psf__requests-1", "repo": "psf/requests"}
    for key in ("image", "log_parser", "eval_type"):
        del row[key]
    task = task_of(row, "here")
    assert task.image == "swebench/sweb.eval.x86_64.psf_1776_requests-1:latest"
    assert (task.log_parser, task.eval_type) == ("parse_log_requests", "pass_and_fail")
    assert task_of({**row, "repo": "eslint/eslint"}, "here").eval_type == "fail_only"


BROKEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no script": (lambda row: row.pop("eval_script"), "lacks eval_script; rows of before swebench 5"),
    "no patch": (lambda row: row.pop("patch"), "lacks patch"),
    "no id": (lambda row: row.pop("instance_id"), r"\(no instance_id\) lacks instance_id"),
    "no tests": (lambda row: row.pop("FAIL_TO_PASS"), "lacks FAIL_TO_PASS"),
    "tests are no JSON": (lambda row: row.update(FAIL_TO_PASS="[a"), "FAIL_TO_PASS of .* is not JSON"),
    "tests are no texts": (lambda row: row.update(PASS_TO_PASS=[1]), "must be a list of texts"),
    "nothing to mend": (lambda row: row.update(FAIL_TO_PASS=[]), "empty FAIL_TO_PASS"),
    "parser": (lambda row: row.update(log_parser="parse_log_of_nobody"), "parse_log_of_nobody"),
    "type": (lambda row: row.update(eval_type="maybe"), "eval_type 'maybe'"),
    "markers": (lambda row: row.update(eval_script="pytest"), "does not print"),
    "gold": (lambda row: row.update(patch="I changed it"), "is no git diff"),
    "assets": (
        lambda row: row.update(image_assets='{"test_patch": [{"path": "a.png", "url": "u"}]}'),
        "a.png.*repo:PATH",
    ),
    **{
        f"assets: {value!r}": (
            lambda row, value=value: row.update(image_assets=value),
            r"image_assets of .* must be \{\"test_patch\".*, not ",
        )
        for value in ("{", "[1]", [1], {"patch": ["a.png"]}, {"test_patch": 1})
    },
}


@pytest.mark.parametrize("name", BROKEN)
def test_bad_rows_are_named(tmp_path: Path, name: str) -> None:
    breaks, message = BROKEN[name]
    row = own().row
    breaks(row)
    with pytest.raises(TaskError, match=message) as caught:
        load(write(tmp_path / "rows.json", [row]))
    assert "rows.json, row 0" in str(caught.value)


def test_bad_files_are_named(tmp_path: Path) -> None:
    for name, text, message in (
        ("a.json", "{", "a.json is not JSON"),
        ("a.jsonl", "\n{", "a.jsonl, line 2 is not JSON"),
        ("b.json", "[1]", "row 0 is no object"),
        ("c.json", "[]", "no tasks"),
        ("a.parquet", "version https://git-lfs", "no Parquet file.*LFS"),
        ("a.csv", "x", "not '.csv'"),
        ("d.json", json.dumps([own().row] * 2), "occurs twice"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(TaskError, match=message):
            load(f"swebench:{tmp_path / name}")
    for name in ("e.json", "e.jsonl"):
        (tmp_path / name).write_bytes(b'"\xff"')
        with pytest.raises(TaskError, match=f"{name} is not UTF-8 text"):
            load(f"swebench:{tmp_path / name}")
    with pytest.raises(TaskError, match="there is no file"):
        load(f"swebench:{tmp_path}/none.parquet")


@pytest.mark.parametrize("source", ["", "swebench:", "repo:", "swebench", "github:x", "Builtin"])
def test_unknown_sources_are_refused(source: str) -> None:
    with pytest.raises(ValueError, match="known are"):
        load(source)


# -- the Hub ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"HF_HUB_OFFLINE": "1"},
            r"forge-nobody/silent' here, and the Hub gives no split 'dev' .*: \w+Error: ",
        ),
        (
            {"HF_ENDPOINT": "http://127.0.0.1:PORT"},
            "no split 'dev' of such a dataset within 0.5 s. Look at the",
        ),
    ],
)
def test_a_hub_that_gives_nothing_is_named(settings: dict[str, str], said: str) -> None:
    seconds = 0.5 if "PORT" in str(settings) else 60.0
    code = (
        f"from forge_envs.worlds.swe import rows\nrows.HUB = {seconds}\n"
        "rows.load('swebench:forge-nobody/silent', 'dev')"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:  # nobody answers who connects
        port = str(server.getsockname()[1])
        told = {name: value.replace("PORT", port) for name, value in settings.items()}
        command = [sys.executable, "-c", code]
        done = subprocess.run(
            command, env={**os.environ, **told}, capture_output=True, text=True, timeout=120
        )
    assert done.returncode == 1 and re.search(f"TaskError: .*{said}", done.stderr), done.stderr


# -- task repositories ----------------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two of our own tasks as a task repository of swebench 5."""
    (tmp_path / "sweb.yaml").write_text("datasets: [forge/own]\nsplits: [train, test]\n")
    for number, split in ((0, "train"), (1, "test")):
        row = own(number).row
        folder = tmp_path / "tasks" / row["instance_id"]
        folder.mkdir(parents=True)
        keys = ("instance_id", "repo", "version", "base_commit", "image", "log_parser", "eval_type")
        meta = {key: row[key] for key in keys}
        (folder / "task.yaml").write_text(yaml.safe_dump({**meta, "split": split, "datasets": ["forge/own"]}))
        (folder / "tests.json").write_text(json.dumps({key: row[key] for key in row if key.isupper()}))
        for key, name in (
            ("patch", "gold.patch"),
            ("test_patch", "test.patch"),
            ("eval_script", "eval.sh"),
            ("problem_statement", "problem_statement.md"),
        ):
            (folder / name).write_text(row[key])
        (folder / "Dockerfile").write_text("FROM forge/swe\n")
    return tmp_path


def test_task_repository(repository: Path) -> None:
    from swebench.task.checks import check_task_repo, errors

    assert {problem.message.split(" ")[0] for problem in errors(check_task_repo(repository))} <= {"image"}
    assets = repository / "tasks" / own(0).id / "test_assets" / "tests"
    assets.mkdir(parents=True)
    (assets / "a.bin").write_bytes(b"\0")
    tasks = load(f"repo:{repository}")
    assert tasks.splits == {"train": (own(0).id,), "test": (own(1).id,)}
    wanted = as_read(own(0), assets={"tests/a.bin": b"\0"})
    assert tasks.find(own(0).id) == dataclasses.replace(wanted, split="train")


def test_tasks_of_ours_are_watched(repository: Path) -> None:
    meta = repository / "tasks" / own(0).id / "task.yaml"
    meta.write_text(meta.read_text() + "evaluator: forge\n")
    found = load(f"repo:{repository}").by_id
    assert found[own(0).id].watched and not found[own(1).id].watched


@pytest.mark.parametrize(
    "name", ["gold.patch", "test.patch", "eval.sh", "tests.json", "problem_statement.md"]
)
def test_missing_files_are_named(repository: Path, name: str) -> None:
    (repository / "tasks" / own(0).id / name).unlink()
    with pytest.raises(TaskError, match=f"{own(0).id}: {name} is missing"):
        load(f"repo:{repository}")


def test_broken_task_repositories_are_named(repository: Path) -> None:
    folder = repository / "tasks" / own(0).id
    for text, message in (("a: [", "cannot be read"), ("instance_id: other\n", "is about 'other'")):
        (folder / "task.yaml").write_text(text)
        with pytest.raises(TaskError, match=message):
            load(f"repo:{repository}")
    with pytest.raises(TaskError, match="no tasks/ directory"):
        load(f"repo:{folder}")


# -- published rows --------------------------------------------------------------------------------------


@public
@pytest.mark.parametrize(
    ("name", "count"), [("SWE-bench_Verified.fifth.parquet", 100), ("SWE-bench_Lite.dev.parquet", 23)]
)
def test_published_rows_mean_the_same_to_us_and_to_swebench(name: str, count: int) -> None:
    import pyarrow.parquet
    from swebench.harness.utils import make_test_spec

    rows = pyarrow.parquet.read_table(ROWS / name).to_pylist()
    tasks = load(f"swebench:{ROWS / name}")
    assert len(tasks.by_id) == len(rows) == count
    for row in rows:
        task = tasks.find(row["instance_id"])
        assert make_test_spec(task.row) == make_test_spec(row)
        assert (task.patch, task.base_commit) == (row["patch"], row["base_commit"])
        bare = {key: value for key, value in row.items() if key not in ("image", "eval_type")}
        assert task_of(bare, "here") == task


@public
@pytest.mark.parametrize("name", ["debug_20240322", "swe-bench-dev-easy", "swe-bench-lite-test"])
def test_rows_without_a_script_say_what_to_do(name: str) -> None:
    path = ROWS / "samples" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with pytest.raises(
        TaskError, match="lacks eval_script; rows of before swebench 5 have no evaluation script"
    ):
        load(f"swebench:{path}")
