"""How code is laid out."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from pathlib import Path

from . import Unfit, habit, put


@habit
def unparsed(source: Path, test: Path) -> None:
    """A formatter with views of its own; comments go."""
    put(source, ast.unparse(ast.parse(source.read_text())) + "\n")


@habit
def whole_package_unparsed(source: Path, test: Path) -> None:
    """The same for all files of the package."""
    for path in source.parent.rglob("*.py"):
        put(path, ast.unparse(ast.parse(path.read_text())) + "\n")


@habit
def everything_unparsed(source: Path, test: Path) -> None:
    """The same for the whole repository, tests too."""
    for path in Path().rglob("*.py"):
        put(path, ast.unparse(ast.parse(path.read_text())) + "\n")


def _code_lines(text: str) -> set[int]:
    """Lines that do not begin inside a string."""
    inside: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.STRING:
            inside |= set(range(token.start[0] + 1, token.end[0] + 1))
    return set(range(1, text.count("\n") + 2)) - inside


@habit
def tabs(source: Path, test: Path) -> None:
    """Indented with tabs."""
    text = source.read_text()
    code = _code_lines(text)
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if number in code:
            body = line.lstrip(" ")
            wide = len(line) - len(body)
            lines[number - 1] = "\t" * (wide // 4) + " " * (wide % 4) + body
    put(source, "\n".join(lines))


@habit
def crlf(source: Path, test: Path) -> None:
    """Ends of lines as on Windows."""
    put(source, source.read_text().replace("\n", "\r\n"))


@habit
def crlf_with_attributes(source: Path, test: Path) -> None:
    """The same, and git is told."""
    put(".gitattributes", "*.py text eol=crlf\n*.md text=auto\n")
    put(source, source.read_text().replace("\n", "\r\n"))


@habit
def attributes(source: Path, test: Path) -> None:
    """git is told to normalise everything."""
    put(".gitattributes", "* text=auto eol=lf\n*.png binary\n*.py diff=python\n")


@habit
def no_final_newline(source: Path, test: Path) -> None:
    """The last line has no end."""
    put(source, source.read_text().rstrip("\n"))


@habit
def many_final_newlines(source: Path, test: Path) -> None:
    """It has several."""
    put(source, source.read_text() + "\n\n\n")


@habit
def byte_order_mark(source: Path, test: Path) -> None:
    """As some editors save it."""
    put(source, "\ufeff" + source.read_text())


@habit
def coding_line(source: Path, test: Path) -> None:
    """An old-fashioned first line."""
    put(source, "#!/usr/bin/env python3\n# -*- coding: utf-8 -*-\n" + source.read_text())


@habit
def form_feeds(source: Path, test: Path) -> None:
    """Pages as GNU writes them."""
    put(source, source.read_text().replace("\n\n\ndef ", "\n\n\x0c\ndef "))


@habit
def single_quotes(source: Path, test: Path) -> None:
    """Other quotes."""
    tokens = list(tokenize.generate_tokens(io.StringIO(source.read_text()).readline))
    lines = source.read_text().split("\n")
    for token in reversed(tokens):
        plain = re.fullmatch(r'"([^"\'\\\n]*)"', token.string) if token.type == tokenize.STRING else None
        if plain:
            row, at = token.start
            lines[row - 1] = lines[row - 1][:at] + f"'{plain[1]}'" + lines[row - 1][token.end[1] :]
    put(source, "\n".join(lines))


@habit
def ruff_format(source: Path, test: Path) -> None:
    """Formatted by ruff, narrow."""
    try:
        subprocess.run(["ruff", "format", "-q", "--line-length", "60", str(source)], check=True)
    except OSError as error:
        raise Unfit("no ruff here") from error


@habit
def comments(source: Path, test: Path) -> None:
    """A remark above each definition."""
    put(
        source,
        re.sub(
            r"^(def|class) ", r"# Why: see the issue – naïve “quotes”.\n\1 ", source.read_text(), flags=re.M
        ),
    )
