"""Which client network an address belongs to, as far as the address tells. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

_CLIENT_PREFIX_BITS: Final = 64  # internet providers give each customer at least a /64


@lru_cache(maxsize=4096)
def get_client_network(address: str) -> str:
    """The IPv4 address itself, or the /64 network of an IPv6 address; other text as it is."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((int(parsed), _CLIENT_PREFIX_BITS), strict=False))
