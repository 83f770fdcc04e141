"""Whether a host is this machine alone."""

from __future__ import annotations

from ipaddress import ip_address


def is_loopback(host: str) -> bool:
    """Whether nobody outside this machine reaches the host.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("10.0.0.7")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
