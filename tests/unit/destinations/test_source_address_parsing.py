"""Source addresses: which settings are parsed, and which are refused."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest

from delivery.domain.egress import BadSourceAddress, SourceAddresses

ANY = "0.0.0.0"  # noqa: S104  refused


def target(address: str) -> tuple[int, int, int, str, tuple[str, int]]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, 443)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("127.0.0.2", SourceAddresses(IPv4Address("127.0.0.2"))),
        ("::1", SourceAddresses(None, IPv6Address("::1"))),
        (" ::1 , 127.0.0.2 ", SourceAddresses(IPv4Address("127.0.0.2"), IPv6Address("::1"))),
    ],
)
def test_one_address_of_each_family_is_parsed(text: str, read: SourceAddresses):
    assert SourceAddresses.parse(text) == read


@pytest.mark.parametrize(
    "text", ["", "eth0", "127.0.0.1,", "127.0.0.1, 127.0.0.2", "::1,::2", ANY, "::", "224.0.0.1"]
)
def test_invalid_addresses_are_refused(text: str):
    with pytest.raises(BadSourceAddress):
        SourceAddresses.parse(text)
