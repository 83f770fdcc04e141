"""The program."""

from __future__ import annotations

import sys
from pathlib import Path

from . import HABITS, UNFIT, Unfit


def main(words: list[str]) -> int:
    """Act on the repository that this runs in."""
    if not words:
        print("\n".join(HABITS))
        return 0
    name, source, test = words
    try:
        HABITS[name](Path(source), Path(test))
    except Unfit as error:
        print(error)
        return UNFIT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
