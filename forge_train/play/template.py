"""Any Hugging Face chat template, as a renderer whose tokens are only ever appended."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from forge_train.play import probes
from forge_train.play.action_codec import ActionCodec, Ends, Spelling
from forge_train.play.chat_template import FIX, REFUSAL, ChatTemplate
from forge_train.play.encoding import Message, content_of, decode, mapped, to_json, unused
from forge_train.play.format import Format
from forge_train.play.thoughts import Thoughts, thoughts_of


class _Stop(NamedTuple):
    """How the action of a probe exchange ends."""

    now: str
    """The token that ends it while nothing follows."""
    later: str
    """And when something does."""
    said: str
    """Text of the exchange up to and with that one."""


class Template:
    """Any Hugging Face chat template whose earlier text never changes when messages are added.

    That property is checked with probe conversations when the renderer is built; a template without it
    is refused. Of `format.past = "drop"` only what it leaves of a conversation without thoughts must stay.
    Tool schemas are taken from the first message. The action is encoded as it stands: a template that would
    wrap an assistant line (an empty thinking block) wraps only history.
    """

    def __init__(
        self,
        tokenizer: Any,
        chat_template: str | None = None,
        format: Format | None = None,
        kind: type[ChatTemplate] = ChatTemplate,
    ) -> None:
        format = format or Format()
        self.template = kind(tokenizer, chat_template, format)
        self._spelling = Spelling(tokenizer)
        self._tokenizer = self._spelling.tokenizer
        self.thoughts: Thoughts = thoughts_of(self.template, format)
        self._require_append_only()
        self._stop = lru_cache(maxsize=256)(self._find_stop)
        ids = self._spelling.ids
        ended = [self._stop(names) for names in ((), ("probe",))]
        prose, call = (ids[end.now] for end in ended)
        stop = tuple(dict.fromkeys([prose, call, *format.ends]))
        later = {ids[end.now]: ids[end.later] for end in ended if end.now != end.later}
        ends = Ends(prose, call, stop, later)
        self.stop: tuple[int, ...] = ends.stop
        spoken = [self.written(message) for message in probes.SPOKEN]
        head, found, _ = spoken[-1].partition("probe")
        self._actions = ActionCodec(
            self._spelling,
            self.thoughts,
            ends,
            prompt=self.template([probes.ASKED], prompt=True),
            spoken=spoken,
            opener=self.thoughts.left(head).strip() if found else "",
        )

    def open(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the opening messages and of the template's generation prompt."""
        return self._encode(messages, lambda shielded: self.template(shielded, prompt=True))

    def extend(self, messages: Sequence[Message]) -> list[int]:
        """Tokens that follow a stopped action: what the template puts after the stop token."""
        names: list[str] = []
        for message in messages:
            if message["role"] != "tool":
                break
            names.append(message.get("name") or "probe")
        said = self._stop(tuple(names)).said
        calls = self._exchange(tuple(names))

        def delta(shielded: Sequence[Message]) -> str:
            text = self.template([*calls, *shielded], prompt=True)
            if not text.startswith(said):
                raise ValueError(f"{REFUSAL}: {list(shielded)!r} changed the text before it. {FIX}")
            return text[len(said) :]

        return self._encode(messages, delta)

    def encode_action(self, text: str) -> list[int]:
        """Tokens of an action somebody else wrote, the template's stop token included; see `ActionCodec`."""
        return self._actions.encode(text)

    def written(self, message: Message) -> str:
        """The text of an assistant message as the template writes it last: what the policy would say."""
        asked = self.template([probes.ASKED], prompt=True)
        text = self.template([probes.ASKED, message], prompt=False)
        return self.thoughts.after_prompt(
            self._without_end(text, len(asked) - len(self.thoughts.opening)), asked
        )

    def remembered(self, heard: Sequence[int], said: Sequence[int]) -> list[int]:
        """Tokens of a prompt and its action as they stand in later turns, the thought left out."""
        return self._actions.remembered(heard, said)

    def interrupt(self, said: Sequence[int]) -> list[int]:
        """Tokens that end the thought in which an action still is; none where it is in none."""
        return self._actions.interrupt(said)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of a sampled action, without its stop token."""
        return decode(self._tokenizer, tokens, self.stop)

    # -- encoding --------------------------------------------------------------------------------------

    def _encode(self, messages: Sequence[Message], render: Callable[[Sequence[Message]], str]) -> list[int]:
        """Special tokens spelled in messages are broken with a mark that no message contains.

        The template still sees (and may trim, test or quote) the content itself; the encoder splits at
        the mark, so neither half can be read as the token.
        """
        for message in messages:
            content_of(message)
        mark = unused(to_json(list(messages)))
        shielded = [mapped(m, lambda text: self._spelling.broken(text, mark)) for m in messages]
        return self._spelling.pieces(render(shielded), mark)

    # -- what the template does --------------------------------------------------------------------------

    def _require_append_only(self) -> None:
        """Every text a policy is shown is a prefix of every later one, and nothing said is left out."""
        prompt = self.template([probes.ASKED], prompt=True)
        # A prompt that closes thinking itself never has thoughts to preserve.
        thinks = "<think>" in self.template.source and "</think>" not in prompt
        kept = not self.thoughts.dropped
        for name, probe in probes.conversations(thoughts=thinks and kept).items():
            self._check(name, probe, len(self.thoughts.opening) if self.thoughts.dropped else 0)

    def _check(self, name: str, probe: Sequence[Message], opening: int) -> None:
        cuts = [i for i, message in enumerate(probe) if message["role"] == "assistant"] + [len(probe)]
        shown = [self.template(probe[:cut], prompt=True) for cut in cuts]
        for cut, (earlier, later) in zip(cuts, pairwise(shown), strict=False):
            earlier = earlier[: len(earlier) - opening]
            if not later.startswith(earlier):
                at = next(i for i in range(len(earlier)) if earlier[: i + 1] != later[: i + 1])
                raise ValueError(
                    f"{REFUSAL}: probe {name!r}, it is not prefix-preserving: what was shown before message "
                    f"{cut} changes later, from {earlier[at : at + 40]!r} to {later[at : at + 40]!r}. {FIX}"
                )
        for part in re.findall(r"Probe \w+ \d", to_json(list(probe))):
            if part not in shown[-1]:
                raise ValueError(f"{REFUSAL}: probe {name!r}, it leaves out {part!r}. {FIX}")

    def _exchange(self, names: tuple[str, ...]) -> list[Message]:
        """What stands before an extension; a template that knows single calls is shown one."""
        whole = probes.exchange(names)
        if len(names) > 1:
            try:
                self.template(whole, prompt=False)
            except ValueError:
                return probes.exchange(names[:1])
        return whole

    def _find_stop(self, names: tuple[str, ...]) -> _Stop:
        """Where the action of a probe exchange ends; ValueError for a template that ends none.

        Mostly with one token, the last that the exchange alone and one that goes on share; or the first,
        where no call is spelled with such tokens. Where nothing ends an action, as in GLM's, it is the token
        with which the next message begins, if that stands right behind it. A template with one for the end
        of a conversation alone, as gpt-oss's, rewrites what was shown, as those do that drop thoughts, and is
        taken where these are dropped.
        """
        before, pattern = self._exchange(names), self._spelling.pattern
        role = "tool" if names else "user"
        follow: Message = {"role": role, "name": names[0] if names else "probe", "content": "Probe follow 0."}
        alone, text = self.template(before, prompt=False), self.template([*before, follow], prompt=True)
        at = max(alone.rfind(probes.SAID), 0)
        if found := list(pattern.finditer(text, at, _shared(alone, text))):
            end = found[0 if self.template.plain else -1]
            return _Stop(end[0], end[0], text[: end.end()])
        if text.startswith(alone) and (begun := pattern.match(text, len(alone))):
            return _Stop(begun[0], begun[0], text[: begun.end()])
        kind = "a tool call" if names else "an answer"
        now, then = (pattern.search(one, at) for one in (alone, text))
        if now is None or then is None:
            raise ValueError(f"{REFUSAL}: no special token ends {kind}, so an action could not stop. {FIX}")
        if not self.thoughts.dropped:
            why = f"{kind} ends with {now[0]} only while nothing follows, so an action could not stop"
            raise ValueError(f'{REFUSAL}: {why}. Set thinking.past = "drop". {FIX}')
        return _Stop(now[0], then[0], text[: then.end()])

    def _without_end(self, text: str, at: int) -> str:
        """A text without the token that ends the action which begins at `at`, and what stands behind it."""
        found = [
            f for f in self._spelling.pattern.finditer(text, at) if self._spelling.ids[f[0]] in self.stop
        ]
        return text[: found[-1].start()] if found else text


def _shared(one: str, other: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
