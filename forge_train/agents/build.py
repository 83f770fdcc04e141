"""What the [agent] table of a config asks for."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from forge_train.config.agent_program import AgentConfig
from forge_train.engine import Engine, Sampling
from forge_train.play.chat_messages import text_of, with_native_calls
from forge_train.play.encoding import Call, arguments_of
from forge_train.play.hearing import Reader
from forge_train.play.renderer import Renderer

if TYPE_CHECKING:
    from forge_train.agents.player import AgentPlayer


class Agents:
    """The agent program of a run, and the endpoint that it asks. ValueError for what a user can mend."""

    def __init__(self, config: AgentConfig) -> None:
        try:
            from forge_train.agents.server import AgentServer
        except ImportError as error:
            raise ValueError(f"[agent] needs a server ({error}): pip install 'forge-envs[agents]'") from None
        from forge_train.agents.player import Terms
        from forge_train.agents.program import Command, Function, Program

        self._server = AgentServer(config.host, config.port)
        self._program: Program = (
            Command(config.command, config.env) if config.command else Function(_function(config.function))
        )
        grammar = _named("agent.grammar", config.grammar) if config.grammar else None
        self._terms = Terms(config.hand_in, config.max_requests, config.grace_s, grammar)
        self._players: list[AgentPlayer] = []

    async def start(self) -> None:
        """Listen."""
        await self._server.start()

    def player(self, engine: Engine, renderer: Renderer, sampling: Sampling) -> AgentPlayer:
        """The program as a player, asking a policy."""
        from forge_train.agents.player import AgentPlayer

        player = AgentPlayer(self._program, self._server, engine, renderer, sampling, self._terms)
        self._players.append(player)
        return player

    async def close(self) -> None:
        """End every program, then the server; calling it twice is fine."""
        for player in self._players:
            await player.close()
        self._program.close()
        await self._server.close()


class _Hermes:
    """How a session reads calls when no grammar is named."""

    name = "hermes"

    def for_tools(self, tools: Any) -> _Hermes:
        return self

    def parse(self, text: str) -> Any:
        message = with_native_calls({"role": "assistant", "content": text}, 0)
        calls = [Call(*arguments_of(call)) for call in message.get("tool_calls") or ()]
        return SimpleNamespace(prose=text_of(message).rpartition("</think>")[2], calls=calls, error=None)

    def write(self, prose: str = "", calls: Any = ()) -> str:
        return prose


def agent_reader(config: AgentConfig) -> Reader:
    """Who reads what the policy says where a program plays: the endpoint that it asks."""
    grammar = _named("agent.grammar", config.grammar) if config.grammar else _Hermes()
    return Reader("the program's endpoint", grammar, 'agent.grammar = "{}"')


def _named(key: str, name: str) -> Any:
    """What `module:name` names. Raises ValueError."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f'{key} = "{name}": {error}; its module must be importable, e.g. by PYTHONPATH=.'
        ) from None


def _function(name: str) -> Callable[..., Any]:
    found = _named("agent.function", name)
    if not callable(found):
        raise ValueError(f'agent.function = "{name}": that is no function but {found!r:.80}')
    return found  # type: ignore[no-any-return]
