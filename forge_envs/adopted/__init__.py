"""Environments of other libraries as worlds: one wrapper each, made by id with constructor arguments only.

`Adopted` is what they share. None of them is an `AgentEnv`: a stranger's environment has no gold, no named
tasks and no snapshots, and here nothing pretends that it has. docs/other_environments.md shows each at work.
"""

from __future__ import annotations

from forge_envs.adopted.adopted import Adopted, Answered

__all__ = ["Adopted", "Answered"]
