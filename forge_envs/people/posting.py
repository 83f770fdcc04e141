"""JSON posted to one server: with a bound on requests at a time, on seconds and on bytes of an answer.

Needs httpx2 (`pip install forge-envs[users]`), which is imported when the first request is sent.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from forge_envs.errors import MachineError
from forge_envs.people.attempts import Failed, unreachable

if TYPE_CHECKING:
    import httpx2


@dataclass(frozen=True, slots=True)
class Posted:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    data: bytes


class JsonPost:
    """Where requests go. Threads may share it."""

    def __init__(self, url: str, *, key: str, limit: int, text: str, sends: bool) -> None:
        """`key` names the environment variable with the API key, "" none; at most `limit` requests at a time.

        Raises ValueError, which names `text`, when the key or httpx2 is missing, unless nothing is sent.
        """
        if key and sends:
            _check_key(key, text)
        if sends and find_spec("httpx2") is None:
            raise ValueError(f"{text!r} needs httpx2: pip install 'forge-envs[users]'")
        self.url, self._key, self._limit = url, key, limit
        self._places = threading.BoundedSemaphore(limit)
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None

    @contextmanager
    def place(self, deadline: float, stage: str) -> Iterator[None]:
        """A place, waited for at most `deadline` seconds. Raises MachineError, which names `stage`."""
        if not self._places.acquire(timeout=deadline):
            what = f"{self.url}: no free place within {deadline:g} s (limit={self._limit})"
            raise MachineError(what, kind="timeout", stage=stage, retryable=True)
        try:
            yield
        finally:
            self._places.release()

    def send(
        self, path: str, body: Mapping[str, Any], *, timeout: float, largest: int, useless: bool = False
    ) -> Posted:
        """One attempt. Raises Failed; an answer of more than `largest` bytes may count as a `useless` one."""
        import httpx2

        ends = time.monotonic() + timeout
        data = bytearray()
        try:
            with self._http().stream("POST", path, json=body, timeout=timeout) as response:
                for piece in response.iter_bytes():
                    data += piece
                    if time.monotonic() > ends:  # every piece came in time, but all of them did not
                        raise Failed("timeout", f"no whole answer within {timeout:.3g} s")
                    if len(data) > largest:
                        raise Failed("rubbish", f"an answer of more than {largest} bytes", useless=useless)
        except httpx2.TimeoutException:
            raise Failed("timeout", f"no answer within {timeout:.3g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise unreachable(error) from None
        return Posted(response.status_code, response.headers, bytes(data))

    def _http(self) -> httpx2.Client:
        with self._lock:
            if self._client is None:
                import httpx2

                self._client = httpx2.Client(
                    base_url=self.url,
                    headers={"Authorization": f"Bearer {os.environ[self._key]}"} if self._key else {},
                    # What is asked is on this machine, in this cluster, or named by its own address.
                    trust_env=False,
                    limits=httpx2.Limits(max_connections=self._limit),
                )
                weakref.finalize(self, self._client.close)  # at the latest when the process ends
            return self._client


def _check_key(name: str, text: str) -> None:
    """Raises ValueError unless an environment variable holds what can be sent as a key."""
    value = os.environ.get(name, "")
    if not value:
        raise ValueError(f"{text!r}: the environment variable {name} is not set")
    if not (value.isascii() and value.isprintable()):
        raise ValueError(f"{text!r}: the environment variable {name} holds no key: it is one line of ASCII")
