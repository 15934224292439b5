"""Opens sockets from the source addresses that the operator has configured."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Final

from delivery.domain.egress import BadSourceAddress

if TYPE_CHECKING:
    from aiohappyeyeballs import AddrInfoType

    from delivery.domain.egress import SourceAddresses

# Linux's option, which Python names from 3.12 on: the port is chosen when the peer is known, so that one
# port serves many receivers.
_BIND_ADDRESS_NO_PORT: Final = 24


def check_bindable(sources: SourceAddresses) -> None:
    """Raise BadSourceAddress unless this machine has these addresses."""
    for address, family in ((sources.v4, socket.AF_INET), (sources.v6, socket.AF_INET6)):
        if address is None:
            continue
        try:
            with socket.socket(family, socket.SOCK_STREAM) as trial:
                trial.bind((str(address), 0))
        except OSError as error:
            raise BadSourceAddress(f"{address} cannot be used: {error.strerror}") from None


def open_socket(sources: SourceAddresses, target: AddrInfoType) -> socket.socket:
    """Open a socket to the target from the address of its family; raises OSError where there is none."""
    family, kind, protocol, _, _ = target
    if sources.v4 is None and sources.v6 is None:
        return socket.socket(family, kind, protocol)
    source = sources.v6 if family == socket.AF_INET6 else sources.v4
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
