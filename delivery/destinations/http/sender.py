"""From a request to an exchange: with a token where the endpoint wants one, within one time limit."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from time import perf_counter
from typing import TYPE_CHECKING

from delivery.dispatch.tokens import Token, Tokens
from delivery.model import Timings
from delivery.transport import Exchange
from delivery.transport.posting import post
from retries.outcome import Fault, Refused, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from delivery.credentials import OAuth2
    from delivery.dispatch.destinations import Destination
    from delivery.model import EndpointId
    from delivery.transport import Limits, Transport
    from retries.outcome import Outcome

_NOT_AUTHORISED = 401
_LEAST = timedelta(milliseconds=1)


class Sending:
    """The way out of one worker process."""

    def __init__(self, transport: Transport, clock: Callable[[], datetime]) -> None:
        """Tokens are asked for through the same transport, and so through the same guard."""
        self._transport = transport
        self._tokens = Tokens(transport, clock)

    async def send(
        self,
        endpoint_id: EndpointId,
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes,
        *,
        limits: Limits,
        now: datetime,
    ) -> Exchange:
        """Post to an endpoint and say what came of it."""
        if destination.oauth2 is None:
            return await self._post(destination, headers, body, limits, now)
        ends = asyncio.get_running_loop().time() + limits.total.total_seconds()
        whose, began = (endpoint_id, destination.version), perf_counter()
        while True:
            token = await self._token(whose, destination.oauth2, _left(limits, ends))
            if not isinstance(token, Token):
                return _without_answer(token, began)
            carrying = {**headers, "authorization": f"Bearer {token.text}"}
            left = _left(limits, ends)
            exchange = await self._post(destination, carrying, body, left, now)
            refused = isinstance(exchange.outcome, Refused) and exchange.status == _NOT_AUTHORISED
            if not refused:
                return exchange
            self._tokens.forget(whose, token)
            # One that was made for this very request is not made better by another.
            if token.fresh:
                return exchange

    async def _post(
        self,
        destination: Destination,
        headers: Mapping[str, str],
        body: bytes,
        limits: Limits,
        now: datetime,
    ) -> Exchange:
        url, identity = destination.url, destination.identity
        return await post(self._transport, url, headers, body, limits, now=now, identity=identity)

    async def _token(
        self, whose: tuple[EndpointId, int], credentials: OAuth2, limits: Limits
    ) -> Token | Outcome:
        if limits.total <= _LEAST:
            return Unreachable(Fault.TOKEN, "the time was up")
        return await self._tokens.of(whose, credentials, limits)


def _left(limits: Limits, ends: float) -> Limits:
    left = timedelta(seconds=ends - asyncio.get_running_loop().time())
    return replace(limits, total=max(left, _LEAST))


def _without_answer(outcome: Outcome, began: float) -> Exchange:
    took = timedelta(seconds=perf_counter() - began)
    return Exchange(outcome, started=began, timings=Timings(total=took))
