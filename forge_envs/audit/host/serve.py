"""The loop: one request a line on standard input, one answer a line on what was standard output."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import importlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from typing import Any, TextIO

from forge_envs.audit.host.plain import number, plain, words
from forge_envs.audit.host.source import Env, NoRoom, Origin

KINDS = {
    "gymnasium": "gymnasium_env",
    "openenv": "openenv_server",
    "verifiers": "verifiers_taskset",
    "gem": "gem_env",
    "textarena": "textarena_env",
    "reasoning-gym": "reasoning_gym_dataset",
    "file": "file_class",
}


class Loop:
    """The sessions of one target, and what is asked about them."""

    def __init__(self, source: Origin) -> None:
        self.source = source
        self.envs: dict[int, Env] = {}
        self.opened = 0
        self.refused = 0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """One answer; what the target raises is an answer too."""
        do: Callable[..., Any] = getattr(self, f"do_{request.pop('do')}")
        try:
            return {"ok": do(**request)}
        except NoRoom as error:
            return {"full": str(error)}
        except (Exception, SystemExit) as error:
            return {"raised": _told(error)}

    # -- about the target --------------------------------------------------------------------------

    def do_describe(self) -> dict[str, Any]:
        names = ("talks", "shell", "remote", "alone", "deterministic", "top", "bounds")
        return {name: getattr(self.source, name) for name in names}

    def do_ready(self) -> None:
        """Nothing; it is answered as soon as anything is."""

    def do_tasks(self, n: int) -> list[str]:
        return self.source.tasks(n)

    def do_gold(self, task: str | None, seed: int) -> list[str] | None:
        return self.source.gold(task, seed)

    # -- sessions ----------------------------------------------------------------------------------

    def do_open(self) -> int:
        self.opened += 1
        self.envs[self.opened] = self.source.make()
        return self.opened

    def do_reset(self, session: int, seed: int | None, task: str | None) -> dict[str, Any]:
        env = self.envs[session]
        observation, info = env.reset(seed, task)
        return {**_seen(env, observation), "info": plain(info)}

    def do_step(self, session: int, say: str | None = None, act: Any = None, line: str | None = None) -> Any:
        env, refused = self.envs[session], self.refused
        action = env.say(say) if say is not None else act
        if line is not None:
            action = self.source.command(line)
        admitted = env.admits(action)
        observation, reward, terminated, truncated, info = env.step(action)
        return {
            **_seen(env, observation),
            "reward": number(reward),
            "terminated": bool(terminated),
            "truncated": bool(truncated),
            "info": plain(info),
            "refused": self.refused - refused,
            "admitted": admitted,
        }

    def do_sample(self, session: int, seed: int) -> Any:
        return self.envs[session].sample(seed)

    def do_close(self, session: int) -> None:
        self.envs.pop(session).close()

    def do_drop(self, session: int) -> None:
        self.envs.pop(session).drop()

    # -- about this process ------------------------------------------------------------------------

    def do_random(self) -> dict[str, str]:
        """Digests of the random generators that everybody in a process shares."""
        states = {"random": repr(random.getstate())}
        numpy = sys.modules.get("numpy")
        if numpy is not None:
            kind, keys, *rest = numpy.random.get_state()
            states["numpy.random"] = repr((kind, keys.tobytes(), rest))
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "get_rng_state"):
            states["torch"] = repr(torch.get_rng_state().numpy().tobytes())
        return {name: hashlib.sha256(state.encode()).hexdigest() for name, state in states.items()}

    def do_usage(self) -> dict[str, int]:
        """Open files and threads of this process, and processes below it."""
        gc.collect()
        files, threads = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        return {"open files": files, "threads": threads, "processes": len(_below(os.getpid()))}

    def do_sever(self) -> None:
        """From now on this process reaches no network and starts no program."""

        def refuse(*_: Any, **__: Any) -> Any:
            self.refused += 1
            raise ConnectionRefusedError(111, "Connection refused")

        def refuse_start(*_: Any, **__: Any) -> Any:
            self.refused += 1
            raise OSError(12, "Cannot allocate memory")

        for name in ("connect", "connect_ex"):
            setattr(socket.socket, name, refuse)
        socket.getaddrinfo = refuse
        subprocess.Popen.__init__ = refuse_start  # type: ignore[method-assign]
        os.system = refuse_start


def _seen(env: Env, observation: Any) -> dict[str, Any]:
    fits = env.fits(observation)
    known = plain(observation)
    return {"observation": known, "text": words(known), "fits": fits}


def _told(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)
    where = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-3:]]
    text = str(error).encode("utf-8", "backslashreplace").decode()[:500]
    return {"type": type(error).__name__, "message": text, "where": where}


def _below(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                for child in map(int, file.read().split()):
                    found += [child, *_below(child)]
    return found


def _typed_wrong(error: BaseException) -> bool:
    """Whether the text of an error is enough for whoever typed the target: a name, an argument, an address.

    Gymnasium's own errors and ValueErrors are refusals; what else is raised is in code, and its place helps.
    """
    refusals = ("ValueError", "ImportError", "FileNotFoundError", "URLError", "UnregisteredEnv")
    return any(kind.__name__ in refusals for kind in type(error).__mro__)


def main(kind: str, spec: str) -> None:
    """Open the target and answer until standard input ends. What the target prints goes to standard error."""
    _die_with_parent()
    answers: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    requests: TextIO = os.fdopen(os.dup(0), encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)  # a target that reads from a keyboard finds none
    try:
        module = importlib.import_module(f"{__package__}.{KINDS[kind]}")
        loop = Loop(module.load(**json.loads(spec)))
        first: dict[str, Any] = {"ok": None}
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError):
            print("say --python PATH for an interpreter that has it, or install it", file=sys.stderr)
        elif not _typed_wrong(error):
            traceback.print_exc()
        first = {"raised": _told(error)}
    print(json.dumps(first), file=answers, flush=True)
    if "raised" in first:
        return
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks that end leave no zombies
    while line := requests.readline():
        request = json.loads(line)
        if request["do"] == "fork":
            pid = os.fork()
            if pid == 0:
                requests, answers = _begin_anew(request["requests"], request["answers"])
                continue
            answer: dict[str, Any] = {"ok": pid}
        else:
            answer = loop.answer(request)
        try:
            text = json.dumps(answer, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            text = json.dumps({"raised": _told(error)})
        print(text, file=answers, flush=True)
    os._exit(0)  # threads and exit hooks of a target may never end


def _die_with_parent() -> None:
    """However the audit ends, killed too, what it started ends with it (Linux)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _begin_anew(requests: str, answers: str) -> tuple[TextIO, TextIO]:
    """In a fork: a group of its own, pipes of its own."""
    _die_with_parent()
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return open(requests, encoding="utf-8"), open(answers, "w", encoding="utf-8")
