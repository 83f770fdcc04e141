"""Work on a thread of its own, which nobody has to wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def aside(act: Callable[[], T]) -> Future[T]:
    """What `act` returns or raises, when it does; who waits no longer lets it go on unheard.

    >>> aside(lambda: 1).result(timeout=5.0)
    1
    """
    done: Future[T] = Future()

    def work() -> None:
        try:
            done.set_result(act())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=work, name="forge-aside", daemon=True).start()
    return done
