"""An airline's customer service: Forge/Airline-v0."""
