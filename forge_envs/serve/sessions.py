"""The sessions of a server: begun, leased, stepped one action at a time, and closed whatever happens.

All methods run on the event loop. A world whose steps wait has a thread of its own; a quick one is stepped
on the loop itself, where a step costs less than handing it over. A call that outlives its deadline ends the
session; the place it takes is free again only when the call comes back and the world is closed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from forge_envs.adapters.session import Session, Turn
from forge_envs.errors import MachineError, TaskError
from forge_envs.messages import Observation
from forge_envs.serve.faults import Fault
from forge_envs.serve.limits import ServeLimits
from forge_envs.serve.metrics import Metrics
from forge_envs.serve.offer import Offer, World
from forge_envs.serve.worker import Worker

T = TypeVar("T")
log = logging.getLogger("forge_envs.serve")

MOST_ENDED = 2048
"""Ended sessions that are remembered at most."""
MOST_LOOKUPS = 4
"""Questions about tasks and spaces that are worked on at once."""


class Lease:
    """A client's hold on one session."""

    def __init__(self, world: World) -> None:
        self.id = secrets.token_urlsafe(16)
        self.world = world
        self.session: Session | None = None
        """None once its world is closed."""
        self.worker: Worker | None = Worker()
        """Runs every call into the world; None for a quick one after its opening."""
        self.expires = 0.0
        self.turn = 0
        """Actions taken."""
        self.last: asyncio.Future[dict[str, Any]] | None = None
        """The last thing done, perhaps still being done: what a client hears who asks for the same again."""
        self.asked: tuple[str, int | None] | None = None
        """The action that `last` answers, None for the verdict, and the turn it was said to be."""
        self.how = ""
        """How it ended; "" while it is open."""
        self.record: dict[str, Any] = {}
        """What is told of it after the end."""
        self.closed = asyncio.Event()

    @property
    def busy(self) -> bool:
        """Whether the world is at work."""
        return self.last is not None and not self.last.done()


class Sessions:
    """All sessions of a server."""

    def __init__(self, offer: Offer, limits: ServeLimits, metrics: Metrics) -> None:
        self.offer, self.limits, self.metrics = offer, limits, metrics
        self._open: dict[str, Lease] = {}
        self._ended: OrderedDict[str, tuple[float, Lease]] = OrderedDict()
        self._held: set[Lease] = set()
        self._closing = False
        self._lookups = asyncio.Semaphore(MOST_LOOKUPS)
        metrics.held(lambda: len(self._held))

    def __len__(self) -> int:
        return len(self._open)

    @property
    def held(self) -> int:
        """Worlds that take a place: open, being made, being closed, or stuck."""
        return len(self._held)

    # -- what a client asks for --------------------------------------------------------------------

    async def begin(
        self, world_id: str, args: Mapping[str, Any], task: str | None, seed: int | None
    ) -> tuple[Lease, Observation, dict[str, Any]]:
        """Begin a session: its lease, the opening and what the world tells with it. Raises Fault."""
        world = self.offer.find(world_id)
        arguments = self.offer.arguments(world, args)
        if self._closing:
            raise Fault("closing", "the server is shutting down", retryable=True)
        if len(self._held) >= self.limits.max_sessions:
            text = f"all {self.limits.max_sessions} places are taken: end a session, or come back later"
            raise Fault("full", text, retryable=True)
        lease = Lease(world)
        self._held.add(lease)

        def open_it() -> Observation:
            session = lease.session = self.offer.make(world, arguments)
            return session.begin(task, seed=seed)

        try:
            messages = await self._call(lease, open_it, "reset")
            session = lease.session
            assert session is not None
        except BaseException:
            self._let_go(lease)
            raise
        if session.env.metadata.get("quick") is True and lease.worker is not None:
            lease.worker.end()
            lease.worker = None
        self._open[lease.id] = lease
        self._renew(lease)
        self.metrics.made(world.id)
        return lease, messages, dict(session.info)

    async def step(self, id: str, action: str, turn: int | None = None) -> dict[str, Any]:
        """Say one action; what `env.step` gives, by name. Raises Fault.

        `turn` numbers the actions of an episode from 1: with it, a client that never heard the answer asks
        again and gets the same one, without a second turn.
        """
        lease = self._lease(id)
        return await self._do(lease, action, turn, lambda session: session.act(action))

    async def finish(self, id: str) -> dict[str, Any]:
        """Grade a session where it stands; its record. Raises Fault."""
        lease = self._lease(id)
        if lease.how == "over":
            return lease.record
        await self._do(lease, None, None, Session.finish)
        return lease.record

    def record(self, id: str) -> dict[str, Any]:
        """What became of a session so far; asking renews its lease, as any use does. Raises Fault."""
        lease = self._lease(id, ended=True)
        if lease.how:
            return lease.record
        self._renew(lease)
        assert lease.session is not None
        return self._told(lease, lease.session)

    async def delete(self, id: str) -> dict[str, Any]:
        """End a session, after the step it may be in; its record, once its world is closed. Raises Fault."""
        lease = self._lease(id, ended=True)
        self._end(lease, "deleted")
        try:
            await asyncio.wait_for(lease.closed.wait(), self.limits.step_timeout)
        except TimeoutError:
            text = f"the world was not closed within {self.limits.step_timeout:g} s"
            raise Fault("timeout", text, stage="close") from None
        return lease.record

    def abandon(self, id: str) -> None:
        """End a session whose client has gone with its connection."""
        if id in self._open:
            self._end(self._open[id], "disconnected")

    async def look(self, world_id: str, args: Mapping[str, Any], question: Callable[[Session], T]) -> T:
        """What a world says that is made for this question alone, on a thread of its own. Raises Fault."""
        world = self.offer.find(world_id)
        arguments = self.offer.arguments(world, args)

        def ask() -> T:
            with self.offer.make(world, arguments) as session:
                return question(session)

        async with self._lookups:
            worker = Worker()
            future = asyncio.wrap_future(worker.submit(ask))
            worker.end()
            future.add_done_callback(_heard)
            done, _ = await asyncio.wait([future], timeout=self.limits.step_timeout)
        if not done:
            raise Fault("timeout", f"no answer within {self.limits.step_timeout:g} s", retryable=True)
        try:
            return future.result()
        except ValueError as error:
            raise Fault("argument", str(error)) from error

    # -- what the server does by itself ------------------------------------------------------------

    def expire(self) -> None:
        """End what was not used for too long, and forget what has long ended."""
        now = time.monotonic()
        for lease in [lease for lease in self._open.values() if not lease.busy and lease.expires <= now]:
            self._end(lease, "expired")
        while self._ended:
            since, _ = next(iter(self._ended.values()))
            if len(self._ended) <= MOST_ENDED and now - since <= self.limits.linger:
                break
            self._ended.popitem(last=False)

    async def keep_house(self) -> None:
        """`expire`, for ever."""
        pause = min(1.0, self.limits.idle / 4)
        while True:
            await asyncio.sleep(pause)
            self.expire()

    async def close(self) -> int:
        """End all sessions, waiting for what runs; how many worlds did not come back in time."""
        self._closing = True
        for lease in list(self._open.values()):
            self._end(lease, "shutdown")
        ends = time.monotonic() + self.limits.grace
        while self._held and time.monotonic() < ends:
            await asyncio.sleep(0.02)
        return len(self._held)

    # -- within ------------------------------------------------------------------------------------

    def _lease(self, id: str, *, ended: bool = False) -> Lease:
        if id in self._open:
            return self._open[id]
        if id not in self._ended:
            text = "there is no such session here, or it ended long ago"
            raise Fault("gone", text, retryable=True, stage="session")
        lease = self._ended[id][1]
        if ended or lease.how in ("over", "failed", "bug"):  # the last answer can be heard again
            return lease
        raise _gone(lease)

    async def _do(
        self, lease: Lease, action: str | None, turn: int | None, use: Callable[[Session], Turn | float]
    ) -> dict[str, Any]:
        """One thing at a time in a session; the same thing again is answered once more."""
        asked = None if action is None else (action, turn)
        if asked is not None and turn is not None and asked == lease.asked:
            assert lease.last is not None
            return await asyncio.shield(lease.last)
        if lease.how:
            raise _gone(lease)
        if lease.busy:
            raise Fault("busy", "the session is at work: one action at a time")
        if turn is not None and turn != lease.turn + 1:
            raise Fault("turn", f"turn={turn}: the next turn of this session is {lease.turn + 1}")
        lease.asked = asked
        lease.last = asyncio.ensure_future(self._turn(lease, use))
        lease.last.add_done_callback(_heard)
        return await asyncio.shield(lease.last)

    async def _turn(self, lease: Lease, use: Callable[[Session], Turn | float]) -> dict[str, Any]:
        session, started = lease.session, time.perf_counter()
        assert session is not None
        try:
            took = await self._call(lease, lambda: use(session), "step")
        except Fault as fault:
            self._end(lease, "failed" if fault.kind != "bug" else "bug", fault)
            raise
        finally:
            self.metrics.stepped(lease.world.id, time.perf_counter() - started)
            self._renew(lease)
        if session.over:
            self._end(lease, "over")
        if not isinstance(took, Turn):
            return {}
        lease.turn += 1
        return {
            "messages": took.messages,
            "reward": took.reward,
            "terminated": took.over and not took.truncated,
            "truncated": took.truncated,
            "info": took.info,
        }

    async def _call(self, lease: Lease, call: Callable[[], T], stage: str) -> T:
        """A call into the world, which ends in time. Raises Fault."""
        try:
            if lease.worker is None:
                return call()
            future = asyncio.wrap_future(lease.worker.submit(call))
            done, _ = await asyncio.wait([future], timeout=self.limits.step_timeout)
            if not done:
                future.add_done_callback(_heard)
                text = f"the world did not come back within {self.limits.step_timeout:g} s"
                raise MachineError(text, kind="timeout", stage=stage, retryable=True)
            return future.result()
        except MachineError as error:
            self.metrics.failed(lease.world.id, error.kind)
            raise Fault.of(error) from error
        except TaskError as error:
            raise Fault("unknown", str(error), stage="reset") from error
        except Fault:
            raise
        except (Exception, SystemExit) as error:
            log.exception("%s has a bug", lease.world.id)
            raise Fault("bug", f"{type(error).__name__}: {error}", stage=stage) from error

    def _renew(self, lease: Lease) -> None:
        lease.expires = time.monotonic() + self.limits.idle

    def _told(self, lease: Lease, session: Session) -> dict[str, Any]:
        return {"session": lease.id, "ended": lease.how or None, **session.record()}

    def _end(self, lease: Lease, how: str, fault: Fault | None = None) -> None:
        """No more use of a session: its world is closed, its record stays."""
        if self._open.pop(lease.id, None) is None:
            return
        lease.how = how
        assert lease.session is not None
        lease.record = self._told(lease, lease.session)
        if fault is not None:
            lease.record["error"] = fault.as_dict()["error"]
        self._ended[lease.id] = (time.monotonic(), lease)
        self.metrics.ended(lease.world.id, how)
        self._let_go(lease)

    def _let_go(self, lease: Lease) -> None:
        """Close the world, in the thread where it ran, after what runs there; then its place is free."""

        def close() -> None:
            session, lease.session = lease.session, None
            try:
                if session is not None:
                    if lease.how:  # a step that ended meanwhile counts, and so does its failure
                        told = self._told(lease, session)
                        lease.record = {**told, "error": lease.record["error"] or told["error"]}
                    session.close()
            except Exception:
                log.exception("%s could not be closed", lease.world.id)

        def freed(_: object = None) -> None:
            self._held.discard(lease)
            lease.closed.set()

        if lease.worker is None:
            close()
            freed()
        else:
            asyncio.wrap_future(lease.worker.submit(close)).add_done_callback(freed)
            lease.worker.end()


def _gone(lease: Lease) -> Fault:
    because = {
        "over": "its episode is over",
        "deleted": "it was deleted",
        "expired": "it was not used for too long",
        "disconnected": "its connection was lost",
        "failed": f"its machine failed: {(lease.record.get('error') or {}).get('message')}",
        "bug": "its world has a bug",
        "shutdown": "the server was shutting down",
    }[lease.how]
    again = lease.how in ("expired", "disconnected", "shutdown")
    return Fault("gone", f"the session has ended: {because}", retryable=again, stage="session")


def _heard(future: asyncio.Future[Any]) -> None:
    """Take note of what a future raised, though nobody may be there to hear it."""
    if not future.cancelled():
        future.exception()
