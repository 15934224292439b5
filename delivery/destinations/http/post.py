"""What a delivery needs of HTTP: a POST to make, and the record of one that we broke off ourselves."""

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


async def post(  # noqa: PLR0913  what a request is made of, each with its name
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    limits: AttemptLimits,
    *,
    now: datetime,
    identity: ClientIdentity | None = None,
) -> Exchange:
    """POST these bytes, and say what came of it; `now` and `identity` are as in `Transport.send`.

    A URL or a header that no endpoint may have is not sent, whatever let it into the ledger: it is blocked.
    """
    try:
        # A stream of its own: httpx then adds no headers, and the transport does the framing anyway.
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
    """An exchange that we broke off: what came of it is not known."""
    return _build_unsent_exchange(Interrupted())


# Endpoints are posted to again and again, and reading a URL costs as much as signing.
@lru_cache(maxsize=10_000)
def _parse_checked_url(url: str) -> httpx.URL:
    """Check a URL once more where it is used: which schemes are allowed was decided when it was set."""
    return httpx.URL(check_url(url, allow_http=True))


def _build_unsent_exchange(outcome: Outcome) -> Exchange:
    return Exchange(outcome, started=perf_counter(), timings=Timings())
