"""Forge/OpenEnv-v0: an environment behind an OpenEnv server, by its WebSocket protocol."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from forge_envs.adopted.adopted import Adopted, Answered, number
from forge_envs.adopted.making import given, library, made
from forge_envs.arguments import Seconds
from forge_envs.env import MaxTurns
from forge_envs.errors import MachineError

INSTALL = "websockets>=13.1"
CONNECTING = 10.0
"""Most seconds to wait for a connection."""


class AdoptedOpenEnv(Adopted):
    """An environment of an OpenEnv server, one connection (and there one session) for each env.

    The action's text goes into one field of the server's action schema, and one field of its observations is
    shown. Which, is found out where there is only one field of text; else say so. `truncated`, `parts` and
    `outcome` in an observation's metadata are taken over.

    A server that refuses, is full, is gone or stays silent is a machine failure, and so is an episode that
    ends without ever having had a reward. After one the connection is dropped: OpenEnv would go on in a
    fresh environment that nobody has reset.

    ## Arguments

    - `url`: the server, as "http://localhost:8000".
    - `field`: the field of an action that takes the text.
    - `shows`: the field of an observation that is shown; "*" shows all of it as JSON.
    - `action`: other fields of every action.
    - `begin_with`: other arguments of the server's reset, besides the seed.
    - `system`, `max_turns`, `timeout`: see `Adopted`.
    """

    def __init__(
        self,
        *,
        url: str = "",
        field: str = "",
        shows: str = "",
        action: dict[str, Any] | None = None,
        begin_with: dict[str, Any] | None = None,
        system: str = "",
        max_turns: MaxTurns = 100,
        timeout: Seconds = 60.0,
    ) -> None:
        super().__init__(system=system, max_turns=max_turns, timeout=timeout)
        parts = urlsplit(given("url", url, "http://localhost:8000"))
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError(f"url={url!r}: an address reads like http://localhost:8000")
        library("websockets.sync.client", INSTALL)
        self.url = url.rstrip("/")
        scheme = {"http": "ws", "https": "wss"}[parts.scheme]
        self._address = urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/ws", parts.query, ""))
        self._more, self._begin_with = action or {}, begin_with or {}
        schema = made(f"url={url!r}: its schema", self._schema)
        self._field = field or _only_text(schema.get("action"), "field", set(self._more))
        self._shows = shows or _only_text(schema.get("observation"), "shows", {"reward", "done", "metadata"})
        self._connection = contextlib.ExitStack()
        self._socket: Any = None
        self._scored = False

    def _schema(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}/schema", timeout=CONNECTING) as answer:
                return dict(json.load(answer))
        except urllib.error.HTTPError:
            raise  # it is there, and says no
        except OSError as error:
            text = f"{self.url}: {error}"
            raise MachineError(text, kind="lost", stage="reset", retryable=True) from error

    def begin(self, seed: int) -> str:
        """Its opening."""
        if self._socket is None:
            self._socket = self._connected()
        self._scored = False
        said = self._asked("reset", {"seed": seed % (2**31 - 1), **self._begin_with})
        return self._shown(said.get("observation"))

    def answer(self, action: str) -> Answered:
        """Its answer."""
        said = self._asked("step", {**self._more, self._field: action})
        observation, done, reward = said.get("observation"), bool(said.get("done")), said.get("reward")
        told = said.get("metadata") or (observation or {}).get("metadata") or {}
        self._scored |= reward is not None
        if done and not self._scored:
            raise MachineError("the episode ended unscored", kind="reward", stage="step", retryable=False)
        truncated = bool(told.get("truncated", False))
        parts = told.get("parts") if isinstance(told.get("parts"), Mapping) else {}
        outcome = told.get("outcome")
        return Answered(
            self._shown(observation),
            0.0 if reward is None else number(reward),
            done and not truncated,
            truncated,
            {str(name): number(value, str(name)) for name, value in (parts or {}).items()},
            outcome=None if outcome is None else number(outcome, "outcome"),
        )

    def _connected(self) -> Any:
        client = library("websockets.sync.client", INSTALL)
        try:
            opened = client.connect(self._address, open_timeout=min(CONNECTING, self.timeout), max_size=2**26)
            return self._connection.enter_context(opened)
        except Exception as error:
            raise MachineError(
                f"{self.url}: {error}", kind="connection", stage="reset", retryable=True
            ) from error

    def _asked(self, what: str, data: dict[str, Any]) -> dict[str, Any]:
        from websockets.exceptions import WebSocketException

        try:
            self._socket.send(json.dumps({"type": what, "data": data}))
            answer = json.loads(self._socket.recv(timeout=self.timeout))
        except TimeoutError:
            raise MachineError(
                f"no answer within {self.timeout:g} s", kind="timeout", stage=what, retryable=True
            ) from None
        except (WebSocketException, OSError, ValueError) as error:
            raise MachineError(str(error), kind="connection", stage=what, retryable=True) from error
        told: dict[str, Any] = answer.get("data") or {}
        if answer.get("type") != "observation":
            code = str(told.get("code", answer.get("type")))
            message = f"{code}: {str(told.get('message', answer))[:300]}"
            raise MachineError(message, kind="environment", stage=what, retryable=code == "CAPACITY_REACHED")
        return told

    def _shown(self, observation: Any) -> str:
        if self._shows == "*" or not isinstance(observation, Mapping):
            return json.dumps(observation, ensure_ascii=False)
        value: Any = observation.get(self._shows)
        return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    def let_go(self) -> None:
        """Close the connection, and with it the session."""
        self._socket = None
        with contextlib.suppress(Exception):  # what is wrong with it is why it is closed
            self._connection.close()

    def abandon(self) -> None:
        """The same: a socket can be closed while another thread waits for it."""
        self.let_go()


def _only_text(schema: dict[str, Any] | None, argument: str, known: set[str]) -> str:
    """The one field of text of a schema. Raises ValueError where there is none or are several."""
    fields = dict((schema or {}).get("properties") or {})
    texts = [
        str(name)
        for name, kind in fields.items()
        if name not in known
        and "string" in (kind.get("type"), *(k.get("type") for k in kind.get("anyOf", [])))
    ]
    if len(texts) != 1:
        raise ValueError(f"{argument}='': say which of {sorted(fields)} is meant; of text are {texts}")
    return texts[0]
