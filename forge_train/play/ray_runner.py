"""Groups played by Ray actors, on this machine and on others.

    trainer --draw--> LocalRunner --> engine                              rollout.workers = "local"
    trainer --draw--> RayRunner --draw--> actor: LocalRunner --> servers  rollout.workers = "ray"

Both are a `forge_train.trainer.Runner`, and both play a draw with the same seed, so what is played does not
depend on where. Ray is imported only when `RayRunner.start` is called. The machines of a cluster need this
package and the worlds installed; the cluster is the one that RAY_ADDRESS names, else one on this machine.
"""

from __future__ import annotations

import asyncio
import os
import textwrap
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from forge_train.clock import Clock
from forge_train.config import Config, VLLMConfig, WorldConfig
from forge_train.config.sections import WORKER_ATTEMPTS, WORKER_GRACE_S, WORKER_START_S
from forge_train.engine import Engine, Sampling
from forge_train.engines.wrapped import WrappedEngine
from forge_train.play.branching import Forking, forking_of, group_deadline
from forge_train.play.context import kept_context
from forge_train.play.curriculum import Draw
from forge_train.play.episode import TokenPlayer, gather
from forge_train.play.format import Kind
from forge_train.play.local_runner import LocalRunner, group_seed
from forge_train.play.renderer import renderer_for
from forge_train.play.world_pool import World
from forge_train.seeds import derive_seed
from forge_train.trajectory import Trajectory


class WorkersFailed(RuntimeError):
    """No worker is left and none can be started."""


class WorkerLost(Exception):
    """A worker died, or did not answer in time."""


class Unanswered(WorkerLost):
    """It may be alive."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker plays with, in a form that travels to another machine and is made alive there."""

    worlds: tuple[WorldConfig, ...]
    player: Callable[[], Awaitable[TokenPlayer]]
    """Called once in each worker, e.g. a partial of `vllm_player`: an engine of its own for each."""
    seed: int
    group_size: int
    deadline: float
    """Seconds one episode may take."""
    forking: Forking | None = None


async def vllm_player(
    urls: Sequence[str],
    config: VLLMConfig,
    tokenizer: Any,
    renderer: Kind,
    sampling: Sampling,
    max_context: int,
    vocab: int | None = None,
) -> TokenPlayer:
    """A player on the vLLM servers at `urls`, which somebody else starts and gives their weights."""
    from forge_train.engines.vllm import VLLMEngine

    engine = VLLMEngine(urls, config, max_context=max_context, vocab=vocab)
    await engine.start()
    return TokenPlayer(engine, renderer_for(tokenizer, renderer), sampling, kept_context(tokenizer))


class Worker:
    """The inside of one actor: an event loop with worlds, a player and an engine of its own."""

    def __init__(self, recipe: Recipe, in_flight: int) -> None:
        self._recipe = recipe
        self._in_flight = in_flight
        self._clocks: dict[str, Clock] = {}

    async def start(self) -> int:
        """Make the worlds and the player; returns the process id. Raises what their makers raise."""
        recipe = self._recipe
        self._worlds = {w.label: World(w.id, w.args, w.label, w.weight) for w in recipe.worlds}
        self._player = await recipe.player()
        self._play = LocalRunner(
            self._worlds,
            self._player,
            seed=recipe.seed,
            group_size=recipe.group_size,
            deadline=recipe.deadline,
            in_flight=self._in_flight,
            forking=recipe.forking,
        )
        return os.getpid()

    async def play(self, draw: Draw) -> list[Trajectory]:
        """Play the group of `draw`."""
        async with Clock(None) as clock:
            self._clocks[draw.group] = clock
            try:
                return await self._play(draw)
            finally:
                del self._clocks[draw.group]

    async def stood(self, group: str) -> float:
        """Seconds in which members of a group that is played now waited in line."""
        return self._clocks[group].stood if group in self._clocks else 0.0

    async def weights_changed(self, version: int) -> None:
        """The servers have the weights of `version`."""
        await self._player.engine.weights_changed(version)

    async def close(self) -> None:
        """Give back what worlds and engine hold."""
        await self._player.engine.close()
        for world in self._worlds.values():
            world.close()


@dataclass(slots=True, eq=False)
class _Hired:
    """A worker as the trainer's process sees it."""

    actor: Any
    pid: int
    load: int = 0
    """Groups that it plays, or all its places when one group has it alone."""


class RayRunner:
    """Plays each draw in one of `count` actors. Use it between `start` and `close`.

    A group goes to the worker with the fewest. When a worker dies, or does not hand in a group in time, it is
    replaced and its groups are played again with the same seeds, the last of `attempts` times alone in a
    worker, so that none fails by its neighbours. What is still lost then comes back as a group whose members
    all "failed", with the reason in `info["error"]`, and the run goes on. Any other exception in a worker is
    raised here as it would be by `LocalRunner`.
    """

    def __init__(
        self,
        recipe: Recipe,
        count: int,
        *,
        in_flight: int,
        attempts: int = WORKER_ATTEMPTS,
        grace: float = WORKER_GRACE_S,
    ) -> None:
        """At most `in_flight` episodes at a time in all workers together."""
        if count < 1 or in_flight < count * recipe.group_size:
            raise ValueError(
                f"{count} workers, {in_flight} episodes in flight: at least one worker, and room for a group "
                f"of {recipe.group_size} in each; raise rollout.in_flight to {count * recipe.group_size}"
            )
        self.recipe = recipe
        self.count = count
        self.places = in_flight // (count * recipe.group_size)
        """Groups that a worker plays at a time."""
        self.attempts = attempts
        self.grace = grace
        self.version = 0
        self.lost = 0
        """Workers that died or hung so far."""
        self._workers: list[_Hired] = []
        self._hiring: set[asyncio.Task[None]] = set()
        self._line = asyncio.Lock()
        self._changed = asyncio.Event()
        self._reason: Exception | None = None
        self._ray: Any = None
        self._own_cluster = False

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers, each on its own machine."""
        return [worker.pid for worker in self._workers]

    async def start(self) -> None:
        """Join the cluster and start all workers.

        Raises ValueError without Ray, WorkersFailed, or what making a world or the player raises.
        """
        try:
            self._ray = import_module("ray")
        except ImportError:
            raise ValueError(
                'rollout.workers = "ray" needs Ray: pip install "forge-envs[ray]", or use "local"'
            ) from None
        if not self._ray.is_initialized():
            address = os.environ.get("RAY_ADDRESS") or "local"
            options = {"include_dashboard": False} if address == "local" else {}
            self._ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
            self._own_cluster = True
        try:
            await gather(self._hire() for _ in range(self.count))
        except BaseException as error:
            await self.close()
            if isinstance(error, WorkerLost):
                raise WorkersFailed(f"a worker did not start: {error}") from error
            raise

    async def __call__(self, draw: Draw) -> list[Trajectory]:
        """Play the group of `draw` in the worker that has the least to do.

        Raises WorkersFailed when no worker is left, and what playing raises.
        """
        reason = ""
        for attempt in range(1, self.attempts + 1):
            async with self._place(alone=1 < attempt == self.attempts) as worker:
                try:
                    return await self._played(worker, draw)
                except WorkerLost as lost:
                    reason = str(lost)
                    self._replace(worker, reason)
        return self._failed(draw, f"{self.attempts} workers were lost under it; the last: {reason}")

    async def _played(self, worker: _Hired, draw: Draw) -> list[Trajectory]:
        """The group of `draw`, from `worker`; WorkerLost when it dies, or has longer than a group may take.

        What members wait in line is no part of that, so it is asked for the time of that before it is lost.
        """
        ref = worker.actor.play.remote(draw)
        deadline = group_deadline(self.recipe.forking, self.recipe.deadline)
        allowed, began = deadline + self.grace, time.monotonic()
        while True:
            try:
                return list(await self._answer(ref, began + allowed - time.monotonic()))
            except Unanswered:
                stood = await self._answer(worker.actor.stood.remote(draw.group), self.grace)
                allowed = deadline + self.grace + stood
                if time.monotonic() >= began + allowed:
                    raise

    async def weights_changed(self, version: int) -> None:
        """Tell every worker that the servers have the weights of `version`."""
        self.version = version

        async def tell(worker: _Hired) -> None:
            try:
                await self._answer(worker.actor.weights_changed.remote(version), self.grace)
            except WorkerLost as lost:
                self._replace(worker, str(lost))

        await asyncio.gather(*(tell(worker) for worker in list(self._workers)))

    async def close(self) -> None:
        """End all workers, and the cluster when it was started here. Twice is fine."""
        for task in self._hiring:
            task.cancel()
        await asyncio.gather(*self._hiring, return_exceptions=True)
        workers, self._workers = self._workers, []
        answers = [self._answer(worker.actor.close.remote(), self.grace) for worker in workers]
        await asyncio.gather(*answers, return_exceptions=True)
        for worker in workers:
            self._ray.kill(worker.actor)
        if self._own_cluster:
            self._own_cluster = False
            self._ray.shutdown()

    # -- places --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _place(self, alone: bool) -> AsyncIterator[_Hired]:
        """A place in a worker, or all its places; whoever waits longest is next.

        The wait ends: every place that is taken is given back within the deadline of its group.
        """
        need = self.places if alone else 1
        async with self._line:
            while (worker := self._free(need)) is None:
                self._changed.clear()
                await self._changed.wait()
            worker.load += need
        try:
            yield worker
        finally:
            worker.load -= need
            self._changed.set()

    def _free(self, need: int) -> _Hired | None:
        if not self._workers and not self._hiring:
            raise WorkersFailed(f"no worker is left; the last could not be replaced: {self._reason}")
        worker = min(self._workers, key=lambda worker: worker.load, default=None)
        return worker if worker is not None and worker.load + need <= self.places else None

    # -- workers -------------------------------------------------------------------------------

    async def _hire(self) -> None:
        """Start a worker and tell it the version of now; WorkerLost when it dies of it every time."""
        ray = self._ray
        for left in reversed(range(self.attempts)):
            actor = (
                ray.remote(Worker)
                .options(max_restarts=0, scheduling_strategy="SPREAD")
                .remote(self.recipe, self.places * self.recipe.group_size)
            )
            try:
                pid = await self._answer(actor.start.remote(), WORKER_START_S)
                told = None
                while told != self.version:  # it may change while a worker starts
                    told = self.version
                    await self._answer(actor.weights_changed.remote(told), self.grace)
            except BaseException as error:
                ray.kill(actor)
                if not (left and isinstance(error, WorkerLost)):
                    raise
            else:
                self._workers.append(_Hired(actor, pid))
                self._changed.set()
                return

    def _replace(self, worker: _Hired, reason: str) -> None:
        """End a worker that is dead or hangs, once, and start another in its place."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self.lost += 1
        self._ray.kill(worker.actor)
        warnings.warn(f"a rollout worker was lost ({reason}); its groups are played again", stacklevel=2)
        task = asyncio.create_task(self._hire(), name="rollout worker")
        self._hiring.add(task)
        task.add_done_callback(self._hired)

    def _hired(self, task: asyncio.Task[None]) -> None:
        """A replacement has started, or cannot: then the others go on without it."""
        self._hiring.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            assert isinstance(error, Exception)
            self._reason = error
            warnings.warn(f"a rollout worker could not be replaced: {error}", stacklevel=2)

    async def _answer(self, ref: Any, seconds: float) -> Any:
        """What an actor's method returns or raises; WorkerLost when it cannot or does not in `seconds`."""
        errors = self._ray.exceptions
        try:
            async with asyncio.timeout(seconds):
                return await ref
        except asyncio.CancelledError:
            with suppress(errors.RayError):
                self._ray.cancel(ref)
            raise
        except errors.RayTaskError as error:  # it is a TimeoutError too when the method raised one
            raise error.cause or error from error
        except errors.RayError as error:
            raise WorkerLost(textwrap.shorten(str(error), 300)) from error
        except TimeoutError:
            raise Unanswered(f"no answer within {seconds:.0f} s") from None

    def _failed(self, draw: Draw, message: str) -> list[Trajectory]:
        """The group of `draw` when no worker survived it."""
        error = {"kind": "worker", "stage": "play", "retryable": True, "message": message}
        seed = group_seed(self.recipe.seed, draw)
        told = {"world": draw.world, "task": draw.task, "opening": 0, "error": error, "seconds": 0.0}
        return [
            Trajectory(
                group=draw.group,
                ending="failed",
                info=told | {"seed": derive_seed(seed, member), "messages": [], "parts": {}},
            )
            for member in range(self.recipe.group_size)
        ]


class AnnouncedEngine(WrappedEngine):
    """An engine of servers that workers use too: when it has new weights, they are told."""

    def __init__(self, engine: Engine, workers: RayRunner) -> None:
        super().__init__(engine)
        self._workers = workers

    async def weights_changed(self, version: int) -> None:
        """Load the weights of `version`, then tell the workers."""
        await super().weights_changed(version)
        await self._workers.weights_changed(version)


@asynccontextmanager
async def hired(
    config: Config, engine: Engine, tokenizer: Any
) -> AsyncIterator[tuple[Engine, RayRunner | None]]:
    """The workers a config asks for, and the engine that tells them of new weights; or `engine` and None."""
    rollout = config.rollout
    if rollout.workers == "local":
        yield engine, None
        return
    from forge_train.engines.vllm import VLLMEngine

    assert isinstance(engine, VLLMEngine), "the config refuses workers without servers"
    sampling = Sampling(temperature=rollout.temperature, max_tokens=rollout.max_action)
    share = max(1, config.vllm.in_flight // rollout.worker_count)
    settings = config.vllm.model_copy(update={"in_flight": share})
    renderer, longest = config.model.renderer, rollout.max_context
    player = partial(vllm_player, engine.urls, settings, tokenizer, renderer, sampling, longest, engine.vocab)
    recipe = Recipe(
        config.worlds,
        player,
        seed=config.run.seed,
        group_size=rollout.group_size,
        deadline=rollout.deadline_s,
        forking=forking_of(config),
    )
    workers = RayRunner(recipe, rollout.worker_count, in_flight=rollout.in_flight)
    await workers.start()
    try:
        yield AnnouncedEngine(engine, workers), workers
    finally:
        await workers.close()
