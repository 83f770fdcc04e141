"""Who waits long is told for what: a box, an image, the tests of a task."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

LONG = 60.0
"""Seconds after which a wait is told, and between two lines of a process, however many wait."""
_lock = threading.Lock()
_last = [float("-inf")]


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Logs a warning with `what` if the block takes long."""
    timer = threading.Timer(LONG, _tell, (what,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _tell(what: str) -> None:
    with _lock:
        now = time.monotonic()
        if now - _last[0] < LONG:
            return
        _last[0] = now
    log.warning("waiting for %s, %g s so far", what, LONG)
