"""Pasts that are rewritten, or that come to an end in good order: one class for each kind of [context].

- resum: when the past fills the room, the world's answer ends with a request. What the policy says then is a
  summary: an action like any other, except that the world never hears it. A new segment holds the task and
  the summary. K summaries make K + 1 segments. ReSum, arXiv 2509.13313.
- iterresearch: every turn is a segment of the task, the report that the policy wrote last, its last action
  and what came of it. Thoughts are dropped. IterResearch, in WebResearcher, arXiv 2509.13309.
- recent: when the past fills the room, results of tools but the newest are replaced by a stub.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from forge_train.config import ContextConfig
from forge_train.play.encoding import Message, content_of
from forge_train.play.renderer import Renderer
from forge_train.trajectory import Segment

_REPORT = re.compile(r"\s*<report>(.*?)</report>\s*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy may say and see, in tokens."""

    context: int
    """Longest sequence."""
    action: int
    """Longest action."""


@dataclass(slots=True)
class _Exchange:
    """A prompt and the action after it."""

    messages: Sequence[Message]
    heard: list[int]
    """Tokens of the messages and of the header before the action."""
    said: list[int]
    forgotten: bool = False
    """Whether its thought is left out."""


@dataclass(frozen=True, slots=True)
class _View:
    """What the policy could see next."""

    tokens: list[int]
    heard: list[int]
    """The end of them, which is new."""
    messages: Sequence[Message]
    fits: bool
    """Whether what must still be said after it has room."""
    asks: bool = False


class WholePast:
    """All of it, within a budget, and a last action that is asked for. What the other kinds have in common.

    `history` counts tokens said and heard, each once; `last`: the policy was told that no more room is left.
    """

    def __init__(
        self, settings: ContextConfig, renderer: Renderer, messages: Sequence[Message], limits: Limits
    ) -> None:
        self._settings, self._renderer, self._limits = settings, renderer, limits
        self._opening = list(messages)
        self.asks = self.over = self.last = False
        self._warned = False
        self.summaries = 0
        self._exchanges: list[_Exchange] = []
        self._messages: Sequence[Message] = self._task()
        self._heard = renderer.open(self._messages)
        self.history = len(self._heard)
        self.segments = [Segment()]
        self.segments[-1].hear(self._heard)
        self._told: list[dict[str, Any]] = [dict(message) for message in messages]
        call = len(
            renderer.extend(with_words([{"role": "tool", "content": settings.stub}], settings.last_call))
        )
        self._closing = call + limits.action if settings.answers else 0
        """Tokens of a last action and of the request for it."""

    @property
    def left(self) -> int:
        """Tokens of the episode's budget that are left, or of what no episode reaches."""
        return (self._settings.max_tokens or 1 << 62) - self.history

    @property
    def notes(self) -> dict[str, Any]:
        """How much was rewritten, and the episode as it would be taught; see `sft.read_episodes`."""
        seen = {
            "segments": len(self.segments),
            "summaries": self.summaries,
            "history": self.history,
            "longest": max(len(s.tokens) for s in self.segments),
            "last_call": self.last,
        }
        return {"context": seen, "conversation": self._told}

    def said(self, start: int) -> str:
        """An action is whole; the world hears its text."""
        tokens = self.segments[-1].tokens[start:]
        text = self._renderer.text(tokens)
        self.history += len(tokens)
        self._told.append({"role": "assistant", "content": text, "sampled": True})
        self._exchanges.append(_Exchange(self._messages, self._heard, tokens))
        return text

    def summarised(self, start: int, *, own: bool) -> None:
        """Nobody asked for one."""
        raise AssertionError("no summary was asked for")

    def hear(self, messages: Sequence[Message]) -> None:
        """Take in the world's answer; where nothing more has room, together with the request to come to an
        end."""
        self._told += [dict(message) for message in messages]
        if self.last:
            self.over = True
            return
        heard = self._with_warning(messages)
        if self._renderer.thoughts.forgets(messages):
            for exchange in self._exchanges:
                exchange.forgotten = True
        view = self._view(heard)
        if not view.fits and self._settings.answers:
            self.last = True
            view = self._last_view(heard)
        known = len(self.segments[-1].tokens)
        if view.tokens[:known] == self.segments[-1].tokens:
            self.segments[-1].hear(view.tokens[known:])
        else:
            self._begin(view.tokens, at=len(self._told) - len(messages))
        self.history += len(view.heard)
        self._messages, self._heard, self.asks = view.messages, view.heard, view.asks

    # -- what the kinds do in their own way --------------------------------------------------------------

    def _task(self) -> list[Message]:
        """The opening, with what is to be remembered beside it."""
        return self._opening

    def _before(self) -> list[int]:
        """Tokens of all that stands before the world's next answer."""
        tokens: list[int] = []
        for one in self._exchanges:
            if one.forgotten:
                tokens += self._renderer.remembered(one.heard, one.said)
            else:
                tokens += one.heard + one.said
        return tokens

    def _view(self, messages: Sequence[Message]) -> _View:
        """What the policy would see with these messages at the end."""
        return self._appended(messages)

    # -- room ------------------------------------------------------------------------------------------

    def _appended(self, messages: Sequence[Message], *, summary: int = 0) -> _View:
        """All that stands, and these messages: they ask for a summary of so many tokens, or for an action."""
        heard = self._renderer.extend(messages)
        tokens = self._before() + heard
        action = self._limits.action + self._closing
        fits = len(tokens) + (summary or action) <= self._limits.context
        within = len(heard) + summary + action <= self.left
        return _View(tokens, heard, messages, fits and within, asks=summary > 0)

    def _last_view(self, messages: Sequence[Message]) -> _View:
        """The same with the request for the last action; what is too long for that is not shown: results of
        tools first, then whatever was said."""
        stub, call, action = self._settings.stub, self._settings.last_call, self._limits.action
        for shown in (messages, stubbed(messages, stub)):
            view = self._appended(with_words(shown, call))
            if len(view.tokens) + action <= self._limits.context and len(view.heard) + action <= self.left:
                return view
        return self._appended(with_words([{**m, "content": stub} for m in messages[-1:]], call))

    def _begin(self, tokens: list[int], at: int) -> None:
        """A new segment; the message `at` which it begins is marked for people."""
        self.segments.append(Segment())
        self.segments[-1].hear(tokens)
        if at < len(self._told):
            self._told[at]["segment"] = len(self.segments)

    def _with_warning(self, messages: Sequence[Message]) -> Sequence[Message]:
        settings = self._settings
        if self._warned or not settings.warn_at or self.history < settings.warn_at * settings.max_tokens:
            return messages
        self._warned = True
        words = settings.warning.replace("{left}", str(max(self.left, 0)))
        return with_words(messages, words.replace("{budget}", str(settings.max_tokens)))


class RecentPast(WholePast):
    """All but old results of tools, once the past fills its room. What people say is never left out."""

    def _view(self, messages: Sequence[Message]) -> _View:
        view = self._appended(messages)
        room = self._limits.context - self._limits.action - self._closing
        if len(view.tokens) < self._settings.trigger * room:
            return view
        spare = self._settings.keep - sum(m["role"] == "tool" for m in messages)
        for exchange in reversed(self._exchanges[1:]):  # the first prompt is the task
            results = sum(m["role"] == "tool" for m in exchange.messages)
            if results > max(spare, 0):
                exchange.messages = stubbed(exchange.messages, self._settings.stub, spare=max(spare, 0))
                exchange.heard = self._renderer.extend(exchange.messages)
            spare -= results
        return self._appended(messages)


class Summaries(WholePast):
    """The task, the policy's own summary of what was before, and all since.

    `due`: whether a summary comes next, for episodes to be imitated; None leaves that to the room.
    """

    def __init__(
        self, settings: ContextConfig, renderer: Renderer, messages: Sequence[Message], limits: Limits
    ) -> None:
        self._summary = ""
        self._answer: Sequence[Message] = ()
        self.due: bool | None = None
        super().__init__(settings, renderer, messages, limits)
        self._longest = settings.summary_tokens or limits.action
        asks = (settings.ask, settings.ask_again)
        asked = max(len(renderer.extend([{"role": "user", "content": ask}])) for ask in asks)
        # One action more may be said, and then the summary, or the last action, must still have room.
        reserve = limits.action + max(asked + self._longest, self._closing)
        self.threshold = settings.trigger * (limits.context - reserve)
        """Tokens from which on a summary is asked for."""

    def summarised(self, start: int, *, own: bool) -> None:
        """A summary is whole: from now on it stands beside the task in place of all that was."""
        tokens = self.segments[-1].tokens[start:]
        text = self._renderer.text(tokens)
        self._summary = self._renderer.thoughts.left(text).strip()
        self.history += len(tokens)
        self.summaries += 1
        self._told.append({"role": "assistant", "content": text, "summary": True, "sampled": own})
        last, self._exchanges, self.asks = self._exchanges[-1], [], False
        self._messages = self._task()
        tokens = self._heard = self._renderer.open(self._messages)
        if self._settings.keep_last:
            self._exchanges = [_Exchange(self._messages, self._heard, last.said, last.forgotten)]
            view = self._appended(self._answer)
            if len(view.tokens) < min(self.threshold, self._limits.context - self._limits.action):
                tokens, self._heard, self._messages = view.tokens, view.heard, self._answer
            else:
                self._exchanges = []
        self._begin(tokens, at=len(self._told))  # a summary tells by itself that a segment begins

    def _task(self) -> list[Message]:
        if not self.summaries:
            return self._opening
        return with_words(self._opening, self._settings.note.replace("{text}", self._summary))

    def _view(self, messages: Sequence[Message]) -> _View:
        whole = self._appended(messages)
        full = len(whole.tokens) >= self.threshold
        if not (full or self.due):
            return whole
        self._answer = messages
        ask = self._settings.ask_again if self.summaries else self._settings.ask
        asked = self._appended(with_words(messages, ask), summary=self._longest)
        if full and asked.fits and self.due is False:
            raise ValueError(
                f"an episode of {len(whole.tokens)} tokens and more: from {self.threshold:.0f} on the policy "
                'writes a summary, and this one has none to imitate (an assistant message with "summary": '
                "true, as forge-train collect keeps them); raise rollout.max_context, or set sft.path to "
                "episodes that have them"
            )
        if asked.fits:
            return asked
        if self.due:
            raise ValueError(
                f"an episode has a summary after {len(whole.tokens)} tokens, where there is no room to ask "
                "for one; raise rollout.max_context"
            )
        return replace(whole, fits=False)


class Workspace(WholePast):
    """The task, the report that the policy wrote last, its last action and what came of it: always that."""

    def __init__(
        self, settings: ContextConfig, renderer: Renderer, messages: Sequence[Message], limits: Limits
    ) -> None:
        self._report = ""
        self._action = ""
        super().__init__(settings, renderer, messages, limits)

    def said(self, start: int) -> str:
        """An action is whole: what it reports is kept, and the world hears the rest."""
        text = super().said(start)
        shown = self._renderer.thoughts.left(text)
        thought = text[: len(text) - len(shown)]
        if found := _REPORT.search(shown):
            self._report = found[1].strip()
            shown = shown[: found.start()] + shown[found.end() :]
        self._action = shown
        return thought + shown

    def _task(self) -> list[Message]:
        settings = self._settings
        note = settings.note.replace("{text}", self._report) if self._report else ""
        return with_words(self._opening, "\n\n".join(filter(None, [settings.rules, note])))

    def _before(self) -> list[int]:
        acted = self._renderer.encode_action(self._action)
        return self._renderer.remembered(self._renderer.open(self._task()), acted)


def with_words(messages: Sequence[Message], text: str) -> list[Message]:
    """`messages` with `text` at their end: in the last one, for templates in which roles must alternate.

    >>> with_words([{"role": "user", "content": "Hi."}], "Be quick.")
    [{'role': 'user', 'content': 'Hi.\\n\\nBe quick.'}]
    """
    if not text:
        return list(messages)
    if not messages or messages[-1]["role"] == "assistant":
        return [*messages, {"role": "user", "content": text}]
    last = messages[-1]
    return [*messages[:-1], {**last, "content": "\n\n".join(filter(None, [content_of(last), text]))}]


def stubbed(messages: Sequence[Message], stub: str, *, spare: int = 0) -> list[Message]:
    """`messages` with `stub` for what tools said, where that is shorter; `spare` of the results stay, the
    last ones.

    >>> stubbed([{"role": "tool", "content": "a long result"}, {"role": "user", "content": "So?"}], "(…)")
    [{'role': 'tool', 'content': '(…)'}, {'role': 'user', 'content': 'So?'}]
    """
    results = [i for i, message in enumerate(messages) if message["role"] == "tool"]
    old = set(results[: len(results) - spare])
    return [
        {**message, "content": stub} if i in old and len(stub) < len(content_of(message)) else message
        for i, message in enumerate(messages)
    ]
