"""What the official code of BFCL said of some episodes, kept as a few digits an episode."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path
from typing import Any

PLACE = Path(__file__).with_name("bfcl_verdicts.json.gz")
CHANGED = 6
"""Changed answers to each entry."""
EVERY = 5
"""Of so many entries one is kept."""


def plain(text: str) -> str:
    """A result in which sets of texts stand in alphabetical order: Python writes them in any."""
    return re.sub(r"\{('[^{}:]*')\}", lambda hit: f"{{{', '.join(sorted(hit[1].split(', ')))}}}", text)


def digest(verdict: dict[str, Any]) -> str:
    """A verdict, that with empty turns checked, and four digits of the results."""
    told = "\x00".join(map(plain, verdict["results"]))
    return f"{2 * verdict['valid'] + verdict['empty']}{hashlib.sha256(told.encode()).hexdigest()[:4]}"


def stored() -> dict[str, list[str]]:
    """Digests by "<version>/<category>", in the order of the episodes."""
    found: dict[str, list[str]] = json.loads(gzip.decompress(PLACE.read_bytes()))
    return found


def store(more: dict[str, list[str]]) -> None:
    """Keep these, in place of those of the same name."""
    known = stored() if PLACE.exists() else {}
    PLACE.write_bytes(gzip.compress(json.dumps(known | more).encode(), mtime=0))
