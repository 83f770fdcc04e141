"""Configs that reproduce a result."""
