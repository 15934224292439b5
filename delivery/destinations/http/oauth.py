"""OAuth 2.0 client credentials: fetches access tokens and caches them until shortly before they expire."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from delivery.destinations.http.auth import encode_basic_auth
from delivery.destinations.http.post import post
from delivery.domain.single_flight import BoundedDict, SingleFlight
from retries.outcome import (
    Blocked,
    Delivered,
    Fault,
    Interrupted,
    ProxyFailed,
    Unreachable,
    describe_other_exchange,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from delivery.destinations.http.auth import OAuth2
    from delivery.destinations.http.exchange import AttemptLimits
    from delivery.destinations.http.transport import Transport
    from delivery.domain.ids import EndpointId
    from retries.outcome import Outcome

_MAX_CACHED_TOKENS: Final = 10_000
_DEFAULT_LIFETIME_SECONDS: Final = 300.0
_MAX_LIFETIME_SECONDS: Final = 86_400.0
# Tokens are renewed this much earlier: one must outlast the request that carries it.
_EARLY_EXPIRY_RATIO: Final = 0.1
_MAX_EARLY_EXPIRY_SECONDS: Final = 60.0
_FORM_HEADERS: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
_MAX_TOKEN_CHARS: Final = 8_192


class _TokenResponse(msgspec.Struct):
    """The fields that we need of a token server's answer (RFC 6749, section 5.1)."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  a word of the specification
    expires_in: float | str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, used until `expires_at` (seconds on the loop's clock).

    `is_fresh`: it was fetched for the call that returned it, not taken from the cache.
    """

    text: str
    expires_at: float
    is_fresh: bool = False


class TokenCache:
    """The tokens of one worker process, by endpoint and version: a changed endpoint fetches a new one."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._clock = clock
        self._cache: BoundedDict[tuple[EndpointId, int], Token] = BoundedDict(_MAX_CACHED_TOKENS)
        self._requests: SingleFlight[tuple[EndpointId, int], Token | Outcome] = SingleFlight()

    async def get_token(
        self, key: tuple[EndpointId, int], credentials: OAuth2, limits: AttemptLimits
    ) -> Token | Outcome:
        """Return a token for an endpoint, or the outcome of the request that got none."""
        cached = self._cache.get(key)
        if cached is not None and cached.expires_at > asyncio.get_running_loop().time():
            return cached
        try:
            # Callers share one request, and each waits for it no longer than its own limits allow.
            async with asyncio.timeout(limits.total_timeout.total_seconds()):
                return await self._requests.run(key, lambda: self._request_token(key, credentials, limits))
        except TimeoutError:
            return Unreachable(Fault.TOKEN, "the time was up")

    def discard_token(self, key: tuple[EndpointId, int], token: Token) -> None:
        """Drop a token that was refused, unless another has replaced it already."""
        cached = self._cache.get(key)
        if cached is not None and cached.text == token.text:
            del self._cache[key]

    async def _request_token(
        self, key: tuple[EndpointId, int], credentials: OAuth2, limits: AttemptLimits
    ) -> Token | Outcome:
        form = {"grant_type": "client_credentials"}
        if credentials.scope is not None:
            form["scope"] = credentials.scope
        # Encoded before they are joined (RFC 6749, section 2.3.1).
        client = encode_basic_auth(quote_plus(credentials.client_id), quote_plus(credentials.client_secret))
        headers, body = {**_FORM_HEADERS, "authorization": client}, urlencode(form).encode()
        exchange = await post(
            self._transport, credentials.token_url, headers, body, limits, now=self._clock()
        )
        match exchange.outcome:
            case Delivered():
                token = parse_token_response(exchange.body, asyncio.get_running_loop().time())
            case Blocked() | Interrupted() | ProxyFailed():
                return exchange.outcome
            case other:
                return Unreachable(Fault.TOKEN, describe_other_exchange("token server", other))
        if isinstance(token, Token):
            self._cache[key] = replace(token, is_fresh=False)
        return token


def parse_token_response(body: bytes, now: float) -> Token | Outcome:
    """Read a token server's answer. Errors do not quote it, for it may hold a token."""
    try:
        answer = msgspec.json.decode(body, type=_TokenResponse)
        lifetime = _parse_lifetime(answer.expires_in)
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        return Unreachable(Fault.TOKEN, "its answer is not a token as RFC 6749 has it")
    if answer.token_type.lower() != "bearer":
        return Unreachable(Fault.TOKEN, "its token is not a bearer token")
    text = answer.access_token
    if not (0 < len(text) <= _MAX_TOKEN_CHARS and text.isascii() and text.isprintable() and " " not in text):
        return Unreachable(Fault.TOKEN, "its token cannot be sent in a header")
    lifetime = max(0.0, min(lifetime, _MAX_LIFETIME_SECONDS))
    early = min(_MAX_EARLY_EXPIRY_SECONDS, lifetime * _EARLY_EXPIRY_RATIO)
    return Token(text, now + lifetime - early, is_fresh=True)


def _parse_lifetime(expires_in: float | str | None) -> float:
    """Read `expires_in`, which some servers send as a string and some not at all. Raises ValueError."""
    seconds = _DEFAULT_LIFETIME_SECONDS if expires_in is None else float(expires_in)
    if math.isnan(seconds):
        raise ValueError("not a number")
    return seconds
