"""The table of docs/formats.md: every chat template that TRL ships, as a model would bring it along.

python -m tests.train.template_table   # writes the table anew
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from forge_envs.grammars import grammar_names, grammar_of
from forge_train.play.format import Format
from forge_train.play.hearing import hears, spoken
from forge_train.play.renderer import ChatML, Renderer, renderer_for
from tests.train.tokens import special_tokens_of, tokenizer

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
BEGIN, END = "<!-- table: python -m tests.train.template_table -->\n", "<!-- end of table -->"
TRL = Path(importlib.util.find_spec("trl").submodule_search_locations[0]) / "chat_templates"
WHY = re.compile(
    r"it (cannot render|leaves out|is not prefix-preserving).*|no special token ends [^,]*"
    r"|an? [a-z ]* ends with [^,]*"
)


def tokenizer_of(name: str):
    """A byte-level tokenizer with a TRL template and the special tokens it spells."""
    source = (TRL / f"{name}.jinja").read_text(encoding="utf-8")
    special = [*special_tokens_of(source), "</s>", "<s>"]
    made = tokenizer(special, eos=special[0])
    made.chat_template = source
    return made


def fate(name: str, past: str = "keep") -> tuple[Renderer | None, list[str], str]:
    """The renderer of a template, the grammars that read its calls, and why it is refused."""
    try:
        renderer = renderer_for(tokenizer_of(name), "auto", Format(past=past))
    except ValueError as error:
        found = WHY.search(str(error).partition(". Name a training")[0])
        return None, [], reason(found[0] if found else str(error))
    tried = spoken(renderer)
    return renderer, [g for g in grammar_names() if hears(tried, grammar_of(g))], ""


def reason(text: str) -> str:
    """A refusal in the words of a table."""
    if "thought" in text and "leaves out" in text:
        return "drops thoughts"
    if "not prefix-preserving" in text:
        return "what was shown changes later"
    if "leaves out 'Probe tool" in text:
        return "shows no tools"
    if "leaves out" in text:
        return "takes content as parts alone" if "question" in text else "writes no calls"
    if "System role" in text:
        return "takes no system message"
    if "alternate" in text:
        return "takes no results of tools"
    if "no special token" in text or "only while nothing follows" in text:
        return text.replace("|", "\\|")
    return "cannot be rendered with text alone" if "cannot render" in text else text[:80]


def row(name: str) -> str:
    """One line of the table."""
    cells = []
    for past in ("keep", "drop"):
        renderer, grammars, why = fate(name, past)
        if renderer is None:
            cells.append(f"refused: {why}")
        elif not grammars:
            cells.append("refused: no grammar here reads its calls")
        else:
            way = "ChatML" if isinstance(renderer, ChatML) else "template"
            cells.append(f"{way}, `{'`, `'.join(grammars)}`")
    if cells[0] == cells[1]:
        cells[1] = "the same"
    return f"| `{name}` | {cells[0]} | {cells[1]} |\n"


def table() -> str:
    """The whole table."""
    names = sorted(path.stem for path in TRL.glob("*.jinja"))
    head = '| template | `thinking.past = "keep"` | `"drop"` |\n|---|---|---|\n'
    return head + "".join(map(row, names))


def replaced(page: str) -> str:
    """The page with the table as it is now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}{table()}{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(replaced(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
