"""A phone company whose customers have a phone in their hands."""
