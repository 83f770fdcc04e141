"""Bytes of tensors that exist at one time, counted as they are made and let go."""

from __future__ import annotations

import threading
import weakref
from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """What was allocated since it was entered and is still held, and the most there was at one time.

    Storages are counted, not tensors: views cost nothing. What existed before is not counted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()
        self._lock = threading.RLock()  # a collection inside `_count` may call `_gone`

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self._was_there(_storage(tensor))
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._count(_storage(tensor))
        return made

    def _was_there(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self._known:
            self._known.add(id(storage))
            weakref.finalize(storage, self._known.discard, id(storage))

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        with self._lock:
            if key in self._known:
                return
            self._known.add(key)
            size = storage.nbytes()
            self.now += size
            self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        with self._lock:
            self._known.discard(key)
            self.now -= size


def _storage(tensor: torch.Tensor) -> torch.UntypedStorage:
    local = tensor._local_tensor if isinstance(tensor, DTensor) else tensor
    return local.untyped_storage()
