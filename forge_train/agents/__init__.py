"""Agents that are black boxes: programs that ask our policy as they would any OpenAI-compatible server."""
