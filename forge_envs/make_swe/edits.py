"""A Python file that is changed by byte ranges, so that all that is not touched stays as it was."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

Definition = ast.FunctionDef | ast.AsyncFunctionDef
SKIPPED_FIELDS = frozenset({"annotation", "returns", "decorator_list", "type_params", "type_comment"})
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes `start` to `end` of a file become `text`."""

    start: int
    end: int
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Token:
    """A lexical token other than comments and white space, with its place in bytes."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function of a file."""

    name: str
    """Dotted with its classes: `Parser.feed`."""
    line: int
    """Where its code object says it begins: at its first decorator."""
    node: Definition


def apply_edits(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The file with all edits made. Raises ValueError where two overlap.

    >>> apply_edits(b"a < b", [Edit(2, 3, b"<=")])
    b'a <= b'
    """
    parts, at = [], 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        if edit.start < at:
            raise ValueError(f"edits overlap at byte {edit.start}")
        parts += [data[at : edit.start], edit.text]
        at = edit.end
    return b"".join([*parts, data[at:]])


class Source:
    """One UTF-8 Python file: its tree, its tokens, and where each node lies in bytes.

    Raises SyntaxError for what does not parse, UnicodeDecodeError for another encoding.
    """

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.data = path, data
        self._lead = len(BOM) if data.startswith(BOM) else 0
        text = data[self._lead :].decode("utf-8")
        self.tree = ast.parse(text)
        self._lines = [
            self._lead,
            *(m.end() + self._lead for m in re.finditer(rb"\r\n|\r|\n", data[self._lead :])),
        ]

    # -- places --------------------------------------------------------------------------------------------

    def start(self, node: ast.AST) -> int:
        """Where a node begins, without parentheses around it."""
        return self._lines[node.lineno - 1] + int(node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Where a node ends, without parentheses around it."""
        return self._lines[node.end_lineno - 1] + int(node.end_col_offset)  # type: ignore[attr-defined]

    def text(self, node: ast.AST) -> str:
        """A node as it is written."""
        return self.data[self.start(node) : self.end(node)].decode("utf-8")

    def line_start(self, offset: int) -> int:
        """The beginning of the line that holds `offset`."""
        return self._lines[self.line_of(offset) - 1]

    def line_end(self, offset: int) -> int:
        """The beginning of the next line."""
        line = self.line_of(offset)
        return self._lines[line] if line < len(self._lines) else len(self.data)

    def line_of(self, offset: int) -> int:
        """Line number, from 1."""
        return bisect_left(self._lines, offset + 1)

    # -- tokens --------------------------------------------------------------------------------------------

    @cached_property
    def tokens(self) -> list[Token]:
        """All tokens but comments, line ends and indents."""
        text = self.data[self._lead :].decode("utf-8")
        rows = re.split(r"\r\n|\r|\n", text)
        blank = {
            tokenize.COMMENT,
            tokenize.NL,
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.ENDMARKER,
        }

        def place(at: tuple[int, int]) -> int:
            return self._lines[at[0] - 1] + len(rows[at[0] - 1][: at[1]].encode())

        found = tokenize.generate_tokens(io.StringIO(re.sub(r"\r\n|\r", "\n", text)).readline)
        return [Token(t.string, place(t.start), place(t.end)) for t in found if t.type not in blank]

    @cached_property
    def _starts(self) -> list[int]:
        return [token.start for token in self.tokens]

    def between(self, start: int, end: int) -> list[Token]:
        """The tokens that lie wholly in a range of bytes."""
        first = bisect_left(self._starts, start)
        return [t for t in self.tokens[first : bisect_left(self._starts, end)] if t.end <= end]

    def gap(self, left: ast.AST, right: ast.AST) -> list[Token]:
        """The tokens from the end of one node to the start of the next: operators, commas, parentheses."""
        return self.between(self.end(left), self.start(right))

    def operator(self, left: ast.AST, right: ast.AST) -> list[Token]:
        """The gap without parentheses."""
        return [token for token in self.gap(left, right) if token.text not in "()"]

    def outer_end(self, node: ast.AST, opened: Sequence[Token]) -> int:
        """Where a node ends with the parentheses around it that are opened among these tokens before it."""
        depth = sum(token.text == "(" for token in opened)
        closing = self.between(self.end(node), len(self.data))[:depth]
        return closing[-1].end if closing else self.end(node)

    # -- tree ----------------------------------------------------------------------------------------------

    @cached_property
    def parents(self) -> dict[ast.AST, ast.AST]:
        """The parent of every node."""
        return {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def functions(self) -> list[Function]:
        """All functions, in the order they are written, with their dotted names."""
        return list(_functions(self.tree, ""))

    def own_nodes(self, function: Function) -> Iterator[ast.AST]:
        """What a function does itself: no inner functions and classes, annotations, docstrings, f-strings.

        Python before 3.12 gives no true places inside f-strings.
        """
        node = function.node
        yield node
        body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
        pending: list[ast.AST] = [
            *reversed([*node.args.defaults, *filter(None, node.args.kw_defaults), *body])
        ]
        while pending:
            here = pending.pop()
            if isinstance(here, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.JoinedStr)):
                continue
            yield here
            children = [
                child
                for field, value in ast.iter_fields(here)
                if field not in SKIPPED_FIELDS
                for child in (value if isinstance(value, list) else [value])
                if isinstance(child, ast.AST)
            ]
            pending.extend(reversed(children))


def _functions(node: ast.AST, prefix: str) -> Iterator[Function]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            yield Function(prefix + child.name, line, child)
        inner = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        yield from _functions(child, f"{prefix}{child.name}." if inner else prefix)  # type: ignore[attr-defined]
