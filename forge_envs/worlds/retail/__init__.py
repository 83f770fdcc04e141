"""A shop's customer service: Forge/Retail-v0."""
