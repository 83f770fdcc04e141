"""vLLM servers as processes of ours: start them, watch them, start them again, leave none behind.

vLLM lives in an environment of its own (`make vllm`) and is never imported: it pins versions of torch and
transformers, and a crash of it is a crash of its process.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import torch

from forge_train.engines.child_environment import child_environment
from forge_train.engines.process_groups import is_free, listens, refuse_taken, remove_segments, segments
from forge_train.engines.vllm_http import Client, ServerError

log = logging.getLogger(__name__)

_GRACE = 10.0
"""Seconds a server has to end when asked to."""
_BRIEF = 2.0
"""Seconds a port has to become free."""
_LOOK = 0.25
"""Seconds between looks at a server that is starting."""
_CPU_HEADS = (32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 512)
"""The head_dim that vLLM 0.32 has kernels for on a CPU, asked of itself; its own list leaves out 48."""
_LIBC = ctypes.CDLL(None)  # here, because nothing may be loaded between fork and exec


class ServersFailed(RuntimeError):
    """Servers did not start; the text has the end of the log."""


@dataclass(slots=True, eq=False)
class _Process:
    port: int
    log: Path
    gpus: str | None = None
    process: asyncio.subprocess.Process | None = None
    keeper: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    starts: int = 0
    segments: set[str] = field(default_factory=set)
    """Shared memory it was seen to hold."""


class ServerProcesses:
    """`count` vLLM servers of one model on this machine.

    `model`: folder or hub name. `name`: what requests call it, by default the same. `python`: the interpreter
    of vLLM's environment. `host`: the address they listen on and are reached at. `port`: the first one; 0
    takes free ones. `flags` and `env` come after ours, so that they win. `gpus`: CUDA_VISIBLE_DEVICES of each
    server. `logs`: folder for server-N.log. A server that ends is started again, `restarts` times, with the
    weights it was first started with: whoever uses it must load newer ones (`VLLMEngine` does). Raises
    ValueError for what cannot work.

    Servers get SIGTERM when this process dies, however it dies (on Linux).
    """

    def __init__(
        self,
        model: str | Path,
        *,
        name: str | None = None,
        python: str | Path,
        logs: Path,
        count: int = 1,
        host: str = "127.0.0.1",
        port: int = 0,
        max_context: int | None = None,
        dtype: str = "auto",
        flags: Sequence[str] = (),
        gpus: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        start_s: float = 600.0,
        restarts: int = 10,
    ) -> None:
        self._python = Path(python).expanduser()
        if not self._python.is_file():
            raise ValueError(
                f"vllm.python = {str(python)!r}: no such file; install vLLM with `make vllm`, or give the "
                "interpreter of an environment that has it"
            )
        _refuse_places(host, count, gpus)
        _refuse_heads(Path(model) / "config.json")
        self._model, self._max_context, self._dtype = str(model), max_context, dtype
        self._host, self._name = host, name
        self._flags, self._env = list(flags), dict(env or {})
        self._start_s, self._restarts = start_s, restarts
        self._free = asyncio.Event()
        self._free.set()
        logs.mkdir(parents=True, exist_ok=True)
        ports = _free_ports(host, count) if port == 0 else range(port, port + count)
        self._servers = {
            f"http://{host}:{p}": _Process(p, logs / f"server-{i}.log", gpus[i] if gpus else None)
            for i, p in enumerate(ports)
        }

    @property
    def urls(self) -> list[str]:
        """Addresses, also of servers that are not up."""
        return list(self._servers)

    @property
    def logs(self) -> list[Path]:
        """What each server writes."""
        return [server.log for server in self._servers.values()]

    @property
    def starts(self) -> dict[str, int]:
        """How often each server was started so far."""
        return {url: server.starts for url, server in self._servers.items()}

    @property
    def processes(self) -> dict[str, int]:
        """Process group of each server that was started."""
        return {url: s.process.pid for url, s in self._servers.items() if s.process is not None}

    async def start(self) -> None:
        """Start all and wait until they answer; raises ServersFailed, with none left running.

        ValueError when somebody else listens where one of them should.
        """
        await self._await_ports()
        for url, server in self._servers.items():
            server.keeper = asyncio.create_task(self._keep(url, server), name=f"keep {url}")
        try:
            await asyncio.gather(*(self._first(url, server) for url, server in self._servers.items()))
        except BaseException:
            await self.stop()
            raise

    async def restart(self, url: str) -> None:
        """End a server that does not answer, to be started again; one that is starting is left alone."""
        server = self._servers[url]
        if server.ready.is_set() and server.process is not None:
            log.warning("%s does not answer; ending its process", url)
            server.ready.clear()
            await _end(server.process)

    async def hold(self) -> None:
        """Start none until `release`: somebody else needs their memory. What is just starting is ended."""
        self._free.clear()
        starting = [s.process for s in self._servers.values() if s.process and not s.ready.is_set()]
        await asyncio.gather(*(_end(process) for process in starting))

    def release(self) -> None:
        """Start again what ended meanwhile; harmless when nothing was held."""
        self._free.set()

    async def given_up(self) -> NoReturn:
        """Wait until every server has used up its restarts; raises ServersFailed."""
        await asyncio.gather(*(s.keeper for s in self._servers.values() if s.keeper is not None))
        logs = ", ".join(str(server.log) for server in self._servers.values())
        raise ServersFailed(f"all servers ended too often; see {logs}")

    async def stop(self) -> None:
        """End all and wait until they are gone."""
        keepers = [s.keeper for s in self._servers.values() if s.keeper is not None]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
        await asyncio.gather(*(self._finish(s) for s in self._servers.values() if s.process is not None))
        for server in self._servers.values():
            server.process = None  # its number may soon be another's

    def command(self, port: int) -> list[str]:
        """What starts a server: tokens in and out, with the logprobs of what is really sampled."""
        length = [] if self._max_context is None else ["--max-model-len", str(self._max_context)]
        length += [] if self._name is None else ["--served-model-name", self._name]
        return [
            str(self._python), "-m", "vllm.entrypoints.openai.api_server",
            "--model", self._model, "--host", self._host, "--port", str(port), *length,
            "--dtype", self._dtype, "--logprobs-mode", "processed_logprobs", "--enable-scale-out",
            "--generation-config", "vllm", "--disable-uvicorn-access-log", *_whole_prompts(), *self._flags,
        ]  # fmt: skip

    async def _first(self, url: str, server: _Process) -> None:
        """Wait for the first start of a server."""
        assert server.keeper is not None
        up = asyncio.create_task(server.ready.wait())
        try:
            await asyncio.wait({up, server.keeper}, return_when=asyncio.FIRST_COMPLETED)
            if not server.ready.is_set():
                server.keeper.result()
        finally:
            up.cancel()

    async def _keep(self, url: str, server: _Process) -> None:
        """Start a server and start it again each time it ends, within the budget.

        One that never came up is not started again: its command is wrong, and the log says why.
        """
        while True:
            await self._free.wait()
            process = server.process = await self._spawn(server)
            up = await self._wait_until_up(url, process)
            if not up and server.starts == 1:
                why = "ended" if process.returncode is not None else f"did not start in {self._start_s:g} s"
                await self._finish(server)
                raise ServersFailed(f"{url} {why}; {_tail(server.log)}")
            if up:
                if listens(process.pid, server.port) is False:
                    raise ServersFailed(f"{url} is somebody else's server: ours could not have that port")
                server.segments = segments(process.pid)
                server.ready.set()
                await process.wait()
                server.ready.clear()
            await self._finish(server)  # whatever is left of its group
            if server.starts > self._restarts:
                log.error("%s ended %d times and is given up; %s", url, server.starts, _tail(server.log))
                server.process = None
                return
            log.warning("%s ended with %s; starting it again; why: %s", url, process.returncode, server.log)
            if not up:
                await asyncio.sleep(min(60.0, 2.0**server.starts))

    async def _finish(self, server: _Process) -> None:
        """End a server, its workers, and the shared memory that killed ones leave behind."""
        assert server.process is not None
        held = server.segments | segments(server.process.pid)
        await _end(server.process)
        remove_segments(held)
        server.segments = set()

    async def _await_ports(self) -> None:
        """Wait a moment for ports that are not free: a server that is just ending gives its own back."""
        ports = [server.port for server in self._servers.values()]
        with suppress(TimeoutError):
            async with asyncio.timeout(_BRIEF):
                while not all(is_free(self._host, port) for port in ports):
                    await asyncio.sleep(_LOOK)
        refuse_taken(self._host, ports)

    async def _spawn(self, server: _Process) -> asyncio.subprocess.Process:
        server.starts += 1
        ours = {
            "VLLM_SERVER_DEV_MODE": "1",
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GB; without it a server on a CPU wants nearly all memory
        }
        if len(self._servers) > 1:  # else each would take the same first cores for itself
            ours["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        if server.gpus is not None:
            ours["CUDA_VISIBLE_DEVICES"] = server.gpus
        with server.log.open("ab") as out:
            return await asyncio.create_subprocess_exec(
                *self.command(server.port),
                env={**child_environment(os.environ), **ours, **self._env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,  # a group of its own: vLLM's workers end with it
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    async def _wait_until_up(self, url: str, process: asyncio.subprocess.Process) -> bool:
        """Whether it answered before it ended and before the deadline."""
        client = Client(url)
        try:
            async with asyncio.timeout(self._start_s):
                while process.returncode is None and self._free.is_set():
                    with suppress(ServerError):
                        await client.health(timeout=self._start_s)
                        return True
                    await asyncio.sleep(_LOOK)
        except TimeoutError:
            pass
        finally:
            await client.close()
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a server and its workers: politely, then not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with suppress(TimeoutError):
        await asyncio.wait_for(process.wait(), _GRACE)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        await asyncio.wait_for(process.wait(), _GRACE)
    except TimeoutError:  # it waits for a device or a disk, and nothing but them can end it
        log.error("process %d of a server does not end, even killed; it keeps its memory", process.pid)


def _end_with_parent() -> None:
    """In the child, before exec: SIGTERM when the thread that started it is gone (prctl PR_SET_PDEATHSIG)."""
    _LIBC.prctl(1, signal.SIGTERM)


def _whole_prompts() -> list[str]:
    """On a CPU vLLM 0.32 dies of a seeded request whose prompt it reads in pieces.

    It rewinds the draw of the piece, which a CPU generator cannot ("CPU Generator does not use offset").
    """
    return [] if torch.cuda.is_available() else ["--no-enable-chunked-prefill"]


def _refuse_places(host: str, count: int, gpus: Sequence[str]) -> None:
    """Servers that nobody could reach, or that would all take the first GPU. Raises ValueError."""
    if host in ("0.0.0.0", "::"):
        raise ValueError(
            f'vllm.host = "{host}": nobody is reached there; give the address of this machine in the network'
        )
    if gpus and len(gpus) != count:
        raise ValueError(f"vllm.gpus = {list(gpus)}: name those of each server; there are {count} (count)")
    if count > 1 and not gpus and torch.cuda.is_available():
        each = [str(i) for i in range(count)]
        raise ValueError(
            f"vllm.count = {count}: all would take the first GPU; say which are whose, for example "
            f"vllm.gpus = {json.dumps(each)} (serve --gpus {' '.join(each)})"
        )


def _refuse_heads(config: Path) -> None:
    """On a CPU vLLM 0.32 starts with other heads too and dies of the first request. Raises ValueError."""
    if torch.cuda.is_available() or not config.is_file():
        return
    told = json.loads(config.read_text(encoding="utf-8"))
    heads = told.get("num_attention_heads") or 1
    size = told.get("head_dim") or told.get("hidden_size", 0) // heads
    if size and size not in _CPU_HEADS:
        raise ValueError(
            f"{config}: head_dim = {size}; on a CPU vLLM 0.32 takes {', '.join(map(str, _CPU_HEADS))}: take "
            'a model with one of these, or set rollout.engine = "local"'
        )


def _free_ports(host: str, count: int) -> list[int]:
    """Ports that are free now, all different. Raises ValueError for an address that is not this machine's."""
    try:
        sockets = [socket.create_server((host, 0)) for _ in range(count)]
    except OSError as error:
        raise ValueError(
            f'vllm.host = "{host}": {error}; give an address of this machine, as `hostname -I` says'
        ) from None
    try:
        return [int(s.getsockname()[1]) for s in sockets]
    finally:
        for s in sockets:
            s.close()


def _tail(path: Path, lines: int = 20) -> str:
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    return f"the end of {path}:\n" + "\n".join(text.splitlines()[-lines:])
