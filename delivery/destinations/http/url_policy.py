"""Is this a destination that an endpoint may have? Pure checks, made when a person sets a URL or headers.

They are a courtesy. The wall is the guard, which looks at every address just before it is dialled.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

import httpx

from delivery.domain.networks import MAX_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from delivery.destinations.ssrf_guard import Guard

MAX_URL_CHARS: Final = 2048
MAX_HOST_CHARS: Final = 253
MAX_HEADERS: Final = 20
MAX_HEADER_BYTES: Final = 4096
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_FORBIDDEN_IN_URL: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
# Underscores are not in the RFCs but are in real names.
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
# Resolvers read `2130706433`, `0x7f.1`, `127.1` as IPv4 addresses (WHATWG URL, "ends in a number").
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_RESERVED: Final = frozenset({
    "accept-encoding",  # the transport asks for identity: it never unpacks what a stranger packed
    "connection", "content-encoding", "content-length", "content-type", "cookie", "cookie2", "expect",
    "host", "http2-settings", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade",
    "user-agent",  # tells receivers who calls them
})  # fmt: skip
_RESERVED_PREFIXES: Final = ("webhook-", "waybill-", "proxy-")
_CLOUDEVENTS_PREFIX: Final = "ce-"
# Gateways that hand headers on as variables (CGI, WSGI) write each of these as an underscore.
_CGI_EQUIVALENT: Final = re.compile(r"[^a-z0-9]")


class BadDestination(ValueError):
    """A URL that no endpoint may have; `why` is one sentence without the URL in it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class BadHeader(ValueError):
    """A custom header that no endpoint may have; `name` is None when all of them together are at fault."""

    def __init__(self, name: str | None, why: str) -> None:
        super().__init__(why if name is None else f"{name!r}: {why}")
        self.name = name
        self.why = why


def check_url(url: str, *, allow_http: bool) -> str:
    """Check and normalise an endpoint's URL: lower-case ASCII host, no default port. Raises BadDestination.

    Parsed by the same code that reads it when it is sent to, so that both see the same host. A literal
    address passes here; `refused_literal` tells early what the guard will say to it.
    """
    if len(url) > MAX_URL_CHARS:
        raise BadDestination(f"The URL must not be longer than {MAX_URL_CHARS} characters.")
    if _FORBIDDEN_IN_URL.search(url):
        raise BadDestination("The URL must not contain spaces, control characters or backslashes.")
    if "#" in url:
        raise BadDestination("The URL must not have a fragment.")
    parsed = _parse_url(url)
    if parsed.scheme not in _DEFAULT_PORTS or (parsed.scheme == "http" and not allow_http):
        schemes = "https or http" if allow_http else "https"
        raise BadDestination(f"The URL must begin with {schemes}://.")
    authority = _AUTHORITY.match(url)
    if authority is not None and "@" in authority[1]:
        raise BadDestination("The URL must not contain a user name or password.")
    normal = (
        f"{parsed.scheme}://{_normalize_host(parsed)}{_format_port(parsed)}{parsed.raw_path.decode('ascii')}"
    )
    if len(normal) > MAX_URL_CHARS:
        raise BadDestination(
            f"The URL must not be longer than {MAX_URL_CHARS} characters once it is encoded."
        )
    return normal


def _parse_url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError) as error:  # a lone surrogate cannot be encoded
        raise BadDestination("The URL cannot be read.") from error


def _normalize_host(url: httpx.URL) -> str:
    host = url.raw_host.decode("ascii").lower()
    if not host:
        raise BadDestination("The URL must name a host.")
    literal = _parse_literal(host)
    if literal is not None:
        return f"[{literal}]" if isinstance(literal, IPv6Address) else str(literal)
    host = host.removesuffix(".")
    if len(host) > MAX_HOST_CHARS or not _HOST.fullmatch(host) or _ENDS_IN_A_NUMBER.fullmatch(host):
        raise BadDestination("The URL's host is neither a valid name nor an address.")
    return host


def _format_port(url: httpx.URL) -> str:
    if url.port is None or url.port == _DEFAULT_PORTS[url.scheme]:
        return ""
    if not 1 <= url.port <= MAX_PORT:
        raise BadDestination(f"The URL's port must be between 1 and {MAX_PORT}.")
    return f":{url.port}"


def _parse_literal(host: str) -> IPv4Address | IPv6Address | None:
    if "%" in host:  # a zone: an address that means something on this machine alone
        return None
    with suppress(ValueError):
        return ip_address(host)
    return None


def find_literal_refusal(url: str, guard: Guard) -> str | None:
    """Say why the guard would never dial this URL: an inside address written out, or a port; None otherwise.

    For a checked URL. A name gets no verdict here: what it resolves to is looked at when it is dialled.
    """
    parsed = httpx.URL(url)
    port = _DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    literal = _parse_literal(parsed.raw_host.decode("ascii"))
    if literal is not None:
        return guard.find_refusal(literal, port)
    return f"port {port}" if guard.ports is not None and port not in guard.ports else None


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check the custom headers of an endpoint and give them back as they are. Raises BadHeader.

    At most 20, at most 4 KiB together, names that are tokens (RFC 9110, section 5.6.2), values of visible
    ASCII. Names that the engine, the connection or CloudEvents need for themselves are refused.
    """
    if len(headers) > MAX_HEADERS:
        raise BadHeader(None, f"There must not be more than {MAX_HEADERS} headers.")
    if sum(len(name) + len(value) + len(": \r\n") for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise BadHeader(None, f"The headers must not be longer than {MAX_HEADER_BYTES} bytes in total.")
    seen: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if name.lower() in seen:
            raise BadHeader(name, "The same header is given twice.")
        seen.add(name.lower())
    return dict(headers)


def _check_header(name: str, value: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise BadHeader(name, "A header's name must be letters, digits, and - or a few other signs.")
    plain = _CGI_EQUIVALENT.sub("-", name.lower())
    if plain in _RESERVED or plain.startswith(_RESERVED_PREFIXES):
        raise BadHeader(name, "This header is set by the engine.")
    if plain.startswith(_CLOUDEVENTS_PREFIX):
        raise BadHeader(name, "Such headers are the attributes of CloudEvents: choose that format instead.")
    if not _VISIBLE.fullmatch(value):
        raise BadHeader(name, "A header's value must be visible ASCII, without spaces at its ends.")
