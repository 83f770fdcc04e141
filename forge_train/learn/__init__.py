"""Learning: from trajectories to a gradient, on one process or many."""
