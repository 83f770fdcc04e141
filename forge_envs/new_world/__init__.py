"""`forge-envs new-world`: a project with a world that keeps every promise from its first minute."""
