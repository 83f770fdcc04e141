"""Weights from the trainer's GPU to the servers' GPUs through NCCL, without touching a disk.

NOT RUN YET: this follows the interfaces of vLLM 0.32 (`distributed/weight_transfer/nccl_engine.py`) and of
NCCL, but no machine with two GPUs was at hand. What is tested is the order of the requests, with a double in
the place of NCCL. The identity check after every load judges it when it first runs.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from forge_train.engines.vllm_http import NOTHING_LOADED, Client, ServerError
from forge_train.engines.weights import give_back
from forge_train.learn.plain_weights import Weights, model_weights, weight_shapes

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

    Servers run with --weight-transfer-config '{"backend": "nccl"}'. While `publish` runs, each bucket of
    weights is gathered once, in `dtype`, and sent to one server after the other: all get on at the same pace,
    and one bucket is all there is beside the model. (Broadcasts of two communicators from one GPU at the same
    time may block each other.) Nothing is kept: a server that was away gets the next version.
    """

    needs: Mapping[str, str] = {
        "weight_transfer_config": """--weight-transfer-config '{"backend": "nccl"}'"""
    }
    keeps = False

    def __init__(
        self,
        model: nn.Module,
        *,
        device: str = "cuda",
        dtype: torch.dtype = torch.bfloat16,
        weights: Weights | None = None,
        link: Callable[[bytes, int], Link] | None = None,
        unique_id: Callable[[], bytes] | None = None,
        nccl: Callable[[], tuple[int, ...]] | None = None,
    ) -> None:
        if link is None and not torch.cuda.is_available():
            raise ValueError(
                'vllm.transfer = "nccl" needs a GPU for the trainer too; "folder" works anywhere'
            )
        self._model = model
        self.weights: Weights = weights or partial(model_weights, model)
        self._device, self._dtype = torch.device(device), dtype
        self._link = link or partial(NCCLLink, device=self._device)
        self._unique_id = unique_id or _unique_id
        self._nccl: Callable[[], tuple[int, ...]] = nccl or _version
        self._links: dict[str, Link] = {}
        self._turn = asyncio.Lock()
        self._told: dict[str, Exception | None] = {}
        """How the newest version went to each server that was there."""

    def refuse(self, url: str, info: Mapping[str, Any]) -> None:
        """A server whose NCCL is another: such two do not meet, or hang when they do."""
        theirs, ours = nccl_of(info), self._nccl()
        if theirs is not None and theirs[:2] != ours[:2]:
            mine, other = (".".join(map(str, version)) for version in (ours, theirs))
            raise ValueError(
                f"{url} has NCCL {other} and the trainer {mine}, which must agree in the first two numbers: "
                "install the torch of one in the environment of the other, or set "
                'vllm.transfer = "folder"'
            )

    async def publish(self, version: int, servers: Sequence[Client] = (), timeout: float = _CONTROL) -> None:
        """Pause `servers`, announce the weights, and send them: a bucket to all, then the next bucket."""
        async with self._turn:
            receivers = [_Receiver(server) for server in servers]
            for one in receivers:  # in turn: two that join at the same time from one GPU may block each other
                await self._try(one, self._begin(one, timeout))
            try:
                async with asyncio.timeout(timeout) as clock:
                    await self._send(receivers)
            except BaseException as error:
                late = isinstance(error, TimeoutError) and clock.expired()
                what = f"not done within {timeout:g} s" if late else f"given up ({error!r})"
                for one in receivers:
                    self._fail(one, ServerError(one.server.url, f"NCCL: {what}"))
                if not late:
                    raise
            finally:
                await asyncio.gather(*(self._end(one, version, timeout) for one in receivers))
            self._told = {one.server.url: one.error for one in receivers}

    async def load(self, server: Client, version: int, timeout: float, *, asleep: bool = False) -> None:
        """Say how it went: the weights were sent when they were published."""
        if server.url not in self._told:
            raise ServerError(server.url, f"it was away when version {version} was sent; it gets the next")
        error = self._told[server.url]
        if error is not None:
            raise error

    def model(self, version: int) -> str | None:
        """A server has one model, of one version at a time."""
        return None

    def close(self) -> None:
        """Leave all communicators."""
        for link in self._links.values():
            link.abort()
        self._links.clear()

    async def _try(self, one: _Receiver, step: Awaitable[object]) -> None:
        """One server's part of a transfer: its errors are its own."""
        try:
            await step
        except (ServerError, NCCLError, TimeoutError) as error:
            what = f"NCCL: {error}" if str(error) else "NCCL: no answer in time"
            told = error if isinstance(error, ServerError) else ServerError(one.server.url, what)
            self._fail(one, told)

    def _fail(self, one: _Receiver, error: Exception) -> None:
        """A server takes no more part. Its workers may wait in a broadcast for ever: the link is given up."""
        if one.error is None:
            one.error = error
            if one.receiving is not None:
                one.receiving.cancel()
            link = self._links.pop(one.server.url, None)
            if link is not None:
                link.abort()

    async def _begin(self, one: _Receiver, timeout: float) -> None:
        """Pause a server, link up with it, and have it receive."""
        server = one.server
        await server.pause(timeout)
        one.link = await self._linked(server, timeout)
        sizes = weight_shapes(self._model)
        floats = str(self._dtype).removeprefix("torch.")
        info = {
            "names": list(sizes),
            "dtype_names": [floats] * len(sizes),
            "shapes": [list(shape) for shape in sizes.values()],
        }
        await server.post("/start_weight_update", None, timeout=_CONTROL)
        one.receiving = asyncio.ensure_future(
            server.post("/update_weights", {"update_info": info}, timeout=timeout)
        )

    async def _send(self, receivers: Sequence[_Receiver]) -> None:
        """All weights to all servers that are still well. Whole buckets: nobody gathers while one is sent."""
        if all(one.error for one in receivers):
            return
        buckets = iter(self.weights(self._dtype))
        while (bucket := await asyncio.to_thread(self._next, buckets)) is not None:
            for one in receivers:
                if one.error is None:
                    await self._try(one, self._sent(one, bucket))
            del bucket

    def _next(self, buckets: Iterator[Mapping[str, Tensor]]) -> dict[str, Tensor] | None:
        bucket = next(buckets, None)
        if bucket is None:
            return None
        return {n: w.to(self._device, self._dtype).contiguous() for n, w in bucket.items()}

    async def _sent(self, one: _Receiver, bucket: Mapping[str, Tensor]) -> None:
        """One bucket to one server; raises what the server says when it stops receiving."""
        assert one.link is not None and one.receiving is not None
        sending = _on_a_thread_of_its_own(partial(one.link.send, bucket))
        await asyncio.wait({sending, one.receiving}, return_when=asyncio.FIRST_COMPLETED)
        if one.receiving.done():
            one.receiving.result()  # what it did not like
        await sending

    async def _end(self, one: _Receiver, version: int, timeout: float) -> None:
        """Name what a server has now, and let it go on."""
        if one.error is None:
            assert one.receiving is not None
            await self._try(one, one.receiving)
        if one.error is None:
            finish = one.server.post(
                "/finish_weight_update", {"weight_version": str(version)}, timeout=timeout
            )
            await self._try(one, finish)
        if one.error is not None:
            await give_back(one.server, timeout)
        else:
            await self._try(one, one.server.resume(_CONTROL))

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
        joining = _on_a_thread_of_its_own(link.join)
        asking = asyncio.ensure_future(
            server.post("/init_weight_transfer_engine", {"init_info": info}, timeout=timeout)
        )
        try:
            async with asyncio.timeout(timeout) as clock:
                await asyncio.gather(asking, joining)
        except TimeoutError as error:
            what = f"not done within {timeout:g} s" if clock.expired() else f"{error}"
            raise ServerError(server.url, f"NCCL: {what}") from None
        finally:
            asking.cancel()
            joining.cancel()  # what NCCL holds on to is not waited for
            await asyncio.gather(asking, joining, return_exceptions=True)
        return link


@dataclass(slots=True)
class _Receiver:
    """A server in a transfer."""

    server: Client
    link: Link | None = None
    receiving: asyncio.Future[Any] | None = None
    """Its answer, which comes when it has all weights."""
    error: Exception | None = None


def nccl_of(info: Mapping[str, Any]) -> tuple[int, ...] | None:
    """The NCCL that a server's environment has, as it says itself; None where it does not.

    >>> nccl_of({"system_env": {"pip_packages": "numpy==2.3.5\\nnvidia-nccl-cu13==2.28.9"}})
    (2, 28, 9)
    """
    packages = str((info.get("system_env") or {}).get("pip_packages"))
    found = re.search(r"nvidia-nccl-cu\d+==(\d+)\.(\d+)\.?(\d*)", packages)
    return tuple(int(part) for part in found.groups() if part) if found else None


def _version() -> tuple[int, ...]:
    """The NCCL that torch has loaded."""
    version: tuple[int, ...] = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]
    return version


def _on_a_thread_of_its_own(call: Callable[[], None]) -> asyncio.Future[None]:
    """What `call` returns or raises. Nobody waits for the thread, not even the end of the process.

    An executor's threads are waited for there, and a communicator that others never enter blocks for ever.
    """
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    work = [call]  # which lets go of it, and of the weights it sends, before anybody hears that it is done

    def tell(error: BaseException | None) -> None:
        if not done.done():
            done.set_exception(error) if error is not None else done.set_result(None)

    def run() -> None:
        told: BaseException | None = None
        try:
            work.pop()()
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
