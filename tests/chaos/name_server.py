"""A name server of our own on loopback, and the way to have a process ask it: what it says can be changed.

Messages: RFC 1035, section 4. It answers one question with one address of version 4, or with an error.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import threading
from ipaddress import IPv4Address
from itertools import cycle
from typing import TYPE_CHECKING, Self

from tests.chaos.fault import UnsupportedFaultError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A resolver asks at no other port. Any address of loopback will do; another run may have one of them.
ADDRESSES, PORT = [f"127.0.0.{last}" for last in range(153, 250)], 53
_ANSWER_FLAGS, _SERVER_FAILURE_FLAGS = 0x8180, 0x8182
_TYPE_A = 1


class NameServer:
    """Says where every name is, from `with` on; `silent` it says nothing, `failing` that it cannot."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        """Nothing is bound yet; `with` raises NotHereError where nothing can be."""
        self.address = ""
        self.is_silent = False
        self.is_failing = False
        self.query_count = 0
        self._addresses = cycle([address])
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._thread = threading.Thread(target=self._serve, name="names", daemon=True)

    def __enter__(self) -> Self:
        self.address = self._bound()
        self._thread.start()
        return self

    def _bound(self) -> str:
        for address in ADDRESSES:
            try:
                self._socket.bind((address, PORT))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    break
            else:
                return address
        self._socket.close()
        raise UnsupportedFaultError(f"no name server of ours can have port {PORT}")

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def set_addresses(self, addresses: Iterable[str]) -> None:
        """Name these in turn from now on."""
        self._addresses = cycle(addresses)

    def _serve(self) -> None:
        while True:
            try:
                question, whom = self._socket.recvfrom(512)
            except OSError:
                return
            self.query_count += 1
            if not self.is_silent:
                self._socket.sendto(self._answer(question), whom)

    def _answer(self, question: bytes) -> bytes:
        end = question.index(b"\0", 12) + 5
        asked = question[12:end]
        kind = int.from_bytes(asked[-4:-2])
        answers = b""
        if kind == _TYPE_A and not self.is_failing:
            address = IPv4Address(next(self._addresses)).packed
            answers = b"\xc0\x0c" + b"\0\1\0\1" + b"\0\0\0\1" + b"\0\4" + address
        flags = _SERVER_FAILURE_FLAGS if self.is_failing else _ANSWER_FLAGS
        count = int(bool(answers))
        return question[:2] + flags.to_bytes(2) + b"\0\1" + count.to_bytes(2) + b"\0\0\0\0" + asked + answers


def is_root() -> bool:
    """Whether faults that need root can be had."""
    return os.geteuid() == 0


def make_resolver_command(address: str, folder: Path) -> tuple[str, ...]:
    """What to put before a command that is to ask this server: a `resolv.conf` that only it sees.

    Needs root.
    """
    file = folder / "resolv.conf"
    file.write_text(f"nameserver {address}\noptions timeout:1 attempts:2\n")
    bound = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
    return ("unshare", "--mount", "--propagation", "private", "sh", "-c", bound, str(file))


def can_override_resolver(folder: Path) -> bool:
    """Whether processes of ours can be made to ask a server of ours: not in every container, though root."""
    if not is_root():
        return False
    tried = subprocess.run(
        [*make_resolver_command(ADDRESSES[0], folder), "true"], check=False, capture_output=True
    )
    return tried.returncode == 0
