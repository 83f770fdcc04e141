"""Agent programs: a command line or a Python function, run once per episode and ended with it."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import signal
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from forge_train.clock import queue_up
from forge_train.engines.child_environment import child_environment
from forge_train.play.renderer import Message
from forge_train.play.world_pool import MOST_THREADS, Threads

MOST_OUTPUT = 1_000_000
"""Bytes that are kept of what a program prints, the last ones."""
TERMINATION = 2.0
"""Seconds between asking a program to end and ending it."""


@dataclass(frozen=True, slots=True)
class Brief:
    """What an agent program is told about its episode."""

    task: str
    """The task's id."""
    prompt: str
    """What the world said at first, the system's words and tool schemas aside."""
    base_url: str
    """For an OpenAI client: everything asked there belongs to this episode."""
    api_key: str
    world_url: str
    """GET: task, opening messages. POST an action: what the world answers."""
    messages: Sequence[Message]
    """The world's opening."""

    def variables(self) -> dict[str, str]:
        """The same as environment variables."""
        return {
            "OPENAI_BASE_URL": self.base_url,
            "OPENAI_API_BASE": self.base_url,
            "OPENAI_API_KEY": self.api_key,
            "FORGE_WORLD_URL": self.world_url,
            "FORGE_TASK": self.task,
        }

    def filled(self, text: str, folder: str) -> str:
        """`text` with the words of a brief in braces, {folder} and {here} filled in.

        {here} is the folder in which we were started. Other braces stay as they are, and so do those in what
        is filled in.
        """
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "messages"}
        filled, at = "", 0
        values |= {"folder": folder, "here": os.getcwd()}
        while (start := text.find("{", at)) >= 0:
            end = text.find("}", start)
            name = text[start + 1 : end] if end >= 0 else ""
            filled += text[at:start] + values.get(name, "{")
            at = end + 1 if name in values else start + 1
        return filled + text[at:]


@dataclass(frozen=True, slots=True)
class Exit:
    """How a program ended."""

    code: int
    """0 if it did what it does."""
    output: str
    """What it printed or returned."""
    error: str
    """The end of what it had to say about a failure."""


class Program(Protocol):
    """An agent."""

    async def run(self, brief: Brief) -> Exit:
        """Play one episode; when this is cancelled, nothing of it goes on."""
        ...

    def close(self) -> None:
        """No more episodes."""
        ...


# ------------------------------------------------------------------------------------------ command lines


class Command:
    """A command line, run in an empty folder of its own that is removed afterwards.

    Its words, and the values of `env`, may hold what `Brief.filled` fills in. It gets no input. Raises
    ValueError when there is no such command.
    """

    def __init__(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        if not words or shutil.which(words[0]) is None:
            raise ValueError(f"agent.command = {list(words)}: there is no such program")
        self._words = [os.path.abspath(words[0]) if os.sep in words[0] else words[0], *words[1:]]
        self._env = dict(env or {})

    async def run(self, brief: Brief) -> Exit:
        """Play one episode."""
        folder = tempfile.mkdtemp(prefix="forge-agent-")
        try:
            return await self._run(brief, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """Nothing is held."""

    async def _run(self, brief: Brief, folder: str) -> Exit:
        mark = f"FORGE_EPISODE={brief.api_key}"
        own = {name: brief.filled(value, folder) for name, value in self._env.items()}
        output, errors = await _Tail.open(), await _Tail.open()
        try:
            process = await asyncio.create_subprocess_exec(
                *(brief.filled(word, folder) for word in self._words),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output.end,
                stderr=errors.end,
                cwd=folder,
                env={
                    **child_environment(os.environ),
                    **brief.variables(),
                    **own,
                    **dict([mark.split("=", 1)]),
                },
                start_new_session=True,
            )
        except (OSError, ValueError) as error:  # an argument is too long, or holds a NUL
            return Exit(126, "", f"{self._words[0]} did not start: {error}")
        finally:
            output.let_go()
            errors.let_go()
        try:
            code = await process.wait()
        finally:
            await asyncio.shield(asyncio.ensure_future(_end(process, mark)))
            told, complained = await output.text(), await errors.text()
        return Exit(code, told, complained[-4000:])


class _Tail:
    """The end of what is written into a pipe of our own.

    With those of asyncio one would wait for a program until all it started have closed them, too.
    """

    def __init__(self, end: int, transport: asyncio.ReadTransport, reader: asyncio.StreamReader) -> None:
        self.end = end
        """What the program writes to."""
        self._transport = transport
        self._reading = asyncio.create_task(self._read(reader))

    @classmethod
    async def open(cls) -> _Tail:
        """A pipe that is read from now on."""
        ours, theirs = os.pipe()
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(ours, "rb")
        )
        return cls(theirs, transport, reader)

    def let_go(self) -> None:
        """The program has its end, or never will."""
        os.close(self.end)

    async def text(self) -> str:
        """What came; whoever still writes is not waited for."""
        await asyncio.wait({self._reading}, timeout=TERMINATION)
        self._transport.close()
        return await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> str:
        kept = bytearray()
        while data := await reader.read(65_536):
            kept += data
            del kept[:-MOST_OUTPUT]
        return kept.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process, mark: str) -> None:
    """End a program with everything it started: its group, and whoever carries its mark elsewhere."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(TERMINATION):
                await process.wait()
        except TimeoutError:
            pass
    _signal(process.pid, signal.SIGKILL)
    for _ in range(10):  # a process that is being ended may still start another
        found = _marked(mark.encode())
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not found:
            break
        await asyncio.sleep(0.01)
    await process.wait()


def _signal(group: int, what: signal.Signals) -> None:
    try:
        os.killpg(group, what)
    except (ProcessLookupError, PermissionError):  # it is empty; on macOS also where only zombies are left
        return


def _marked(mark: bytes) -> list[int]:
    """Living processes of ours whose environment holds `mark`; on systems without /proc none are known."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
        except (OSError, ValueError):  # somebody else's, or gone
            continue
    return found


# ---------------------------------------------------------------------------------------------- functions


class Function:
    """A Python function of the brief, or a coroutine function; what it returns is its output.

    A coroutine is cancelled at the end of its episode. A plain function runs on a thread, which nothing can
    end: it is left alone, and gets errors for whatever it still asks.
    """

    def __init__(self, target: Callable[[Brief], Any], threads: int = MOST_THREADS) -> None:
        self._target = target
        self._threads = Threads(threads)

    async def run(self, brief: Brief) -> Exit:
        """Play one episode."""
        try:
            if inspect.iscoroutinefunction(self._target):
                result = await self._target(brief)
            else:
                result = await self._on_thread(brief)
        except Exception as error:
            return Exit(1, "", "".join(traceback.format_exception(error))[-4000:])
        return Exit(0, "" if result is None else str(result), "")

    def close(self) -> None:
        """End the threads that are idle."""
        self._threads.close(patience=0.1)

    async def _on_thread(self, brief: Brief) -> Any:
        call = self._threads.submit(lambda: self._target(brief), queue_up)
        try:
            return await asyncio.wrap_future(call)
        except asyncio.CancelledError:
            self._threads.abandon(call)
            raise
