"""A world on another machine as an env of this one: `gymnasium.make("forge_envs:Forge/Remote-v0", …)`."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar
from urllib.parse import quote, urlsplit

import gymnasium as gym
from pydantic import Field

from forge_envs.arguments import Seconds, check_arguments
from forge_envs.env import PENALTIES, StepResult
from forge_envs.errors import MachineError, NotGiven, NotInstalled, TaskError, check_options, task_asked
from forge_envs.grammars import grammar_of
from forge_envs.messages import Observation
from forge_envs.spaces import Messages, Utterance

if TYPE_CHECKING:
    import httpx2

ATTEMPTS = 3
"""How often what is safe to ask again is asked when a connection breaks."""
USERS_FAULTS = ("malformed", "forbidden", "argument", "token", "turn")
"""Kinds of refusal that asking differently would help, and asking again would not."""


class TooLarge(ValueError):
    """What was asked is larger than the server takes (`--max-bytes`)."""


class RemoteEnv(gym.Env[Observation, str]):
    """A world of `forge-envs serve`, with its spaces, rewards and `info`; gold stays on the server.

    A server that is lost, a session that is gone and an answer that does not come are machine failures:
    `reset` raises MachineError, `step` ends the episode with `info["error"]`, and neither is a 0. An action
    whose answer was lost with its connection is asked for again and never played twice.

    ## Arguments

    - `url`: the server, as http://HOST:PORT.
    - `world`: the id of one of its worlds.
    - `args`: arguments of that world.
    - `token`: the server's token; by default the environment variable FORGE_TOKEN, if it is set. A config
      that is kept should not hold it.
    - `timeout`: seconds for an answer; the server has a limit of its own for a step (`--step-timeout`).
    - `render_mode`: "ansi" makes `render()` return the conversation as text.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 1, "quick": False}  # type: ignore[misc]

    def __init__(
        self,
        url: str = "",
        world: str = "",
        args: dict[str, Any] | None = None,
        token: str | None = None,
        timeout: Seconds = 900.0,
        render_mode: Annotated[str | None, Field(pattern="^ansi$")] = None,
    ) -> None:
        given = {"url": url, "world": world, "args": args, "token": token, "timeout": timeout}
        check_arguments(type(self), (), {**given, "render_mode": render_mode})
        if not (url and world):
            raise NotGiven("Forge/Remote-v0 needs url='http://HOST:PORT' and world='Forge/...'")
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
            raise ValueError(f"url={url!r}: it must read like http://HOST:PORT")
        self.world, self.args, self.render_mode = world, dict(args or {}), render_mode
        self._line = Line(url, os.environ.get("FORGE_TOKEN") if token is None else token, timeout)
        told = self._asked_well("/spaces", {"world": world, "args": self.args})
        self.grammar = grammar_of(told["grammar"]).for_tools(told["tools"])
        self.splits: tuple[str, ...] = tuple(told["splits"])
        self.observation_space = Messages()
        self.action_space = Utterance(self.grammar, told["tools"])
        self._session, self._task, self._turn = "", "", 0
        self._said: list[Mapping[str, Any]] = []

    def task_ids(self, split: str | None = None, n: int | None = None) -> list[str]:
        """The first `n` task ids of a split, always the same ones. ValueError for an unknown split."""
        asked = {"world": self.world, "args": self.args, "split": split, "n": n}
        return list(self._asked_well("/tasks", asked)["tasks"])

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode. `options={"task": id}` picks the task, else the seed draws one.

        Raises TaskError for an unknown id and MachineError when the server or its machine fails.
        """
        super().reset(seed=seed)
        check_options(options)
        task = task_asked(options)
        self._leave()
        drawn = int(self.np_random.integers(1 << 63)) if seed is None else seed
        told = self._asked_well(
            "/sessions", {"world": self.world, "args": self.args, "task": task, "seed": drawn}
        )
        self._session, self._task, self._turn = told["session"], told["info"]["task"], 0
        messages = tuple(told["messages"])
        self._said = [dict(message) for message in messages]
        return messages, told["info"]

    def step(self, action: str) -> StepResult:
        """Say `action`; hear what is new, as from the world itself."""
        if not isinstance(action, str):
            raise TypeError(f"an action is one str, not {type(action).__name__}: {action!r}")
        return self._play(action, f"/sessions/{quote(self._session)}/step")

    def render(self) -> str | None:
        """The conversation so far as text, in mode "ansi"; else None."""
        if self.render_mode != "ansi":
            return None
        return "\n".join(f"{m['role']:>9}: {m['content']}" for m in self._said)

    def close(self) -> None:
        """End the session; calling it twice is fine. A server that is gone has closed it itself."""
        self._leave()

    # -- within ------------------------------------------------------------------------------------

    def _play(self, action: str, path: str) -> StepResult:
        if not self._session:
            raise gym.error.ResetNeeded("the episode is over (or never began): call reset() first")
        self._turn += 1
        self._said.append({"role": "assistant", "content": action})
        try:
            told = self._line.ask("POST", path, {"action": action, "turn": self._turn}, safe=True)
        except (MachineError, ValueError) as error:
            self._leave()
            if isinstance(error, TooLarge):  # the agent's doing, by which it leaves no episode unscored
                return self._malformed()
            if not isinstance(error, MachineError):
                error = MachineError(str(error), kind="refused", stage="server", retryable=False)
            failed = {"task": self._task, "turn": self._turn, "error": error.as_dict()}
            return (), 0.0, False, True, failed
        messages = tuple(told["messages"])
        self._said += [dict(message) for message in messages]
        if told["terminated"] or told["truncated"]:
            self._session = ""  # the server has closed its world
        return messages, float(told["reward"]), told["terminated"], told["truncated"], told["info"]

    def _malformed(self) -> StepResult:
        """The end of an episode by an action that no world could be told of: outcome 0, as where `strict`."""
        parts = {"malformed": -PENALTIES["malformed"]}
        told = {"task": self._task, "turn": self._turn, "turn_reward": parts["malformed"], "parts": parts}
        weight = float(self.args.get("turn_weight", 0.0))
        return (), weight * parts["malformed"], True, False, {**told, "outcome": 0.0}

    def _asked_well(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._line.ask("POST", path, body, safe=True)

    def _leave(self) -> None:
        session, self._session = self._session, ""
        if session:
            with contextlib.suppress(MachineError, ValueError, RuntimeError):
                self._line.ask("DELETE", f"/sessions/{quote(session)}", None, timeout=10.0)


class Line:
    """How a server is asked: its address, its token and how long an answer may take."""

    def __init__(self, url: str, token: str | None, timeout: float) -> None:
        self.url, self.timeout = url.rstrip("/"), timeout
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        *,
        safe: bool = False,
        timeout: float | None = None,
    ) -> dict[str, Any]:
        """The server's answer; what is `safe` to ask again is, if the connection breaks.

        Raises MachineError, ValueError for what was asked wrongly, and RuntimeError for a bug of the world.
        """
        http = _http()
        import httpx2

        content = None if body is None else json.dumps(body).encode()
        patience = self.timeout if timeout is None else timeout
        headers = {**self.headers, "Content-Type": "application/json"}
        for attempt in range(1, ATTEMPTS + 1):
            try:
                response = http.request(
                    method, self.url + path, content=content, headers=headers, timeout=patience
                )
                return self._read(response)
            except httpx2.TimeoutException as error:
                text = f"{self.url}: no answer within {patience:g} s ({type(error).__name__})"
                raise MachineError(text, kind="timeout", stage="server", retryable=True) from None
            except (httpx2.HTTPError, httpx2.InvalidURL) as error:
                if not safe or attempt == ATTEMPTS or isinstance(error, httpx2.InvalidURL):
                    text = f"{self.url}: {type(error).__name__}: {error}"
                    if isinstance(error, httpx2.ConnectError):
                        text += "; is forge-envs serve running there?"
                    raise MachineError(text, kind="lost", stage="server", retryable=True) from None
        raise AssertionError("every attempt returns or raises")

    def _read(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            told = response.json()
            if response.status_code == 200 and isinstance(told, dict):
                return told
            error = told["error"]
            kind, text = str(error["kind"]), f"{self.url}: {error['message']}"
            stage, retryable = str(error["stage"]), error["retryable"] is True
        except (ValueError, KeyError, TypeError, RecursionError):
            text = f"{self.url}: status {response.status_code}, and no answer of forge-envs serve"
            retryable = response.status_code >= 500
            raise MachineError(text, kind="rubbish", stage="server", retryable=retryable) from None
        if kind == "token":
            text = f"{text}: give it as token=, or set the variable FORGE_TOKEN"
        if kind == "unknown" and stage == "reset":
            raise TaskError(error["message"])
        if kind == "large":
            raise TooLarge(text)
        if kind in USERS_FAULTS or kind == "unknown":
            raise ValueError(text)
        if kind == "bug":
            raise RuntimeError(f"the world has a bug: {text}")
        raise MachineError(text, kind=kind, stage=stage, retryable=retryable)


_clients: dict[int, httpx2.Client] = {}
_lock = threading.Lock()


def _http() -> httpx2.Client:
    """The HTTP client of this process, which all envs share: a forked one makes its own."""
    with _lock:
        if os.getpid() not in _clients:
            try:
                import httpx2
            except ImportError:
                raise NotInstalled("httpx2 is not installed: pip install 'forge-envs[serve]'") from None
            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=512, keepalive_expiry=30)
            # A server is on this machine, in this cluster, or named by its own address.
            _clients[os.getpid()] = httpx2.Client(limits=limits, trust_env=False)
        return _clients[os.getpid()]
