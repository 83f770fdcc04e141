"""Doors from the worlds into other people's libraries, one file each, imported when it is asked for.

Every door holds a `Session`: the world stays the only truth, and a door says what its library cannot carry.
docs/adapters.md has the table.
"""

from __future__ import annotations

from forge_envs.adapters.session import EPISODE_OVER, Session, Turn
from forge_envs.adapters.written import as_text, chat_messages, split_tools, tools_written

__all__ = ["EPISODE_OVER", "Session", "Turn", "as_text", "chat_messages", "split_tools", "tools_written"]
