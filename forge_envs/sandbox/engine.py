"""The Docker daemon, spoken to through its SDK: every wait has a deadline, every failure a name."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from forge_envs.sandbox.aside import aside
from forge_envs.sandbox.base import SandboxError

ASKING = 60.0
"""Seconds that one request to the daemon may take."""
TICK, ASKED_AGAIN = 0.1, 1.0
"""Seconds between two looks at the clock, and after which we ask whether a silent command still runs."""
BEGINNING, ENDING, DRAINING = 120.0, 60.0, 5.0
"""Seconds that a busy host may take to begin a command, to tell how it ended, and to pass on its last words
after a deadline."""
MUTE = 30.0
"""Seconds that a shell of a box may run and say nothing at all: then it is no shell of ours any more."""
CHUNK = 1 << 18
MARK = b"."
"""What every command of ours says first."""
FLOOD, FLOOD_RATE = 8 << 20, 64 << 20
"""Bytes of output after which it is read no faster than so many bytes a second: reading costs the host."""

NO_SDK = "sandbox='docker' needs the Docker SDK: pip install 'forge-envs[docker]'"
AWAY = "the Docker daemon at {where} went away: {why}. If it restarts, another try will do; else start it"
NO_DAEMON = (
    "no Docker daemon answers at {where}: {why}. Start it (`sudo systemctl start docker`, or "
    "`sudo dockerd &`), join the group `docker`, or set DOCKER_HOST"
)


class Engine:
    """One connection pool to the daemon, for all threads."""

    def __init__(self) -> None:
        try:
            import docker
        except ImportError as error:
            raise SandboxError(NO_SDK, kind="no_daemon", retryable=False) from error
        try:
            settings = docker.utils.kwargs_from_env()
            self.api: Any = docker.APIClient(version="auto", timeout=ASKING, max_pool_size=256, **settings)
        except (docker.errors.DockerException, OSError) as error:
            raise _no_daemon(error) from error

    @contextmanager
    def asking(self, what: str, patience: float = ASKING) -> Iterator[None]:
        """Turn the SDK's errors into SandboxErrors; `what` is a box or an image, as a person names it."""
        import docker
        import requests
        import urllib3

        try:
            yield
        except docker.errors.ImageNotFound as error:
            raise _failure("no_image", f"{what}: there is no such image", retryable=False) from error
        except docker.errors.NotFound as error:
            raise _gone(what) from error
        except docker.errors.APIError as error:
            raise _refused(what, error) from error
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError) as error:
            text = f"{what}: the Docker daemon did not answer within {patience:g} s"
            raise _failure("timeout", text, retryable=True) from error
        except (
            requests.exceptions.RequestException,
            urllib3.exceptions.HTTPError,
            docker.errors.DockerException,
        ) as error:
            raise _no_daemon(error, AWAY) from error  # it did answer when this was made

    def size(self, box: str) -> int:
        """Bytes that the files of container `box` hold beyond its image's."""
        url = self.api._url("/containers/{0}/json", box)  # the SDK's inspect_container cannot ask for sizes
        found = self.api._result(self.api._get(url, params={"size": "1"}), json=True)
        return int(found.get("SizeRw") or 0)

    def lives(self, box: str) -> bool:
        """Whether container `box` is there and runs."""
        try:
            with self.asking(f"box {box[:12]}"):
                return bool(self.api.inspect_container(box)["State"]["Running"])
        except SandboxError as error:
            if error.kind != "gone":
                raise
            return False

    def remove(self, box: str) -> None:
        """Remove a container; that it is gone already, or somebody else is at it, is fine."""
        try:
            with self.asking(f"box {box[:12]}"):
                self.api.remove_container(box, force=True, v=True)
        except SandboxError as error:
            if error.kind != "gone":
                raise

    def exec(
        self,
        box: str,
        argv: Sequence[str],
        take: Callable[[bytes], None],
        *,
        user: str,
        timeout: float,
        end: Callable[[], None],
        env: Mapping[str, str] | None = None,
        data: bytes = b"",
        stop: threading.Event | None = None,
    ) -> int | None:
        """Run `argv` in container `box` as `user`, hand its output to `take` piece by piece.

        It says MARK first, which is not handed on: until then no time counts, however busy the host is.
        `data` is what it can read from its standard input. Returns the exit status; or None when it still ran
        after `timeout` seconds or when `stop` was set, and `end` was called, which must kill all that it
        started. Raises SandboxError.
        """
        what = f"box {box[:12]}"
        with self.asking(what):
            made = self.api.exec_create(
                box, list(argv), stdin=bool(data), user=user, environment=dict(env or {}), workdir="/"
            )["Id"]
            stream = self.api.exec_start(made, socket=True)
            connection = getattr(stream, "_sock", stream)
            output = Output(take, timeout)
            broken = None
            try:
                output.feed(_unread(stream, connection))
                _send(connection, data, output.until)
                if not self._listen(connection, made, box, output, end, stop or threading.Event()):
                    return None
            except OSError as error:
                broken = error
            finally:
                connection.close()
                stream.close()
            code = self._status(made, box)  # which says so if the box is gone
            if broken is not None and not data:  # who does not read all its input breaks the stream
                raise _failure("docker", f"{what}: output was lost: {broken}", retryable=True) from broken
            return code

    def _listen(
        self,
        connection: socket.socket,
        made: str,
        box: str,
        output: Output,
        end: Callable[[], None],
        stop: threading.Event,
    ) -> bool:
        """Hand on the stream until it ends, which it does not while anything holds it open.

        False if the command had to be ended. Raises SandboxError if nothing began or the stream stays open.
        Ending goes on beside reading: the daemon tells nothing new while it cannot get rid of output.
        """
        asked, late, mute = time.monotonic(), False, False
        ending: Future[None] | None = None
        while ending is None or not ending.done() or time.monotonic() < output.until:
            now = time.monotonic()
            if ending is None and (now > output.until or stop.is_set()):
                if not (output.began or stop.is_set()):
                    raise _unbegun(box, mute)
                late, ending, output.until = True, aside(end), now + DRAINING
            connection.settimeout(max(0.01, min(TICK, output.until - now)))
            try:
                data = connection.recv(CHUNK)
            except TimeoutError:
                if ending is None and now - asked > ASKED_AGAIN:
                    asked, found = now, self.api.exec_inspect(made)
                    if not found["Running"]:
                        # something that it started may hold its output open
                        ending, output.until = aside(end), now + ENDING
                    elif found["Pid"] and not (output.began or mute):
                        mute, output.until = True, min(output.until, now + MUTE)
                continue
            if not data:
                break
            time.sleep(output.feed(data))
        else:
            if not late:
                raise _failure("timeout", "a command has ended, but not its output", retryable=True)
        if ending is not None:
            ending.result()
        return not late

    def _status(self, made: str, box: str) -> int:
        """The exit status of what has ended, which the daemon learns a moment after the stream's end."""
        pause, until = 0.001, time.monotonic() + ENDING
        while (found := self.api.exec_inspect(made))["Running"] or found["ExitCode"] is None:
            if time.monotonic() > until:
                text = f"box {box[:12]}: how a command ended was not told within {ENDING:g} s"
                raise _failure("timeout", text, retryable=True)
            time.sleep(pause)
            pause = min(TICK, 2 * pause)
        if found["Pid"] == 0:  # told by the daemon, so nothing in the box can pretend it
            text = f"box {box[:12]}: no process can be started in it"
            raise _failure("no_exec", text, retryable=True)
        return int(found["ExitCode"])


class Output:
    """What a command says, taken out of Docker's stream, and the time it has for it.

    The stream holds two outputs in one: eight bytes of header, which end in a length, then a piece.
    """

    def __init__(self, take: Callable[[bytes], None], timeout: float) -> None:
        self._take, self._timeout = take, timeout
        self._head = b""
        self._left = 0
        self._seen = 0
        self._first = time.monotonic()
        self.began = False
        """Whether the command has begun, so that its time counts."""
        self.until = self._first + BEGINNING
        """The deadline of the command, or for its beginning, by `time.monotonic`."""

    def feed(self, data: bytes) -> float:
        """Take the next bytes of the stream, hand on what they carry; for how long to read nothing then."""
        at = 0
        while at < len(data):
            if self._left:
                piece = data[at : at + self._left]
                self._left -= len(piece)
                at += len(piece)
                self._hand_on(piece)
                continue
            need = 8 - len(self._head)
            self._head += data[at : at + need]
            at += need
            if len(self._head) == 8:
                self._left = struct.unpack(">4xI", self._head)[0]
                self._head = b""
        self._seen += len(data)
        ahead = (self._seen - FLOOD) / FLOOD_RATE - (time.monotonic() - self._first)
        return max(0.0, min(TICK, ahead)) if self._seen > FLOOD else 0.0

    def _hand_on(self, piece: bytes) -> None:
        if not self.began:
            if not piece.startswith(MARK):
                return  # the daemon's words on why nothing began
            self.began, self.until = True, time.monotonic() + self._timeout
            piece = piece[len(MARK) :]
        if piece:
            self._take(piece)


def _send(connection: socket.socket, data: bytes, until: float) -> None:
    """Give a command its input; that it does not read all of it is its own affair."""
    if data:
        connection.settimeout(max(0.1, until - time.monotonic()))
        with suppress(ConnectionError):
            connection.sendall(data)


def _unread(stream: Any, connection: socket.socket) -> bytes:
    """What the HTTP parser has read beyond the headers; the SDK's raw socket would lose it."""
    response = getattr(stream, "_response", None)
    buffered = getattr(getattr(getattr(response, "raw", None), "_fp", None), "fp", None)
    if buffered is None:
        return b""
    connection.setblocking(False)
    try:
        ahead: bytes = buffered.peek()
        return ahead
    except (BlockingIOError, TimeoutError):
        return b""


def _failure(kind: str, text: str, *, retryable: bool) -> SandboxError:
    return SandboxError(text, kind=kind, retryable=retryable)


def _gone(what: str) -> SandboxError:
    return _failure("gone", f"{what} is gone: somebody removed it, or its lifetime is over", retryable=True)


def _unbegun(box: str, mute: bool) -> SandboxError:
    """A command that did not begin: `mute` when its shell was seen to run."""
    what = f"box {box[:12]}"
    if mute:
        text = f"{what}: its shell ran for {MUTE:g} s and said nothing: it takes no more commands"
        return _failure("no_shell", text, retryable=True)
    return _failure("timeout", f"{what}: no command began within {BEGINNING:g} s", retryable=True)


def _refused(what: str, error: Any) -> SandboxError:
    """The daemon answered, and the answer is an error."""
    said = str(error.explanation or error)
    if "no space left" in said.lower():
        text = f"{what}: the disk of the Docker daemon is full ({said}). `docker system prune` frees space"
        return _failure("disk_full", text, retryable=True)
    if error.status_code in (404, 409):
        return _gone(what)
    return _failure(
        "docker", f"{what}: the Docker daemon refused: {said}", retryable=error.status_code >= 500
    )


def _no_daemon(error: Exception, text: str = NO_DAEMON) -> SandboxError:
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    why = str(error).partition("(Caused by")[0].strip()[-200:]
    return _failure("no_daemon", text.format(where=where, why=why), retryable=text is AWAY)
