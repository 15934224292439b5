"""Whose an address is, as far as it can be told from the address. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

_CLIENT_PREFIX_BITS: Final = 64  # bits that an internet provider gives to one customer


@lru_cache(maxsize=4096)
def get_client_network(address: str) -> str:
    """Whoever has one address of version 6 has a whole network of them; they count as one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ip_network((int(found), _CLIENT_PREFIX_BITS), strict=False))
