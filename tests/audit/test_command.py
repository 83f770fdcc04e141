"""`forge-envs audit` as it is typed: exit statuses, files, bad input, and nothing left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from forge_envs.audit.child import MARK
from forge_envs.cli import main

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{HERE.parent.parent}")


def test_a_finding_is_status_1_and_stands_in_every_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [str(tmp_path / name) for name in ("audit.json", "openenv.json")]
    options = ["--json", files[0], "--openenv-report", files[1], "--checks", "leaks,seed_control"]
    options[-1] = "no_solution_leakage,seed_control"
    assert main(["audit", "planted:Planted/AnswerInInfo-v0", *options]) == 1
    printed = capsys.readouterr().out
    assert "fact       semantic.no_solution_leakage" in printed and "1 facts, 0 suspicions" in printed
    found = json.loads(Path(files[0]).read_text())["results"]
    assert [one["status"] for one in found] == ["fact", "clean"]
    report = json.loads(Path(files[1]).read_text())
    assert report["verdict"] == "fail" and report["report_schema_version"] == "1"
    assert [one["status"] for one in report["results"]] == ["fail", "pass"]


def test_the_evidence_reproduces_the_finding(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    main(["audit", "planted:Planted/WantsANumber-v0", "--checks", "hostile_text", "--json", str(file)])
    again = json.loads(file.read_text())["results"][0]["finding"]["again"]
    done = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True)
    assert "ValueError: invalid literal for int()" in done.stderr


def test_no_finding_is_status_0_also_where_arguments_are_given() -> None:
    assert (
        main(["audit", "planted:Planted/AnswerInInfo-v0", "--arg", "healthy=true", "--checks", "leakage"])
        == 2
    )
    options = ["--arg", "healthy=true", "--checks", "no_solution_leakage"]
    assert main(["audit", "planted:Planted/AnswerInInfo-v0", *options]) == 0


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["Nope-v0"], "never started"),
        (["planted:Planted/Sum-v0", "--checks", "nope"], "check 'nope' is unknown"),
        (["planted:Planted/Sum-v0", "--timeout", "0"], "--timeout: '0'"),
        (["planted:Planted/Sum-v0", "--sessions", "0"], "--sessions: '0'"),
        (["planted:Planted/Sum-v0", "--json", "/no/such/folder/file"], "there is no folder"),
        (["planted:Planted/Sum-v0", "--python", "/no/such/python"], "never started"),
        (["http://127.0.0.1:9", "--start", "30"], "never started"),
        (["no/such/folder"], "there is no such folder"),
    ],
)
def test_bad_input_is_status_2_and_is_named(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *typed]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (["Nope-v0"], "`Nope` doesn't exist"),
        (["Forge/Retail-v0", "--arg", "level=9"], "level=9: known are 0, 1"),
        (["Forge/Retail-v0", "--arg", "lvl=2"], "lvl=2: did you mean level?"),
        (["no_such_file.py:World"], "No such file"),
    ],
)
def test_what_was_typed_wrongly_is_told_without_a_traceback(
    typed: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", *typed]) == 2
    err = capsys.readouterr().err
    assert told in err and len(err.splitlines()) == 1


def test_the_place_of_a_bug_of_the_target_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wrapper.py").write_text("class World:\n    def __init__(self): self.x = {}['rules']\n")
    assert main(["audit", f"{tmp_path}/wrapper.py:World"]) == 2
    err = capsys.readouterr().err
    assert "KeyError: 'rules'" in err and "line 2" in err


def test_the_end_of_what_a_target_said_is_told_when_it_never_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrapper.py").write_text("import sys\nprint('no licence', file=sys.stderr)\nsys.exit(3)\n")
    assert main(["audit", f"{tmp_path}/wrapper.py:World"]) == 2
    assert "no licence" in capsys.readouterr().err


def test_an_audit_that_is_killed_leaves_nothing_running(tmp_path: Path) -> None:
    (tmp_path / "wrapper.py").write_text(
        "import time\n"
        "class World:\n"
        "    def make(self): return self\n"
        "    def reset(self, seed, task): time.sleep(600)\n"
    )
    command = [
        sys.executable,
        "-m",
        "forge_envs",
        "audit",
        f"{tmp_path}/wrapper.py:World",
        "--timeout",
        "300",
    ]
    audit = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        assert _wait(lambda: len(_hosts(tmp_path)) == 2)
    finally:
        audit.send_signal(signal.SIGKILL)
        audit.wait()
    assert _wait(lambda: not _hosts(tmp_path))


def _hosts(folder: Path) -> list[str]:
    """Processes that hold the target of this folder, by their command line and the mark of an audit."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path("/proc", entry, "cmdline").read_bytes()
            marked = f"{MARK}=".encode() in Path("/proc", entry, "environ").read_bytes()
        except OSError:
            continue
        if marked and str(folder).encode() in command:
            found.append(entry)
    return found


def _wait(done: object, seconds: float = 60.0) -> bool:
    assert callable(done)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if done():
            return True
        time.sleep(0.05)
    return False
