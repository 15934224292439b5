"""How deliveries leave this machine, as settings write it: through which proxy, from which address. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from delivery.domain.networks import MAX_PORT

MAX_SOCKS_FIELD_BYTES: Final = 255  # bytes of a name, user or password in SOCKS5 (RFC 1928, RFC 1929)
_DEFAULT_PORTS: Final = {"http": 3128, "https": 443, "socks5": 1080, "socks5h": 1080}


class BadProxy(ValueError):
    """The text is not the URL of a proxy; it is not repeated, for it may hold a password."""

    def __init__(self) -> None:
        super().__init__(
            "must be of the form http://user:password@proxy:3128, or begin with https://, socks5:// or socks5h://"
        )


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where the proxy is and how we sign in to it."""

    scheme: str
    host: str
    port: int
    user: str | None = None
    password: str = field(default="", repr=False)

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """Read `scheme://user:password@host:port`; raises BadProxy."""
        try:
            parts = urlsplit(text.strip())
            port = parts.port
        except ValueError:
            raise BadProxy from None
        more = parts.path.rstrip("/") or parts.query or parts.fragment
        if (
            parts.scheme not in _DEFAULT_PORTS
            or not parts.hostname
            or port == 0
            or more
            or not text.isascii()
        ):
            raise BadProxy
        user = None if parts.username is None else unquote(parts.username)
        proxy = cls(
            parts.scheme,
            parts.hostname,
            port or _DEFAULT_PORTS[parts.scheme],
            user,
            unquote(parts.password or ""),
        )
        if not _is_usable(proxy):
            raise BadProxy
        return proxy

    @property
    def resolves_names(self) -> bool:
        """Whether the proxy looks names up, so that the guard cannot."""
        return self.scheme == "socks5h"

    @property
    def is_ssl(self) -> bool:
        """Whether the connection to the proxy itself is encrypted."""
        return self.scheme == "https"


def _is_usable(proxy: Proxy) -> bool:
    """Whether the user name and the password fit the proxy's protocol, and the port is valid."""
    if proxy.user is None:
        return proxy.port <= MAX_PORT
    credentials = (proxy.user.encode(), proxy.password.encode())
    if proxy.scheme in {"http", "https"}:
        return ":" not in proxy.user
    return all(0 < len(field) <= MAX_SOCKS_FIELD_BYTES for field in credentials)


class BadSourceAddress(ValueError):
    """The text is not a source address for connections."""


@dataclass(frozen=True, slots=True)
class SourceAddresses:
    """The source addresses of connections, one for each IP version. Neither: the system chooses."""

    v4: IPv4Address | None = None
    v6: IPv6Address | None = None

    @classmethod
    def parse(cls, text: str) -> SourceAddresses:
        """Read one IPv4 address, one IPv6 address or both, comma separated; raises BadSourceAddress."""
        v4: IPv4Address | None = None
        v6: IPv6Address | None = None
        for part in map(str.strip, text.split(",")):
            try:
                address = ip_address(part)
            except ValueError:
                raise BadSourceAddress(f"{part!r} is not an IP address") from None
            if address.is_unspecified or address.is_multicast:
                raise BadSourceAddress(f"{part} is not an address of one machine")
            if isinstance(address, IPv4Address) and v4 is None:
                v4 = address
            elif isinstance(address, IPv6Address) and v6 is None:
                v6 = address
            else:
                raise BadSourceAddress("takes one IPv4 and one IPv6 address at most")
        return cls(v4, v6)


ANY_SOURCE_ADDRESS: Final = SourceAddresses()
