"""Counts the memory of tensors: a property of code, where time is one of machines."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Alive(TorchDispatchMode):
    """Bytes of storages made while it is on, and the most that were alive at one time."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {
            x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)
        }
        out = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in known | self.known:
                    self._made(storage)
        return out

    def _made(self, storage: Any) -> None:
        address, size = storage._cdata, storage.nbytes()
        self.known.add(address)
        self.bytes += size
        self.peak = max(self.peak, self.bytes)

        def gone() -> None:
            self.known.discard(address)
            self.bytes -= size

        weakref.finalize(storage, gone)


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most bytes of new tensors alive at one time while `run` runs."""
    with _Alive() as alive:
        run()
    return alive.peak
