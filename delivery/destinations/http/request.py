"""Encodes an `httpx.Request` as the bytes that go over the wire. Pure.

The framing is ours: headers about host, length, encoding or connection are dropped and written here, so that
no header can change the request that the receiver sees.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httpx

from delivery.destinations.http.pool import PoolKey
from delivery.destinations.http.url_policy import DEFAULT_PORTS, FRAMING_HEADERS, HEADER_NAME_PATTERN
from delivery.domain.networks import MAX_PORT

if TYPE_CHECKING:
    from delivery.destinations.http.client_certificate import ClientIdentity

_MANAGED_HEADERS: Final = frozenset(name.encode() for name in FRAMING_HEADERS)
_VALID_HEAD: Final = re.compile(
    rb"[A-Z]+ [!-~]+ HTTP/1\.1\r\n(?:%b: [^\r\n\0]*\r\n)+\r\n" % HEADER_NAME_PATTERN.encode()
)
_MAX_SINGLE_WRITE_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """The origin to ask, and the bytes to write there, in one chunk or two."""

    pool_key: PoolKey
    chunks: tuple[bytes, ...]
    expects_body: bool


def encode_request(
    request: httpx.Request, body: bytes, identity: ClientIdentity | None = None
) -> EncodedRequest:
    """Encode a request, to be sent with this client identity.

    Raises httpx.UnsupportedProtocol and httpx.LocalProtocolError.
    """
    url = request.url
    port = DEFAULT_PORTS.get(url.scheme)
    if port is None or not url.raw_host:
        raise httpx.UnsupportedProtocol(
            "Only http and https URLs with a host are supported.", request=request
        )
    if url.port is not None:
        port = url.port  # 0 too, which is refused below instead of meaning the default
    if not 1 <= port <= MAX_PORT:
        raise httpx.LocalProtocolError(f"The URL's port must be between 1 and {MAX_PORT}.", request=request)
    if url.userinfo:
        raise httpx.LocalProtocolError("Credentials in a URL are not sent.", request=request)
    origin = PoolKey(url.raw_host.decode("ascii"), port, url.scheme == "https", identity)
    head = _encode_head(request, len(body))
    chunks = (head + body,) if len(body) <= _MAX_SINGLE_WRITE_BYTES else (head, body)
    return EncodedRequest(origin, chunks, expects_body=request.method != "HEAD")


def _encode_head(request: httpx.Request, length: int) -> bytes:
    url = request.url
    lines = [
        b"%b %b HTTP/1.1" % (request.method.encode(), url.raw_path),
        b"Host: " + url.netloc,
        b"Accept-Encoding: identity",
        b"Content-Length: %d" % length,
    ]
    lines += [
        name + b": " + value for name, value in request.headers.raw if name.lower() not in _MANAGED_HEADERS
    ]
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    # Every line must be a header, and there must be as many as were written: none may hide in another.
    if not _VALID_HEAD.fullmatch(head) or head.count(b"\n") != len(lines) + 1:
        raise httpx.LocalProtocolError("A header has a name or a value that cannot be sent.", request=request)
    return head
