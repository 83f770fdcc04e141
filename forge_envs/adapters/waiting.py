"""Sessions in an event loop: a world that waits does not keep the others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from forge_envs.adapters.session import Session

P = ParamSpec("P")
R = TypeVar("R")


async def aside(session: Session, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """What `work` of a session returns: done on a thread if its world may wait (HTTP, containers).

    >>> async def opening():
    ...     session = Session("Forge/Retail-v0")
    ...     return await aside(session, session.begin, "retail/small/train/2/1")
    >>> asyncio.run(opening())[0]["role"]
    'system'
    """
    if session.env.metadata.get("quick"):
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)
