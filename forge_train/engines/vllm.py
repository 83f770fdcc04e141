"""vLLM servers as one engine: tokens in, tokens out, whatever happens to a server.

    complete --> one server per conversation --> bounded requests in flight --> POST /inference/v1/generate
                        ^                                                            |
         another server after a failure, within attempts and a deadline  <-----------+

A conversation stays with its server, which has its prefix cached; caches are salted with the version. Which
servers there are, and with which weights, is the business of `Servers`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import NoReturn

from forge_train.clock import Clock, in_line
from forge_train.config import VLLMConfig
from forge_train.engine import Completion, EngineFailed, Finish, Sampling, completion
from forge_train.engines.checksums import complaints
from forge_train.engines.server_check import Sizes
from forge_train.engines.server_processes import ServerProcesses
from forge_train.engines.servers import MISSES, Server, Servers
from forge_train.engines.vllm_http import Generated, ServerError
from forge_train.engines.weights import WeightTransfer
from forge_train.seeds import derive_seed

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


class VLLMEngine:
    """An `Engine` on the vLLM servers at `urls`.

    `transfer` brings the learner's weights to them. Without one, this engine only samples: somebody else
    loads weights, and completions carry the version the servers name. `processes`: those of the servers, if
    they are ours; one that hangs is started again and all end with `close`. `health`: seconds a server has to
    say that it is well; its engine may be in the middle of a long step. `sleeps`: `sleep` will be called, so
    that they must be able to. `vocab`: tokens that the model has; an answer with others is none. `sizes`: of
    the model whose weights they are given (`sizes_of`). Call `start` before anything else.
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
        processes: ServerProcesses | None = None,
        version: int = 0,
        health: float = 10.0,
        sleeps: bool = False,
        vocab: int | None = None,
        sizes: Sizes | None = None,
    ) -> None:
        if not urls:
            raise ValueError("vllm.urls is empty: name at least one server")
        self.max_context = max_context
        self.vocab = vocab
        self.counters = Counters()
        self._config = config
        self._servers = Servers(
            urls,
            config,
            max_context=max_context,
            transfer=transfer,
            processes=processes,
            version=version,
            health=health,
            sleeps=sleeps,
            sizes=sizes,
        )
        self._home: dict[str, Server] = {}
        self._deals = itertools.count(1)
        self._digests: dict[str, dict[str, str]] = {}
        """What each server's weights were when it was last asked."""
        self._closed = False

    @property
    def version(self) -> int:
        """Number of optimizer steps behind the weights in use."""
        return self._servers.version

    @version.setter
    def version(self, version: int) -> None:
        self._servers.version = version

    @property
    def urls(self) -> list[str]:
        """Addresses of all servers."""
        return [server.client.url for server in self._servers.all]

    @property
    def up(self) -> list[str]:
        """Addresses of the servers that take requests now."""
        return [server.client.url for server in self._servers.up]

    @property
    def lost(self) -> int:
        """Times a server went down."""
        return self._servers.lost

    async def start(self) -> None:
        """Wait for the servers, check how they were started, and give them the weights of `version`.

        Raises EngineFailed when none can be had, ValueError when one was started in a way that cannot work.
        """
        try:
            await self._servers.start()
        except BaseException:
            await self.close()
            raise

    # -- requests ------------------------------------------------------------------------------

    async def complete(
        self, tokens: Sequence[int], sampling: Sampling, *, conversation: str, seed: int
    ) -> Completion:
        """Sample one action after `tokens`; see `Engine`."""
        if self._closed:
            raise RuntimeError("the engine is closed")
        if self._servers.asleep:
            raise RuntimeError(f"{conversation}: the servers are asleep until they get new weights")
        if not 0 < len(tokens) < self.max_context:
            raise ValueError(
                f"conversation {conversation!r} has {len(tokens)} tokens: at least one and fewer than "
                f"max_context={self.max_context} are needed"
            )
        sampling = self._bounded(sampling, len(tokens))
        errors: list[ServerError] = []
        try:
            async with Clock(self._config.deadline_s) as clock:
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
                server.failures = server.senseless = 0
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
                    (self._servers.puzzled if error.senseless else self._servers.suspect)(server)
                if failures >= self._config.attempts:
                    self._give_up(f"{failures} attempts failed", errors)
                self.counters.retried += not error.busy
                with in_line(bounded=True) if error.busy else nullcontext():
                    await asyncio.sleep(max(error.retry_after, pause * jitter.uniform(0.5, 1.0)))
                pause = min(2 * pause, _LONGEST)

    def _bounded(self, sampling: Sampling, used: int) -> Sampling:
        room = min(sampling.max_tokens, self.max_context - used)
        return Sampling(sampling.temperature, sampling.top_p, sampling.top_k, room, sampling.stop)

    async def _choose(self, conversation: str, avoid: Server | None) -> Server:
        """The conversation's server, or the next in turn that has room; waits while all are down."""
        await self._servers.wait()
        home = self._home.get(conversation)
        if home is None or not home.up or home is avoid:
            up = self._servers.up
            up = [server for server in up if server is not avoid] or up
            free = [server for server in up if server.asked < self._config.in_flight]
            home = self._home[conversation] = min(
                free or up, key=lambda server: (server.senseless >= MISSES, server.dealt)
            )
            home.dealt = next(self._deals)
        return home

    async def _ask(self, server: Server, tokens: Sequence[int], sampling: Sampling, seed: int) -> Generated:
        """One request to one server, when it has room; a server that goes down meanwhile is a ServerError."""
        server.asked += 1
        try:
            with in_line():
                await server.room.acquire()
            try:
                if not server.up:
                    raise ServerError(server.client.url, "it went down before it had room")
                return await self._request(server, tokens, sampling, seed)
            finally:
                server.room.release()
        finally:
            server.asked -= 1

    async def _request(
        self, server: Server, tokens: Sequence[int], sampling: Sampling, seed: int
    ) -> Generated:
        """One request to one server, at once."""
        version, transfer = self.version, self._servers.transfer
        model = None if transfer is None else transfer.model(version)
        request = asyncio.create_task(
            server.client.generate(
                tokens,
                sampling,
                seed=seed,
                salt=str(version),
                model=model,
                timeout=self._config.attempt_s,
                vocab=self.vocab,
            )
        )
        server.requests.add(request)
        try:
            await asyncio.wait({request})
            if request.cancelled():
                raise ServerError(server.client.url, "it went down before it answered")
            said = request.result()
        finally:
            server.requests.discard(request)
            request.cancel()
        if model is not None:  # an adapter is one version from end to end
            return replace(said, versions=[str(version)] * len(said.tokens))
        if not all(named.isdigit() for named in said.versions):
            raise ServerError(server.client.url, f"its weights are of no version: {set(said.versions)}")
        return said

    def _completion(self, said: Generated, sampling: Sampling) -> Completion:
        finish: Finish = "stop" if said.tokens[-1] in sampling.stop else "length"
        versions = [int(version) for version in said.versions]
        answer = completion(said.tokens, said.logprobs, finish, versions, said.confidence)
        self.counters.answered += 1
        self.counters.sampled += len(said.tokens)
        self.counters.straddled += bool(answer.spans)
        if self._servers.transfer is None:
            self.version = max(self.version, int(said.versions[-1]))
        return answer

    def _give_up(self, what: str, errors: Sequence[ServerError]) -> NoReturn:
        self.counters.failed += 1
        raise self._servers.failure(what, errors)

    # -- weights -------------------------------------------------------------------------------

    async def prove(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        seed: int,
        again: Collection[str] = (),
    ) -> dict[str, list[Completion]]:
        """See `Engine`; copies go by the address of their server. What else waits there is passed by."""
        asked = [s for s in self._servers.up if (s.client.url in again if again else not s.proved)]
        told = await asyncio.gather(*(self._proof(server, prompts, sampling, seed) for server in asked))
        return {s.client.url: said for s, said in zip(asked, told, strict=True) if said is not None}

    async def _proof(
        self, server: Server, prompts: Sequence[Sequence[int]], sampling: Sampling, seed: int
    ) -> list[Completion] | None:
        """What one server says; without all answers it is down, and gets its weights anew."""

        async def one(tokens: Sequence[int], seed: int) -> Completion | None:
            bounded = self._bounded(sampling, len(tokens))
            for _ in range(self._config.attempts):
                try:
                    return self._completion(await self._request(server, tokens, bounded, seed), bounded)
                except ServerError as error:
                    if not server.up:
                        return None
                    await asyncio.sleep(max(error.retry_after, _PAUSE))
            return None

        said = await asyncio.gather(*(one(p, derive_seed(seed, i)) for i, p in enumerate(prompts)))
        found = [completion for completion in said if completion is not None]
        if len(found) < len(prompts):
            server.proved = server.loaded = False
            self._servers.drop(server)
            return None
        server.proved = True
        return found

    async def differing(self, names: Collection[str], *, doubted: bool) -> dict[str, str]:
        """See `Checksummed`. Hashing all weights takes seconds, so one asks when in doubt, or by config.

        A server that has no checksums is passed by, and so are adapters, which lie where there was room.
        """
        transfer = self._servers.transfer
        if transfer is None or transfer.model(self.version) or not (doubted or self._config.checksums):
            return {}
        servers = [server for server in self._servers.up if server.client.url in names]
        told = await asyncio.gather(
            *(server.client.checksums(self._config.load_s) for server in servers), return_exceptions=True
        )
        for error in told:
            if isinstance(error, BaseException) and not isinstance(error, ServerError):
                raise error
        now = {s.client.url: one for s, one in zip(servers, told, strict=True) if isinstance(one, dict)}
        before, self._digests = self._digests, self._digests | now
        return complaints(now, before)

    async def weights_changed(self, version: int) -> None:
        """Bring the learner's weights to all servers: see `Servers.load`."""
        try:
            await self._servers.load(version)
        except EngineFailed:
            self.counters.failed += 1
            raise

    async def sleep(self) -> None:
        """The servers give their memory back until the next `weights_changed`: see `Servers.sleep`.

        Nothing may be asked meanwhile; what is under way is aborted.
        """
        await self._servers.sleep()

    async def close(self) -> None:
        """Stop watching, drop what is in flight, end the processes if they are ours."""
        self._closed = True
        await self._servers.close()
