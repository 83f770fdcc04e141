"""What runs the server: the socket it listens on, what it does about silent clients, and how it stops."""

from __future__ import annotations

import signal
import socket
import sys
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from forge_envs.serve.limits import ServeLimits

KEEP_ALIVE = 75
"""Seconds for which a connection stays open between requests: agents think."""
MOST_HEAD = 64 * 1024
"""Bytes of a request before its body."""


class Patient(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """HTTP, except that the head of a request must come within `patience` seconds and MOST_HEAD bytes.

    uvicorn bounds how long a connection stays open between requests, but neither how long a client may take
    to say what it wants, nor, with httptools, how much it may say.
    """

    patience = 30.0

    def connection_made(self, transport: Any) -> None:
        """As uvicorn does, and start waiting."""
        super().connection_made(transport)
        self._head = 0
        self._waiting = self.loop.call_later(self.patience, self._give_up)

    def data_received(self, data: bytes) -> None:
        """As uvicorn does, unless it is too much."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head = 0
            self._waiting.cancel()
            return
        if self._head == 0:
            self._waiting.cancel()
            self._waiting = self.loop.call_later(self.patience, self._give_up)
        self._head += len(data)
        if self._head > MOST_HEAD:
            self._give_up()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn does."""
        self._waiting.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.transport.get_protocol() is self:  # else a websocket has taken it over
            self.transport.close()


def make_server(app: FastAPI, limits: ServeLimits, *, log_level: str = "warning") -> uvicorn.Server:
    """The server of an application, which is then run on sockets of the caller's own."""
    patient = type("Patient", (Patient,), {"patience": limits.body_timeout})
    config = uvicorn.Config(
        app,
        http=patient,
        ws="websockets-sansio",
        ws_max_size=limits.max_bytes,
        ws_max_queue=4,
        ws_per_message_deflate=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(limits.grace)),
        # Silent and stalling connections take no memory without end.
        limit_concurrency=8 * limits.max_sessions + 64,
        h11_max_incomplete_event_size=MOST_HEAD,
        access_log=False,
        server_header=False,
        log_level=log_level,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket bound to a name or address. Raises ValueError with what keeps it from being bound."""
    if not 0 <= port <= 65535:  # some systems take it modulo 65536
        raise ValueError(f"cannot listen on port {port}: it is a number from 0 to 65535")
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, proto)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(2048)  # who comes before the server is up waits for it
        bound.setblocking(False)
    except (OSError, OverflowError) as error:
        raise ValueError(f"cannot listen on {host}:{port}: {error}") from error
    return bound


def run(app: FastAPI, limits: ServeLimits, bound: socket.socket) -> int:
    """Serve until a signal; 0 if every world was closed, else 1.

    At SIGTERM or Ctrl-C nobody is let in any more, running steps end, and all sessions are closed.
    """
    server = make_server(app, limits, log_level="info")

    def stopped(*_: object) -> None:
        """Take the signal that uvicorn raises once more, when all is done, for no more than it is."""

    before = {number: signal.signal(number, stopped) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        server.run(sockets=[bound])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    left = app.state.sessions.held
    if left:
        print(f"forge-envs: {left} worlds did not close within {limits.grace:g} s", file=sys.stderr)
    return 1 if left or not server.started else 0
