"""Where connections come from: any address of this machine, or the ones that the operator names."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

# Linux's, which Python names from 3.12 on: the port is chosen when it is known where to, so that one port
# serves many receivers.
_BIND_ADDRESS_NO_PORT: Final = 24


class BadSourceAddress(ValueError):
    """What is given cannot be an address that connections come from."""


@dataclass(frozen=True, slots=True)
class SourceAddresses:
    """The address that connections come from, for each kind. Neither: whichever the system chooses."""

    v4: IPv4Address | None = None
    v6: IPv6Address | None = None

    @classmethod
    def parse(cls, text: str) -> SourceAddresses:
        """Read one IPv4 address, one IPv6 address or both, comma separated; raises BadSource."""
        v4: IPv4Address | None = None
        v6: IPv6Address | None = None
        for part in (one.strip() for one in text.split(",")):
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

    def check_bindable(self) -> None:
        """Raise BadSource unless this machine has these addresses."""
        for address, family in ((self.v4, socket.AF_INET), (self.v6, socket.AF_INET6)):
            if address is None:
                continue
            try:
                with socket.socket(family, socket.SOCK_STREAM) as trial:
                    trial.bind((str(address), 0))
            except OSError as error:
                raise BadSourceAddress(f"{address} cannot be used: {error.strerror}") from None

    def open_socket(self, target: AddrInfoType) -> socket.socket:
        """Make a socket that leads there from the right address; raises OSError where there is none."""
        family, kind, protocol, _, _ = target
        if self.v4 is None and self.v6 is None:
            return socket.socket(family, kind, protocol)
        source = self.v6 if family == socket.AF_INET6 else self.v4
        if source is None:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            sock.bind((str(source), 0))
        except BaseException:
            sock.close()
            raise
        return sock


ANY_SOURCE_ADDRESS: Final = SourceAddresses()
