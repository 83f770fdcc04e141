"""Global random state, lent to code that cannot do without: to each environment its own, to nobody else's."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

_LENT = threading.Lock()
MODULUS = 2**31 - 1
"""Seeds that numpy's global state takes end below 2**32; a prime keeps distant seeds apart."""


class OwnRandomness:
    """The global states of `random` and `numpy.random` as one environment left them.

    While a call runs with them, no other environment's does, and the process gets its own back.

    >>> one, outside = OwnRandomness(1.0), random.getstate()
    >>> with one(seed=7):
    ...     first = random.random()
    >>> with one(seed=7):
    ...     first == random.random()
    True
    >>> random.getstate() == outside
    True
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._state: tuple[Any, Any] | None = None

    @contextmanager
    def __call__(self, seed: int | None = None) -> Iterator[None]:
        """Continue where the last call ended, or begin at `seed`. Raises TimeoutError if never let in."""
        if not _LENT.acquire(timeout=self._patience):
            raise TimeoutError("another environment keeps the global random state and does not return")
        outside = random.getstate(), np.random.get_state()
        try:
            if seed is not None:
                random.seed(seed % MODULUS)
                np.random.seed(seed % MODULUS)
            elif self._state is not None:
                random.setstate(self._state[0])
                np.random.set_state(self._state[1])
            yield
        finally:
            self._state = random.getstate(), np.random.get_state()
            random.setstate(outside[0])
            np.random.set_state(outside[1])
            _LENT.release()
