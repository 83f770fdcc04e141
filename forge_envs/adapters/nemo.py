"""NeMo-Gym 0.7: a world as a resources server, which NeMo's `gymnasium_agent` plays; tools.

```
python -m forge_envs.adapters.nemo Forge/Retail-v0 --rows train.jsonl --n 512
python -m forge_envs.adapters.nemo Forge/Retail-v0 --port 8001
```

A row holds the opening and the tools as `responses_create_params`, and under `forge` what is played. A
response is one action: its text and all its calls, so turns are those of a text door. The `info["forge"]` of
the end is `Session.record()`. Give the agent at least the world's `max_turns` as `max_steps`: who stops
earlier than the world is never graded, and NeMo takes the rewards so far for the whole.

A machine that fails is HTTP 503 with `MachineError.as_dict()`: the agent's run fails and has no reward.
The agent closes the episode by /close; what nobody closes goes after `idle_s` without a request. A step that
is sent again after a lost connection is answered again and not taken twice.

## What it cannot carry

- Turn rewards and named parts: rewards are summed; each step's `info` tells both, which the agent drops but
  for the last, whose record has them all.
- `mask_sample` and `failure_kind`: the agent sets neither, so a failure is a failed run, not a masked sample.
- More than one process for each port: `num_workers` has to be 1, since episodes live in the process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forge_envs.adapters.asked import episode_seed, json_object, openings
from forge_envs.adapters.library import need
from forge_envs.adapters.session import Session
from forge_envs.adapters.spoken import action_of, results_of
from forge_envs.adapters.waiting import aside
from forge_envs.adapters.written import as_text, split_tools
from forge_envs.errors import MachineError, TaskError
from forge_envs.typed import port, whole

need("nemo-gym", (0, 7), "nemo-gym>=0.7,<0.8")

from fastapi import FastAPI, HTTPException, Request  # noqa: E402
from nemo_gym.base_resources_server import (  # noqa: E402
    BaseResourcesServerConfig,
    ResourcesCloseSessionRequest,
    ResourcesCloseSessionResponse,
    ResourcesSeedSessionRequest,
    ResourcesSeedSessionResponse,
)
from nemo_gym.config_types import BaseServerConfig  # noqa: E402
from nemo_gym.server_utils import SESSION_ID_KEY, ServerClient  # noqa: E402
from omegaconf import DictConfig  # noqa: E402
from pydantic import Field, PrivateAttr  # noqa: E402
from resources_servers.gymnasium import GymnasiumServer, extract_text  # noqa: E402

StepAnswer = tuple[str | None, float, bool, bool, dict[str, Any]]


def rows(
    world: str,
    args: Mapping[str, Any] | None = None,
    *,
    tasks: Sequence[str] | None = None,
    split: str = "train",
    n: int | None = 512,
    seed: int = 0,
    agent: str = "forge_agent",
) -> list[dict[str, Any]]:
    """Rows of a data set, one a task, for the agent of this name in NeMo's configuration.

    Raises TaskError for an unknown task, what `Session` raises, and MachineError where a world needs a
    machine to begin.
    """
    found = []
    for index, (_, task, opening) in enumerate(openings(world, args, tasks, split, n)):
        messages, tools = split_tools(opening)
        said = [{"role": m["role"], "content": m["content"]} for m in results_of(tuple(messages), [])]  # type: ignore[arg-type]
        asked = {
            "input": said,
            "tools": [{"type": "function", **tool["function"], "strict": False} for tool in tools],
        }
        told: dict[str, Any] = {"world": world, "args": dict(args or {}), "task": task}
        told["seed"] = episode_seed(seed, index, task)
        reference = {"type": "responses_api_agents", "name": agent}
        found.append({"responses_create_params": asked, "forge": told, "agent_ref": reference})
    return found


class ForgeServerConfig(BaseResourcesServerConfig):  # type: ignore[misc]
    """NeMo's configuration of a resources server, and the world it serves."""

    world: str
    args: dict[str, Any] = Field(default_factory=dict)
    idle_s: float = 3600.0
    """Seconds without a request after which an episode is closed."""


class Held:
    """An episode, and what was answered last, for a client that has to ask again."""

    def __init__(self, session: Session, episode: object = None) -> None:
        self.session, self.episode = session, episode
        self.lock = asyncio.Lock()
        self.used = time.monotonic()
        self.asked: str | None = None
        self.answer: StepAnswer | None = None


class ForgeServer(GymnasiumServer):  # type: ignore[misc]
    """A world behind NeMo's routes /reset and /step, with /close, /seed_session and /close_session."""

    ray_enabled = False
    config: ForgeServerConfig
    _closed: set[str] = PrivateAttr(default_factory=set)
    """Closed sessions of environment servers: a seed that comes late must not begin them again."""

    @classmethod
    def of(cls, world: str, args: Mapping[str, Any] | None = None, **more: Any) -> ForgeServer:
        """A server without NeMo's head server, for a process of one's own. Raises what `Session` raises."""
        Session(world, args).close()
        at = {"host": "127.0.0.1", "port": 0}
        config = ForgeServerConfig(
            name="forge", entrypoint="app.py", world=world, args=dict(args or {}), **{**at, **more}
        )
        client = ServerClient(head_server_config=BaseServerConfig(**at), global_config_dict=DictConfig({}))
        return cls(config=config, server_client=client)

    def setup_webserver(self) -> FastAPI:
        """NeMo's app, with the routes that close."""
        app: FastAPI = super().setup_webserver()
        app.post("/close")(self.close)
        app.post("/seed_session")(self.seed_session)
        app.post("/close_session")(self.close_resources_session)
        return app

    async def reset(
        self, metadata: dict[str, Any], session_id: str | None = None
    ) -> tuple[str | None, dict[str, Any]]:
        """Begin the row's episode; its opening stands in the row, so nothing is said."""
        assert session_id is not None
        await self._let_go(session_id)
        held = await self._begin(session_id, metadata)
        told = {"supports_explicit_close": True, "supports_step_idempotency": True}
        return None, {**told, "task": held.session.task}

    async def step(self, action: Any, metadata: dict[str, Any], session_id: str | None = None) -> StepAnswer:
        """Say one response, its text and its calls, as one action."""
        held = self.session_state.get(session_id)
        if held is None:
            raise HTTPException(409, "no episode is open: it never began, or was closed; reset first")
        async with held.lock:
            held.used = time.monotonic()
            asked = metadata.get("_ng_step_request_id")
            if held.answer is None or asked is None or asked != held.asked:
                held.answer, held.asked = await self._act(held.session, action), asked
            answer: StepAnswer = held.answer
            return answer

    async def _act(self, session: Session, response: Any) -> StepAnswer:
        calls = [item for item in response.output if item.type == "function_call"]
        written = [(call.name, call.arguments) for call in calls]
        action = action_of(session.env.grammar, extract_text(response), written)
        try:
            turn = await aside(session, session.act, action)
        except MachineError as error:
            raise HTTPException(503, error.as_dict()) from error
        # NeMo's own `tool_output` would write the text as JSON, in quotes; here it stays what the world said.
        outputs: list[dict[str, str]] = []
        others: list[Any] = []
        for message in results_of(turn.messages, [call.call_id for call in calls]):
            if "tool_call_id" in message:
                outputs.append({"call_id": message["tool_call_id"], "output": message["content"]})
            else:
                others.append(message)
        info: dict[str, Any] = {"turn_reward": turn.turn_reward, "parts": dict(turn.parts)}
        info["tool_outputs"] = outputs
        if turn.over:
            info["forge"] = session.record()
        told = as_text(others) or None
        return told, turn.reward, turn.over and not turn.truncated, turn.truncated, info

    # -- closing -----------------------------------------------------------------------------------

    async def close_session(self, session_id: str | None) -> None:
        """Let go of the world at the end; the last answer stays, for a client that did not get it."""
        held = self.session_state.get(session_id)
        if held is not None:
            async with held.lock:
                await aside(held.session, held.session.close)

    async def close(self, request: Request) -> dict[str, Any]:
        """Forget the episode of this cookie, if there is one."""
        await self._let_go(request.session[SESSION_ID_KEY])
        return {}

    async def seed_session(
        self, body: ResourcesSeedSessionRequest, request: Request
    ) -> ResourcesSeedSessionResponse:
        """Begin the episode of `task_data["forge"]` under the caller's id, as an environment server asks."""
        id = body.resources_session_id
        held = self.session_state.get(id)
        if id in self._closed or (held is not None and held.episode != body.episode_id):
            raise HTTPException(409, f"session {id!r} was closed, or is another episode's")
        if held is None:
            held = await self._begin(id, body.task_data, body.episode_id)
        async with held.lock:
            if self.session_state.get(id) is not held:
                raise HTTPException(503, f"session {id!r} could not begin, or was closed meanwhile")
        request.session[SESSION_ID_KEY] = id
        return ResourcesSeedSessionResponse(resources_session_id=id)

    async def close_resources_session(
        self, body: ResourcesCloseSessionRequest
    ) -> ResourcesCloseSessionResponse:
        """Close what `seed_session` began; what comes late begins nothing."""
        self._closed.add(body.resources_session_id)
        await self._let_go(body.resources_session_id)
        return ResourcesCloseSessionResponse(resources_session_id=body.resources_session_id)

    # -- within ------------------------------------------------------------------------------------

    async def _begin(self, id: str, row: Mapping[str, Any], episode: object = None) -> Held:
        told = row.get("forge")
        if not isinstance(told, dict) or not isinstance(told.get("task"), str):
            raise HTTPException(422, 'a row has to have "forge" with a "task", as rows() writes them')
        served = self.config.world, self.config.args
        if (told.get("world", served[0]), told.get("args", served[1])) != served:
            raise HTTPException(422, f"the row is of {told['world']}, {told['args']}; served is {served}")
        await self._let_go_of_idle()
        session = Session(*served)
        held = self.session_state[id] = Held(session, episode)
        async with held.lock:
            try:
                await aside(session, session.begin, told["task"], seed=told.get("seed"))
            except BaseException as error:
                self.session_state.pop(id, None)
                session.close()
                if isinstance(error, MachineError):
                    raise HTTPException(503, error.as_dict()) from error
                if isinstance(error, TaskError):
                    raise HTTPException(404, str(error)) from error
                raise
        return held

    async def _let_go(self, id: str) -> None:
        await self.close_session(id)
        self.session_state.pop(id, None)

    async def _let_go_of_idle(self) -> None:
        since = time.monotonic() - self.config.idle_s
        for id, held in list(self.session_state.items()):
            if held.used < since and not held.lock.locked():
                await self._let_go(id)


def main() -> None:
    """Serve a world to NeMo-Gym, or write rows of it."""
    parser = argparse.ArgumentParser("forge_envs.adapters.nemo", description=main.__doc__)
    parser.add_argument("world", help="id of a world, e.g. Forge/Retail-v0")
    parser.add_argument("--args", type=json_object, default={}, help="its arguments, as JSON")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, default=8000)
    parser.add_argument("--rows", type=Path, help="write rows to this file of JSON lines, and end")
    parser.add_argument("--split", default="train", help="whose tasks the rows are")
    parser.add_argument("--n", type=whole(1), default=512, help="how many rows")
    parser.add_argument("--agent", default="forge_agent", help="name of the agent in NeMo's configuration")
    asked = parser.parse_args()
    if asked.rows:
        found = rows(asked.world, asked.args, split=asked.split, n=asked.n, agent=asked.agent)
        asked.rows.write_text("".join(json.dumps(row) + "\n" for row in found), "utf-8")
        return
    import uvicorn

    app = ForgeServer.of(asked.world, asked.args).setup_webserver()
    uvicorn.run(app, host=asked.host, port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()
