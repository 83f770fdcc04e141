"""Tables of the official benchmarks, of which an episode copies only the rows it asks for.

Imported by the oracles under the official code's own interpreter, so nothing of Forge stands here.
"""

from __future__ import annotations

import copy
from typing import Any


class Lazy(dict[str, Any]):
    """A table whose rows are copied when they are asked for by key; whoever iterates only reads."""

    def __init__(self, rows: dict[str, Any]) -> None:
        super().__init__(rows)
        self.base = rows
        self.copied: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        if key not in self.copied and key in self.base:
            self.copied.add(key)
            super().__setitem__(key, copy.deepcopy(self.base[key]))
        return super().__getitem__(key)

    def __setitem__(self, key: str, row: Any) -> None:
        self.copied.add(key)
        super().__setitem__(key, row)

    def own(self) -> dict[str, Any]:
        """Rows that are not the shared ones."""
        return {key: dict.__getitem__(self, key) for key in self.copied if key in self}
