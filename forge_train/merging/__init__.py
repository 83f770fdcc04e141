"""Several checkpoints of one architecture become one: methods, files, and the command."""
