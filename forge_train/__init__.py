"""A trainer for language agents: plays multi-turn worlds, scores turns and outcomes, improves the policy."""
