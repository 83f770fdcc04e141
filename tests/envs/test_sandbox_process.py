"""Boxes made of processes: the contract, with the kernel's help and without; what is left; what is told."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge_envs.sandbox import Limits, Sandbox, SandboxError, archive, cgroup, command, provider
from forge_envs.sandbox.check import promises
from forge_envs.sandbox.clip import Clip
from forge_envs.sandbox.command import FolderWatch, namespaces
from forge_envs.sandbox.engine import MARK, Output
from forge_envs.sandbox.owner import Owner
from forge_envs.sandbox.process import PATH, PREFIX, ProcessBox, ProcessProvider
from forge_envs.sandbox.promises import PROMISES, Check

NOBODY = 65534
SMALL = Limits(memory_mb=256, pids=64, disk_mb=64)


@pytest.fixture
def box() -> Iterator[Sandbox]:
    found = ProcessProvider()
    yield found.open("", limits=SMALL)
    found.close()


@pytest.fixture
def for_everybody(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What supervises lies where everybody may look, which the project and its Python need not."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        script = shutil.copy(command.SUPERVISOR[-1], place)
        python = shutil.which("python3", path=PATH) or sys.executable
        monkeypatch.setattr(command, "SUPERVISOR", (python, "-I", "-S", script))
        yield


def unprivileged(act: Callable[[], None]) -> None:
    """Do it as a user without rights: in a child of this process if we are root."""
    if os.geteuid() != 0:
        return act()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            namespaces.cache_clear()  # other rights, other namespaces
            act()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def folders() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*")}


@pytest.mark.slow
@pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "supervised"])
def test_it_keeps_every_promise(isolate: bool) -> None:
    group = cgroup.make(f"{PREFIX}probe-{os.getpid()}", SMALL)
    if group is None and os.geteuid() == 0:
        pytest.skip("root's processes cannot be limited here: a fork bomb would hit the host")
    if group is not None:
        group.close()
    before = folders()
    seen = list(promises(ProcessProvider(isolate=isolate), ""))
    assert [str(promise) for promise in seen if not promise.kept] == []
    assert len(seen) == len(PROMISES)
    assert folders() == before


@pytest.mark.parametrize(
    "isolate", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["namespaces", "supervised"]
)
@pytest.mark.usefixtures("for_everybody")
def test_an_ordinary_user_gets_the_same(isolate: bool) -> None:
    def act() -> None:
        for name in ("run", "files", "close", *(() if isolate else ("limits",))):
            with Check(ProcessProvider(isolate=isolate), "", SMALL) as check:
                PROMISES[name](check)

    unprivileged(act)


def test_it_says_that_it_is_no_jail(caplog: pytest.LogCaptureFixture) -> None:
    found = ProcessProvider()
    with caplog.at_level(logging.WARNING):
        found.open("").close()
        found.open("").close()
    assert [record.getMessage() for record in caplog.records] == [caplog.records[0].getMessage()]
    assert "no jail" in caplog.text and "sandbox='docker'" in caplog.text
    assert not found.jail and found.name == "process"


def test_it_must_be_asked_for_by_name() -> None:
    assert provider("process") is provider("process")
    assert provider("process").name == "process" and provider("docker").name == "docker"
    with pytest.raises(ValueError, match="sandbox='podman': known are docker, process"):
        provider("podman")


@pytest.mark.parametrize("name", ["cpus", "memory_mb", "pids", "disk_mb", "lifetime"])
def test_limits_limit(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: a box needs some"):
        Limits(**{name: 0})


def test_no_secret_of_ours_is_in_its_environment(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGE_TEST_SECRET", "swordfish")
    assert "swordfish" not in box.run("env").output
    home = box.run('echo "$HOME"; echo "$TMPDIR"').output.split()
    assert all(Path(path).parent == Path(box.workdir).parent for path in home)


@pytest.mark.skipif(not namespaces(), reason="the kernel gives us no namespaces")
def test_it_has_no_network_and_sees_no_other_process(box: Sandbox) -> None:
    assert box.run("cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' '").output == "lo\n"
    result = box.run(f"kill -0 {os.getpid()} && echo seen; kill -9 -1; echo not reached")
    assert "seen" not in result.output  # and that we are here shows whom `kill -1` did not reach


def test_a_removed_workdir_can_be_made_again(box: Sandbox) -> None:
    assert box.run('rm -rf "$PWD"').code == 0
    assert box.run(f"mkdir -p {box.workdir} && echo made").output == "made\n"
    assert box.run("pwd").output == box.workdir + "\n"


def test_a_removed_box_is_what_the_command_did(box: Sandbox) -> None:
    lost = box.run(
        'rm -rf "$(dirname "$PWD")"; f=$(mktemp -p /tmp); head -c 40M /dev/zero >$f; sleep 0.5; rm $f; echo x'
    )
    assert (lost.code, lost.output) == (0, "x\n")
    assert box.run("pwd").output == "/\n"
    assert box.run("# " + "x" * 200_000).code == 126  # there is no place for so long a command
    with pytest.raises(FileNotFoundError):
        box.read("x")
    assert box.run(f"mkdir -p {box.workdir}").code == 0
    assert box.run("pwd").output == box.workdir + "\n"


def test_what_the_host_refuses_to_run_is_a_machines_failure(box: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no command can be run") as caught:
        box.run("true", env={"X": "x" * 4_000_000})  # more than the kernel hands on
    assert (caught.value.kind, caught.value.one_box) == ("no_process", False)


def test_a_command_that_ends_while_it_is_being_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    shell = subprocess.Popen(["sleep", "0.1"])
    monkeypatch.setattr(command, "_children", lambda pid: [gone.pid])
    command._end(shell)
    assert shell.returncode == 0


@pytest.mark.usefixtures("for_everybody")
def test_a_box_without_rights_to_itself_is_removed() -> None:
    def act() -> None:
        box = ProcessProvider().open("", limits=SMALL)
        assert box.run("mkdir -p a/b; touch a/b/c; ln -s / a/root; chmod 000 a/b a .").code == 0
        box.close()
        assert not Path(box.workdir).parent.exists()

    unprivileged(act)  # root may do all that anyway


def test_a_full_temporary_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    with pytest.raises(SandboxError, match="no temporary folder") as caught:
        ProcessProvider().open("")
    assert caught.value.kind == "disk_full"


def test_who_kills_the_supervisor_is_ended_by_the_control_group() -> None:
    provider = ProcessProvider(isolate=False)
    box = provider.open("", limits=SMALL)
    assert isinstance(box, ProcessBox)
    try:
        if box._group is None:
            pytest.skip("no control group can be made here")
        supervisor = "$(cut -d' ' -f4 /proc/$PPID/stat)"
        killed = box.run(f"setsid sleep 4242 & kill -9 {supervisor}; sleep 4242", timeout=60.0)
        assert (killed.code, killed.timed_out) == (137, False)
        assert _running_in(Path(box.workdir)) == 0
    finally:
        provider.close()


def test_archives_name_what_is_wrong(box: Sandbox) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        archive.pack(box, "nothing")
    with pytest.raises(SandboxError, match="not unpacked") as caught:
        archive.unpack(box, b"no archive")
    assert caught.value.kind == "archive"
    box.run("head -c 100000 /dev/urandom > noise")
    with pytest.raises(ValueError, match="longer than 1000 bytes"):
        archive.pack(box, limit=1_000)
    assert box.run('ls -A "$TMPDIR"').output == "" or not namespaces()


TRAINER = """
from forge_envs.sandbox.process import ProcessProvider
box = ProcessProvider(isolate={isolate}).open("")
print(box.workdir, flush=True)
box.run("(setsid sleep 4242 &); touch begun; sleep 4242", timeout=600)
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
@pytest.mark.parametrize("isolate", [True, False], ids=["namespaces", "supervised"])
def test_a_killed_trainer_leaves_no_process_and_its_folder_is_removed(isolate: bool) -> None:
    code = TRAINER.format(isolate=isolate)
    trainer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert trainer.stdout is not None
    workdir = Path(trainer.stdout.readline().strip())
    assert workdir.is_dir()
    assert _wait((workdir / "begun").exists)
    trainer.send_signal(signal.SIGKILL)
    trainer.wait()
    assert _wait(lambda: _running_in(workdir) == 0)
    assert workdir.is_dir()
    found = ProcessProvider()
    found.open("")  # whoever starts next removes what the dead left
    found.close()
    assert not workdir.parent.exists()
    assert not list(cgroup.ROOT.glob(f"*/{workdir.parent.name}"))


def _running_in(folder: Path) -> int:
    """Processes whose working folder is `folder`."""
    found = 0
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                found += os.readlink(process / "cwd").startswith(str(folder))
            except OSError:
                continue
    return found


def _wait(until: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.05)
    return until()


def test_only_who_makes_a_box_too_large_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LOOKS", 0.0)
    monkeypatch.setattr(command, "NOTICED", -(1 << 62))
    (tmp_path / "old").write_bytes(bytes(2 << 20))
    watch = FolderWatch(tmp_path, 1 << 20)
    assert not watch.full() and not watch.full(), "an earlier command wrote that"
    (tmp_path / "new").write_bytes(bytes(1 << 20))
    assert watch.full()
    (tmp_path / "old").unlink()
    assert not watch.full(), "it makes room"


# -- parts -------------------------------------------------------------------------------------------------


@given(st.text(max_size=60), st.integers(0, 25), st.integers(0, 25), st.lists(st.integers(1, 9), max_size=40))
def test_a_clip_keeps_both_ends_however_the_bytes_come(
    text: str, head: int, tail: int, sizes: list[int]
) -> None:
    data = text.encode("utf-8", "replace")
    whole = data.decode()
    clip, at = Clip(head, tail), 0
    for size in [*sizes, len(data)]:
        clip.feed(data[at : at + size])
        at += size
    kept, elided = clip.end()
    if len(whole) <= head + tail:
        assert (kept, elided) == (whole, 0)
    else:
        assert kept == whole[:head] + whole[len(whole) - tail :]
        assert elided == len(whole) - head - tail


def test_a_clip_of_rubbish_counts_what_it_shows() -> None:
    clip = Clip(4, 4)
    for _ in range(1_000):
        clip.feed(b"\xff\xc3")
    kept, elided = clip.end()
    assert kept == "\ufffd" * 8 and elided == clip.seen - 8
    with pytest.raises(ValueError, match="head=-1"):
        Clip(-1, 0)


@given(st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(max_size=40)), max_size=8), st.integers(1, 50))
def test_frames_are_taken_apart_however_they_come(frames: list[tuple[int, bytes]], size: int) -> None:
    said = [(1, MARK), *frames]
    stream = b"".join(bytes([kind, 0, 0, 0]) + len(data).to_bytes(4, "big") + data for kind, data in said)
    got = bytearray()
    parser = Output(got.extend, 1.0)
    for at in range(0, len(stream), size):
        parser.feed(stream[at : at + size])
    assert bytes(got) == b"".join(data for _, data in frames)


def test_an_owner_is_dead_only_when_that_is_certain() -> None:
    me = Owner.me()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    living = Owner(me.place, child.pid, _began(child.pid))
    assert not me.dead and not living.dead
    assert Owner(me.place, child.pid, "1").dead  # the number was given out again
    child.communicate(b"\n")
    assert living.dead
    assert not Owner("another host", child.pid, living.began).dead
    assert Owner.parse(str(me)) == me
    with pytest.raises(ValueError):
        Owner.parse("no owner")


def _began(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
