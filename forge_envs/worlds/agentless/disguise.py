"""Rewrites Python files so that they do the same and are not the same: for tests that look at texts.

The world copies this file into a box and runs it there with whatever Python 3 the image has: it imports the
standard library alone and is written for 3.6. Every function gets a first line that does nothing, and the
file a last line that is a comment. A file that cannot be read as Python gets nothing.
"""

import ast
import sys

ADDED = "_unused = None"
ASKED = {"locals", "vars", "eval", "exec", "dir", "globals"}
"""A function that says one of these may see a name more, and is left as it is."""


def disguised(source: str) -> str:
    """The rewritten text.

    >>> print(disguised("def f(x):\\n    return x\\n"), end="")
    def f(x):
        _unused = None
        return x
    # as above
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return source
    lines = source.splitlines(True)
    places = sorted(place for node in ast.walk(tree) for place in places_in(node, lines))
    for number, blanks in reversed(places):
        lines.insert(number, blanks + ADDED + "\n")
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    text = "".join([*lines, "# as above\n"])
    try:
        compile(text, "x.py", "exec")
    except (SyntaxError, ValueError):
        return source
    return text


def places_in(node: ast.AST, lines: "list[str]") -> "list[tuple[int, str]]":
    """Where a line can be put into a function: before which one, and with which indentation."""
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return []
    if any(isinstance(part, ast.Name) and part.id in ASKED for part in ast.walk(node)):
        return []
    body = list(node.body)
    if ast.get_docstring(node, clean=False) is not None:
        body = body[1:]
    if not body:
        return []
    first = body[0]
    number = min([first.lineno] + [d.lineno for d in getattr(first, "decorator_list", [])]) - 1
    line = lines[number] if number < len(lines) else ""
    blanks = line[: len(line) - len(line.lstrip(" \t"))]
    alone = bool(blanks) and first.col_offset == len(blanks)
    return [(number, blanks)] if alone and number > node.lineno - 1 else []


def main(paths: "list[str]") -> int:
    """Rewrite these files."""
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            source = file.read()
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(disguised(source))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
