"""An `httpx.Request` as the bytes that go over the wire. Pure.

The framing is ours: whatever the request says about host, length, encoding or connection is left out and
written anew, so that no header can make the receiver see another request than the one that was meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from delivery.transport.connector import Origin
from delivery.transport.guard import LAST_PORT

if TYPE_CHECKING:
    from delivery.certificates import ClientIdentity

_PORTS: Final = {"https": 443, "http": 80}
_OURS: Final = frozenset({
    b"host", b"content-length", b"transfer-encoding", b"accept-encoding", b"connection", b"keep-alive",
    b"proxy-connection", b"te", b"trailer", b"upgrade", b"expect",
})  # fmt: skip
_HEAD: Final = re.compile(rb"[A-Z]+ [!-~]+ HTTP/1\.1\r\n(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+: [^\r\n\0]*\r\n)+\r\n")
_ONE_WRITE: Final = 65_536


@dataclass(frozen=True, slots=True)
class Question:
    """Where to ask, and the bytes to write there, in one piece or two."""

    origin: Origin
    pieces: tuple[bytes, ...]
    expects_body: bool


def question_of(request: httpx.Request, body: bytes, identity: ClientIdentity | None = None) -> Question:
    """Write a request out, to be asked as `identity`.

    Raises httpx.UnsupportedProtocol and httpx.LocalProtocolError.
    """
    url = request.url
    port = _PORTS.get(url.scheme)
    if port is None or not url.raw_host:
        raise httpx.UnsupportedProtocol("Only http and https URLs with a host can be asked.", request=request)
    if url.port is not None:
        port = url.port  # 0 too, which is no port, and not the scheme's own
    if not 1 <= port <= LAST_PORT:
        raise httpx.LocalProtocolError(f"The URL's port must be between 1 and {LAST_PORT}.", request=request)
    if url.userinfo:
        raise httpx.LocalProtocolError("Credentials in a URL are not sent.", request=request)
    origin = Origin(url.raw_host.decode("ascii"), port, url.scheme == "https", identity)
    head = _head(request, len(body))
    pieces = (head + body,) if len(body) <= _ONE_WRITE else (head, body)
    return Question(origin, pieces, expects_body=request.method != "HEAD")


def _head(request: httpx.Request, length: int) -> bytes:
    url = request.url
    lines = [
        b"%b %b HTTP/1.1" % (request.method.encode(), url.raw_path),
        b"Host: " + url.netloc,
        b"Accept-Encoding: identity",
        b"Content-Length: %d" % length,
    ]
    lines += [name + b": " + value for name, value in request.headers.raw if name.lower() not in _OURS]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    # Each line must be a header, and there must be as many as were written: none may hide inside another.
    if not _HEAD.fullmatch(head) or head.count(b"\n") != len(lines) + 1:
        raise httpx.LocalProtocolError("A header has a name or a value that cannot be sent.", request=request)
    return head
