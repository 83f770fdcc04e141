"""Weights from the trainer's GPU to the servers' GPUs through NCCL, without touching a disk.

NOT RUN YET: this follows the interfaces of vLLM 0.32 (`distributed/weight_transfer/nccl_engine.py`) and of
NCCL, but no machine with two GPUs was at hand. What is tested is the order of the requests, with a double in
the place of NCCL. The identity check after every load judges it when it first runs.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from forge_train.engines.vllm_http import NOTHING_LOADED, Client, ServerError
from forge_train.engines.weights import Weights, plain_weights

_CONTROL = 30.0
"""Seconds for requests that move no weights."""
_TYPES = {torch.float32: 7, torch.float16: 6, torch.bfloat16: 9}
"""ncclDataType_t."""
_SUM = 0
"""ncclRedOp_t."""


class Link(Protocol):
    """Rank 0 of a communicator with the workers of one server."""

    def join(self) -> None:
        """Enter; returns when all workers have."""
        ...

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """Broadcast them in order; returns when they are on their way and may be overwritten."""
        ...

    def abort(self) -> None:
        """Leave, whoever is still waiting."""
        ...


class NCCLTransfer:
    """Full weights by NCCL broadcast; a communicator for each server, made anew when the server is new.

    Servers run with --weight-transfer-config '{"backend": "nccl"}'. `publish` keeps a copy of the weights in
    `dtype` on `device` (two bytes a weight in bfloat16), so that a server that comes back late gets whole
    ones. Servers take turns: broadcasts of two communicators from one GPU may block each other.
    """

    needs: Mapping[str, str] = {
        "weight_transfer_config": """--weight-transfer-config '{"backend": "nccl"}'"""
    }

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
        weights: Weights | None = None,
        link: Callable[[bytes, int], Link] | None = None,
        unique_id: Callable[[], bytes] | None = None,
    ) -> None:
        if link is None and not torch.cuda.is_available():
            raise ValueError(
                'vllm.transfer = "nccl" needs a GPU for the trainer too; "folder" works anywhere'
            )
        self.weights: Weights = weights or partial(plain_weights, model)
        self._device, self._dtype = torch.device(device), dtype
        self._link = link or partial(NCCLLink, device=self._device)
        self._unique_id = unique_id or _unique_id
        self._copy: dict[str, Tensor] = {}
        self._links: dict[str, Link] = {}
        self._turn = asyncio.Lock()

    async def publish(self, version: int) -> None:
        """Copy the weights, each from its present place to the GPU that sends."""
        self._copy = await asyncio.to_thread(
            lambda: {
                name: w.detach().to(self._device, self._dtype, copy=True).contiguous()
                for name, w in self.weights().items()
            }
        )

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Pause, announce the weights, broadcast them while the server receives, name the version, resume."""
        async with self._turn:
            if not asleep:
                await server.pause(timeout)
            link = await self._linked(server, timeout)
            info = {
                "names": list(self._copy),
                "dtype_names": [str(w.dtype).removeprefix("torch.") for w in self._copy.values()],
                "shapes": [list(w.shape) for w in self._copy.values()],
            }
            await server.post("/start_weight_update", None, timeout=_CONTROL)
            receive = server.post("/update_weights", {"update_info": info}, timeout=timeout)
            await self._together(server, receive, partial(link.send, self._copy), timeout)
            await server.post("/finish_weight_update", {"weight_version": str(version)}, timeout=timeout)
            if not asleep:
                await server.resume(_CONTROL)

    def model(self, version: int) -> str | None:
        """A server has one model, of one version at a time."""
        return None

    def close(self) -> None:
        """Leave all communicators."""
        for link in self._links.values():
            link.abort()
        self._links.clear()

    async def _linked(self, server: Client, timeout: float) -> Link:
        """The communicator with a server; one that has no version of ours was started anew and knows none."""
        known = self._links.get(server.url)
        if known is not None and await server.version(_CONTROL) != NOTHING_LOADED:
            return known
        if known is not None:
            known.abort()
        size = 1 + await server.workers(_CONTROL)
        unique = self._unique_id()
        link = self._links[server.url] = self._link(unique, size)
        info = {
            "nccl_unique_id_b64": base64.b64encode(unique).decode(),
            "rank_offset": 1,
            "world_size": size,
            "packed": False,
        }
        receive = server.post("/init_weight_transfer_engine", {"init_info": info}, timeout=timeout)
        await self._together(server, receive, link.join, timeout)
        return link

    async def _together(
        self, server: Client, receive: Awaitable[object], send: Callable[[], None], timeout: float
    ) -> None:
        """Both ends of a collective at once. When one end fails, the other would wait for ever: abort it."""
        asking = asyncio.ensure_future(receive)
        sending = _on_a_thread_of_its_own(send)
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(asking, sending)
        except BaseException as error:
            asking.cancel()
            sending.cancel()  # what NCCL holds on to is not waited for
            self._links.pop(server.url).abort()
            await asyncio.gather(asking, sending, return_exceptions=True)
            if isinstance(error, TimeoutError | NCCLError):
                what = f"NCCL: {error}" if str(error) else f"NCCL: not done within {timeout:g} s"
                raise ServerError(server.url, what) from error
            raise


def _on_a_thread_of_its_own(call: Callable[[], None]) -> asyncio.Future[None]:
    """What `call` returns or raises. Nobody waits for the thread, not even the end of the process.

    An executor's threads are waited for there, and a communicator that others never enter blocks for ever.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(None)

    def run() -> None:
        told: BaseException | None = None
        try:
            call()
        except BaseException as error:  # it is raised where the call is awaited
            told = error
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(tell, told)

    threading.Thread(target=run, name="NCCL", daemon=True).start()
    return done


class NCCLError(RuntimeError):
    """NCCL said no."""


class NCCLLink:
    """Rank 0 of `size`; the others are the workers of one server, which join with the same `unique` id."""

    def __init__(self, unique: bytes, size: int, *, device: torch.device) -> None:
        self._nccl = _library()
        self._unique, self._size, self._device = _UniqueId.from_buffer_copy(unique), size, device
        self._comm = ctypes.c_void_p()
        self._left = False

    def join(self) -> None:
        """Enter, and take part in the one-element all-reduce that a worker of vLLM begins with."""
        with torch.cuda.device(self._device):
            self._check(self._nccl.ncclCommInitRank(ctypes.byref(self._comm), self._size, self._unique, 0))
            if self._left:  # while it waited for the others
                self.abort()
                raise NCCLError("the link was given up before all had joined")
            one = torch.zeros(1, device=self._device)
            where = ctypes.c_void_p(one.data_ptr())
            self._check(
                self._nccl.ncclAllReduce(
                    where, where, ctypes.c_size_t(1), _TYPES[one.dtype], _SUM, self._comm, self._stream()
                )
            )
            torch.cuda.current_stream(self._device).synchronize()

    def send(self, tensors: Mapping[str, Tensor]) -> None:
        """Broadcast them in order, from contiguous memory, and wait until they are sent."""
        with torch.cuda.device(self._device):
            for tensor in tensors.values():
                where, count = ctypes.c_void_p(tensor.data_ptr()), ctypes.c_size_t(tensor.numel())
                self._check(
                    self._nccl.ncclBroadcast(
                        where, where, count, _TYPES[tensor.dtype], 0, self._comm, self._stream()
                    )
                )
            torch.cuda.current_stream(self._device).synchronize()

    def abort(self) -> None:
        """Leave; calls under way on other threads return with an error, `join` when the others have come."""
        self._left = True
        if self._comm:
            self._nccl.ncclCommAbort(self._comm)
            self._comm = ctypes.c_void_p()

    def _stream(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(torch.cuda.current_stream(self._device).cuda_stream)

    def _check(self, result: int) -> None:
        if result:
            raise NCCLError(self._nccl.ncclGetErrorString(result).decode())


class _UniqueId(ctypes.Structure):
    _fields_ = (("internal", ctypes.c_byte * 128),)


def _library() -> ctypes.CDLL:
    """The NCCL that torch has loaded."""
    nccl = ctypes.CDLL("libnccl.so.2")
    nccl.ncclGetErrorString.restype = ctypes.c_char_p
    return nccl


def _unique_id() -> bytes:
    nccl, unique = _library(), _UniqueId()
    if result := nccl.ncclGetUniqueId(ctypes.byref(unique)):
        raise NCCLError(nccl.ncclGetErrorString(result).decode())
    return bytes(unique)
