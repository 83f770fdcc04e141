"""Trackers: where else a run's figures go, beside its folder, which stays the truth.

Each file is one library behind the protocol of `tracker.py`; `follow.py` feeds them, each in its own thread.
"""
