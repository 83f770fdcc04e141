"""What a server grants: to whom, how much, and for how long."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from forge_envs.adapters.loopback import is_loopback

OPEN_ARGUMENTS = frozenset(
    (
        "domain",
        "edit_format",
        "gaps",
        "grammar",
        "language",
        "level",
        "max_turns",
        "prompt",
        "protocol",
        "reflections",
        "scaffold",
        "size",
        "split",
        "strict",
        "tries",
        "turn_weight",
        "visible_progress",
    )
)
"""Arguments of worlds that a client may give unless told otherwise: they choose what is played. The rest
name files, models and sandboxes of the server's machine, and are the operator's."""


@dataclass(frozen=True)
class ServeLimits:
    """Numbers that bound a server; all are positive. Raises ValueError.

    >>> ServeLimits(max_sessions=0)
    Traceback (most recent call last):
    ValueError: max_sessions=0: it must be a number above 0
    """

    max_sessions: int = 256
    """Worlds held at once, those included that are being made or that do not come back."""
    idle: float = 900.0
    """Seconds without use after which a session is closed."""
    step_timeout: float = 600.0
    """Seconds that a call into a world may take: its opening, a step, the verdict, its closing."""
    max_bytes: int = 1 << 20
    """Size of a message to the server."""
    max_turns: int = 1000
    """What a client may give as `max_turns`."""
    max_tasks: int = 10_000
    """Task ids told at once."""
    body_timeout: float = 30.0
    """Seconds that a message may take to arrive, once its connection is open."""
    linger: float = 120.0
    """Seconds for which the record of an ended session can be asked for."""
    grace: float = 60.0
    """Seconds that running steps have when the server is told to stop."""

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{one.name}={value!r}: it must be a number above 0")


def check_exposure(host: str, token: str | None) -> None:
    """Raise ValueError for a server that strangers could reach and use, and for a token that is none.

    >>> check_exposure("0.0.0.0", None)
    Traceback (most recent call last):
    ValueError: host='0.0.0.0' can be reached from other machines: give --token, or set FORGE_TOKEN
    """
    if token is None:
        if not is_loopback(host):
            raise ValueError(
                f"host={host!r} can be reached from other machines: give --token, or set FORGE_TOKEN"
            )
    elif len(token) < 8 or not (token.isascii() and token.isprintable()) or " " in token:
        raise ValueError("the token must be at least 8 printable ASCII characters without spaces")
