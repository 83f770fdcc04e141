"""Worlds by the thousand: a theme and a seed make a domain with its tools, rules and customers."""
