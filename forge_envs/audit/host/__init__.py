"""The program that runs a target, in a process of its own and perhaps in another Python.

It imports nothing of Forge and, by itself, nothing but the standard library: a target's own environment need
not have either. It is loaded by its path, so that its modules know each other by whole names where no Forge
is. `serve` is the loop; each other module opens one kind of target.
"""
