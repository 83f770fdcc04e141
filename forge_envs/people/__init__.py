"""Who talks to an agent, who judges it, and what is recorded of both."""
