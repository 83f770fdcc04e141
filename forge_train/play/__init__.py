"""Playing: worlds, players, and where the groups of a run are played."""
