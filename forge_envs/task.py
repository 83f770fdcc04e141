"""What every world's tasks have in common; on its own, so that a judge can be carried without the worlds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One frozen problem. Worlds add what their episodes need, gold included; `id` is stable for ever."""

    id: str
