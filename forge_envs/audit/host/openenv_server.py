"""A running OpenEnv server, spoken to over its WebSocket: one connection is one session."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import random
from typing import Any
from urllib.request import urlopen

from forge_envs.audit.host.source import Env, NoRoom, Origin
from forge_envs.audit.host.text_env import LINES

WAIT = 120.0
"""Seconds for one message; the audit's own deadline is shorter."""
TEXT_FIELDS = (
    "message",
    "text",
    "content",
    "response",
    "answer",
    "code",
    "command",
    "query",
    "action_str",
    "action",
)
"""Which field of an action says something, where several hold text."""


def load(name: str, args: dict[str, Any]) -> Origin:
    """The source at an address; `args` go into every reset. Raises ImportError without websockets."""
    if importlib.util.find_spec("websockets") is None:
        raise ImportError("websockets is not installed: pip install websockets, or name another --python")
    return ServerSource(name, args)


class ServerSource(Origin):
    """Connections to one server; its schema says what an action is."""

    remote = True

    def __init__(self, name: str, args: dict[str, Any]) -> None:
        self.http = name.replace("ws://", "http://").replace("wss://", "https://")
        self.ws = self.http.replace("http://", "ws://").replace("https://", "wss://") + "/ws"
        self.args = args
        with urlopen(f"{self.http}/schema", timeout=20) as answer:
            self.schema = json.load(answer)["action"]
        self.field = _text_field(self.schema)
        self.talks = self.field is not None

    def make(self) -> Env:
        return ServerEnv(self)


class ServerEnv(Env):
    """One connection."""

    def __init__(self, source: ServerSource) -> None:
        from websockets.sync.client import connect

        self.source = source
        self.socket = connect(source.ws, max_size=None, open_timeout=WAIT)
        with contextlib.suppress(RuntimeError):  # some have no state before a reset
            self._ask({"type": "state"})  # a server without room says so at the first message

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        data = self._ask({"type": "reset", "data": {"seed": seed, **self.source.args}})
        return data.get("observation"), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        data = self._ask({"type": "step", "data": action})
        info = data.get("metadata") or {}
        return data.get("observation"), data.get("reward"), bool(data.get("done")), False, info

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        from websockets.exceptions import ConnectionClosed

        try:
            self.socket.send(json.dumps(message))
            answer = json.loads(self.socket.recv(timeout=WAIT))
        except ConnectionClosed as error:
            raise ConnectionError(f"the server closed the connection: {error}") from error
        data: dict[str, Any] = answer.get("data") or {}
        if answer.get("type") == "error":
            if data.get("code") == "CAPACITY_REACHED":
                raise NoRoom(str(data.get("message")))
            raise RuntimeError(f"{data.get('code')}: {data.get('message')} {data.get('errors', '')}".strip())
        return data

    def close(self) -> None:
        self.socket.send(json.dumps({"type": "close"}))
        self.socket.close()

    def drop(self) -> None:
        self.socket.socket.close()

    def say(self, text: str) -> Any:
        action = _sample(self.source.schema, random.Random(0), self.source.schema)
        return {**action, self.source.field: text}

    def sample(self, seed: int) -> Any:
        rng = random.Random(seed)
        action = _sample(self.source.schema, rng, self.source.schema)
        if self.source.field is not None:
            action[self.source.field] = rng.choice(LINES)
        return action


def _text_field(schema: dict[str, Any]) -> str | None:
    fields = [
        name
        for name, kind in schema.get("properties", {}).items()
        if name != "metadata" and _plain_text(kind)
    ]
    known = [name for name in TEXT_FIELDS if name in fields]
    required = [name for name in fields if name in schema.get("required", [])]
    return next(iter([*known, *required, *fields]), None)


def _plain_text(kind: dict[str, Any]) -> bool:
    kinds = [kind, *kind.get("anyOf", [])]
    return any(one.get("type") == "string" and not ({"enum", "const"} & set(one)) for one in kinds)


def _sample(schema: dict[str, Any], rng: random.Random, root: dict[str, Any], depth: int = 0) -> Any:
    """A value that fits a JSON schema, optional fields left out."""
    if "$ref" in schema:
        found = root.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], {})
        return _sample(found, rng, root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return _sample(rng.choice(options), rng, root, depth + 1)
    kind = schema.get("type")
    if kind == "object":
        wanted = schema.get("required", [])
        fields = schema.get("properties", {})
        return (
            {name: _sample(fields.get(name, {}), rng, root, depth + 1) for name in wanted}
            if depth < 8
            else {}
        )
    if kind == "array":
        return [
            _sample(schema.get("items", {}), rng, root, depth + 1) for _ in range(schema.get("minItems", 1))
        ]
    if kind in ("integer", "number"):
        low, high = schema.get("minimum", 0), schema.get("maximum", schema.get("minimum", 0) + 4)
        return rng.randint(int(low), int(high))
    return {"boolean": rng.random() < 0.5, "string": rng.choice(LINES), "null": None}.get(str(kind), "")
