"""NCCL that never comes back: what waits for it ends all the same."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from forge_train.engines.nccl import NCCLTransfer
from forge_train.engines.vllm_http import Client, ServerError
from tests.vllm.test_engine import tiny


class Peer(Client):
    """A server that says yes to everything, and whose workers never enter the communicator."""

    async def _send(self, method: str, path: str, *, timeout: float, json: Any = None) -> Any:
        return {"world_size": 1, "weight_version": "default"}

    def _json(self, response: Any) -> Any:
        return response


class Alone:
    """A link that waits for workers in `join`, where no abort reaches it, as ncclCommInitRank does."""

    def __init__(self, others: threading.Event) -> None:
        self.join: Callable[[], None] = lambda: others.wait() and None
        self.aborted = False

    def send(self, tensors: Any) -> None:
        raise AssertionError("nobody has joined")

    def abort(self) -> None:
        self.aborted = True


@pytest.fixture
def others() -> Iterator[threading.Event]:
    """Set after a while, so that a test that waits for them fails instead of hanging."""
    event = threading.Event()
    timer = threading.Timer(20.0, event.set)
    timer.daemon = True
    timer.start()
    yield event
    timer.cancel()
    event.set()


def test_workers_that_never_join_cost_the_timeout_and_no_more(others: threading.Event) -> None:
    links: list[Alone] = []

    def link(unique: bytes, size: int) -> Alone:
        links.append(Alone(others))
        return links[-1]

    async def play() -> None:
        transfer = NCCLTransfer(
            tiny(), device="cpu", dtype=torch.float32, link=link, unique_id=lambda: b"u" * 128
        )
        await transfer.publish(0, [Peer("http://one")], 0.2)
        with pytest.raises(ServerError, match=r"http://one: NCCL: not done within 0\.2 s"):
            await transfer.load(Peer("http://one"), 0, 0.2)
        transfer.close()

    asyncio.run(play())  # which waits for all threads of its executor
    assert not others.is_set(), "it was waited for"
    assert [link.aborted for link in links] == [True]


def test_what_a_link_raises_is_the_servers_error(others: threading.Event) -> None:
    class Broken(Alone):
        def __init__(self, unique: bytes, size: int) -> None:
            super().__init__(others)
            self.join = self._fail

        def _fail(self) -> None:
            raise TimeoutError("unhandled system error")

    async def play() -> None:
        transfer = NCCLTransfer(tiny(), device="cpu", link=Broken, unique_id=lambda: b"u" * 128)
        await transfer.publish(0, [Peer("http://one")], 60.0)
        with pytest.raises(ServerError, match="NCCL: unhandled system error"):
            await transfer.load(Peer("http://one"), 0, 60.0)

    asyncio.run(play())
