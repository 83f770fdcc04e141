"""Worlds out of a folder of real tool schemas: OpenAPI, MCP, and lists of functions."""
