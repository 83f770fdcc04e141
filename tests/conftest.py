"""What all tests share."""

from hypothesis import settings

# No test is about how fast this machine is today.
settings.register_profile("forge", deadline=None)
settings.load_profile("forge")
