"""The other party of a conversation: whoever the agent serves."""

from __future__ import annotations

from typing import Protocol


class User(Protocol):
    """Speaks first, then answers the agent's prose. State is the user's own and pickles."""

    def open(self) -> str:
        """The first line; it depends on the task alone."""
        ...

    def reply(self, text: str) -> str | None:
        """The answer to what the agent said; None when the user leaves.

        Raises MachineError when what the user runs on fails.
        """
        ...
