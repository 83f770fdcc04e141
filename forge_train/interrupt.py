"""Ctrl-C: once stops at the next place where nothing is lost, twice stops at once.

asyncio's own way is silent, and a loop that computes for minutes hears nothing meanwhile. Here the first
Ctrl-C says that it was heard and cancels the work, which is noticed where the work next waits for something
(`breathe` is such a place); where nothing could be lost it interrupts at once (`at_once`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

HEARD = "stopping at the next safe place; Ctrl-C again stops at once"


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, with an ear for Ctrl-C. Raises KeyboardInterrupt when it was pressed."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return asyncio.run(work)
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        pressed = False

        async def main() -> T:
            task = asyncio.current_task()
            assert task is not None

            def press(_: int, frame: FrameType | None) -> None:
                nonlocal pressed
                if pressed:
                    _end()
                pressed = True
                print(HEARD, file=sys.stderr, flush=True)
                loop.call_soon_threadsafe(task.cancel)

            signal.signal(signal.SIGINT, press)
            return await work

        try:
            return runner.run(main())
        except asyncio.CancelledError:
            if pressed:
                raise KeyboardInterrupt from None
            raise
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _end() -> NoReturn:
    """Leave without tidying up, which is what may hang; servers of ours end with this process."""
    if sys.stderr.isatty():
        sys.stderr.write("\x1b[?25h")  # a live table hides the cursor
    sys.stderr.flush()
    os._exit(130)


async def breathe() -> None:
    """A place where an interrupted stretch of computing may stop."""
    await asyncio.sleep(0)


@contextmanager
def at_once() -> Iterator[None]:
    """A stretch in which nothing is lost when Ctrl-C ends it where it stands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
