"""An agent program as a player: it asks the policy when it likes, and acts in the world when it likes.

How an episode ends:

- The world ends it, by an action of the program. The program has `grace` seconds to finish.
- The program ends, with exit status 0 (a function returns): the agent is done. With `hand_in` what it printed
  is its last action; then the world grades what stands. Doing badly is no failure: it earns what it earns.
- It asks more often than it may: the world grades what stands.
- It ends in any other way (exit status, exception): "failed", for a crash says nothing about the policy; or,
  when the policy's last answer was cut for want of room, "context" or "tokens", as with a player of ours.
- It never asked the policy: "failed" as a bug, which stops a run that tolerates none.
- The episode's deadline passes, the engine fails, the world fails: as with any player; the program is ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forge_train.agents.program import Brief, Exit, Program
from forge_train.agents.server import AgentServer
from forge_train.agents.session import Session, over
from forge_train.agents.wire import Grammar, Refused
from forge_train.engine import Engine, Sampling
from forge_train.play.episode import AgentFailed, OutOfRoom
from forge_train.play.renderer import Message, Renderer
from forge_train.trajectory import Segment


@dataclass(frozen=True, slots=True)
class Terms:
    """What a program may do."""

    hand_in: bool = False
    """Whether what it printed or returned is its last action."""
    max_requests: int = 500
    """How often it may ask the policy in one episode."""
    grace: float = 10.0
    """Seconds it has to finish when the world has ended the episode."""
    grammar: Grammar | None = None
    """How the policy writes calls, if not in the Hermes grammar."""


class AgentPlayer:
    """A `Player` whose every episode is a run of a program. `server` is started and closed by its owner."""

    def __init__(
        self,
        program: Program,
        server: AgentServer,
        engine: Engine,
        renderer: Renderer,
        sampling: Sampling,
        terms: Terms | None = None,
    ) -> None:
        self.program = program
        self.server = server
        self.engine = engine
        self.renderer = renderer
        self.sampling = Sampling(
            sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens, renderer.stop
        )
        self.terms = terms or Terms()
        self._ending: set[asyncio.Task[None]] = set()

    def open(self, messages: Sequence[Message], *, task: str, name: str, seed: int) -> AgentConversation:
        """Start the program on an episode."""
        return AgentConversation(self, messages, task, name, seed)

    async def close(self) -> None:
        """Wait until every program has ended."""
        while self._ending:
            await asyncio.gather(*self._ending)

    def leave(self, running: asyncio.Task[Exit], grace: float) -> None:
        """End a program, after `grace` seconds."""

        async def end() -> None:
            await asyncio.wait({running}, timeout=grace)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

        task = asyncio.create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


class AgentConversation:
    """One episode: a running program, what it asks the policy, and what it does in the world."""

    def __init__(
        self, player: AgentPlayer, messages: Sequence[Message], task: str, name: str, seed: int
    ) -> None:
        self._player = player
        self.task, self.opening = task, messages
        self.session = Session(
            player.engine,
            player.renderer,
            player.sampling,
            name=name,
            seed=seed,
            max_requests=player.terms.max_requests,
            grammar=player.terms.grammar,
        )
        self._address = player.server.admit(self)
        self._actions: asyncio.Queue[tuple[str, asyncio.Future[tuple[Sequence[Message], bool]]]]
        self._actions = asyncio.Queue()
        self._asked: asyncio.Future[tuple[Sequence[Message], bool]] | None = None
        """Gets what the world answers to the action it is busy with."""
        self._numbered: tuple[int, str, asyncio.Future[tuple[Sequence[Message], bool]]] | None = None
        """The last action that was given a number, and its answer."""
        self._handed_in = not player.terms.hand_in
        self._closed = False
        address = self._address
        brief = Brief(
            task, _prompt(messages), address.base_url, address.key, address.world_url, tuple(messages)
        )
        self._running = asyncio.create_task(player.program.run(brief), name=f"agent {name}")

    # -- as a conversation ------------------------------------------------------------------------------

    @property
    def segments(self) -> list[Segment]:
        """The policy's words, in the segments of the session."""
        return self.session.segments

    @property
    def versions(self) -> list[int]:
        """Weights version that began each action so far."""
        return self.session.versions

    @property
    def spans(self) -> dict[int, list[tuple[int, int]]]:
        """Of the actions under way while the weights changed."""
        return self.session.spans

    @property
    def notes(self) -> dict[str, Any]:
        """What the policy was shown, and how the program did."""
        told: dict[str, Any] = {"requests": self.session.requests, "ignored": sorted(self.session.ignored)}
        if self._running.done() and not self._running.cancelled() and self._running.exception() is None:
            told |= {"exit": self._running.result().code, "stderr": self._running.result().error}
        return {"agent": told, "conversation": self.session.transcript()}

    async def act(self) -> str | None:
        """The program's next action in the world, None when it is done. Raises what ends the episode."""
        action = asyncio.ensure_future(self._actions.get())
        full = asyncio.ensure_future(self.session.full.wait())
        try:
            happening: set[asyncio.Future[Any]] = {action, full, self.session.broken, self._running}
            await asyncio.wait(happening, return_when=asyncio.FIRST_COMPLETED)
            if self.session.broken.done():
                self.session.broken.result()
            if action.done():
                text, asked = action.result()
                if asked.cancelled():  # who asked has gone: a retry would act twice
                    return await self.act()
                self._asked = asked
                return text
            return None if full.done() else self._result(self._running.result())
        finally:
            for waiting in (action, full):
                waiting.cancel()

    def hear(self, messages: Sequence[Message]) -> None:
        """The world's answer goes to the program that asked."""
        self._reply(messages, over=False)

    def close(self) -> None:
        """Dismiss the program; it has time to finish if the world has just ended the episode."""
        grace = self._player.terms.grace if self._asked is not None else 0.0
        self._reply((), over=True)
        self._closed = True
        self._player.server.dismiss(self._address)
        try:
            self.session.close()
            while not self._actions.empty():
                answer = self._actions.get_nowait()[1]
                if not answer.done():
                    answer.set_exception(over())
        finally:
            self._player.leave(self._running, grace)

    # -- as a guest of the server -----------------------------------------------------------------------

    async def say(self, action: str, turn: int | None = None) -> tuple[Sequence[Message], bool]:
        """Act in the world; actions wait for each other.

        With `turn`, any number that the program gives an action, who asks again for the same one hears what
        became of it, and nothing is done twice. Without, what an asker who has gone asked for is not done.
        """
        if self._closed:
            raise over()
        if turn is not None and self._numbered is not None and self._numbered[0] == turn:
            if self._numbered[1] != action:
                raise Refused(
                    f"turn {turn} was another action: number each one anew", status=409, param="turn"
                )
            return await asyncio.shield(self._numbered[2])
        answer: asyncio.Future[tuple[Sequence[Message], bool]] = asyncio.get_running_loop().create_future()
        self._actions.put_nowait((action, answer))
        if turn is None:
            return await answer
        self._numbered = (turn, action, answer)
        return await asyncio.shield(answer)

    def _reply(self, messages: Sequence[Message], *, over: bool) -> None:
        if self._asked is not None and not self._asked.done():
            self._asked.set_result((messages, over))
        self._asked = None

    def _result(self, exit: Exit) -> str | None:
        """What a program that has ended hands in; raises OutOfRoom or AgentFailed."""
        if not self.versions and self.session.out_of_room is None:
            why = f"exit status {exit.code}: {exit.error or exit.output[-1000:]}"
            raise AgentFailed(f"the program never asked the policy; {why}", kind="bug")
        if exit.code != 0 and self.session.out_of_room is not None:
            raise OutOfRoom(self.session.out_of_room)
        if exit.code != 0:
            raise AgentFailed(f"the program ended with exit status {exit.code}: {exit.error}", kind="agent")
        if self._handed_in:
            return None
        self._handed_in = True
        return exit.output.strip()


def _prompt(messages: Sequence[Message]) -> str:
    """What the world said at first, without the system's words: the task as programs want it, one text."""
    said = [m["content"] for m in messages if m["role"] != "system" and m.get("content")]
    return "\n\n".join(said or [json.dumps(list(messages), ensure_ascii=False)])
