"""Networks and ports as settings write them. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

MAX_PORT: Final = 65_535
Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_PORT: Final = re.compile("[0-9]{1,5}")
_HOST_AND_PORT: Final = re.compile(r"(?P<host>[^:\s]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})\Z")


class BadAllowList(ValueError):
    """An entry of the allow-list is neither an address nor a network."""

    def __init__(self, entry: str, why: str) -> None:
        super().__init__(f"{entry!r} is not an address or a network such as 10.0.0.0/8: {why}")
        self.entry = entry


@dataclass(frozen=True, slots=True)
class AllowList:
    """Private or reserved networks to which the operator allows connections."""

    networks: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, text: str) -> AllowList:
        """Read `127.0.0.0/8, ::1`: addresses and networks, comma separated; raises BadAllowList."""
        return cls(tuple(map(_parse_network, split_list(text))))

    def __contains__(self, address: Address) -> bool:
        return any(address in network for network in self.networks)

    def __str__(self) -> str:
        return ",".join(map(str, self.networks))


def _parse_network(entry: str) -> Network:
    try:
        return ip_network(entry)
    except ValueError as error:
        raise BadAllowList(entry, str(error)) from error


def parse_networks(text: str) -> tuple[Network, ...]:
    """Read networks, comma separated; raises ValueError."""
    return tuple(map(ip_network, split_list(text)))


def parse_ports(text: str) -> frozenset[int]:
    """Read ports, comma separated; raises ValueError."""
    parts = split_list(text)
    if not all(_PORT.fullmatch(part) and 0 < int(part) <= MAX_PORT for part in parts):
        raise ValueError(f"must be numbers from 1 to {MAX_PORT}, comma separated")
    return frozenset(map(int, parts))


def parse_host_port(text: str) -> tuple[str, int]:
    """Read `host:port`; raises ValueError."""
    match = _HOST_AND_PORT.match(text)
    if match is None or not 1 <= int(match["port"]) <= MAX_PORT:
        raise ValueError(f"{text!r} is not of the form host:port")
    return match["host"].strip("[]"), int(match["port"])


def split_list(text: str) -> list[str]:
    """The parts of a comma-separated list, without spaces around them and without empty ones."""
    return [part for entry in text.split(",") if (part := entry.strip())]
