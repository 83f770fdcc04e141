"""A world as the trainer sees it: a pool of Gymnasium environments, named and played by task.

The trainer imports no world. It asks `gymnasium.make` for one and reads what comes back by shape:
observations are tuples of plain message dicts, and `info` carries the optional keys described in
`forge_train.play.episode`.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import traceback
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar, cast

import gymnasium as gym

from forge_train.clock import queue_up
from forge_train.play.solution import Solution, solution_of

T = TypeVar("T")
Env = gym.Env[Any, Any]
Step = tuple[list[dict[str, Any]], float, bool, bool, dict[str, Any]]
"""New messages, reward, terminated, truncated, info."""
MOST_THREADS = 1024
"""Most threads of a world: with more that wait at once, switching between them costs more than it gains."""


class World:
    """Environments made by `gymnasium.make(id, **args)`, reused from one episode to the next.

    `id` may name the module that registers it: "forge_envs:Forge/Retail-v0". The first environment is
    made here, so that a wrong id or argument is an error at once (ValueError).
    """

    def __init__(
        self,
        id: str,
        args: dict[str, Any] | None = None,
        name: str | None = None,
        weight: float = 1.0,
        *,
        threads: int = MOST_THREADS,
    ) -> None:
        """Threads are started when steps need them: as many as episodes wait at once, at most `threads`."""
        if weight <= 0:
            raise ValueError(
                f"world {id}: weight={weight}, it must be more than 0; leave the world out instead"
            )
        self.id = id
        self.args = dict(args or {})
        self.name = name or id.rsplit(":", 1)[-1]
        self.weight = weight
        self.lost = 0
        """Environments given up because a call into them was still running at the deadline."""
        self._free: list[Env] = []
        self._closed = False
        try:
            first = self._make()
        except (gym.error.Error, ImportError, TypeError, ValueError) as error:
            raise ValueError(
                f"cannot make world {id!r} with args {self.args!r}: {_why(id, error)}"
            ) from error
        self._free.append(first)
        self.quick: bool = first.unwrapped.metadata.get("quick") is True
        """Steps take microseconds and run on the event loop; other worlds step on threads."""
        self._numbered = not hasattr(first.unwrapped, "task_ids")
        self.solved: bool = hasattr(first.unwrapped, "gold_actions")
        """Whether it knows gold: actions that earn outcome 1.0 on a task."""
        self.threads = Threads(threads)

    def tasks(self, split: str, n: int) -> list[str]:
        """`n` task ids of a split, always the same ones.

        A world without `task_ids` is seeded instead: its tasks are "seed:0", "seed:1", ... in the train
        split, and seeds from elsewhere in every other split, so that tests are not trained on.
        """
        if n < 1:
            raise ValueError(f"world {self.name}: n={n} tasks asked for, it must be at least 1")
        if self._numbered:
            first = 0 if split == "train" else (1 + zlib.crc32(split.encode())) << 20
            return [f"seed:{first + i}" for i in range(n)]
        return list(self._borrow(lambda env: env.task_ids(split, n)))

    def content(self, task: str) -> Any:
        """All that the world knows of `task`, gold included; None where it does not tell (`env.find`)."""

        def find(env: Any) -> Any:
            if self._numbered or not hasattr(env, "find"):
                return None
            try:
                return env.find(task)
            except Exception:  # somebody else's `find` may mean anything
                return None

        return self._borrow(find)

    def gold(self, task: str) -> list[str]:
        """Actions that earn outcome 1.0 on `task`; ValueError where the world has none."""
        if not self.solved:
            raise ValueError(
                f"world {self.name} has no gold actions: imitation needs a world that knows them"
            )
        return list(self._borrow(lambda env: env.gold_actions(task)))

    def solution(self, task: str) -> Solution | None:
        """Gold of a task, how actions are read, which tools write; None where the world does not say."""
        return cast(Solution | None, self._borrow(lambda env: solution_of(env, task)))

    def grammar(self) -> Any | None:
        """How it reads actions (`name`, `parse`, `write`, `for_tools`); None where the world does not say."""
        return self._borrow(lambda env: getattr(env, "grammar", None))

    def grammars(self) -> list[Any]:
        """All grammars that a world of its kind could read."""
        return list(self._borrow(lambda env: getattr(env, "known_grammars", list)()))

    def start(self, task: str, seed: int) -> dict[str, Any]:
        """Keyword arguments of `reset`: a seeded world's task is its seed, so a group shares its opening."""
        if not self._numbered:
            return {"seed": seed, "options": {"task": task}}
        number = task.removeprefix("seed:")
        if not task.startswith("seed:") or not number.isdecimal():
            raise ValueError(f"world {self.name} has no named tasks: {task!r} should read like 'seed:0'")
        return {"seed": int(number)}

    def acquire(self) -> Env:
        """An environment nobody else holds: a free one, or a new one."""
        try:
            return self._free.pop()
        except IndexError:
            return self._make()

    def release(self, env: Env) -> None:
        """Give an environment back; the next episode resets it."""
        if self._closed:
            env.close()
        else:
            self._free.append(env)

    def close(self) -> None:
        """Close the free environments; ones in use are closed when they come back. Twice is fine."""
        self._closed = True
        while self._free:
            self._free.pop().close()
        self.threads.close()

    def _make(self) -> Env:
        return gym.make(self.id, disable_env_checker=True, **self.args)

    def _borrow(self, use: Callable[[Any], Any]) -> Any:
        env = self.acquire()
        try:
            return use(env.unwrapped)
        finally:
            self.release(env)


def _why(id: str, error: Exception) -> str:
    """What an error says; and where an id without its module is unknown, how one with it is written."""
    if isinstance(error, gym.error.UnregisteredEnv) and ":" not in id:
        return f"{error} Say which module registers it, as in forge_envs:Forge/Retail-v0"
    return str(error)


class WorldFailed(Exception):
    """The world could not go on: `error` says whether its machine failed or its code has a bug."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(error)  # as it came: it is pickled with it
        self.error = error

    def __str__(self) -> str:
        return f"{self.error['kind']} in {self.error['stage']}: {self.error.get('message', '')}"


class Seat:
    """One episode's hold on one environment. A call that outlives the episode keeps its environment."""

    def __init__(self, world: World, task: str, seed: int) -> None:
        self._world = world
        self._start = world.start(task, seed)
        self._env: Env | None = None
        self._call: Future[Any] | None = None

    async def reset(self) -> list[dict[str, Any]]:
        """Opening messages of a new episode; raises WorldFailed."""

        def reset() -> list[dict[str, Any]]:
            self._env = self._world.acquire()
            observation, _ = self._env.reset(**self._start)
            return _messages(observation)

        return await self._run("reset", reset)

    async def step(self, action: str) -> Step:
        """The world's answer to an action; raises WorldFailed, also for the failures told in `info`."""

        def step() -> Step:
            assert self._env is not None
            return _answer(self._env.step(action))

        return await self._run("step", step)

    async def cut(self) -> Step:
        """The world's verdict on an episode that its player has left, as at its turn limit.

        A world without `truncate` has none: what its steps earned is all there is. Raises WorldFailed.
        """

        def cut() -> Step:
            assert self._env is not None
            truncate = getattr(self._env.unwrapped, "truncate", None)
            return ([], 0.0, False, True, {}) if truncate is None else _answer(truncate())

        return await self._run("grade", cut)

    def leave(self, broken: bool) -> None:
        """Give the environment back; one that failed is closed, one that is still busy once it is done."""
        threads = self._world.threads
        if self._call is not None and not self._call.cancel() and threads.abandon(self._call):
            self._world.lost += 1
            self._call.add_done_callback(lambda _: self._discard())
        elif self._env is None:
            pass
        elif not broken:
            self._world.release(self._env)
        elif self._world.quick:
            self._discard()
        else:
            threads.submit(self._discard)

    def _discard(self) -> None:
        if self._env is not None:
            with suppress(Exception):  # it is being thrown away because it fails: that is no news
                self._env.close()

    async def _run(self, stage: str, call: Callable[[], T]) -> T:
        try:
            if self._world.quick:
                await asyncio.sleep(0)  # a player that never waits must not hold up the other episodes
                return call()
            self._call = self._world.threads.submit(call, queue_up)
            return await asyncio.wrap_future(self._call)
        except WorldFailed:
            raise
        except Exception as error:
            raise WorldFailed(_described(error, stage)) from error


def _described(error: Exception, stage: str) -> dict[str, Any]:
    """A machine failure says so by its attributes; any other exception is a bug of the world."""
    message = f"{type(error).__name__}: {error}"
    if hasattr(error, "kind") and hasattr(error, "retryable"):
        stage = getattr(error, "stage", stage)
        return {"kind": error.kind, "stage": stage, "retryable": error.retryable, "message": message}
    trace = "".join(traceback.format_exception(error))
    return {"kind": "bug", "stage": stage, "retryable": False, "message": message, "traceback": trace}


def _answer(told: tuple[Any, Any, Any, Any, dict[str, Any]]) -> Step:
    """What a world told, checked; raises WorldFailed for the failures told in `info`."""
    observation, reward, terminated, truncated, info = told
    if "error" in info:
        raise WorldFailed({"stage": "step", **info["error"]})
    return _messages(observation), float(reward), bool(terminated), bool(truncated), info


def _messages(observation: Any) -> list[dict[str, Any]]:
    messages = [dict(message) for message in observation] if not isinstance(observation, str) else [{}]
    for message in messages:
        known = message.get("role") in ("system", "user", "tool", "assistant")
        if not known or not isinstance(message.get("content"), str | None):
            raise TypeError(
                f"observation {observation!r:.200}: it must be a tuple of {{role, content: text}}"
            )
    return messages


class Threads:
    """At most `limit` threads that run calls, started when first needed.

    Unlike those of `ThreadPoolExecutor` they are daemons, and a call can be abandoned: one that never
    returns takes no place from the others and cannot keep the process from exiting.

    >>> threads = Threads(2)
    >>> threads.submit(lambda: 6 * 7).result()
    42
    >>> threads.close()
    """

    def __init__(self, limit: int) -> None:
        if limit < 1:
            raise ValueError(f"threads={limit}: a world needs at least 1")
        self.limit = limit
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._workers: set[threading.Thread] = set()
        self._running: dict[Future[Any], threading.Thread] = {}

    def submit(
        self, run: Callable[[], Any], queue_up: Callable[[], Callable[[], None]] | None = None
    ) -> Future[Any]:
        """Run `run` on a thread; an exception in it is the future's.

        When none is free `queue_up` is called at once, and what it returns on the thread that comes.
        """
        call = _Call(run)
        self._calls.put(call)
        if not self._idle.acquire(blocking=False) and not self._add_worker() and queue_up is not None:
            with self._lock:
                if not call.taken:
                    call.its_turn = queue_up()
        return call.future

    def abandon(self, future: Future[Any]) -> bool:
        """Stop waiting for a running call: another thread takes its place. False when it was done."""
        with self._lock:
            worker = self._running.pop(future, None)
            if worker is None:
                return False
            self._workers.discard(worker)
        self._add_worker()
        return True

    def close(self, patience: float = 10.0) -> None:
        """Run what was submitted, waiting at most `patience` seconds for each thread, and end."""
        with self._lock:
            workers, self._workers = self._workers, set()
        for _ in workers:
            self._calls.put(None)
        for worker in workers:
            worker.join(patience)

    def _add_worker(self) -> bool:
        """Start one more, unless there are enough."""
        with self._lock:
            if len(self._workers) >= self.limit:
                return False
            worker = threading.Thread(target=self._work, name="world", daemon=True)
            self._workers.add(worker)
            worker.start()
            return True

    def _work(self) -> None:
        while (call := self._next()) is not None:
            future = call.future
            with self._lock:
                call.taken = True
                wanted = future.set_running_or_notify_cancel()
                if wanted:
                    self._running[future] = threading.current_thread()
            if call.its_turn is not None:
                call.its_turn()
            if not wanted:
                continue
            try:
                result, error = call.run(), None
            except BaseException as raised:
                result, error = None, raised
            with self._lock:
                abandoned = self._running.pop(future, None) is None
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
            if abandoned:  # another thread has this one's place
                return

    def _next(self) -> _Call | None:
        try:
            return self._calls.get_nowait()
        except queue.Empty:
            self._idle.release()
            return self._calls.get()


class _Call:
    """What a thread is to run."""

    __slots__ = ("future", "its_turn", "run", "taken")

    def __init__(self, run: Callable[[], Any]) -> None:
        self.run = run
        self.future: Future[Any] = Future()
        self.taken = False
        self.its_turn: Callable[[], None] | None = None
