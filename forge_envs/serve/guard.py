"""Before anything else: who may ask, from where, how much, and how slowly."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from forge_envs.adapters.loopback import names_loopback
from forge_envs.serve.faults import Fault
from forge_envs.serve.limits import ServeLimits

OPEN_PATHS = ("/health",)
"""What may be asked without a token: whoever watches a machine has none."""


class Gate:
    """ASGI middleware: the token, the origin where there is no token, the size and the pace of a body."""

    def __init__(
        self, app: ASGIApp, *, limits: ServeLimits, token: str | None, refused: Callable[[str], None]
    ) -> None:
        self.app, self.limits, self.refused = app, limits, refused
        self.expected = None if token is None else f"bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in, its body read whole."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        try:
            self._admit(scope)
            if scope["type"] == "http":
                receive = _again(await self._body(Headers(scope=scope), receive), receive)
        except Fault as fault:
            self.refused(fault.kind)
            await _refuse(scope, fault, send)
            return
        except ConnectionError:  # the client left while it was still talking
            return
        await self.app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        """Raises Fault."""
        if scope["path"] in OPEN_PATHS:
            return
        headers = Headers(scope=scope)
        if self.expected is None:
            # Any web page can make a browser on this machine ask: it says where it comes from, or is
            # given away by the name it knows us under.
            for told in ("//" + headers.get("host", "localhost"), headers.get("origin", "//localhost")):
                if not names_loopback(told):
                    text = (
                        f"{told.lstrip('/')!r} is not this machine: a server without a token serves no other"
                    )
                    raise Fault("forbidden", text)
            return
        kind, _, given = headers.get("authorization", "").partition(" ")
        said = f"{kind.lower()} {given.strip()}".encode("utf-8", "replace")
        if not hmac.compare_digest(said, self.expected):
            raise Fault("token", "send the server's token as `Authorization: Bearer TOKEN`")

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        """The whole body. Raises Fault, and ConnectionError if the client leaves."""
        most = self.limits.max_bytes
        length = headers.get("content-length", "")
        if length.isdecimal() and len(length) < 20 and int(length) > most:
            raise _large(most)
        try:
            return await asyncio.wait_for(_read(receive, most), self.limits.body_timeout)
        except TimeoutError:
            text = f"the message did not arrive within {self.limits.body_timeout:g} s"
            raise Fault("late", text, retryable=True) from None


async def _read(receive: Receive, most: int) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError
        data += message.get("body", b"")
        if len(data) > most:
            raise _large(most)
        if not message.get("more_body", False):
            return bytes(data)


def _large(most: int) -> Fault:
    return Fault("large", f"a message may have {most} bytes here")


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read before, then what comes after it."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _refuse(scope: Scope, fault: Fault, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    if fault.kind == "token":
        headers.append((b"www-authenticate", b"Bearer"))
    # A websocket is refused in HTTP, before it is one.
    kind = "http" if scope["type"] == "http" else "websocket.http"
    await send({"type": f"{kind}.response.start", "status": fault.status, "headers": headers})
    await send({"type": f"{kind}.response.body", "body": fault.body()})
