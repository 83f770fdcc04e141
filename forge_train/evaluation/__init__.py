"""How good a player is, and episodes worth imitating."""
