"""Seeds that depend on what they are for, never on when somebody asks."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A stable 63-bit seed of `parts`, the same in every process and on every machine.

    >>> derive_seed(0, "retail/3", 1) == derive_seed(0, "retail/3", 1) != derive_seed(0, "retail/3", 2)
    True
    """
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
