"""vLLM servers as one engine: tokens in, tokens out, whatever happens to a server.

    complete --> one server per conversation --> bounded requests in flight --> POST /inference/v1/generate
                        ^                                                            |
         another server after a failure, within attempts and a deadline  <-----------+
    watch    --> /health of each; one that was away takes the newest weights before it gets requests again

A conversation stays with its server, which has its prefix cached; caches are salted with the version.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from forge_train.config import VLLMConfig
from forge_train.engine import Completion, EngineFailed, Finish, Sampling, completion
from forge_train.engines.vllm_http import NOTHING_LOADED, Client, Generated, ServerError
from forge_train.servers import Servers
from forge_train.weights import WeightTransfer

_MISSES = 3
"""Looks at a server, or answers of it, that fail in a row before it counts as down."""
_PAUSE = 0.25
"""Seconds before the first retry; doubled each time, up to `_LONGEST`."""
_LONGEST = 10.0


@dataclass(slots=True)
class Counters:
    """What the engine has done so far."""

    answered: int = 0
    sampled: int = 0
    """Tokens of all answers."""
    straddled: int = 0
    """Answers whose weights changed under way."""
    retried: int = 0
    """Answers that failed and were asked for again."""
    busy: int = 0
    """Times a server had no room."""
    failed: int = 0
    """Requests given up."""
    lost: int = 0
    """Times a server went down."""


@dataclass(slots=True, eq=False)
class _Server:
    """A server as the engine sees it."""

    client: Client
    room: asyncio.Semaphore
    up: bool = False
    asked: int = 0
    """Requests on it or waiting for room on it."""
    dealt: int = 0
    """When it last got a conversation, counted in conversations."""
    failures: int = 0
    misses: int = 0
    requests: set[asyncio.Task[Generated]] = field(default_factory=set)


class VLLMEngine:
    """An `Engine` on the vLLM servers at `urls`.

    `transfer` brings the learner's weights to them. Without one, this engine only samples: somebody else
    loads weights, and completions carry the version the servers name. `servers`: the processes, if they are
    ours; one that hangs is started again and all end with `close`. `health`: seconds a server has to say that
    it is well; its engine may be in the middle of a long step. Call `start` before anything else.
    """

    reproducible = False
    shares_weights = False

    def __init__(
        self,
        urls: Sequence[str],
        config: VLLMConfig,
        *,
        max_context: int,
        transfer: WeightTransfer | None = None,
        servers: Servers | None = None,
        version: int = 0,
        health: float = 10.0,
    ) -> None:
        if not urls:
            raise ValueError("vllm.urls is empty: name at least one server")
        self.version = version
        self.max_context = max_context
        self.replicas = len(urls)
        self.counters = Counters()
        self._config = config
        self._health = health
        self._transfer = transfer
        self._processes = servers
        self._servers = [_Server(Client(url), asyncio.Semaphore(config.in_flight)) for url in urls]
        self._home: dict[str, _Server] = {}
        self._deals = itertools.count(1)
        self._changed = asyncio.Condition()
        self._loading = asyncio.Lock()
        self._look = asyncio.Event()
        self._watcher: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def urls(self) -> list[str]:
        """Addresses of all servers."""
        return [server.client.url for server in self._servers]

    @property
    def up(self) -> list[str]:
        """Addresses of the servers that take requests now."""
        return [server.client.url for server in self._servers if server.up]

    async def start(self) -> None:
        """Wait for the servers, check how they were started, and give them the weights of `version`.

        Raises EngineFailed when none can be had, ValueError when one was started in a way that cannot work.
        """
        try:
            if self._processes is not None:
                await self._processes.start()
            await asyncio.gather(*(self._admit(server) for server in self._servers))
            await self.weights_changed(self.version)
        except BaseException:
            await self.close()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="watch vLLM servers")

    # -- requests ------------------------------------------------------------------------------

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`; see `Engine`."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        if not 0 < len(tokens) < self.max_context:
            raise ValueError(
                f"conversation {conversation!r} has {len(tokens)} tokens: at least one and fewer than "
                f"max_context={self.max_context} are needed"
            )
        room = min(sampling.max_tokens, self.max_context - len(tokens))
        sampling = Sampling(sampling.temperature, sampling.top_p, sampling.top_k, room, sampling.stop)
        errors: list[ServerError] = []
        try:
            async with asyncio.timeout(self._config.deadline_s) as clock:
                return await self._persist(tokens, sampling, conversation, seed, errors)
        except TimeoutError:
            assert clock.expired()
            self._give_up(f"no answer within {self._config.deadline_s:g} s", errors)

    def forget(self, conversation: str) -> None:
        """The conversation is over; what a server cached for it ages out there."""
        self._home.pop(conversation, None)

    async def _persist(
        self,
        tokens: Sequence[int],
        sampling: Sampling,
        conversation: str,
        seed: int,
        errors: list[ServerError],
    ) -> Completion:
        """Ask until there is an answer; what went wrong is added to `errors`."""
        failures, pause, avoid = 0, _PAUSE, None
        jitter = random.Random(seed)
        while True:
            server = await self._choose(conversation, avoid)
            try:
                said = await self._ask(server, tokens, sampling, seed)
                server.failures = 0
                return self._completion(said, sampling)
            except ServerError as error:
                errors.append(error)
                avoid = server
                if error.refused:
                    self.counters.failed += 1
                    raise EngineFailed(f"the request was refused: {error}", retryable=False) from error
                if error.busy:
                    self.counters.busy += 1
                else:
                    failures += 1
                    self._suspect(server)
                if failures >= self._config.attempts:
                    self._give_up(f"{failures} attempts failed", errors)
                self.counters.retried += not error.busy
                await asyncio.sleep(max(error.retry_after, pause * jitter.uniform(0.5, 1.0)))
                pause = min(2 * pause, _LONGEST)

    async def _choose(self, conversation: str, avoid: _Server | None) -> _Server:
        """The conversation's server, or the next in turn that has room; waits while all are down."""
        if self._watcher is not None and self._watcher.done():
            self._watcher.result()  # a bug: without it no server would ever come back
        async with self._changed:
            await self._changed.wait_for(lambda: any(server.up for server in self._servers))
        home = self._home.get(conversation)
        if home is None or not home.up or home is avoid:
            up = [server for server in self._servers if server.up]
            up = [server for server in up if server is not avoid] or up
            free = [server for server in up if server.asked < self._config.in_flight]
            home = self._home[conversation] = min(free or up, key=lambda server: server.dealt)
            home.dealt = next(self._deals)
        return home

    async def _ask(self, server: _Server, tokens: Sequence[int], sampling: Sampling, seed: int) -> Generated:
        """One request to one server, when it has room; a server that goes down meanwhile is a ServerError."""
        server.asked += 1
        request: asyncio.Task[Generated] | None = None
        try:
            async with server.room:
                if not server.up:
                    raise ServerError(server.client.url, "it went down before it had room")
                version = self.version
                model = None if self._transfer is None else self._transfer.model(version)
                request = asyncio.create_task(
                    server.client.generate(
                        tokens, sampling, seed=seed, salt=str(version), model=model,
                        timeout=self._config.attempt_s,
                    )
                )  # fmt: skip
                server.requests.add(request)
                await asyncio.wait({request})
                if request.cancelled():
                    raise ServerError(server.client.url, "it went down before it answered")
                said = request.result()
                if model is not None:  # an adapter is one version from end to end
                    return Generated(said.tokens, said.logprobs, [str(version)] * len(said.tokens))
                if not all(named.isdigit() for named in said.versions):
                    raise ServerError(
                        server.client.url, f"its weights are of no version: {set(said.versions)}"
                    )
                return said
        finally:
            server.asked -= 1
            if request is not None:
                server.requests.discard(request)
                request.cancel()

    def _completion(self, said: Generated, sampling: Sampling) -> Completion:
        finish: Finish = "stop" if said.tokens[-1] in sampling.stop else "length"
        answer = completion(said.tokens, said.logprobs, finish, [int(version) for version in said.versions])
        self.counters.answered += 1
        self.counters.sampled += len(said.tokens)
        self.counters.straddled += bool(answer.spans)
        if self._transfer is None:
            self.version = max(self.version, int(said.versions[-1]))
        return answer

    def _give_up(self, what: str, errors: Sequence[ServerError]) -> NoReturn:
        self.counters.failed += 1
        addresses = ", ".join(server.client.url for server in self._servers)
        last = f"the last error: {errors[-1]}" if errors else "no server was up"
        raise EngineFailed(f"{what} ({addresses}); {last}", retryable=True)

    # -- weights -------------------------------------------------------------------------------

    async def weights_changed(self, version: int) -> None:
        """Bring the learner's weights to all servers; requests in flight are frozen meanwhile and go on.

        A server that cannot take them is down until it can. Raises EngineFailed when none can in time.
        """
        if self._transfer is None:
            self.version = version
            return
        async with self._loading:
            await self._transfer.publish(version)
            up = [server for server in self._servers if server.up]
            errors = await asyncio.gather(*(self._load(server, version) for server in up))
            self.version = version
        if not any(server.up for server in self._servers):
            self._look.set()
            try:
                async with asyncio.timeout(self._config.load_s), self._changed:
                    await self._changed.wait_for(lambda: any(server.up for server in self._servers))
            except TimeoutError:
                self._give_up(f"no server took version {version}", [e for e in errors if e is not None])

    async def close(self) -> None:
        """Stop watching, drop what is in flight, end the processes if they are ours."""
        self._closed = True
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        for server in self._servers:
            self._drop(server)
            await server.client.close()
        if self._processes is not None:
            await self._processes.stop()
        if self._transfer is not None:
            self._transfer.close()

    async def _load(self, server: _Server, version: int) -> ServerError | None:
        """Give one server the published weights; when that fails it is down."""
        assert self._transfer is not None
        try:
            await self._transfer.load(server.client, version, self._config.load_s)
            return None
        except ServerError as error:
            self._drop(server)
            return error

    # -- health --------------------------------------------------------------------------------

    async def _admit(self, server: _Server) -> None:
        """Wait until a server answers, then check that it was started for training."""
        client, error = server.client, None
        try:
            async with asyncio.timeout(self._config.start_s):
                while not server.up:
                    try:
                        await client.health(self._health)
                        server.up = True
                    except ServerError as again:
                        error = again
                        await asyncio.sleep(1.0)
        except TimeoutError:
            raise EngineFailed(f"{client.url} did not start: {error}", retryable=True) from error
        try:
            models = await client.models(self._health)
            await client.version(self._health)
        except ServerError as error:
            if error.status not in (403, 404):
                raise EngineFailed(f"{error}", retryable=True) from error
            raise ValueError(
                f"{client.url} was started without its control endpoints ({error}): use `forge-train serve`, "
                "or set VLLM_SERVER_DEV_MODE=1 and --enable-scale-out"
            ) from None
        longest = min((n for n in models.values() if n is not None), default=self.max_context)
        if longest < self.max_context:
            raise ValueError(
                f"{client.url} takes {longest} tokens and rollout.max_context is {self.max_context}: lower "
                f"that, or start the server with --max-model-len {self.max_context}"
            )

    async def _watch(self) -> None:
        """Look at every server now and then, and at once when something went wrong."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look.wait(), self._config.health_s)
            self._look.clear()
            await asyncio.gather(*(self._check(server) for server in self._servers))

    async def _check(self, server: _Server) -> None:
        try:
            await server.client.health(self._health)
            server.misses = 0
            if not server.up:
                await self._revive(server)
        except ServerError:
            server.misses += 1
            if server.misses >= _MISSES:
                self._drop(server)
                if self._processes is not None:
                    await self._processes.restart(server.client.url)
                    server.misses = 0

    async def _revive(self, server: _Server) -> None:
        """Let a server that answers again take requests, with the newest weights; raises ServerError."""
        async with self._loading:
            named = await server.client.version(self._health)
            if self._transfer is not None and (named != str(self.version) or self._transfer.model(0)):
                await self._transfer.load(server.client, self.version, self._config.load_s)
            elif named == NOTHING_LOADED:
                return
            await server.client.resume(self._health)
        server.failures = 0
        async with self._changed:
            server.up = True
            self._changed.notify_all()

    def _suspect(self, server: _Server) -> None:
        """A request failed: look at the server at once, and send it no more after several."""
        server.failures += 1
        self._look.set()
        if server.failures >= _MISSES:
            self._drop(server)

    def _drop(self, server: _Server) -> None:
        """Send no more requests until it is well; those in flight there are asked elsewhere."""
        self.counters.lost += server.up
        server.up = False
        for request in server.requests:
            request.cancel()
