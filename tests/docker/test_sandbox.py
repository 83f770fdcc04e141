"""Boxes made of containers: the contract, hostile commands, killed owners, and named failures."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from forge_envs.sandbox import Limits, Sandbox, SandboxError, check_sandbox
from forge_envs.sandbox.container import Container
from forge_envs.sandbox.docker import DockerProvider
from forge_envs.sandbox.engine import Engine
from tests.waiting import until

SMALL = Limits(cpus=1.0, memory_mb=256, pids=64, disk_mb=64)


@pytest.fixture
def box(docker: DockerProvider, swe_image: str) -> Iterator[Container]:
    made = docker.open(swe_image, limits=SMALL)
    assert isinstance(made, Container)
    yield made
    made.close()


@pytest.fixture
def root_image(engine: Engine, swe_image: str) -> Iterator[str]:
    """An image whose user is root and whose work belongs to root, as SWE-bench's are."""
    lines = f"FROM {swe_image}\nUSER root\nRUN mkdir /repo && cd /repo && git init -q . && echo 1 > file\n"
    tag = f"forge-test/root:{os.getpid()}"
    yield _built(engine, tag, lines + "WORKDIR /repo\n")
    engine.api.remove_image(tag, force=True)


def _built(engine: Engine, tag: str, dockerfile: str) -> str:
    lines = engine.api.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag, rm=True, decode=True)
    errors = [line["error"] for line in lines if "error" in line]
    assert not errors, errors
    return tag


@pytest.fixture
def own_image(engine: Engine, swe_image: str) -> Iterator[str]:
    """An image that nobody else uses."""
    tag = f"forge-test/own:{os.getpid()}"
    yield _built(engine, tag, f"FROM {swe_image}\nLABEL test={time.time_ns()}\n")
    engine.api.remove_image(tag, force=True)


def boxes_of(engine: Engine, image: str) -> list[str]:
    return [found["Id"] for found in engine.api.containers(all=True, filters={"ancestor": image})]


@pytest.mark.slow
def test_it_keeps_every_promise(docker: DockerProvider, swe_image: str) -> None:
    report = check_sandbox(docker, swe_image)
    assert {"nothing stays", "jail"} <= {promise.name for promise in report.promises if promise.kept}


@pytest.mark.slow
def test_it_keeps_every_promise_in_an_image_of_root(docker: DockerProvider, root_image: str) -> None:
    assert len(check_sandbox(docker, root_image).promises) > 10


def test_root_can_do_there_what_its_image_was_made_for(docker: DockerProvider, root_image: str) -> None:
    box = docker.open(root_image)
    try:
        done = box.run(
            "id -u; pwd; git status --short; chown forge file; su forge -c 'id -un'; rm file; touch file; "
            "mkdir -p /opt/x; cp -a /etc/passwd /opt/x; tar -C /opt -cf x.tar x; tar -C /mnt -xpf x.tar"
        )
        assert (done.code, done.output) == (0, "0\n/repo\n?? file\nforge\n")
        assert box.run("setpriv --reuid 1234 sleep 1000 & sleep 0.2").code == 0
        assert box.run("ps -e --no-headers | grep -c sleep").output == "1\n"  # the first process alone
    finally:
        box.close()


def test_a_box_whose_shell_was_replaced_takes_no_more_commands(
    docker: DockerProvider, root_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge_envs.sandbox.engine.MUTE", 1.0)
    box = docker.open(root_image)
    try:
        box.write("mute", b"#!/bin/sh\nexec sleep 600\n", executable=True)
        box.run("mv mute /bin/bash")
        with pytest.raises(SandboxError, match="said nothing") as caught:
            box.run("echo x")
        assert (caught.value.kind, caught.value.one_box) == ("no_shell", True)
    finally:
        box.close()


# -- what hostile commands get -----------------------------------------------------------------------------


THREADS = """python3 -c '
import threading
for _ in range(9999):
    threading.Thread(target=threading.Event().wait).start()'"""
EATERS = "for i in 1 2 3 4; do (x=$(head -c 120M /dev/zero | tr '\\0' x); sleep 9) & done; wait"
HOSTILE = {
    "fork bomb in the background": ("b() { b | b & }; b", 20.0),
    "fork bomb in the foreground": ("b() { b | b & }; b; while :; do :; done", 3.0),
    "fork bomb of the deaf": ("trap '' HUP INT TERM; b() { setsid bash -c 'sleep 99' & b; }; b", 3.0),
    "kill all": ("kill -9 -1", 10.0),
    "kill the parent": ("setsid sleep 99 >/dev/null 2>&1 & kill -9 $PPID; sleep 99", 10.0),
    "stop all": ("kill -STOP -1; kill -STOP $PPID; sleep 99", 3.0),
    "kill the first process": ("kill -9 1; kill -STOP 1; kill -SEGV 1", 10.0),
    "eat memory": ("x=$(head -c 1G /dev/zero | tr '\\0' x)", 30.0),
    "eat memory together": (EATERS, 30.0),
    "fill shared memory": ("head -c 1G /dev/zero > /dev/shm/x", 30.0),
    "one big file": ("head -c 1G /dev/zero > x", 30.0),
    "big files at once": ("for i in $(seq 50); do fallocate -l 60M x$i; done; sleep 30", 60.0),
    "many small files": ("mkdir d; for i in $(seq 3000); do echo > d/$i; done", 30.0),
    "flood": ("cat /dev/zero", 3.0),
    "flood of both": ("yes & yes >&2", 3.0),
    "never close": ("sleep 99 & exec >/dev/null 2>&1; exit 3", 10.0),
    "delete everything": ("rm -rf --no-preserve-root / 2>/dev/null", 30.0),
    "break the terminal": ("printf '\\033c\\033[2J\\000\\001\\377'", 10.0),
    "no processor left": ("for i in $(seq 20); do (while :; do :; done) & done; wait", 3.0),
    "many threads": (THREADS, 10.0),
}  # fmt: skip


def _running(engine: Engine, box: Container) -> list[str]:
    """The programs of a box, as Docker lists them."""
    return [row[-1].split()[0] for row in engine.api.top(box.id)["Processes"] or ()]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_commands_end_and_the_box_goes_on(box: Container, engine: Engine, name: str) -> None:
    command, timeout = HOSTILE[name]
    result = box.run(command, timeout=timeout)
    assert len(result.output) <= 10_000 + 100
    until(lambda: _running(engine, box) == ["sleep"], 30.0)  # Docker may list nothing while others die
    again = box.run("cd /; echo fine; echo $(( 6 * 7 ))")
    assert (again.code, again.output) == (0, "fine\n42\n"), f"after {name}: {again}"


def test_a_full_disk_is_the_commands_own_affair(box: Container) -> None:
    fill = "for i in $(seq 100); do head -c 30M /dev/zero > x$i || exit 9; sleep 0.2; done"
    full = box.run(fill, timeout=60.0)  # its own write fails where the daemon limits the disk
    assert full.code == 9 or full.output.endswith("[killed: more than 64 MB on disk]\n")
    assert box.run("rm x*; echo fine").output == "fine\n"
    with pytest.raises(OSError, match="File too large"):
        box.write("big", bytes(65 << 20))
    box.write("small", b"1")


def test_nothing_of_the_host_is_seen_or_changed(box: Container) -> None:
    os.environ["FORGE_TEST_SECRET"] = "swordfish"
    try:
        assert (
            "swordfish"
            not in box.run("env; cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'", tail=10**6).output
        )
    finally:
        del os.environ["FORGE_TEST_SECRET"]
    assert box.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1 | tr -d ' '").output == "lo\n"
    assert box.run("getent hosts deb.debian.org || echo none").output == "none\n"
    status = box.run(
        "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status | awk '{print $2}'"
    ).output
    assert status.split() == ["0" * 16, "0" * 16, "1", "2"]
    assert box.run("id -u").output == "1000\n"
    assert box.run("ls /dev/sd* /dev/vd* /dev/kmsg /dev/mem 2>/dev/null").output == ""
    for path in ("/etc/passwd", "/usr/bin/env", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/new"):
        with pytest.raises((PermissionError, OSError)):
            box.write(path, b"x")


def test_limits_are_the_daemons_too(box: Container, engine: Engine) -> None:
    config = engine.api.inspect_container(box.id)["HostConfig"]
    assert (config["Memory"], config["MemorySwap"]) == (256 << 20, 256 << 20)
    assert (config["PidsLimit"], config["NanoCpus"], config["NetworkMode"]) == (64, 10**9, "none")
    assert config["CapDrop"] == ["ALL"] and not config["CapAdd"]
    assert config["SecurityOpt"] == ["no-new-privileges"]
    assert not config["Privileged"] and not config["Binds"]


# -- time and order ----------------------------------------------------------------------------------------


def test_a_timeout_keeps_files_and_ends_what_ran(box: Container) -> None:
    late = box.run("echo 1 > kept; (setsid sleep 1000 &); echo said; sleep 1000", timeout=3.0)
    assert (late.code, late.timed_out, late.output) == (124, True, "said\n")
    assert box.run("cat kept; ps -e --no-headers | grep -c sleep").output == "1\n1\n"


def test_a_daemon_on_another_host_is_asked_who_lives(
    docker: DockerProvider, swe_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forge_envs.sandbox.container.census_file", lambda pid, box: None)
    box = docker.open(swe_image, limits=SMALL)
    try:
        for command in ("(setsid sleep 99 &); echo x", "(setsid sleep 99 &) >/dev/null 2>&1; kill -9 $PPID"):
            box.run(command)
            assert box.run("ps -e --no-headers | grep -c sleep").output == "1\n"
    finally:
        box.close()


def test_what_was_said_before_a_deadline_or_from_behind_is_not_lost(box: Container) -> None:
    for _ in range(5):
        assert box.run("seq 1 3000", tail=20_000).output == "".join(f"{n}\n" for n in range(1, 3001))
        late = box.run("seq 1 3000; sleep 99", timeout=3.0, tail=20_000)
        assert late.timed_out and late.output.endswith("\n3000\n")
    held = box.run("echo first; setsid sleep 99 & kill -9 $PPID", timeout=60.0)
    assert (held.code, held.output, held.timed_out) == (137, "first\n", False)


def test_closing_one_provider_leaves_the_boxes_of_another(swe_image: str) -> None:
    one, two = DockerProvider(warm=0), DockerProvider(warm=0)
    box = two.open(swe_image)
    one.open(swe_image)
    one.close()
    time.sleep(3.0)  # its watchdog looks for what is left
    assert box.run("echo fine").output == "fine\n"
    two.close()


def test_two_boxes_run_at_the_same_time(docker: DockerProvider, swe_image: str) -> None:
    boxes = [docker.open(swe_image) for _ in range(2)]
    met = threading.Barrier(2, timeout=60)

    def play(box: Sandbox) -> str:
        met.wait()
        return box.run("date +%s.%N; sleep 2; date +%s.%N").output

    with ThreadPoolExecutor(2) as threads:
        times = [[float(t) for t in said.split()] for said in threads.map(play, boxes)]
    for box in boxes:
        box.close()
    assert max(start for start, _ in times) < min(end for _, end in times)


@pytest.mark.slow
def test_thirty_two_episodes_at_once(docker: DockerProvider, swe_image: str, engine: Engine) -> None:
    def play(number: int) -> list[str]:
        box = docker.open(swe_image, limits=SMALL)
        try:
            box.write("number", str(number).encode())
            return [box.run(f"(sleep 99 &); cat number; echo .{turn}").output for turn in range(4)]
        finally:
            box.close()

    with ThreadPoolExecutor(32) as threads:
        for number, said in enumerate(threads.map(play, range(32))):
            assert said == [f"{number}.{turn}\n" for turn in range(4)]


# -- the pool ----------------------------------------------------------------------------------------------


def _wait(until: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(0.1)
    return until()


def test_the_pool_makes_ahead_what_is_opened_often(engine: Engine, own_image: str) -> None:
    provider = DockerProvider(warm=2)
    try:
        provider.open(own_image).close()
        assert provider.ready == 0
        provider.open(own_image).close()
        assert _wait(lambda: provider.ready == 2)
        box = provider.open(own_image)
        assert box.run("ls -A; echo fresh").output == "fresh\n"
        assert _wait(lambda: provider.ready == 2)
        assert len(boxes_of(engine, own_image)) == 3
    finally:
        provider.close()
    assert provider.ready == 0 and not boxes_of(engine, own_image)


def test_a_ready_box_that_was_killed_is_not_given_out(engine: Engine, own_image: str) -> None:
    provider = DockerProvider(warm=1)
    try:
        for _ in range(2):
            provider.open(own_image).close()
        assert _wait(lambda: provider.ready == 1)
        for ready in boxes_of(engine, own_image):
            engine.remove(ready)
        assert provider.open(own_image).run("echo fine").output == "fine\n"
    finally:
        provider.close()


def test_a_workdir_that_the_image_lacks_is_made_for_its_user(docker: DockerProvider, own_image: str) -> None:
    for _ in range(2):
        box = docker.open(own_image, workdir="/some/where")
        assert box.run("pwd; touch x; stat -c %U . x").output == "/some/where\nforge\nforge\n"
        box.close()
    with pytest.raises(ValueError, match="some/where"):
        docker.open(own_image, workdir="some/where")


def test_a_closed_provider_opens_again(swe_image: str) -> None:
    provider = DockerProvider(warm=0)
    box = provider.open(swe_image)
    provider.close()
    with pytest.raises(SandboxError) as caught:
        box.run("true")
    assert caught.value.kind == "gone"
    box.close()
    again = provider.open(swe_image)
    assert again.run("echo fine").output == "fine\n"
    provider.close()


# -- named failures ----------------------------------------------------------------------------------------


def test_a_box_that_was_removed_is_gone(docker: DockerProvider, swe_image: str, engine: Engine) -> None:
    box = docker.open(swe_image)
    assert isinstance(box, Container)
    threading.Timer(1.0, engine.remove, [box.id]).start()
    with pytest.raises(SandboxError) as caught:
        box.run("sleep 60")
        box.run("true")  # the kill may be seen before the removal
    assert (caught.value.kind, caught.value.retryable) == ("gone", True), caught.value
    with pytest.raises(SandboxError):
        box.read("x")
    box.close()


def test_a_box_ends_with_its_lifetime(docker: DockerProvider, swe_image: str, monkeypatch: Any) -> None:
    monkeypatch.setattr("forge_envs.sandbox.docker.IDLE", 0.0)
    box = docker.open(swe_image, limits=Limits(lifetime=3.0))
    with pytest.raises(SandboxError) as caught:
        for _ in range(20):  # the kill may be seen before the removal
            box.run("sleep 30")
    assert caught.value.kind == "gone"
    box.close()


def test_images_that_are_not_there_are_named(docker: DockerProvider) -> None:
    with pytest.raises(SandboxError, match=r"`forge-envs images nothing`") as ours:
        docker.open("forge/nothing")
    assert (ours.value.kind, ours.value.retryable) == ("no_image", False)
    with pytest.raises(SandboxError, match=r"127\.0\.0\.1:1/no/such") as theirs:
        docker.open("127.0.0.1:1/no/such:tag")
    assert theirs.value.kind == "no_registry" and "forge-envs images" in str(theirs.value)


def test_an_image_without_bash_is_named(docker: DockerProvider, engine: Engine, swe_image: str) -> None:
    tag = _built(
        engine,
        f"forge-test/bare:{os.getpid()}",
        f"FROM {swe_image}\nUSER root\nRUN rm /bin/bash\nUSER forge\n",
    )
    try:
        with pytest.raises(SandboxError, match="cannot run bash") as caught:
            docker.open(tag)
        assert caught.value.kind == "no_image"
        assert not boxes_of(engine, tag)
    finally:
        engine.api.remove_image(tag, force=True)


def test_a_daemon_that_is_not_there_is_named(monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(SandboxError, match=r"dockerd") as caught:
        DockerProvider().open("forge/swe")
    assert (caught.value.kind, caught.value.retryable) == ("no_daemon", False)
    assert "/nowhere/docker.sock" in str(caught.value)
