"""Tokens of OAuth 2.0 client credentials: asked for once, kept until shortly before they end."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_plus, urlencode

import msgspec

from delivery.destinations.http.auth import encode_basic_auth
from delivery.destinations.http.post import post
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

_MAX_CACHED: Final = 10_000
_DEFAULT_LIFETIME_SECONDS: Final = 300.0
_MAX_LIFETIME_SECONDS: Final = 86_400.0
# Given up this much earlier, at most: a token must outlast the request that carries it.
_EARLY_EXPIRY_RATIO: Final = 0.1
_MAX_EARLY_EXPIRY_SECONDS: Final = 60.0
_FORM_HEADERS: Final = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
_MAX_TOKEN_CHARS: Final = 8_192


class _TokenResponse(msgspec.Struct):
    """What a token server answers (RFC 6749, section 5.1), as far as we need it."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105  a word of the specification
    expires_in: float | str | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token, and until which reading of the loop's clock it is used. `fresh`: asked for just now."""

    text: str
    expires_at: float
    is_fresh: bool = False


class TokenCache:
    """The tokens of one worker process, by endpoint and version: a changed endpoint asks anew."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        """Nothing is kept at first."""
        self._transport = transport
        self._clock = clock
        self._cache: dict[tuple[EndpointId, int], Token] = {}
        self._pending: dict[tuple[EndpointId, int], asyncio.Task[Token | Outcome]] = {}

    async def get_token(
        self, key: tuple[EndpointId, int], credentials: OAuth2, limits: AttemptLimits
    ) -> Token | Outcome:
        """A token for an endpoint, or what kept us from one. All who ask at once share one question."""
        kept = self._cache.get(key)
        if kept is not None and kept.expires_at > asyncio.get_running_loop().time():
            return kept
        asked = self._pending.get(key)
        if asked is None:
            asked = self._pending[key] = asyncio.create_task(self._request_token(key, credentials, limits))
            asked.add_done_callback(lambda _: self._pending.pop(key, None))
        try:
            # Shielded: when one of those who wait gives up, the question goes on for the others.
            async with asyncio.timeout(limits.total_timeout.total_seconds()):
                return await asyncio.shield(asked)
        except TimeoutError:
            return Unreachable(Fault.TOKEN, "the time was up")

    def discard_token(self, key: tuple[EndpointId, int], token: Token) -> None:
        """Let go of a token that was refused, unless another has taken its place already."""
        kept = self._cache.get(key)
        if kept is not None and kept.text == token.text:
            del self._cache[key]

    async def _request_token(
        self, key: tuple[EndpointId, int], credentials: OAuth2, limits: AttemptLimits
    ) -> Token | Outcome:
        form = {"grant_type": "client_credentials"}
        if credentials.scope is not None:
            form["scope"] = credentials.scope
        # Encoded before they are joined (RFC 6749, section 2.3.1).
        who = encode_basic_auth(quote_plus(credentials.client_id), quote_plus(credentials.client_secret))
        headers, body = {**_FORM_HEADERS, "authorization": who}, urlencode(form).encode()
        exchange = await post(
            self._transport, credentials.token_url, headers, body, limits, now=self._clock()
        )
        match exchange.outcome:
            case Delivered():
                found = parse_token_response(exchange.body, asyncio.get_running_loop().time())
            case Blocked() | Interrupted() | ProxyFailed():
                return exchange.outcome
            case other:
                return Unreachable(Fault.TOKEN, describe_other_exchange("token server", other))
        if isinstance(found, Token):
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[key] = Token(found.text, found.expires_at)
        return found


def parse_token_response(body: bytes, now: float) -> Token | Outcome:
    """Read a token server's answer; what it says is not repeated, for it may hold a token."""
    try:
        answer = msgspec.json.decode(body, type=_TokenResponse)
        told = _parse_lifetime(answer.expires_in)
    except (msgspec.MsgspecError, UnicodeError, ValueError):
        return Unreachable(Fault.TOKEN, "its answer is not a token as RFC 6749 has it")
    if answer.token_type.lower() != "bearer":
        return Unreachable(Fault.TOKEN, "its token is not a bearer token")
    text = answer.access_token
    if not (0 < len(text) <= _MAX_TOKEN_CHARS and text.isascii() and text.isprintable() and " " not in text):
        return Unreachable(Fault.TOKEN, "its token cannot be sent in a header")
    lasts = min(told, _MAX_LIFETIME_SECONDS) if told > 0 else 0.0
    return Token(
        text, now + lasts - min(_MAX_EARLY_EXPIRY_SECONDS, lasts * _EARLY_EXPIRY_RATIO), is_fresh=True
    )


def _parse_lifetime(expires_in: float | str | None) -> float:
    """How long a token lasts: some servers tell it in a string, some not at all. Raises ValueError."""
    seconds = _DEFAULT_LIFETIME_SECONDS if expires_in is None else float(expires_in)
    if math.isnan(seconds):
        raise ValueError("not a number")
    return seconds
