"""What the loop asks of a kind of target."""

from __future__ import annotations

from typing import Any


class NoRoom(Exception):
    """The target has no place for another session now."""


class Env:
    """One session of a target, at most one episode at a time."""

    def reset(self, seed: int | None, task: str | None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: observation and info."""
        raise NotImplementedError

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Act: observation, reward, terminated, truncated, info."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what the session holds."""

    def drop(self) -> None:
        """Leave without a goodbye, as a client that crashed does."""
        self.close()

    def say(self, text: str) -> Any:
        """The action that says `text`."""
        return text

    def sample(self, seed: int) -> Any:
        """A random action, the same for the same seed; None where the target offers none."""
        return None

    def fits(self, observation: Any) -> bool | None:
        """Whether an observation lies in the declared space; None where none is declared."""
        return None

    def admits(self, action: Any) -> bool | None:
        """Whether an action lies in the declared space; None where none is declared."""
        return None


class Origin:
    """A target: where sessions come from."""

    talks = True
    """Whether an action is text, or holds one."""
    shell = False
    """Whether `command` turns shell commands into actions."""
    remote = False
    """Whether the target runs in another process, so that its memory cannot be looked at from here."""
    alone = True
    """Whether the agent is the only one who says anything."""
    deterministic = True
    top: float | None = None
    """The most an episode can earn, where that is known."""
    bounds: tuple[float, float] | None = None
    """Between which a single reward must lie, where that is declared."""

    def make(self) -> Env:
        """A new session. Raises NoRoom."""
        raise NotImplementedError

    def tasks(self, n: int) -> list[str]:
        """Ids of `n` tasks that `reset` takes; none where an episode is picked by its seed alone."""
        return []

    def gold(self, task: str | None, seed: int) -> list[str] | None:
        """Texts that solve what `reset(seed, task)` begins; None where nobody knows."""
        return None

    def command(self, line: str) -> Any:
        """The action that runs a shell command, in a target with a shell."""
        return line
