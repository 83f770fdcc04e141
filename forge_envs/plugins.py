"""What other installed packages bring along, by entry points."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from importlib.metadata import entry_points


def load_entry_points(group: str, what: str, take: Callable[[object], None]) -> None:
    """Load every entry point of a group and give it to `take`.

    One that fails is left out with a warning that names it; `what` says there what its package brings.
    """
    for plugin in entry_points(group=group):
        try:
            take(plugin.load())
        except Exception as error:  # a stranger's code may raise anything, and the others are innocent
            package = plugin.dist.name if plugin.dist else "unknown"
            warnings.warn(
                f"{what} of package {package} are left out: its entry point {plugin.name!r} "
                f"({plugin.value}) raised {type(error).__name__}: {error}",
                stacklevel=3,
            )
