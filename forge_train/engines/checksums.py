"""What servers hold, by the checksums of their tensors: where they differ, and what did not change.

vLLM hashes each parameter as it lies in memory (`/weight_checker`, 0.32), so servers that loaded the same
weights the same way must tell the same. A packed copy beside a parameter is not hashed: the probe sees that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

Digests = Mapping[str, str]
"""Checksum by name of a tensor."""


def complaints(now: Mapping[str, Digests], before: Mapping[str, Digests]) -> dict[str, str]:
    """What is wrong with the weights of each server of which something is; `before` the last load.

    Servers whose tensors have other names (of another layout) are not compared with each other.

    >>> complaints({"a": {"w": "1"}, "b": {"w": "0"}}, {"a": {"w": "0"}, "b": {"w": "0"}})
    {'b': "1 of 1 tensors differ from other servers' and are those of the load before, the first is w"}
    >>> complaints({"a": {"w": "1"}, "b": {"w": "1"}}, {})
    {}
    """
    found = {}
    for server, digests in now.items():
        alike = [other for other in now.values() if other.keys() == digests.keys()]
        stale = before.get(server, {})
        wrong = [name for name in digests if _odd(name, digests, alike, stale)]
        if not wrong:
            continue
        kept = all(stale.get(name) == digests[name] for name in wrong)
        found[server] = (
            f"{len(wrong)} of {len(digests)} tensors differ from other servers'"
            f"{' and are those of the load before' if kept else ''}, the first is {wrong[0]}"
        )
    return found


def _odd(name: str, digests: Digests, alike: list[Digests], stale: Digests) -> bool:
    """Whether a tensor is not what most have; between two it is the one that did not change."""
    counts = Counter(other[name] for other in alike)
    if len(counts) == 1:
        return False
    most = max(counts.values())
    if counts[digests[name]] < most:
        return True
    tied = sum(count == most for count in counts.values()) > 1
    return tied and stale.get(name) in (None, digests[name])
