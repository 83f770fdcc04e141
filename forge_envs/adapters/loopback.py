"""Whether a host is this machine alone: what a server without a token binds to, and whom it answers."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Whether a host, as one binds to it or as a client names it, is this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def names_loopback(address: str) -> bool:
    """The same of an address, as the headers Origin and (behind "//") Host have it.

    >>> [names_loopback(told) for told in ("http://localhost:80", "//127.0.0.1", "//evil.example", "//[::1")]
    [True, True, False, False]
    """
    try:
        return is_loopback(urlsplit(address).hostname or "")
    except ValueError:  # half an IPv6 address
        return False
