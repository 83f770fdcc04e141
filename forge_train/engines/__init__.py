"""Engines: in process on the learner's own weights, and scripted for tests."""
