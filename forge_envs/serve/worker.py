"""One thread for one session: a world that waits holds up nobody, and one that hangs costs one thread."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """A daemon thread that runs calls in the order they came, until it is told to end.

    >>> worker = Worker()
    >>> worker.submit(lambda: 6 * 7).result()
    42
    >>> worker.end()
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="forge-session", daemon=True).start()

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run `call` after what was submitted before; what it raises is the future's."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                result = call()
            except BaseException as error:
                # What a future, a task or a loop takes for its own would end the server or never arrive.
                own = isinstance(error, Exception) and not isinstance(error, StopIteration)
                future.set_exception(error if own else RuntimeError(f"{type(error).__name__}: {error}"))
            else:
                future.set_result(result)

        future.set_running_or_notify_cancel()
        self._calls.put(run)
        return future

    def end(self) -> None:
        """Let the thread end once it has run what was submitted."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # else it keeps a world alive for as long as the thread waits
