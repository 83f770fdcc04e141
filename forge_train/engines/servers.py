"""The servers of a vLLM engine: which of them are up, with which weights, awake or asleep.

load   all that are up take new weights; one that cannot is down
watch  /health of each; one that was away takes the newest weights before it gets requests again
sleep  all give their memory back, until the next load wakes them
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from forge_train.config import VLLMConfig
from forge_train.engine import EngineFailed
from forge_train.engines.server_check import Sizes, Wanted, refuse_wrong
from forge_train.engines.server_processes import ServerProcesses
from forge_train.engines.vllm_http import NOTHING_LOADED, Client, Generated, ServerError
from forge_train.engines.weights import WeightTransfer

log = logging.getLogger(__name__)

MISSES = 3
"""Looks at a server, or answers of it, that fail in a row before it counts as down."""


@dataclass(slots=True, eq=False)
class Server:
    """A server as the engine sees it."""

    client: Client
    room: asyncio.Semaphore
    up: bool = False
    asleep: bool = False
    """It was sent to sleep, and has not been seen awake since."""
    loaded: bool = False
    """It took weights from here: what it calls them is no other run's word."""
    proved: bool = False
    """It showed an action since its weights were loaded: see `Engine.prove`."""
    asked: int = 0
    """Requests on it or waiting for room on it."""
    dealt: int = 0
    """When it last got a conversation, counted in conversations."""
    failures: int = 0
    senseless: int = 0
    """Answers in a row that could not be used."""
    misses: int = 0
    waits: bool = False
    """It is well, and down until weights are sent anew: nobody kept those of now."""
    wrong: str = ""
    """Why it is none that can be used: it was started anew, as another."""
    requests: set[asyncio.Task[Generated]] = field(default_factory=set)


class Servers:
    """The servers at `urls`, kept in order; the arguments are those of `VLLMEngine`.

    `sleeps`: they were started with sleep mode, and `sleep` will be called.
    """

    def __init__(
        self,
        urls: Sequence[str],
        config: VLLMConfig,
        *,
        max_context: int,
        transfer: WeightTransfer | None,
        processes: ServerProcesses | None,
        version: int,
        health: float,
        sleeps: bool,
        sizes: Sizes | None,
    ) -> None:
        self.all = [Server(Client(url), asyncio.Semaphore(config.in_flight)) for url in urls]
        self.version = version
        self.transfer = transfer
        self.asleep = False
        """Since `sleep`, until `load`."""
        self.lost = 0
        """Times a server went down."""
        self._config = config
        self._processes, self._health = processes, health
        dtype = "" if transfer is None else config.dtype
        self._wanted = Wanted(max_context, dtype, sizes, sleeps)
        self._changed = asyncio.Condition()
        self._loading = asyncio.Lock()
        self._look = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None

    @property
    def up(self) -> list[Server]:
        """Those that take requests now."""
        return [server for server in self.all if server.up]

    async def start(self) -> None:
        """Wait for the servers, check how they were started, and give them the weights of `version`.

        Raises EngineFailed when none can be had, ValueError when one was started in a way that cannot work.
        """
        if self._processes is not None:
            await self._processes.start()
        await asyncio.gather(*(self._admit(server) for server in self.all))
        self._watcher = asyncio.create_task(self._watch(), name="watch vLLM servers")
        await self.load(self.version)

    async def wait(self) -> None:
        """Wait until at least one is up."""
        if self._watcher is not None and self._watcher.done():
            self._watcher.result()  # a bug: without it no server would ever come back
        async with self._changed:
            await self._changed.wait_for(lambda: bool(self.up))

    async def close(self) -> None:
        """Stop watching, drop what is in flight, end the processes if they are ours."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for server in self.all:
            # A load that was interrupted may have left it paused, and it may be somebody else's, too.
            if server.loaded and not server.up and not server.asleep and self._processes is None:
                with suppress(ServerError):
                    await server.client.resume(self._health)
            server.loaded = False
            self.drop(server)
            await server.client.close()
        if self._processes is not None:
            await self._processes.stop()
        if self.transfer is not None:
            self.transfer.close()

    def suspect(self, server: Server) -> None:
        """A request failed: look at the server at once, and send it no more after several."""
        server.failures += 1
        self._look.set()
        if server.failures >= MISSES:
            self.drop(server)

    def puzzled(self, server: Server) -> None:
        """An answer could not be used. That may be the request's doing, so the server stays; one that does
        it again and again gets conversations only when others have no room, until its next load."""
        server.senseless += 1

    def drop(self, server: Server) -> None:
        """Send no more requests until it is well; those in flight there are asked elsewhere."""
        self.lost += server.up
        server.up = False
        for request in server.requests:
            request.cancel()

    def failure(self, what: str, errors: Sequence[ServerError]) -> EngineFailed:
        """An error that names all servers and says what went wrong last."""
        addresses = ", ".join(server.client.url for server in self.all)
        last = f"the last error: {errors[-1]}" if errors else "no server was up"
        last += "".join(f"; {server.wrong}" for server in self.all if server.wrong)
        return EngineFailed(f"{what} ({addresses}); {last}", retryable=True)

    # -- weights -------------------------------------------------------------------------------

    async def load(self, version: int) -> None:
        """Bring the learner's weights to all servers; requests in flight are frozen meanwhile and go on.

        Those that are asleep wake: weights first, then the load, then the cache. A server that cannot is
        down until it can. Raises EngineFailed when none can in time.
        """
        if self.transfer is None:
            self.version = version
            return
        async with self._loading:
            told = await self._bring(version)
        if not self.up:
            self._look.set()
            try:
                async with asyncio.timeout(self._config.load_s):
                    await self._wait_or_bring(version)
            except TimeoutError:
                errors = [error for error in told if error is not None]
                raise self.failure(f"no server took version {version}", errors) from None

    async def _bring(self, version: int) -> list[ServerError | None]:
        """Publish the learner's weights and give them to all that are well; what each said."""
        assert self.transfer is not None
        there = [server for server in self.all if server.up or server.waits]
        clients = [server.client for server in there]
        await self.transfer.publish(version, clients, self._config.load_s)
        if self._processes is not None:
            self._processes.release()
        told = await asyncio.gather(*(self._tried(server, version) for server in there))
        self.version, self.asleep = version, False
        return told

    async def _wait_or_bring(self, version: int) -> None:
        """Until one is up; weights that nobody kept are sent again when one is well."""
        assert self.transfer is not None
        if self.transfer.keeps:
            return await self.wait()
        while not self.up:
            async with self._changed:
                await self._changed.wait_for(lambda: any(s.up or s.waits for s in self.all))
            async with self._loading:
                await self._bring(version)

    async def sleep(self) -> None:
        """All servers give back the memory of weights and cache, until the next `load`.

        A server of ours that does not is ended, and none is started meanwhile: what it holds is needed
        elsewhere. Raises EngineFailed, naming the server, when one that is not ours does not.
        """
        async with self._loading:
            if self.asleep:
                return
            self.asleep = True
            if self._processes is not None:
                await self._processes.hold()
            told = await asyncio.gather(*(self._lull(server) for server in self.up))
        errors = [error for error in told if error is not None]
        if errors:
            raise EngineFailed(
                f"{errors[0]}; it did not go to sleep and keeps the memory that the learner needs",
                retryable=True,
            )

    async def _lull(self, server: Server) -> ServerError | None:
        """Put one server to sleep; the error when it keeps its memory."""
        server.asleep = True
        # A full load replaces all weights; adapters need those under them.
        level = 1 if self._adapters() else 2
        try:
            await server.client.sleep(level, self._config.load_s)
        except ServerError as error:
            self.drop(server)
            if self._processes is None:
                return error
            await self._processes.restart(server.client.url)
        return None

    async def _tried(self, server: Server, version: int) -> ServerError | None:
        """Give one server the published weights; when that fails it is down."""
        server.waits = False
        try:
            await self._give(server, version)
        except ServerError as error:
            self.drop(server)
            return error
        await self._take(server)
        return None

    async def _take(self, server: Server) -> None:
        """A server has the newest weights: it gets requests."""
        if not server.up:
            server.failures = 0
            async with self._changed:
                server.up = True
                self._changed.notify_all()

    async def _give(self, server: Server, version: int) -> None:
        """The published weights for one server, which is awake then; raises ServerError."""
        assert self.transfer is not None
        limit, asleep = self._config.load_s, server.asleep
        if asleep:
            await server.client.wake("weights", limit)
        await self.transfer.load(server.client, version, limit, asleep=asleep)
        if asleep:
            await server.client.wake("kv_cache", limit)
        server.loaded, server.asleep, server.proved = True, False, False
        server.senseless = 0

    def _adapters(self) -> bool:
        """Whether a version is something beside the model."""
        return self.transfer is not None and self.transfer.model(self.version) is not None

    # -- health --------------------------------------------------------------------------------

    async def _admit(self, server: Server) -> None:
        """Wait until a server answers, then check that it was started for training."""
        client, error = server.client, None
        try:
            async with asyncio.timeout(self._config.start_s):
                while not server.up:
                    try:
                        await client.health(self._health)
                        server.up = True
                    except ServerError as again:
                        if error is None:
                            self._tell_wait(again)
                        error = again
                        await asyncio.sleep(1.0)
        except TimeoutError:
            raise EngineFailed(
                f"{client.url} did not answer within vllm.start_s = {self._config.start_s:g} s: {error}; "
                "start it (forge-train serve), or mend vllm.urls",
                retryable=True,
            ) from error
        await self._look_over(server)

    def _tell_wait(self, error: ServerError) -> None:
        """Say once what a start waits for and until when: minutes of silence look like a bug."""
        seconds = self._config.start_s
        until = time.strftime("%H:%M:%S", time.localtime(time.time() + seconds))
        log.warning("waiting for a server until %s (vllm.start_s = %g): %s", until, seconds, error)

    async def _look_over(self, server: Server) -> None:
        """Raise ValueError when it is none that this run can use; take it as its last user left it.

        Who died while it loaded weights left it paused (loading resumes it), or asleep.
        """
        client = server.client
        slow = self._config.start_s
        await refuse_wrong(client, self._wanted, self.transfer, quick=self._health, slow=slow)
        with suppress(ServerError):
            server.asleep = await client.is_sleeping(self._health)
        if self.transfer is None and await client.is_paused(self._health):
            raise EngineFailed(
                f"{client.url} is paused: who brings weights to it is at it now, or died of it; then it goes "
                f"on with `curl -X POST {client.url}/resume`",
                retryable=True,
            )

    async def _watch(self) -> None:
        """Look at every server now and then, and at once when something went wrong."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), self._config.health_s)
            self._look.clear()
            await asyncio.gather(*(self._check(server) for server in self.all))

    async def _check(self, server: Server) -> None:
        try:
            await server.client.health(self._health)
            if not server.up:
                await self._revive(server)
            server.misses = 0
        except ServerError:
            server.misses += 1
            if server.misses >= MISSES:
                self.drop(server)
                if self._processes is not None:
                    await self._processes.restart(server.client.url)
                    server.misses = 0

    async def _revive(self, server: Server) -> None:
        """Let a server that answers again take requests, with the newest weights; raises ServerError."""
        async with self._loading:
            if self.asleep:  # it may have been started anew, and hold memory again
                server.asleep = True
                await self._lull(server)
                return
            named = await server.client.version(self._health)
            if self.transfer is None:
                if named == NOTHING_LOADED:
                    return
            elif not server.loaded or server.asleep or named != str(self.version) or self._adapters():
                anew = not server.loaded or named == NOTHING_LOADED
                if anew and not await self._is_right(server):
                    return
                if not self.transfer.keeps:
                    async with self._changed:
                        server.waits = True
                        self._changed.notify_all()
                    return
                await self._give(server, self.version)
            else:
                await server.client.resume(self._health)
            await self._take(server)

    async def _is_right(self, server: Server) -> bool:
        """Whether one that answers again is still a server for this run; `wrong` says why not."""
        try:
            await self._look_over(server)
        except (ValueError, EngineFailed) as error:
            if server.wrong != str(error):
                log.warning("%s", error)
            server.wrong = str(error)
            return False
        server.wrong = ""
        return True
