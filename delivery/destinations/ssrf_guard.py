"""The SSRF guard: decides whether an address may be dialled. Pure.

The ranges are spelled out, because `ipaddress.is_global` differs between Python versions and calls several
addresses global that are not (multicast, `::127.0.0.1`, `fec0::1`, `3fff::1`, …).
Sources: the IANA special-purpose address registries (RFC 6890), RFC 6052 (NAT64), RFC 7526 (6to4), and the
clouds' own pages for their metadata addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

from delivery.domain.networks import AllowList

if TYPE_CHECKING:
    from delivery.domain.networks import Address, Network

_EMPTY_ALLOW_LIST: Final = AllowList()

# In both tables the first match gives the reason, so specific ranges come before general ones.
_BLOCKED_V4: Final = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("169.254.169.254/32", "metadata"),  # AWS, Azure, Google, DigitalOcean, …
        ("169.254.170.2/32", "metadata"),  # AWS containers
        ("100.100.100.200/32", "metadata"),  # Alibaba
        ("192.0.0.192/32", "metadata"),  # Oracle
        ("168.63.129.16/32", "metadata"),  # Azure's host, behind a public number
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.31.196.0/24", "reserved"),
        ("192.52.193.0/24", "reserved"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("192.175.48.0/24", "reserved"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_BLOCKED_V6: Final = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("fd00:ec2::/32", "metadata"),  # AWS
        ("fd20:ce::254/128", "metadata"),  # Google
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "embedded IPv4"),  # ::a.b.c.d, given up by RFC 4291
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard"),
        ("2001::/32", "Teredo"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "documentation"),
        ("2620:4f:8000::/48", "reserved"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_LOW_32_BITS: Final = 0xFFFF_FFFF


def find_refusal(address: str | Address, allow_list: AllowList = _EMPTY_ALLOW_LIST) -> str | None:
    """Return why an address may not be dialled, in a word or two (`loopback`, `private`, …); None if it may.

    Anything that is not a plain address is refused: a name, a legacy IPv4 notation, an address with a zone.
    """
    try:
        number = ip_address(address)
    except ValueError:
        return "not an address"
    if isinstance(number, IPv6Address):
        if number.scope_id is not None:
            return "zone"
        return _find_refusal_v6(number, allow_list)
    return _find_refusal_v4(number, allow_list)


def _find_refusal_v4(address: IPv4Address, allow_list: AllowList) -> str | None:
    return None if address in allow_list else _find_first_match(address, _BLOCKED_V4)


def _find_refusal_v6(address: IPv6Address, allow_list: AllowList) -> str | None:
    if address in allow_list:
        return None
    if address.ipv4_mapped is not None:
        # The kernel dials the IPv4 address itself, so that address is judged, allow-list included.
        return _find_refusal_v4(address.ipv4_mapped, allow_list)
    if address in _NAT64:
        # Another machine dials on our behalf: the allow-list speaks of addresses as this machine sees them.
        reason = _find_first_match(IPv4Address(int(address) & _LOW_32_BITS), _BLOCKED_V4)
        return reason and f"NAT64 of {reason}"
    if address.sixtofour is not None:
        # Always refused: the public 6to4 relays are gone (RFC 7526), so no receiver lives there.
        reason = _find_first_match(address.sixtofour, _BLOCKED_V4)
        return f"6to4 of {reason}" if reason else "6to4"
    return _find_first_match(address, _BLOCKED_V6) or (None if address in _GLOBAL_UNICAST else "reserved")


def _find_first_match(address: Address, ranges: tuple[tuple[Network, str], ...]) -> str | None:
    return next((reason for network, reason in ranges if address in network), None)


@dataclass(frozen=True, slots=True)
class Guard:
    """The operator's policy: public addresses, those in the allow-list, and some ports or all (None)."""

    allow_list: AllowList = field(default_factory=AllowList)
    ports: frozenset[int] | None = None

    def find_refusal(self, address: str | Address, port: int) -> str | None:
        """Return why this address and port may not be dialled; None if they may."""
        if self.ports is not None and port not in self.ports:
            return f"port {port}"
        return find_refusal(address, self.allow_list)
