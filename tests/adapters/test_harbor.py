"""Task folders as they are written: whole, self-contained, the same each time, nothing hidden in sight."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

import forge_envs  # noqa: F401  (registers the worlds)
from forge_envs.adapters.harbor import vendor
from forge_envs.adapters.harbor.export import Refused, export
from forge_envs.adapters.harbor.grade_polyglot import answer
from forge_envs.adapters.harbor.stored import puzzle, store_puzzle, store_swe, swe_task
from forge_envs.cli import main
from forge_envs.errors import TaskError
from forge_envs.sandbox import images
from forge_envs.worlds.polyglot.builtin import Builtin
from forge_envs.worlds.polyglot.contests.generator import Contests
from forge_envs.worlds.polyglot.languages import LANGUAGES

pytest.importorskip("swebench")

from forge_envs.worlds.swe.builtin import builtin_tasks

ONE_TRY = {"tries": 1}


def written(out: Path, world: str, args: dict[str, object] | None = None, **options: object) -> list[Path]:
    return list(export(world, args or {}, out=out, **options))


def files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def swe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("swe"), "Forge/SWE-v0", tasks=["forge__ledger-2"])[0]


@pytest.fixture(scope="module")
def exercises(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = written(tmp_path_factory.mktemp("polyglot"), "Forge/Polyglot-v0", ONE_TRY, n=len(LANGUAGES))
    return {folder.name.partition("-")[0]: folder for folder in folders}


def test_a_folder_has_what_harbor_asks_for(swe, exercises):
    for folder in (swe, *exercises.values()):
        config = tomllib.loads((folder / "task.toml").read_text())
        assert config["schema_version"] == "1.4" and config["verifier"]["environment_mode"] == "separate"
        assert config["environment"]["network_mode"] == config["verifier"]["environment"]["network_mode"]
        assert config["environment"]["network_mode"] == "no-network" and config["agent"]["user"] == "forge"
        assert config["verifier"]["collect"][0]["command"] == (folder / "tests/take.sh").read_text()
        for script in ("tests/test.sh", "tests/take.sh", "solution/solve.sh"):
            assert (folder / script).stat().st_mode & 0o111
            assert subprocess.run(["bash", "-n", folder / script]).returncode == 0
        assert config["metadata"]["differs_from_the_world"]


def test_nothing_hidden_is_where_the_agent_looks(swe, exercises):
    task = next(task for task in builtin_tasks() if task.id == "forge__ledger-2")
    seen = b"".join(files(swe / "environment").values()) + (swe / "instruction.md").read_bytes()
    for patch in (task.patch, task.test_patch):
        added = [
            line[1:] for line in patch.splitlines() if line.startswith("+") and not line.startswith("+++")
        ]
        assert not any(line.strip() and len(line) > 30 and line.encode() in seen for line in added)
    assert task.statement.strip().encode() in seen
    for language, folder in exercises.items():
        exercise = Builtin().find(f"forge/{language}/{folder.name.partition('-')[2]}")
        seen = b"".join(files(folder / "environment").values()) + (folder / "instruction.md").read_bytes()
        for path, text in {**exercise.tests, **exercise.example}.items():
            assert text == exercise.stubs.get(path) or text.encode() not in seen
        assert set(files(folder / "environment/files")) == set(exercise.stubs)


def test_dockerfiles_need_no_image_of_ours(swe, exercises):
    for folder in (swe, *exercises.values()):
        text = (folder / "environment/Dockerfile").read_text()
        assert "FROM forge/" not in text and text.startswith("ARG BASE=debian:bookworm\n")
    recipe = (images.FOLDER / "polyglot-go/Dockerfile").read_text().partition("\nRUN ")[2].partition("\n")[0]
    assert recipe and recipe in (exercises["go"] / "environment/Dockerfile").read_text()
    assert (exercises["cpp"] / "environment/Catch2Config.cmake").is_file()


def test_the_judge_needs_nothing_but_python(swe, exercises, tmp_path):
    for folder in (swe, exercises["python"]):
        code = (
            "import sys\n"
            f"sys.path = [{str(folder / 'tests/judge')!r}, *(p for p in sys.path if 'site-' not in p)]\n"
            "import forge_envs.adapters.harbor.grade as grade, importlib, json\n"
            f"stored = json.load(open({str(folder / 'tests/task.json')!r}))\n"
            "importlib.import_module('forge_envs.adapters.harbor.grade_' + stored['judge'])\n"
            "if stored['judge'] == 'swe': import swebench.harness.utils, swebench.harness.grading\n"
            "print(grade.__file__, 'gymnasium' in sys.modules, 'numpy' in sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-I", "-S", "-B", "-c", code], capture_output=True, text=True)
        assert ran.stdout.split() == [
            str(folder / "tests/judge/forge_envs/adapters/harbor/grade.py"),
            *["False"] * 2,
        ], ran.stderr


def test_a_judge_that_wants_a_library_is_not_exported(monkeypatch):
    monkeypatch.setitem(vendor.LATE, "swe", ("forge_envs.env",))
    with pytest.raises(ValueError, match=r"imports .*, which is not where a folder is judged"):
        vendor.judge_files("swe")


def test_exporting_twice_gives_the_same_bytes(swe, tmp_path):
    assert files(written(tmp_path, "Forge/SWE-v0", tasks=["forge__ledger-2"])[0]) == files(swe)


def test_tasks_come_back_from_json_as_they_were():
    exercise, contest = Builtin().find("forge/cpp/water-meter"), Contests(0).find("contest/train/1/0")
    for task in (exercise, contest):
        back = puzzle(json.loads(json.dumps(store_puzzle(task))))
        assert {**vars(back), "example": task.example} == vars(task)
    task = builtin_tasks()[0]
    back = swe_task(json.loads(json.dumps(store_swe(task))))
    assert {**vars(back), "files": task.files, "assets": None} == vars(task)


def test_of_an_answer_only_the_agents_own_files_count(tmp_path):
    task = Builtin().find("forge/java/water-meter")
    (stub,) = task.stubs
    beside = str(Path(stub).parent)
    archive = tmp_path / "answer.tar"
    with tarfile.open(archive, "w") as tar:
        entries = {
            stub: b"a",
            f"./{beside}/Helper.java": b"b",
            f"{beside}/WaterMeterTest.java": b"c",
            "../x.java": b"d",
        }
        for name, data in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
        link = tarfile.TarInfo(f"{beside}/Link.java")
        link.type, link.linkname = tarfile.SYMTYPE, "/tests/task.json"
        tar.addfile(link)
    assert answer(task, archive) == {stub: "a", f"{beside}/Helper.java": "b"}


@pytest.mark.parametrize(
    ("world", "args", "why"),
    [
        ("Forge/Retail-v0", {}, "nobody to talk to"),
        ("Forge/NextTurn-v0", {}, "files, not the reply"),
        ("CartPole-v1", {}, "no AgentEnv"),
        ("Forge/Polyglot-v0", {}, "tries=2.*--arg tries=1"),
        ("Forge/SWE-v0", {"turn_weight": 0.1}, "turn rewards"),
    ],
)
def test_what_no_folder_can_hold_is_refused(world, args, why, tmp_path):
    with pytest.raises(Refused, match=why):
        written(tmp_path / "out", world, args)
    assert not (tmp_path / "out").exists()


def test_bad_input_is_told(tmp_path, capsys):
    def told(*words: str) -> str:
        assert main(["export", "harbor", *words]) == 2
        return capsys.readouterr().err

    out = ["--out", str(tmp_path / "out")]
    assert "Known: " in told("Forge/Nope-v0", *out)
    assert "unknown task 'nope'" in told("Forge/SWE-v0", "--task", "nope", *out)
    assert "known are train, test" in told("Forge/SWE-v0", "--split", "nope", *out)
    assert "one or the other" in told("Forge/SWE-v0", "--task", "forge__ledger-2", "--n", "1", *out)
    assert "at least 1" in told("Forge/SWE-v0", "--n", "0", *out)
    assert "letters, digits" in told("Forge/SWE-v0", "--org", "a b", "--n", "1", *out)
    (tmp_path / "file").write_text("")
    assert "no folder" in told("Forge/SWE-v0", "--n", "1", "--out", str(tmp_path / "file"))
    assert "--out /proc/x" in told("Forge/SWE-v0", "--n", "1", "--out", "/proc/x")
    with pytest.raises(TaskError):
        written(tmp_path / "out", "Forge/SWE-v0", tasks=["forge__ledger-2", "nope"])
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_replaced_only_by_force(tmp_path, capsys):
    words = ["export", "harbor", "Forge/SWE-v0", "--task", "forge__ledger-2", "--out", str(tmp_path)]
    assert main(words) == 0
    kept = tmp_path / "forge__ledger-2"
    assert capsys.readouterr().out.strip() == str(kept)
    (kept / "notes.txt").write_text("mine")
    assert main(words) == 2 and "--force replaces" in capsys.readouterr().err
    assert (kept / "notes.txt").exists()
    assert main([*words, "--force"]) == 0 and not (kept / "notes.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forge__ledger-2"]


def test_an_exercise_without_a_known_solution_says_so(tmp_path, monkeypatch):
    from dataclasses import replace

    from forge_envs.worlds.polyglot.env import PolyglotEnv

    find = PolyglotEnv.find
    monkeypatch.setattr(PolyglotEnv, "find", lambda self, task: replace(find(self, task), example={}))
    (folder,) = written(tmp_path, "Forge/Polyglot-v0", ONE_TRY, tasks=["forge/go/water-meter"])
    assert not (folder / "solution").exists()
    assert "no solution is known" in tomllib.loads((folder / "task.toml").read_text())["metadata"]["oracle"]


def test_images_that_nobody_else_can_build_are_refused(tmp_path):
    row = {**builtin_tasks()[0].row, "image": "forge/mine"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(ValueError, match="on this machine only"):
        written(tmp_path / "out", "Forge/SWE-v0", {"source": f"swebench:{tmp_path / 'rows.jsonl'}"})


def test_published_rows_stand_on_their_own_images(tmp_path):
    row = {
        **builtin_tasks()[0].row,
        "image": "swebench/sweb.eval.x86_64.some:latest",
        "instance_id": "Some__x-1",
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    (folder,) = written(tmp_path / "out", "Forge/SWE-v0", {"source": f"swebench:{tmp_path / 'rows.jsonl'}"})
    assert folder.name == "some__x-1"
    text = (folder / "environment/Dockerfile").read_text()
    assert (
        text.startswith("FROM swebench/sweb.eval.x86_64.some:latest\nUSER root\n")
        and "repository" not in text
    )
    config = tomllib.loads((folder / "task.toml").read_text())
    assert "user" not in config["agent"] and "root" in " ".join(config["metadata"]["differs_from_the_world"])


HARBOR = shutil.which("harbor", path=str(Path(sys.executable).parent)) or shutil.which("harbor")


@pytest.mark.skipif(HARBOR is None, reason="Harbor is not installed; it needs Python 3.12")
def test_harbors_own_lint_has_no_finding(swe, exercises):
    for folder in (swe, *exercises.values()):
        ran = subprocess.run([str(HARBOR), "lint", str(folder)], capture_output=True, text=True)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_made_task_brings_its_own_dockerfile_and_nothing_else(tmp_path):
    yaml = pytest.importorskip("yaml")
    row = builtin_tasks()[0].row
    folder = tmp_path / "tasks" / row["instance_id"]
    folder.mkdir(parents=True)
    meta = {key: value for key, value in row.items() if isinstance(value, str) and len(value) < 60}
    (folder / "task.yaml").write_text(yaml.safe_dump({**meta, "evaluator": "forge", "split": "train"}))
    (folder / "tests.json").write_text(json.dumps({key: row[key] for key in row if key.isupper()}))
    texts = {"patch": "gold.patch", "test_patch": "test.patch", "eval_script": "eval.sh"}
    for key, name in {**texts, "problem_statement": "problem_statement.md"}.items():
        (folder / name).write_text(row[key])
    (folder / "base.patch").write_bytes(b"base")
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(
        "FROM forge/swe\nUSER root\nCOPY --chown=forge:forge base.patch /tmp/\nUSER forge\n"
    )
    args = {"source": f"repo:{tmp_path}"}
    (made,) = written(tmp_path / "out", "Forge/SWE-v0", args)
    context = files(made / "environment")
    assert set(context) == {"Dockerfile", "base.patch", "bake.sh", "start.sh"}
    text = context["Dockerfile"].decode()
    assert (
        "FROM forge/" not in text
        and "FROM base AS swe\n" in text
        and "\nFROM swe\nUSER root\nCOPY --chown" in text
    )
    assert json.loads((made / "tests/task.json").read_text())["task"]["watched"] is True
    dockerfile.write_text("FROM forge/swe\nCOPY . /testbed\n")
    with pytest.raises(ValueError, match="gold and tests along"):
        written(tmp_path / "more", "Forge/SWE-v0", args)
