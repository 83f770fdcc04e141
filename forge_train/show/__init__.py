"""What a person sees of a run: the live table, the report, conversations, curves."""
