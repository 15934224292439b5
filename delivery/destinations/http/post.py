"""Posts a delivery, and builds the records of posts that were not sent or were interrupted."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

import httpx

from delivery.destinations.http.exchange import Exchange
from delivery.destinations.http.url_policy import BadDestination, check_url
from delivery.domain.attempt import Timings
from retries.outcome import Blocked, Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.destinations.http.client_certificate import ClientIdentity
    from delivery.destinations.http.exchange import AttemptLimits
    from delivery.destinations.http.transport import Transport
    from retries.outcome import Outcome


async def post(  # noqa: PLR0913  the parts of a request, each with its name
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    limits: AttemptLimits,
    *,
    now: datetime,
    identity: ClientIdentity | None = None,
) -> Exchange:
    """POST these bytes and return the exchange; `now` and `identity` are as in `Transport.send`.

    An invalid URL or header in the ledger, however it got there, is not sent: the outcome is Blocked.
    """
    try:
        # A stream, because httpx would add headers to a body; the transport does the framing anyway.
        request = httpx.Request(
            "POST", _parse_checked_url(url), headers=headers, stream=httpx.ByteStream(body)
        )
    except BadDestination as error:
        return _build_unsent_exchange(Blocked("", None, error.why))
    except UnicodeError:
        return _build_unsent_exchange(
            Blocked("", None, "A header has a name or a value that cannot be sent.")
        )
    return await transport.send(request, limits, now=now, identity=identity)


def build_interrupted_exchange() -> Exchange:
    """An exchange that we interrupted: its result is unknown."""
    return _build_unsent_exchange(Interrupted())


# Endpoints are posted to again and again, and parsing a URL costs as much as signing.
@lru_cache(maxsize=10_000)
def _parse_checked_url(url: str) -> httpx.URL:
    """Check a URL again before use; whether http is allowed was decided when it was set."""
    return httpx.URL(check_url(url, allow_http=True))


def _build_unsent_exchange(outcome: Outcome) -> Exchange:
    return Exchange(outcome, started=perf_counter(), timings=Timings())
