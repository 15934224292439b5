"""Validates the URL and the custom headers of an endpoint when they are set. Pure.

These checks are a courtesy: the protection is the SSRF guard, which checks every address before each dial.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from delivery.domain.networks import MAX_PORT

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    import httpx

    from delivery.destinations.ssrf_guard import Guard

MAX_URL_CHARS: Final = 2048
MAX_HOST_CHARS: Final = 253
MAX_HEADERS: Final = 20
MAX_HEADER_BYTES: Final = 4096
DEFAULT_PORTS: Final = {"https": 443, "http": 80}

_FORBIDDEN_IN_URL: Final = re.compile(
    r"[\x00-\x20\x7f-\xa0\\\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]"
)
_AUTHORITY: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
# Underscores are not in the RFCs but are in real names.
_HOST: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
# Resolvers read `2130706433`, `0x7f.1`, `127.1` as IPv4 addresses (WHATWG URL, "ends in a number").
_ENDS_IN_A_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")

HEADER_NAME_PATTERN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # a token (RFC 9110, section 5.6.2)
_HEADER_NAME: Final = re.compile(HEADER_NAME_PATTERN)
_VISIBLE: Final = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
# The transport writes the framing itself, and asks for identity: it never decompresses a response.
FRAMING_HEADERS: Final = frozenset({
    "accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
# The engine's own: its user-agent tells receivers who calls them.
_RESERVED: Final = FRAMING_HEADERS | {
    "content-encoding",
    "content-type",
    "cookie",
    "cookie2",
    "http2-settings",
    "user-agent",
}
_RESERVED_PREFIXES: Final = ("webhook-", "waybill-", "proxy-")
_CLOUDEVENTS_PREFIX: Final = "ce-"
# Gateways that pass headers on as variables (CGI, WSGI) turn each of these into an underscore.
_CGI_EQUIVALENT: Final = re.compile(r"[^a-z0-9]")


class BadDestination(ValueError):
    """An invalid endpoint URL; `why` is one sentence that does not quote it."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class BadHeader(ValueError):
    """An invalid custom header; `name` is None when all headers together are invalid."""

    def __init__(self, name: str | None, why: str) -> None:
        super().__init__(why if name is None else f"{name!r}: {why}")
        self.name = name
        self.why = why


def check_url(url: str, *, allow_http: bool) -> str:
    """Check and normalise an endpoint's URL: lower-case ASCII host, no default port. Raises BadDestination.

    It is parsed by the same code that sends to it, so that both see the same host. A literal address passes
    here; `find_literal_refusal` tells early whether the guard will refuse it.
    """
    if len(url) > MAX_URL_CHARS:
        raise BadDestination(f"The URL must not be longer than {MAX_URL_CHARS} characters.")
    if _FORBIDDEN_IN_URL.search(url):
        raise BadDestination("The URL must not contain spaces, control characters or backslashes.")
    if "#" in url:
        raise BadDestination("The URL must not have a fragment.")
    parsed = _parse_url(url)
    if parsed.scheme not in DEFAULT_PORTS or (parsed.scheme == "http" and not allow_http):
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
    import httpx  # noqa: PLC0415  slow to load, and most commands read no URL

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
    if url.port is None or url.port == DEFAULT_PORTS[url.scheme]:
        return ""
    if not 1 <= url.port <= MAX_PORT:
        raise BadDestination(f"The URL's port must be between 1 and {MAX_PORT}.")
    return f":{url.port}"


def _parse_literal(host: str) -> IPv4Address | IPv6Address | None:
    if "%" in host:  # a zone: an address that has a meaning on one machine only
        return None
    with suppress(ValueError):
        return ip_address(host)
    return None


def find_literal_refusal(url: str, guard: Guard) -> str | None:
    """Return why the guard would never dial a checked URL: its literal address or its port; None otherwise.

    Names are not judged here: the addresses they resolve to are checked when they are dialled.
    """
    parsed = _parse_url(url)
    port = DEFAULT_PORTS[parsed.scheme] if parsed.port is None else parsed.port
    literal = _parse_literal(parsed.raw_host.decode("ascii"))
    if literal is not None:
        return guard.find_refusal(literal, port)
    return f"port {port}" if guard.ports is not None and port not in guard.ports else None


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check the custom headers of an endpoint and return them. Raises BadHeader.

    At most 20, at most 4 KiB together, names that are tokens (RFC 9110, section 5.6.2), values of visible
    ASCII. Names that the engine, the connection or CloudEvents use are refused.
    """
    if len(headers) > MAX_HEADERS:
        raise BadHeader(None, f"There must not be more than {MAX_HEADERS} headers.")
    if sum(len(name) + len(value) + len(": \r\n") for name, value in headers.items()) > MAX_HEADER_BYTES:
        raise BadHeader(None, f"The headers must not be longer than {MAX_HEADER_BYTES} bytes in total.")
    names: set[str] = set()
    for name, value in headers.items():
        _check_header(name, value)
        if name.lower() in names:
            raise BadHeader(name, "The header appears twice.")
        names.add(name.lower())
    return dict(headers)


def _check_header(name: str, value: str) -> None:
    if not _HEADER_NAME.fullmatch(name):
        raise BadHeader(name, "A header's name must be letters, digits, and - or a few other characters.")
    normalized = _CGI_EQUIVALENT.sub("-", name.lower())
    if normalized in _RESERVED or normalized.startswith(_RESERVED_PREFIXES):
        raise BadHeader(name, "This header is set by the engine.")
    if normalized.startswith(_CLOUDEVENTS_PREFIX):
        raise BadHeader(name, "Such headers are the attributes of CloudEvents: choose that format instead.")
    if not _VISIBLE.fullmatch(value):
        raise BadHeader(name, "A header's value must be visible ASCII, without spaces at its ends.")
