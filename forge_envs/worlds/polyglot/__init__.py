"""Programming exercises in six languages, after the Aider polyglot benchmark, and code contests."""
