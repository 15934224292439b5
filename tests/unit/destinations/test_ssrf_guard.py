from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.destinations.ssrf_guard import Guard, find_refusal
from delivery.domain.networks import AllowList, BadAllowList

INSIDE = {
    "0.0.0.0": "this network",  # noqa: S104  refused, not bound
    "0.1.2.3": "this network",
    "10.0.0.1": "private",
    "10.255.255.255": "private",
    "100.64.0.1": "shared",
    "100.127.255.255": "shared",
    "100.100.100.200": "metadata",
    "127.0.0.1": "loopback",
    "127.255.255.254": "loopback",
    "168.63.129.16": "metadata",
    "169.254.0.1": "link-local",
    "169.254.169.254": "metadata",
    "169.254.170.2": "metadata",
    "172.16.0.1": "private",
    "172.31.255.255": "private",
    "192.0.0.8": "reserved",
    "192.0.0.9": "reserved",
    "192.0.0.192": "metadata",
    "192.0.2.1": "documentation",
    "192.31.196.1": "reserved",
    "192.52.193.1": "reserved",
    "192.88.99.1": "6to4 relay",
    "192.168.1.1": "private",
    "192.175.48.1": "reserved",
    "198.18.0.1": "benchmarking",
    "198.19.255.255": "benchmarking",
    "198.51.100.7": "documentation",
    "203.0.113.7": "documentation",
    "224.0.0.1": "multicast",
    "239.255.255.255": "multicast",
    "240.0.0.1": "reserved",
    "255.255.255.255": "broadcast",
    "::": "unspecified",
    "::1": "loopback",
    "::127.0.0.1": "embedded IPv4",
    "::8.8.8.8": "embedded IPv4",
    "::ffff:127.0.0.1": "loopback",
    "::ffff:7f00:1": "loopback",
    "::ffff:100.64.0.1": "shared",
    "::ffff:169.254.169.254": "metadata",
    "64:ff9b::127.0.0.1": "NAT64 of loopback",
    "64:ff9b::a9fe:a9fe": "NAT64 of metadata",
    "64:ff9b:1::1": "local NAT64",
    "100::1": "discard",
    "2001::7f00:1": "Teredo",
    "2001:0:7f00:1::": "Teredo",
    "2001:1::1": "reserved",
    "2001:20::1": "reserved",
    "2001:db8::1": "documentation",
    "2002:7f00:1::1": "6to4 of loopback",
    "2002:808:808::1": "6to4",
    "2620:4f:8000::1": "reserved",
    "3fff::1": "documentation",
    "4000::1": "reserved",
    "5f00::1": "segment routing",
    "fc00::1": "private",
    "fd00:ec2::254": "metadata",
    "fd12:3456::1": "private",
    "fd20:ce::254": "metadata",
    "fe80::1": "link-local",
    "fe80::1%lo": "zone",
    "2606:4700::1%eth0": "zone",
    "fec0::1": "site-local",
    "ff02::1": "multicast",
    "::1:0:0:1": "reserved",
}
OUTSIDE = (
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2001:200::1",
    "2606:4700:4700::1111",
    "2a00:1450:4001::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
)
NO_ADDRESSES = (
    "",
    "localhost",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.0.0.1:80",
    "[::1]",
    " ::1",
)

inside_v4 = st.sampled_from([address for address in INSIDE if ":" not in address]).map(IPv4Address)
any_v4 = st.integers(0, 2**32 - 1).map(IPv4Address)
any_v6 = st.integers(0, 2**128 - 1).map(IPv6Address)


@pytest.mark.parametrize(("address", "reason"), INSIDE.items())
def test_an_internal_address_is_refused_with_its_reason(address: str, reason: str):
    assert find_refusal(address) == reason


@pytest.mark.parametrize("address", OUTSIDE)
def test_a_public_address_may_be_dialled(address: str):
    assert find_refusal(address) is None


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_anything_but_an_address_is_refused(text: str):
    assert find_refusal(text) == "not an address"


@given(any_v4)
def test_a_mapped_address_is_judged_by_its_ipv4_address(address: IPv4Address):
    assert find_refusal(f"::ffff:{address}") == find_refusal(address)


@given(any_v4)
def test_nat64_is_judged_by_its_ipv4_address(address: IPv4Address):
    inside = find_refusal(address)
    assert find_refusal(f"64:ff9b::{address}") == (inside and f"NAT64 of {inside}")


@given(inside_v4, st.integers(0, 2**80 - 1))
def test_a_wrapped_internal_address_is_refused(address: IPv4Address, rest: int):
    number = int(address)
    wrapped = (
        number,
        (0xFFFF << 32) | number,
        (0x64FF9B << 96) | number,
        (0x2002 << 112) | (number << 80) | rest,
    )
    assert all(find_refusal(IPv6Address(value)) for value in wrapped)


@given(st.integers(0, 2**112 - 1))
def test_all_of_6to4_is_refused(rest: int):
    assert find_refusal(IPv6Address((0x2002 << 112) | rest))


@given(st.integers(0, 2**96 - 1))
def test_all_of_teredo_is_refused(rest: int):
    assert find_refusal(IPv6Address((0x20010000 << 96) | rest)) == "Teredo"


@given(any_v6)
def test_only_global_unicast_and_wrapped_public_ipv4_pass(address: IPv6Address):
    if find_refusal(address) is None:
        wraps = address.ipv4_mapped is not None or address in IPv6Network("64:ff9b::/96")
        assert address in IPv6Network("2000::/3") or wraps


@given(any_v4)
def test_a_number_and_its_text_get_the_same_verdict(address: IPv4Address):
    assert find_refusal(address) == find_refusal(str(address))


def test_the_allow_list_allows_only_its_entries():
    allow = AllowList.parse("127.0.0.0/8, ::1,10.1.2.3")
    assert [find_refusal(address, allow) for address in ("127.9.9.9", "::1", "10.1.2.3")] == [
        None,
        None,
        None,
    ]
    assert find_refusal("10.1.2.4", allow) == "private"


def test_an_allowed_ipv4_address_is_allowed_in_its_mapped_form():
    assert find_refusal("::ffff:127.0.0.1", AllowList.parse("127.0.0.1")) is None


def test_an_allowed_ipv4_address_is_not_allowed_through_nat64():
    assert find_refusal("64:ff9b::127.0.0.1", AllowList.parse("127.0.0.1")) == "NAT64 of loopback"


def test_an_address_with_a_zone_is_refused_even_when_its_network_is_allowed():
    assert find_refusal("fe80::1%lo", AllowList.parse("fe80::/10")) == "zone"


@pytest.mark.parametrize("text", ["", " ", ",", " , ,"])
def test_an_empty_allow_list_allows_nothing(text: str):
    assert AllowList.parse(text) == AllowList()


@pytest.mark.parametrize(
    "entry", ["localhost", "10.0.0.1/8", "10.0.0.0/33", "127.0.0.1:80", "10.0.0.0-10.0.0.9"]
)
def test_an_invalid_allow_list_names_the_entry(entry: str):
    with pytest.raises(BadAllowList, match=r"is not an address or a network") as caught:
        AllowList.parse(f"::1, {entry}")
    assert caught.value.entry == entry


def test_a_guard_without_ports_lets_any_port_pass():
    assert Guard().find_refusal("1.1.1.1", 22) is None


def test_a_guard_with_ports_refuses_the_others():
    guard = Guard(ports=frozenset({443}))
    assert guard.find_refusal("1.1.1.1", 443) is None
    assert guard.find_refusal("1.1.1.1", 22) == "port 22"


def test_the_allow_list_does_not_open_a_port():
    guard = Guard(AllowList.parse("127.0.0.1"), frozenset({443}))
    assert guard.find_refusal("127.0.0.1", 25) == "port 25"
