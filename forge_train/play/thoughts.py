"""Thoughts of a policy: how its template spells them, opens them in a prompt, and leaves them out later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from forge_train.play import probes
from forge_train.play.chat_template import ChatTemplate
from forge_train.play.encoding import Message
from forge_train.play.format import Format

TAGS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<|channel>thought", "<channel|>"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant"),
)
"""How families open and close a thought. The last, gpt-oss's, is a message by itself."""


@dataclass(frozen=True, slots=True)
class Thoughts:
    """What a template does about thoughts.

    >>> qwen = Thoughts("<think>", "</think>", opening="<think>\\n")
    >>> qwen.closed("Hi."), qwen.left("I see.\\n</think>\\n\\nHi."), qwen.open_in("Hm")
    ('\\n</think>\\n\\nHi.', 'Hi.', True)
    """

    start: str = "<think>"
    end: str = "</think>"
    opening: str = ""
    """What a prompt ends with that is not there once the turn is over: a thought that is opened, say."""
    lead: str = ""
    """What stands in its place then, before an action without its thought."""
    dropped: bool = False
    """Whether thoughts of earlier turns are left out: `past` asks for it."""
    within: bool = False
    """Whether those since the last message of a user stay even so."""
    budget: int = 0
    """Tokens that an action may think; 0 for as many as it likes."""
    early_stop: str = ""
    """What is said for it when they are spent."""

    @property
    def opened(self) -> bool:
        """Whether a prompt opens a thought."""
        return self.start in self.opening and self.end not in self.opening

    def open_in(self, text: str) -> bool:
        """Whether an action so far is still thinking."""
        begun = self.opened or text.lstrip().startswith(self.start)
        return begun and self.end not in text

    @property
    def interruption(self) -> str:
        """What ends a thought whose budget is spent."""
        gap = "" if self.end == TAGS[-1][1] else "\n"
        return f"\n\n{self.early_stop}{gap}{self.end}{gap * 2}"

    def closed(self, text: str) -> str:
        """An action to follow a prompt: one that closes no thought which the prompt opens closes it."""
        if not self.opened:
            return text
        if self.end in text:
            opening = self.opening if text.startswith(self.opening) else self.start
            return text.removeprefix(opening)
        if self.lead.startswith(self.opening) and self.end in self.lead:
            return self.lead[len(self.opening) :] + text
        gap = "\n" if self.opening.endswith("\n") else ""
        return f"{gap}{self.end}\n\n{text}"

    def left(self, text: str) -> str:
        """What is left of an action without its thought."""
        return text.rpartition(self.end)[2].lstrip("\n") if self.end in text else text

    def forgets(self, messages: Sequence[Message]) -> bool:
        """Whether, when these come, what was thought before is left out."""
        return self.dropped and (not self.within or any(m["role"] == "user" for m in messages))

    def after_prompt(self, text: str, prompt: str) -> str:
        """What an action must add to a prompt so that `text` stands there, or what comes nearest."""
        if text.startswith(prompt):
            return text[len(prompt) :]
        header = prompt[: len(prompt) - len(self.opening)]
        rest = text[len(header) :] if text.startswith(header) else text
        if self.lead and rest.startswith(self.lead):
            rest = rest[len(self.lead) :]
        return self.closed(rest)


def thoughts_of(render: ChatTemplate, format: Format) -> Thoughts:
    """What the template behind `render` does about thoughts, seen by trying. Raises ValueError as it does."""
    prompt = render([probes.ASKED], prompt=True)
    later = render([*probes.exchange(), probes.ASKED], prompt=True)
    said = max(later.find(probes.SAID), 0)
    pairs = zip(prompt, later[:said], strict=False)
    shared = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(prompt), said))
    opened = max(prompt.rfind(tag) for tag, _ in TAGS)
    if opened >= 0 and not any(end in prompt[opened:] for _, end in TAGS):
        shared = min(shared, opened)
    opening, lead = prompt[shared:], later[shared:said]
    start, end = next((tags for tags in TAGS if tags[1] in render.source), TAGS[0])
    if TAGS[-1][0] in render.source:
        start, end = TAGS[-1]
    lead = lead if start in lead or end in lead else ""  # other words before prose belong to the action
    dropped = format.past == "drop"
    within = dropped and _keeps_within(render, start, end)
    return Thoughts(start, end, opening, lead, dropped, within, format.budget, format.early_stop)


def _keeps_within(render: ChatTemplate, start: str, end: str) -> bool:
    """Whether a thought before a call is still shown when its result comes."""
    for told in (
        {"reasoning_content": "Probe thought 8."},
        {"content": f"{start}\nProbe thought 8.\n{end}\n\n"},
        {"thinking": "Probe thought 8."},
    ):
        said = {**probes.call("probe", {"text": "x"}), **told}
        result: Message = {"role": "tool", "name": "probe", "content": "Probe result 8."}
        try:
            if "Probe thought 8." in render([probes.ASKED, said, result], prompt=True):
                return True
        except ValueError:
            continue
    return False
