"""DeepSeek V3 and V3.1."""

from __future__ import annotations

import re

from forge_envs.grammars.reading import Malformed, arguments_of, dump, read_json, skip_space
from forge_envs.grammars.sectioned import Sectioned
from forge_envs.messages import ToolCall

_CALL, _SEP, _CALL_END = "<｜tool▁call▁begin｜>", "<｜tool▁sep｜>", "<｜tool▁call▁end｜>"
_FENCED = re.compile(r"([^\n]+)\n```(?:json)?[ \t]*\n")
_FENCE_END = re.compile(r"\s*```")


class DeepSeek(Sectioned):
    """A section of calls, each with a name and arguments: V3 fences them, V3.1 writes them bare.

    >>> print(DEEPSEEK.write(calls=[ToolCall("add", {"a": 1})]))
    <｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>add
    ```json
    {"a": 1}
    ```<｜tool▁call▁end｜><｜tool▁calls▁end｜>
    """

    name = "deepseek"
    mark = "<｜tool▁calls▁begin｜>"
    marks = (mark, _CALL, _SEP)
    call = _CALL
    closing = "<｜tool▁calls▁end｜>"
    separator = "\n"
    example = f'{mark}{_CALL}function{_SEP}tool\n```json\n{{"key": "value"}}\n```{_CALL_END}{closing}'
    starts = ("<｜Assistant｜>",)
    shard = re.compile(f"{_SEP}|{_CALL_END}")
    ends = ("<｜end▁of▁sentence｜>",)

    def read_one(self, text: str, at: int) -> tuple[ToolCall, int]:
        """The call whose mark ends at `at`, and where it ends. Raises Malformed."""
        sep = text.find(_SEP, at, at + 1000)
        if sep < 0:
            raise Malformed(f"after {_CALL} stand the word function, or the tool's name, and {_SEP}", at)
        name, start = text[at:sep].strip(), sep + len(_SEP)
        bare = text.startswith("{", skip_space(text, start))
        fenced = None if bare else _FENCED.match(text, start)
        if fenced is not None:
            name, start = fenced[1].strip(), fenced.end()
        elif not bare:
            raise Malformed(f"after {_SEP} stand the tool's name and its arguments in a ```json block", start)
        try:
            value, end = read_json(text, start)
        except Malformed as error:
            raise Malformed(f"the text after {_SEP} {error}", error.at) from None
        if fenced is not None:
            closing = _FENCE_END.match(text, end)
            if closing is None:
                raise Malformed("the ```json block is not closed with ``` after the object", end)
            end = closing.end()
        end = skip_space(text, end)
        if not text.startswith(_CALL_END, end):
            raise Malformed(f"a call is not closed with {_CALL_END}", end)
        return ToolCall(name, arguments_of(value)), end + len(_CALL_END)

    def write_one(self, call: ToolCall, n: int) -> str:
        """As V3's template has it."""
        return f"{_CALL}function{_SEP}{call.name}\n```json\n{dump(call.arguments)}\n```{_CALL_END}"


DEEPSEEK = DeepSeek()
