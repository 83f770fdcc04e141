"""A Harbor task folder."""
from __future__ import annotations
from typing import Any
HARBOR: dict[str, Any] = {}
class Folder:
    def __init__(self, path: str, budget: Any) -> None: ...
    def __enter__(self) -> Any: return self
    def __exit__(self, *_: object) -> None: ...
