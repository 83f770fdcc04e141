"""Calls into a stranger's code: on a thread of their own, within a time limit, failures told as such."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from forge_envs.errors import MachineError, brief

T = TypeVar("T")
Work = queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None]


class Caller:
    """Runs one call after another, always on the same thread; one that never returns is left behind.

    >>> Caller().run(lambda: 6 * 7, seconds=10.0, stage="step")
    42
    """

    def __init__(self) -> None:
        self._work: Work = queue.SimpleQueue()
        threading.Thread(target=_serve, args=(self._work,), name="adopted", daemon=True).start()
        self.close = weakref.finalize(self, self._work.put, None)
        """End the thread once its call is done."""

    def run(self, call: Callable[[], T], *, seconds: float, stage: str) -> T:
        """What `call` returns.

        Raises MachineError for whatever it raises, kind "environment", and for no answer in time, kind
        "timeout". A MachineError of its own stays what it is.
        """
        future: Future[T] = Future()
        self._work.put((future, call))
        try:
            return future.result(seconds)
        except MachineError:
            raise
        except TimeoutError as error:
            told = f"no answer within {seconds:g} s" if not future.done() else str(error)
            raise MachineError(told, kind="timeout", stage=stage, retryable=True) from None
        except Exception as error:
            told = f"{type(error).__name__}: {brief(str(error))}"
            raise MachineError(told, kind="environment", stage=stage, retryable=False) from error


def _serve(work: Work) -> None:
    while (item := work.get()) is not None:
        future, call = item
        try:
            future.set_result(call())
        except BaseException as error:  # SystemExit of a stranger is a failure as any other
            future.set_exception(error if isinstance(error, Exception) else RuntimeError(repr(error)))
        del item, future, call  # an idle thread keeps nothing alive
