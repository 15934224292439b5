"""Sends deliveries to HTTP endpoints, with a token where one is needed, within one time limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from delivery.destinations.http.exchange import Exchange
from delivery.destinations.http.oauth import Token, TokenCache
from delivery.destinations.http.post import post
from delivery.domain.attempt import Timings
from retries.outcome import Fault, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.destinations.http.auth import OAuth2
    from delivery.destinations.http.destination import Destination
    from delivery.destinations.http.exchange import AttemptLimits
    from delivery.destinations.http.transport import Transport
    from delivery.domain.ids import EndpointId
    from retries.outcome import Outcome

_HTTP_UNAUTHORIZED = 401
_MIN_TIMEOUT = timedelta(milliseconds=1)


class Sender:
    """Sends the deliveries of one worker process."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        """Tokens are fetched through the same transport, and so through the same guard."""
        self._transport = transport
        self._token_cache = TokenCache(transport, clock)

    async def send(
        self,
        endpoint_id: EndpointId,
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes,
        *,
        limits: AttemptLimits,
        now: datetime,
    ) -> Exchange:
        """Post to an endpoint and return the exchange; fetches a new token once after a 401."""
        if destination.oauth2 is None:
            return await self._post(destination, headers, body, limits, now)
        ends = asyncio.get_running_loop().time() + limits.total_timeout.total_seconds()
        token_key, began = (endpoint_id, destination.version), perf_counter()
        while True:
            token = await self._get_token(
                token_key, destination.oauth2, _compute_remaining_limits(limits, ends)
            )
            if not isinstance(token, Token):
                return _build_failed_exchange(token, began)
            with_token = {**headers, "authorization": f"Bearer {token.text}"}
            remaining = _compute_remaining_limits(limits, ends)
            exchange = await self._post(destination, with_token, body, remaining, now)
            if not (isinstance(exchange.outcome, Refused) and exchange.status == _HTTP_UNAUTHORIZED):
                return exchange
            self._token_cache.discard_token(token_key, token)
            # This token was fetched for this very request: another one would not do better.
            if token.is_fresh:
                return exchange

    async def _post(
        self,
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes,
        limits: AttemptLimits,
        now: datetime,
    ) -> Exchange:
        url, identity = destination.url, destination.client_identity
        return await post(self._transport, url, headers, body, limits, now=now, identity=identity)

    async def _get_token(
        self, key: tuple[EndpointId, int], credentials: OAuth2, limits: AttemptLimits
    ) -> Token | Outcome:
        if limits.total_timeout <= _MIN_TIMEOUT:
            return Unreachable(Fault.TOKEN, "the time was up")
        return await self._token_cache.get_token(key, credentials, limits)


def _compute_remaining_limits(limits: AttemptLimits, ends: float) -> AttemptLimits:
    remaining = timedelta(seconds=ends - asyncio.get_running_loop().time())
    return replace(limits, total_timeout=max(remaining, _MIN_TIMEOUT))


def _build_failed_exchange(outcome: Outcome, began: float) -> Exchange:
    took = timedelta(seconds=perf_counter() - began)
    return Exchange(outcome, started=began, timings=Timings(total=took))
