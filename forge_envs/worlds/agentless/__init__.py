"""Fixes and tests without an agent loop, over the tasks of Forge/SWE-v0: Kimi-Dev (arXiv 2509.23045)."""
