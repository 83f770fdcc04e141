"""What a Docker daemon may answer, scripted: sizes, processors, full disks, registries, mute shells."""

from __future__ import annotations

import json
import logging
import re
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import forge_envs  # noqa: F401  # registers the worlds
from forge_envs.sandbox import Limits, SandboxError, disk
from forge_envs.sandbox import engine as engines
from forge_envs.sandbox import pull as pulls
from forge_envs.sandbox import waiting as waits
from forge_envs.sandbox.daemon import Daemon
from forge_envs.sandbox.disk import DiskWatch
from forge_envs.sandbox.engine import Engine
from forge_envs.sandbox.pool import Recipe
from forge_envs.sandbox.present import missing, tell_missing

pytest.importorskip("docker")

MB = 1 << 20
RECIPE = Recipe("sha256:1", "forge/swe", "forge", "/testbed", Limits(cpus=2.0, disk_mb=256))
Answer = tuple[int, Any]
SIZED = "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"


class Scripted:
    """A daemon of which a test says what it answers; `asked` holds each request's path and body."""

    def __init__(self) -> None:
        self.info: dict[str, Any] = {"Driver": "overlay2", "NCPU": 8}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.create: Callable[[dict[str, Any]], Answer] = lambda body: (201, {"Id": "box"})
        self.size: Callable[[], int] = lambda: 0
        self.pulls: list[Answer] = []
        self.images: set[str] = set()
        self.shell: dict[str, Any] = {"Running": True, "Pid": 7, "ExitCode": None}

    def bodies(self, path: str) -> list[dict[str, Any]]:
        return [body for asked, body in self.asked if asked == path]

    def answer(self, path: str, body: dict[str, Any]) -> Answer:
        self.asked.append((path, body))
        match path:
            case "/version":
                return 200, {"ApiVersion": "1.41"}
            case "/info":
                return 200, self.info
            case "/containers/create":
                return self.create(body)
            case "/containers/box/json":
                return 200, {"SizeRw": self.size()}
            case "/containers/box/exec":
                return 201, {"Id": "shell"}
            case "/exec/shell/json":
                return 200, self.shell
            case _ if path.startswith("/images/") and path.endswith("/json"):
                name = path.removeprefix("/images/").removesuffix("/json")
                return (200, {"Id": name}) if name in self.images else (404, {"message": "No such image"})
            case "/images/create":
                return self.pulls.pop(0)
        return 404, {"message": f"not scripted: {path}"}


def _handler(daemon: Scripted) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def address_string(self) -> str:
            return "test"

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            path = re.sub(r"^/v[\d.]+/", "/", path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"null") or {}
            if path == "/exec/shell/start":
                self.wfile.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
                self.rfile.read()  # a shell that says nothing, until the other side hangs up
                self.close_connection = True
                return
            status, said = daemon.answer(path, body)
            self.send_response(status)
            if isinstance(said, list):
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for line in [*(json.dumps(line).encode() + b"\r\n" for line in said), b""]:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            else:
                data = json.dumps(said).encode()
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        do_POST = do_GET

    return Handler


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    found, place = Scripted(), str(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    with Server(place, _handler(found)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def _host(body: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = body["HostConfig"]
    return found


# -- whether it is there -------------------------------------------------------------------------------------


def test_an_image_that_is_missing_is_known_without_the_sdk_and_told_once(
    daemon: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    daemon.images = {"forge/swe"}
    assert missing(["forge/swe", "swebench/sweb.eval.x86_64.a:latest"]) == "", "others are pulled"
    for _ in range(2):
        assert "run `forge-envs images polyglot-go`" in tell_missing(["forge/swe", "forge/polyglot-go"])
    assert len(caplog.records) == 1 and "forge/polyglot-go" in caplog.text
    assert not any(path == "/version" for path, _ in daemon.asked)


@pytest.mark.parametrize(
    ("host", "said"),
    [("unix:///nowhere/a.sock", "no Docker daemon answers at unix:///nowhere"), ("tcp://10.9.9.9:1", "")],
)
def test_a_daemon_that_is_missing_is_known(monkeypatch: pytest.MonkeyPatch, host: str, said: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    assert missing(["forge/swe"]).startswith(said) and bool(missing(["forge/swe"])) == bool(said)


@pytest.mark.parametrize("world", ["Forge/SWE-v0", "Forge/Polyglot-v0"])
def test_a_world_that_is_made_without_a_daemon_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path, world: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    made = gym.make(world)
    assert "no Docker daemon answers" in caplog.text and str(tmp_path) in caplog.text
    made.close()


def test_a_daemon_that_went_away_may_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = str(tmp_path / "docker.sock")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{place}")
    with pytest.raises(SandboxError) as caught:
        Engine()
    assert (caught.value.kind, caught.value.retryable) == ("no_daemon", False), "it was never there"
    with Server(place, _handler(Scripted())) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        found = Engine()
        server.shutdown()
        thread.join()
    found.api.close()
    with pytest.raises(SandboxError, match="went away") as caught, found.asking("the daemon"):
        found.api.info()
    assert (caught.value.kind, caught.value.retryable) == ("no_daemon", True)


def test_who_waits_long_is_told_for_what(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waits, "LONG", 0.05)
    monkeypatch.setattr(waits, "_last", [float("-inf")])
    caplog.set_level(logging.WARNING)
    with waits.waiting("nothing"):
        pass
    with waits.waiting("the tests of a task"):
        until = time.monotonic() + 10
        while not caplog.records and time.monotonic() < until:
            time.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == [
        "waiting for the tests of a task, 0.05 s so far"
    ]


# -- what a container is given -------------------------------------------------------------------------------


def test_a_daemon_that_can_limit_the_disk_does(daemon: Scripted) -> None:
    assert Daemon(Engine()).create(RECIPE, {"a": "b"}, 9) == "box"
    [body] = daemon.bodies("/containers/create")
    assert _host(body)["StorageOpt"] == {"size": str(256 * MB)} and body["Labels"] == {"a": "b"}
    assert {"Name": "fsize", "Soft": 256 * MB, "Hard": 256 * MB} in _host(body)["Ulimits"]


def test_a_daemon_that_cannot_limit_the_disk_is_asked_once(daemon: Scripted) -> None:
    daemon.create = lambda body: (
        (400, {"message": SIZED}) if _host(body).get("StorageOpt") else (201, {"Id": "box"})
    )
    made = Daemon(Engine())
    assert [made.create(RECIPE, {}, 9) for _ in range(2)] == ["box", "box"]
    sized = [bool(_host(body).get("StorageOpt")) for body in daemon.bodies("/containers/create")]
    assert sized == [True, False, False]


def test_a_refusal_for_another_reason_says_nothing_about_sizes(daemon: Scripted) -> None:
    daemon.create = lambda body: (500, {"message": "layer does not exist"})
    made = Daemon(Engine())
    with pytest.raises(SandboxError, match=r"forge/swe.*layer does not exist"):
        made.create(RECIPE, {}, 9)
    assert made.sizes
    daemon.create = lambda body: (500, {"message": "write /var: no space left on device"})
    with pytest.raises(SandboxError, match="docker system prune") as caught:
        made.create(RECIPE, {}, 9)
    assert (caught.value.kind, caught.value.one_box) == ("disk_full", False)


def test_drivers_that_count_the_image_get_no_size(daemon: Scripted) -> None:
    daemon.info["Driver"] = "btrfs"
    Daemon(Engine()).create(RECIPE, {}, 9)
    assert not _host(daemon.bodies("/containers/create")[0]).get("StorageOpt")


@pytest.mark.parametrize(("there", "given"), [(1, 1.0), (8, 2.0)])
def test_no_more_processors_are_asked_for_than_there_are(daemon: Scripted, there: int, given: float) -> None:
    daemon.info["NCPU"] = there
    Daemon(Engine()).create(RECIPE, {}, 9)
    assert _host(daemon.bodies("/containers/create")[0])["NanoCpus"] == given * 1e9


# -- the disk ------------------------------------------------------------------------------------------------


def test_no_box_is_opened_on_a_full_disk(
    daemon: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = DiskWatch(Engine(), str(tmp_path)), DiskWatch(Engine(), None)
    here.require_room()
    monkeypatch.setattr(disk, "RESERVE", 1 << 62)
    elsewhere.require_room()  # nobody knows
    with pytest.raises(SandboxError, match=r"has \d+ MB left. `docker system prune`") as caught:
        here.require_room()
    assert (caught.value.kind, caught.value.retryable) == ("disk_full", True)


def test_who_fills_the_disk_is_ended_and_who_comes_after_is_not(daemon: Scripted) -> None:
    watch = DiskWatch(Engine(), None)
    box = disk.Watched("box", 100)
    with watch.running(box):
        daemon.size = lambda: 150
        watch.look(box, None)
        assert box.full.is_set()
    with watch.running(box):
        assert not box.full.is_set()
        watch.look(box, None)
        assert not box.full.is_set(), "it wrote nothing"
        daemon.size = lambda: 151
        watch.look(box, None)
        assert box.full.is_set(), "it went on"


def test_a_size_that_comes_late_ends_nobody_else(daemon: Scripted) -> None:
    watch, turns = DiskWatch(Engine(), None), ExitStack()
    box = disk.Watched("box", 100)

    def size() -> int:  # while the daemon counts, the verb ends and another begins
        daemon.size = lambda: 160  # what it wrote after it was counted
        turns.close()
        turns.enter_context(watch.running(box))
        return 150

    turns.enter_context(watch.running(box))
    daemon.size = size
    watch.look(box, None)
    assert box.turn == 2 and not box.full.is_set()
    watch.look(box, None)
    assert not box.full.is_set(), "the first one wrote that"
    turns.close()
    daemon.size = lambda: 170
    watch.look(box, None)
    assert not box.full.is_set(), "nobody runs"


def test_a_verb_between_two_looks_is_not_taken_for_an_earlier_one(daemon: Scripted) -> None:
    watch = DiskWatch(Engine(), None)
    box = disk.Watched("box", 100)
    with watch.running(box):
        pass  # it filled the disk so fast that nobody looked
    sizes = [150, 150]
    daemon.size = lambda: sizes.pop(0)
    with watch.running(box):
        watch.look(box, None)  # looks twice: only who grows is ended
        assert not box.full.is_set() and not sizes
    with watch.running(box):
        sizes = [160, 170]
        watch.look(box, None)
        assert box.full.is_set() and not sizes


# -- registries ----------------------------------------------------------------------------------------------


def _lines(*said: str) -> Answer:
    return 200, [{"error": text} for text in said] or [{"status": "done"}]


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulls, "PAUSES", (0.0, 0.0))


def test_a_registry_that_fails_is_asked_again(daemon: Scripted, no_pauses: None) -> None:
    daemon.pulls = [(500, {"message": "toomanyrequests"}), _lines("unexpected EOF"), _lines()]
    pulls.pull(Engine(), "debian:bookworm", until=float("inf"))
    assert not daemon.pulls
    daemon.pulls = [_lines("unexpected EOF")] * 4
    with pytest.raises(SandboxError, match="was not pulled: unexpected EOF") as caught:
        pulls.pull(Engine(), "debian:bookworm", until=float("inf"))
    assert len(daemon.pulls) == 1 and caught.value.retryable


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("write /var/lib/docker/tmp/x: no space left on device", "disk_full"),
        ("manifest unknown", "no_image"),
        ("dial tcp: lookup registry-1.docker.io: no such host", "no_registry"),
    ],
)
def test_what_asking_again_cannot_mend_is_said_at_once(
    daemon: Scripted, no_pauses: None, said: str, kind: str
) -> None:
    daemon.pulls = [_lines(said), _lines()]
    with pytest.raises(SandboxError) as caught:
        pulls.pull(Engine(), "debian:bookworm", until=float("inf"))
    assert caught.value.kind == kind and len(daemon.pulls) == 1


def test_a_pull_does_not_wait_beyond_its_deadline(daemon: Scripted) -> None:
    daemon.pulls = [_lines("unexpected EOF"), _lines()]
    with pytest.raises(SandboxError, match="unexpected EOF"):
        pulls.pull(Engine(), "debian:bookworm", until=0.0)  # long past: the first pause is not begun
    assert len(daemon.pulls) == 1


# -- shells --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pid", "kind", "one_box"), [(7, "no_shell", True), (0, "timeout", False)], ids=["mute", "busy host"]
)
def test_a_shell_that_says_nothing_is_told_from_a_busy_host(
    daemon: Scripted, monkeypatch: pytest.MonkeyPatch, pid: int, kind: str, one_box: bool
) -> None:
    monkeypatch.setattr(engines, "MUTE", 0.05)
    monkeypatch.setattr(engines, "ASKED_AGAIN", 0.01)
    monkeypatch.setattr(engines, "BEGINNING", 60.0 if pid else 0.3)
    daemon.shell["Pid"] = pid
    with pytest.raises(SandboxError, match="box box: ") as caught:
        Engine().exec("box", ["bash"], print, user="0", timeout=9.0, end=lambda: None)
    assert (caught.value.kind, caught.value.one_box) == (kind, one_box)
