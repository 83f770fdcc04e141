"""What one agent program asked and was answered in one episode: the exact tokens, in segments.

A program sends whole conversations, again and again. One that goes on where the policy's last answer ended
is appended to: of it only what is new becomes tokens, and nothing the policy said is ever encoded again. One
that leaves it earlier (a second try, another branch) begins a new segment, with the same tokens up to there.
One that was rewritten (a summary, a dropped thought, another agent's prompt) begins a new segment from its
text. In a new segment what was said before is context: an action is trained once, where it was sampled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from forge_train.agents.wire import Answer, Asked, Grammar, Refused, same, with_calls
from forge_train.clock import current, running
from forge_train.engine import Completion, Engine, EngineFailed, Finish, Sampling
from forge_train.play.chat_messages import as_object
from forge_train.play.renderer import Message, Renderer
from forge_train.record.run_folder import token_pieces
from forge_train.seeds import derive_seed
from forge_train.trajectory import Ending, Segment


def over() -> Refused:
    """The answer to whoever still asks."""
    return Refused("this session is over: its episode has ended", status=404, code="session_over")


@dataclass(frozen=True, slots=True)
class Cut:
    """A place of a thread where the policy had just answered."""

    messages: int
    tokens: int
    stopped: bool
    """Whether the answer ended by itself; one that was cut is closed before anything follows."""


@dataclass(slots=True, eq=False)
class Thread:
    """One conversation as it grew, in messages and in tokens."""

    name: str
    """Names it to the engine."""
    segment: Segment = field(default_factory=Segment)
    messages: list[Message] = field(default_factory=list)
    said: set[int] = field(default_factory=set)
    """Places of the messages that the policy wrote here."""
    cuts: list[Cut] = field(default_factory=list)
    busy: bool = False
    """An answer is being sampled at its end."""


class Session:
    """The policy's side of one episode.

    Requests may overlap; seeds are (episode, number of the request), so requests that come one after the
    other draw what a player of ours would.
    """

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        sampling: Sampling,
        *,
        name: str,
        seed: int,
        max_requests: int,
        grammar: Grammar | None = None,
    ) -> None:
        self.versions: list[int] = []
        self.spans: dict[int, list[tuple[int, int]]] = {}
        self.requests = 0
        """Those that were sampled for, answered or not."""
        self.ignored: set[str] = set()
        """What programs wanted of sampling and the run decides."""
        self.out_of_room: Ending | None = None
        """Why the last answer could not be finished, or not be begun."""
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception when the engine fails: then the episode has failed."""
        self.full = asyncio.Event()
        """Set when a request came after `max_requests`."""
        self._engine, self._renderer, self._sampling = engine, renderer, sampling
        self._name, self._seed, self._max_requests = name, seed, max_requests
        self._grammar = grammar
        self._threads: list[Thread] = []
        self._names: list[str] = []
        self._sampling_now: set[asyncio.Task[Completion]] = set()
        self._closed = False
        self._clock = current()
        """The episode's, which whoever asks in its name has to stop while its request waits in line."""

    @property
    def segments(self) -> list[Segment]:
        """One per thread, in the order of their first answers."""
        return [thread.segment for thread in self._threads]

    def transcript(self) -> list[dict[str, Any]]:
        """Every thread's messages, `sampled` where the policy wrote them."""
        return [
            {**message, **({"sampled": True} if i in thread.said else {})}
            for thread in self._threads
            for i, message in enumerate(thread.messages)
        ]

    async def answer(self, asked: Asked) -> Answer:
        """Sample what the policy says next. Raises Refused; nothing of a cancelled request remains."""
        if self._closed:
            raise over()
        self.ignored.update(asked.ignored)
        thread, cut = self._place(asked.messages)
        appends = thread is not None and cut == thread.cuts[-1] and not thread.busy
        prompt = self._prompt(thread, cut, asked.messages)
        sampling, room = self._limits(prompt, asked)
        if self.requests == self._max_requests:
            self.full.set()
            raise Refused(
                f"this episode may ask {self._max_requests} times", status=429, code="request_limit"
            )
        turn, self.requests = self.requests, self.requests + 1
        if thread is None or not appends:
            thread, cut = Thread(self._new_name()), None
        thread.busy = True
        try:
            said = await self._sample(prompt, sampling, thread.name, turn)
        finally:
            thread.busy = False
        said, text = self._stopped(said, asked.stop)
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if asked.calls:
            message = with_calls(text, asked.messages[0]["tools"], turn, self._grammar)
        self._take(thread, cut, asked.messages, prompt, said, message)
        self.out_of_room = self._why_cut(said, sampling, room)
        return Answer(
            id=f"chatcmpl-{derive_seed(self._seed, turn):x}",
            message=message,
            finish=said.finish,
            prompt_tokens=len(prompt),
            pieces=token_pieces(said.tokens, lambda held: self._renderer.text(held)),
            logprobs=said.logprobs,
        )

    def close(self) -> None:
        """The episode is over: what is in flight comes to nothing, and the engine forgets."""
        self._closed = True
        for task in self._sampling_now:
            task.cancel()
        for name in self._names:
            self._engine.forget(name)
        if self.broken.done():
            self.broken.exception()  # whoever wanted to know has asked
        else:
            self.broken.cancel()

    # -- where a conversation goes on ----------------------------------------------------------------

    def _place(self, messages: Sequence[Message]) -> tuple[Thread | None, Cut | None]:
        """The place up to which most of these messages are known, tokens and all."""
        best: tuple[Thread | None, Cut | None] = None, None
        rank = (0, False)
        for thread in self._threads:
            known = _common(thread.messages, messages)
            for cut in reversed(thread.cuts):
                if cut.messages <= known:
                    here = (cut.messages, cut == thread.cuts[-1] and not thread.busy)
                    if here > rank:
                        best, rank = (thread, cut), here
                    break
        return best

    def _prompt(self, thread: Thread | None, cut: Cut | None, messages: Sequence[Message]) -> list[int]:
        try:
            if thread is None or cut is None:
                return self._renderer.open(messages)
            closed = [] if cut.stopped else [self._renderer.stop[0]]
            heard = self._renderer.extend(messages[cut.messages :])
            return thread.segment.tokens[: cut.tokens] + closed + heard
        except ValueError as error:  # a template that has no words for it
            raise Refused(f"messages: {error}", param="messages") from None

    def _limits(self, prompt: list[int], asked: Asked) -> tuple[Sampling, int]:
        most = self._engine.max_context
        room = most - len(prompt)
        if room < 1:
            self.out_of_room = "context"
            raise Refused(
                f"This model's maximum context length is {most} tokens. However, your messages resulted in "
                f"{len(prompt)} tokens. Please reduce the length of the messages.",
                code="context_length_exceeded",
                param="messages",
            )
        limit = min(self._sampling.max_tokens, room, asked.max_tokens or room)
        return replace(self._sampling, max_tokens=limit), room

    def _new_name(self) -> str:
        name = f"{self._name}/{len(self._names)}" if self._names else self._name
        self._names.append(name)
        return name

    # -- what is sampled ---------------------------------------------------------------------------------

    async def _sample(self, prompt: list[int], sampling: Sampling, name: str, turn: int) -> Completion:
        """Raises Refused when the session ends meanwhile, or the engine fails, which ends the session."""
        with running(self._clock):
            task = asyncio.ensure_future(
                self._engine.complete(prompt, sampling, conversation=name, seed=derive_seed(self._seed, turn))
            )
        self._sampling_now.add(task)
        try:
            said = await task
        except asyncio.CancelledError:
            task.cancel()
            if self._closed:
                raise over() from None
            raise
        except Exception as error:
            if not self.broken.done():
                self.broken.set_exception(error)
            known = isinstance(error, EngineFailed)
            why = str(error) if known else "there is a bug; see the run's own output"
            raise Refused(f"no answer: {why}", status=503 if known else 500, code="engine_failed") from error
        finally:
            self._sampling_now.discard(task)
        if self._closed:
            raise over()
        return said

    def _stopped(self, said: Completion, stop: tuple[str, ...]) -> tuple[Completion, str]:
        """The completion up to a stop string, as if it had ended there, and its text before the string.

        What was sampled after is dropped: how the rest was drawn does not depend on it.
        """
        text = self._renderer.text(said.tokens)
        if not any(s in text for s in stop):
            return said, text
        end = 1 + _first(said.tokens, lambda tokens: any(s in self._renderer.text(tokens) for s in stop))
        text = self._renderer.text(said.tokens[:end])
        spans, left = [], end
        for version, count in said.spans:
            spans.append((version, min(count, left)))
            left -= spans[-1][1]
        kept = tuple(span for span in spans if span[1])
        cut = Completion(
            said.tokens[:end], said.logprobs[:end], "stop", said.version, kept, said.confidence[:end]
        )
        return cut, text[: min(text.find(s) for s in stop if s in text)]

    def _take(
        self,
        thread: Thread,
        cut: Cut | None,
        messages: Sequence[Message],
        prompt: list[int],
        said: Completion,
        message: Mapping[str, Any],
    ) -> None:
        """Write down what was heard and said; a new thread begins with its whole prompt."""
        action = len(self.versions)
        self.versions.append(said.version)
        if said.spans:
            self.spans[action] = list(said.spans)
        if cut is None:
            self._threads.append(thread)
        thread.segment.hear(prompt[cut.tokens if cut else 0 :])
        thread.segment.act(said.tokens, said.logprobs, action, said.confidence)
        thread.messages += messages[len(thread.messages) :]
        thread.said.add(len(thread.messages))
        thread.messages.append(_as_sent(message))
        stopped = said.tokens[-1] in self._renderer.stop
        thread.cuts.append(Cut(len(thread.messages), len(thread.segment.tokens), stopped))

    def _why_cut(self, said: Completion, sampling: Sampling, room: int) -> Ending | None:
        finish: Finish = said.finish
        if finish == "stop":
            return None
        if sampling.max_tokens == room:
            return "context"
        return "tokens" if sampling.max_tokens == self._sampling.max_tokens else None


def _common(known: Sequence[Message], messages: Sequence[Message]) -> int:
    """How many messages two conversations have in common from the start."""
    for i, (one, other) in enumerate(zip(known, messages, strict=False)):
        if not same(one, other):
            return i
    return min(len(known), len(messages))


def _first(tokens: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> int:
    """Index of the token with which `holds` becomes true of the tokens so far."""
    return next(i for i in range(len(tokens)) if holds(tokens[: i + 1]))


def _as_sent(message: Mapping[str, Any]) -> dict[str, Any]:
    """The policy's message in the form in which a program sends it back."""
    told: dict[str, Any] = {"role": "assistant", "content": message.get("content") or ""}
    if message.get("tool_calls"):
        told["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": as_object(call["function"]["arguments"])}}
            for call in message["tool_calls"]
        ]
    return told
