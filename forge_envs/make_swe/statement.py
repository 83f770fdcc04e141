"""Issues written from examples that were executed: our sentences around code, values and errors."""

from __future__ import annotations

import ast
import random
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from forge_envs.make_swe.reproduce import Example
from forge_envs.make_swe.shown import Claim, Shown, quoted, show
from forge_envs.make_swe.wording import (
    CLOSINGS,
    DOCUMENTED,
    HEADINGS,
    MORE,
    OPENINGS,
    TITLES,
    VERSIONS,
)

LONGEST_TITLE = 90
SHORT = 7
"""Lines of a further example."""


PLAIN = frozenset(
    {"list", "len", "str", "repr", "isinstance", "sorted", "set", "dict", "tuple", "print", "asyncio.run"}
)
"""Calls that no issue is about."""


@dataclass(frozen=True)
class About:
    """What an issue is about, besides its examples."""

    name: str
    version: str
    python: str
    """The Python that the examples ran in."""
    doc: str = ""
    """The first sentence of the documentation of what the first example calls."""


@dataclass(frozen=True)
class Issue:
    """A text, and what its examples must do."""

    text: str
    claims: tuple[Claim, ...]


def write_issue(about: About, examples: Sequence[Example], *, seed: str) -> Issue:
    """An issue of one example, and of others where they are short; the same seed gives the same text.

    Its claims are the same whatever `about` says.
    """
    dice = random.Random(seed)
    first, *rest = examples
    shown = show(first, dice)
    words = _words(about, first)
    title = _title(first, words, dice)
    opening = dice.choice(OPENINGS).format(**words)
    version = dice.choice(VERSIONS).format(**words)
    closing = dice.choice(CLOSINGS)
    quote, wanted = dice.choice(DOCUMENTED).format(**words), dice.random() < 0.5
    quote = quote if about.doc and wanted else ""
    more = [
        show(e, dice) for e in rest[:2] if e.draft.script("").count("\n") <= SHORT and dice.random() < 0.6
    ]
    layout = dice.choice((_plain, _plain, _code_first, _headed))
    body = layout(opening, shown, quote, version, dice)
    for other in more:
        body += [dice.choice(MORE), other.code, *_told(other)]
    text = "\n\n".join(part for part in [f"{_mark(dice)}{title}", *body, closing] if part)
    return Issue(text + "\n", (shown.claim, *(other.claim for other in more)))


def _mark(dice: random.Random) -> str:
    return dice.choice(("# ", "# ", ""))


def _words(about: About, example: Example) -> dict[str, str]:
    what = subject(example) or about.name
    call = " ".join((example.draft.value or example.draft.last).split())
    return {
        "name": about.name,
        "version": about.version,
        "python": about.python,
        "doc": about.doc,
        "callee": example.draft.callee,
        "what": f"`{what}`" if what != about.name else what,
        "call": f"`{quoted(call)}`",
        "bug": f"`{quoted(example.bug.written)}`",
        "gold": f"`{quoted(example.gold.written)}`",
        "error": _short(example.bug.error),
        "wanted": _short(example.gold.error),
        "last": quoted(example.bug.raised),
    }


def _short(error: str) -> str:
    return error.rpartition(".")[2]


def _title(example: Example, words: dict[str, str], dice: random.Random) -> str:
    named = _telling(example)
    templates = [template for template in TITLES[example.kind] if named or "{call}" not in template]
    texts = [template.format(**words) for template in templates]
    fitting = [t for t in texts if len(t) <= LONGEST_TITLE and "\n" not in t and t != example.bug.error]
    title = dice.choice(fitting) if fitting else f"Problem with {words['what']}"
    return title.replace("`", "") if dice.random() < 0.4 else title


def _telling(example: Example) -> bool:
    """Whether the expression tells a reader of a title something: a call of what the issue is about."""
    node = ast.parse(example.draft.value or example.draft.last).body[0]
    called = node.value.func if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) else None
    return called is not None and bool(what := subject(example)) and ast.unparse(called).endswith(what)


def subject(example: Example) -> str:
    """The function or method that an example is about, empty if that is not plain."""
    draft = example.draft
    script = ast.parse(draft.script(""))
    own = {
        n.name
        for n in ast.walk(script)
        if isinstance(n, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
    }
    own |= {n.id for n in ast.walk(script) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    python = _of_python(script)
    if draft.callee and draft.callee.partition(".")[0] not in own | python:
        return draft.callee
    tree = ast.parse(draft.value or draft.last)
    if name := _called(tree, own, python):
        return name
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
    for node in reversed([*ast.walk(script)]):
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        if (
            isinstance(node, (ast.Assign, ast.With))
            and bound & names
            and (name := _called(node, own, python))
        ):
            return name
    return _called(script, own, python)


def _of_python(script: ast.Module) -> set[str]:
    """The names that a script has from Python's own library."""
    found = set[str]()
    for node in ast.walk(script):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            for alias in node.names:
                module = (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
                if module.partition(".")[0] in sys.stdlib_module_names:
                    found.add(alias.asname or alias.name.partition(".")[0])
    return found


def _called(tree: ast.AST, own: set[str], python: set[str]) -> str:
    """The name of the outermost call of nothing of Python's, nor of the script's own; its last part where it
    hangs on something of the script, or on a call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            root: ast.AST = node.func
            while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
                root = root.func if isinstance(root, ast.Call) else root.value
            if isinstance(root, ast.Constant) or getattr(root, "id", "") in python:
                continue
            text = ast.unparse(node.func)
            plain = re.fullmatch(r"[\w.]+", text) and text.partition(".")[0] not in own
            if plain and text not in PLAIN:
                return text
            if not plain and isinstance(node.func, ast.Attribute):
                return node.func.attr
    return ""


# -- layouts -------------------------------------------------------------------------------------------------


def _told(shown: Shown) -> list[str]:
    """What happens and what should, as running text."""
    if shown.both and shown.both != shown.expected:
        return [shown.both]
    if shown.both:  # a session shows what happens
        return [shown.expected]
    actual = shown.actual if not shown.actual.startswith("```") else f"Output:\n\n{shown.actual}"
    expected = (
        shown.expected if not shown.expected.startswith(("```", "`")) else f"Expected:\n\n{shown.expected}"
    )
    return [actual, expected]


def _plain(opening: str, shown: Shown, quote: str, version: str, dice: random.Random) -> list[str]:
    tail = version if "{" not in version and version not in opening else ""
    return [opening, shown.code, *_told(shown), quote, tail]


def _code_first(opening: str, shown: Shown, quote: str, version: str, dice: random.Random) -> list[str]:
    return [quote, shown.code, *_told(shown), version]


def _headed(opening: str, shown: Shown, quote: str, version: str, dice: random.Random) -> list[str]:
    described, steps, expected, actual, setup = dice.choice(HEADINGS)
    parts = [described, opening if opening[-1:] == "." else "See below.", quote, steps, shown.code]
    if shown.both == shown.expected and shown.both:
        parts += [expected, shown.expected]
    elif dice.random() < 0.5:
        parts += [expected, shown.expected, actual, shown.actual]
    else:
        parts += [actual, shown.actual, expected, shown.expected]
    return [*parts, setup, version]
