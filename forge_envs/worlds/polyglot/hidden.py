"""Leaves the hidden tests, printed wholesale, out of what the agent reads of a run.

Tests lie beside the program that they test, which can read and print them; a second try could then answer
each case by heart. What a runner quotes of a test that fails stays, as in Aider's own protocol: it is one
test at a time, so a row of lines that is longer than the longest test is no quotation. A program that prints
tests in pieces or in another spelling is not stopped, and answers that are wrong everywhere make the runner
quote much of them. Where that matters, `tries=1` shows nothing at all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import groupby, pairwise


def without_tests(output: str, tests: Collection[str], begins: str) -> str:
    """The output with every row of test lines that no runner would quote replaced by their number.

    `tests` are the files' texts, `begins` a pattern of a test's first line. Indentation does not count, nor
    do empty lines, nor the E with which pytest marks an exception's text; a text in quotes, with its ends of
    lines written as \\n, is read as lines.

    >>> without_tests("before\\nit(1)\\nx\\n\\nit(2)\\nafter\\nit(2)", ["it(1)\\n  x\\nit(2)"], "it")
    'before\\n… 3 lines of the hidden tests left out …\\nafter\\nit(2)'
    """
    files = [_lines(text.splitlines()) for text in tests]
    known = {line for file in files for line in file}
    longest = max(_longest(file, begins) for file in files)

    def told(line: str) -> int:
        return sum(one in known for one in _lines({line, *line.split("\\n")}))

    shown: list[str] = []
    for _, rows in groupby(output.split("\n"), lambda line: not _lines([line]) or told(line) > 0):
        row = list(rows)
        count = sum(map(told, row))
        shown += [f"… {count} lines of the hidden tests left out …"] if count > longest else row
    return "\n".join(shown)


def _longest(lines: list[str], begins: str) -> int:
    """Lines of a file's longest test, up to where the next begins; 0 where none begins."""
    starts = [at for at, line in enumerate(lines) if re.match(begins, line)]
    return max((end - at for at, end in pairwise([*starts, len(lines)])), default=0)


def _lines(found: Iterable[str]) -> list[str]:
    """Lines without what may stand before them; empty ones are left out."""
    bare = (re.sub(r"^E(?=\s|$)", "", line.strip()).strip() for line in found)
    return [line for line in bare if line]
