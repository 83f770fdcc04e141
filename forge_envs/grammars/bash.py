"""One fenced bash command a turn, the form of mini-swe-agent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from typing import Any

from forge_envs.grammars.grammar import Grammar
from forge_envs.grammars.reading import MOST_CALLS, Malformed, encodable, require_reversible, without_end
from forge_envs.grammars.registry import foreign
from forge_envs.grammars.thoughts import Span, without_thoughts
from forge_envs.messages import Action, ToolCall

_OPENING = re.compile(r"```(?:bash|mswea_bash_command)[ \t]*\r?\n")
_OTHER = re.compile(r"```(sh|shell|zsh|console)\b")
# What decides where a block ends: fences, with what they open, and here-documents but no here-strings.
_DOCUMENT = r"<<(?<!<<<)-?[ \t]*(?P<mark>['\"\\]?)(?P<word>[\w.-]+)['\"]?"
_EVENT = re.compile(rf"(?P<fence>```+)(?P<opens>[\w{{])?|{_DOCUMENT}")
_ALSO = re.compile(_DOCUMENT)  # another here-document that begins in the same line
_QUOTED = re.compile(
    r"(?:\\.|\$'(?:[^'\\]|\\.)*+'|'[^']*+'|\"(?:[^\"\\]|\\.)*+\")++"
    r"|(?:^|(?<=\s))#[^\n]*+|(?P<open>['\"])",
    re.DOTALL | re.MULTILINE,
)
_IN_QUOTES = (
    "the ```bash block would end inside a quoted text; write lines that begin with ``` in a here-document "
    "(cat <<'EOF' > file)"
)
_IN_DOCUMENT = (
    "the ```bash block would end inside the here-document {word}, which is not closed; write {word} alone on "
    "its own line, without spaces before it"
)
_MOST_OPEN = 8  # here-documents whose end is looked for in vain
_MOST_EVENTS = 1000  # fences and here-documents in one block
_ENDS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


class Bash:
    """One ```bash block a turn, read as a call of the tool `bash`; the rest is thought and reaches nobody.

    The block ends at the first line that begins with ``` and opens nothing, outside here-documents: so a
    script that writes a page with code in it is read to its own end. A block that would end in the middle
    of a quoted text or of a here-document while more fences follow is refused, for half of it would be run.
    A reply without exactly one block is an error that is told to the agent.

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
        text = encodable(text).removeprefix("\ufeff")
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
    depth, unended, script = 1, list[str](), list[str]()
    for _ in range(_MOST_EVENTS):
        found = _EVENT.search(text, at)
        if found is None:
            at = len(text)
            break
        at = found.end()
        if found["word"]:
            if len(unended) < _MOST_OPEN:
                line, endings, missing = _documents(text, found)
                unended += missing
                if endings:  # what stands in them is neither script nor fence
                    script.append(text[kept:line])
                    at = kept = endings[-1]
        elif text[found.start() - 1] == "\n":
            depth += 1 if found["opens"] else -1
            if depth == 0:
                script.append(text[kept : found.start()])
                if text.find("\n```", at) >= 0:
                    _require_ended("".join(script), unended, at)
                return _command(text, opening, start, found.start()), at
    raise Malformed("the ```bash block is not closed with ``` on its own line", at)


def _require_ended(script: str, unended: list[str], at: int) -> None:
    """Raise Malformed if a block ends within something that goes on: more fences follow, one is its end."""
    if any(found["open"] for found in _QUOTED.finditer(script)):
        raise Malformed(_IN_QUOTES, at)
    if word := next(filter(None, unended), None):
        raise Malformed(_IN_DOCUMENT.format(word=word[:60]), at)


def _documents(text: str, first: re.Match[str]) -> tuple[int, list[int], list[str]]:
    """The here-documents that one line opens: where that line ends, where they end, and the word of one that
    does not end ("" if it may be no here-document at all, as in `1 << n`)."""
    line = text.find("\n", first.end())
    also = _ALSO.finditer(text, first.end(), max(line, first.end()))
    at, endings = line, list[int]()
    for opened in [first, *islice(also, _MOST_OPEN)]:
        end = re.compile(rf"^\t*{re.escape(opened['word'])}\r?$", re.MULTILINE)
        ending = end.search(text, at) if at >= 0 else None
        if ending is None:
            number = text[opened.start() - 1].isdigit()
            sure = opened["mark"] or (opened["word"].isupper() and not number)
            return line, endings, [opened["word"] if sure else ""]
        at = ending.end()
        endings.append(at)
    return line, endings, []


def _command(text: str, opening: re.Match[str], start: int, end: int) -> str:
    command = text[start : max(end - 1, start)]
    # Who writes the fence's line with CRLF writes all lines so, and a shell takes the CR for a letter.
    return command.replace("\r\n", "\n").removesuffix("\r") if "\r" in opening[0] else command


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
