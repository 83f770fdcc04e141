"""One fenced bash command a turn, the form of mini-swe-agent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.reading import MOST_CALLS, Malformed, encodable, require_reversible, without_end
from forge_envs.grammars.registry import foreign
from forge_envs.grammars.thoughts import Span, without_thoughts
from forge_envs.messages import Action, ToolCall

_OPENING = re.compile(r"```(?:bash|mswea_bash_command)[ \t]*\r?\n")
_OTHER = re.compile(r"```(sh|shell|zsh|console)\b")
# What decides where a block ends: fences, with what they open, and here-documents but no here-strings.
_EVENT = re.compile(r"(?P<fence>```+)(?P<opens>[\w{])?|<<(?<!<<<)-?[ \t]*['\"\\]?(?P<word>[\w.-]+)['\"]?")
_QUOTED = re.compile(
    r"\\.|\$'(?:[^'\\]|\\.)*+'|'[^']*+'|\"(?:[^\"\\]|\\.)*+\"|(?:^|(?<=\s))#[^\n]*+|(?P<open>['\"])",
    re.DOTALL | re.MULTILINE,
)
_IN_QUOTES = (
    "the ```bash block would end inside a quoted text; write lines that begin with ``` in a here-document "
    "(cat <<'EOF' > file)"
)
_MOST_OPEN = 8  # here-documents whose end is looked for in vain
_MOST_EVENTS = 1000  # fences and here-documents in one block
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


class Bash:
    """One ```bash block a turn, read as a call of the tool `bash`; the rest is thought and reaches nobody.

    The block ends at the first line that begins with ``` and opens nothing, outside here-documents: so a
    script that writes a page with code in it is read to its own end. A block that would end in the middle
    of a quoted text while more fences follow is refused, for half of it would be run. A reply without
    exactly one block is an error that is told to the agent.

    >>> BASH.write("I look.", [ToolCall("bash", {"command": "ls"})])
    'I look.\\n\\n```bash\\nls\\n```'
    """

    name = "bash"
    prose_alone = False
    marks = ()  # to the other grammars a fenced block is prose
    example = "```bash\nls -la\n```"

    def __repr__(self) -> str:
        return "<grammar bash>"

    def for_tools(self, tools: Sequence[dict[str, Any]]) -> Grammar:
        """The same: it has one tool."""
        return self

    def parse(self, text: str) -> Action:
        """Understand any text; never raises."""
        text = encodable(text)
        if "think>" in text:
            said = text
            text = without_thoughts(text, text.find("```"), lambda: _spans(said))
        blocks, thought, at = list[str](), list[str](), 0
        while len(blocks) <= MOST_CALLS and (opening := _OPENING.search(text, at)):
            try:
                command, end = _read(text, opening)
            except Malformed as error:
                return Action(text.strip(), error=str(error))
            blocks.append(command)
            thought.append(text[at : opening.start()])
            at = end
        prose = without_end("".join([*thought, text[at:]]), _ENDS).strip()
        if len(blocks) == 1:
            return Action(prose, (ToolCall("bash", {"command": blocks[0]}),))
        found = len(blocks) if len(blocks) <= MOST_CALLS else f"more than {MOST_CALLS}"
        reason = f"write exactly one ```bash block in a reply; this one has {found or 'no'}"
        if not blocks:
            if other := foreign(prose, self.name):
                reason = f"this is {other}, and this world reads bash; {reason}"
            elif fence := _OTHER.search(prose):
                reason += f" (```{fence[1]} is not read)"
        return Action(prose, error=reason)

    def write(self, prose: str = "", calls: Sequence[ToolCall] = ()) -> str:
        """The text of an action; `parse` reverses it. Raises ValueError unless it is one `bash` call."""
        if len(calls) != 1 or calls[0].name != "bash" or set(calls[0].arguments) != {"command"}:
            raise ValueError(f"the bash grammar writes exactly one call bash(command=…), not {list(calls)!r}")
        block = f"```bash\n{calls[0].arguments['command']}\n```"
        text = f"{prose}\n\n{block}" if prose else block
        what = "the bash grammar cannot write a fence or a thought"
        return require_reversible(text, self.parse(text), prose, calls, what)


def _read(text: str, opening: re.Match[str]) -> tuple[str, int]:
    """The command of a block, and where the block ends. Raises Malformed."""
    start = at = kept = opening.end()
    depth, unended, script = 1, 0, list[str]()
    for _ in range(_MOST_EVENTS):
        found = _EVENT.search(text, at)
        if found is None:
            at = len(text)
            break
        at = found.end()
        if found["word"]:
            ending = _ending(text, found) if unended < _MOST_OPEN else None
            unended += ending is None
            if ending is not None:  # what stands in it is neither script nor fence
                script.append(text[kept:at])
                at = kept = ending
        elif text[found.start() - 1] == "\n":
            depth += 1 if found["opens"] else -1
            if depth == 0:
                script.append(text[kept : found.start()])
                if text.find("\n```", at) >= 0 and _in_quotes("".join(script)):
                    raise Malformed(_IN_QUOTES, at)
                return _command(text, opening, start, found.start()), at
    raise Malformed("the ```bash block is not closed with ``` on its own line", at)


def _ending(text: str, opened: re.Match[str]) -> int | None:
    """Where the here-document ends that is opened there."""
    word = re.escape(opened["word"])
    found = re.compile(rf"^\t*{word}\r?$", re.MULTILINE).search(text, opened.end())
    return None if found is None else found.end()


def _command(text: str, opening: re.Match[str], start: int, end: int) -> str:
    command = text[start : max(end - 1, start)]
    # Who writes the fence's line with CRLF writes all lines so, and a shell takes the CR for a letter.
    return command.replace("\r\n", "\n").removesuffix("\r") if "\r" in opening[0] else command


def _in_quotes(script: str) -> bool:
    return any(found["open"] for found in _QUOTED.finditer(script))


def _spans(text: str) -> list[Span]:
    """Where blocks stand that read well; a tag inside them is a value."""
    spans, broken, at = list[Span](), 0, 0
    while len(spans) <= MOST_CALLS and broken < 3 and (opening := _OPENING.search(text, at)):
        try:
            _, at = _read(text, opening)
            spans.append((opening.start(), at))
        except Malformed:
            broken, at = broken + 1, opening.end()
    return spans


BASH = Bash()
