"""The worlds that ship with Forge, one folder each."""
