"""What a delivery needs of HTTP: a POST to make, and the record of one that we broke off ourselves."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

import httpx

from delivery.model import Timings
from delivery.transport.destination import BadDestination, check_url
from delivery.transport.exchange import Exchange
from retries.outcome import Blocked, Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from delivery.certificates import ClientIdentity
    from delivery.transport.client import Transport
    from delivery.transport.exchange import Limits
    from retries.outcome import Outcome


async def post(  # noqa: PLR0913  what a request is made of, each with its name
    transport: Transport,
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    limits: Limits,
    *,
    now: datetime,
    identity: ClientIdentity | None = None,
) -> Exchange:
    """POST these bytes, and say what came of it; `now` and `identity` are as in `Transport.send`.

    A URL or a header that no endpoint may have is not sent, whatever let it into the ledger: it is blocked.
    """
    try:
        # A stream of its own: httpx then adds no headers, and the transport does the framing anyway.
        request = httpx.Request("POST", _checked(url), headers=headers, stream=httpx.ByteStream(body))
    except BadDestination as error:
        return _unsent(Blocked("", None, error.why))
    except UnicodeError:
        return _unsent(Blocked("", None, "A header has a name or a value that cannot be sent."))
    return await transport.send(request, limits, now=now, identity=identity)


def interrupted() -> Exchange:
    """An exchange that we broke off: what came of it is not known."""
    return _unsent(Interrupted())


# Endpoints are posted to again and again, and reading a URL costs as much as signing.
@lru_cache(maxsize=10_000)
def _checked(url: str) -> httpx.URL:
    """Check a URL once more where it is used: which schemes are allowed was decided when it was set."""
    return httpx.URL(check_url(url, allow_http=True))


def _unsent(outcome: Outcome) -> Exchange:
    return Exchange(outcome, started=perf_counter(), timings=Timings())
