"""What a delivery needs of HTTP: a POST to make, and the record of one that we broke off ourselves."""

from __future__ import annotations

from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING

import httpx

from delivery.model import Timings
from delivery.transport.exchange import Exchange
from retries.outcome import Interrupted

if TYPE_CHECKING:
    from collections.abc import Mapping

# Endpoints are posted to again and again, and reading a URL costs as much as signing.
_url = lru_cache(maxsize=10_000)(httpx.URL)


def post(url: str, headers: Mapping[str, str], body: bytes) -> httpx.Request:
    """A POST of these bytes to a checked URL."""
    # A stream of its own: httpx then adds no headers, and the transport does the framing anyway.
    return httpx.Request("POST", _url(url), headers=headers, stream=httpx.ByteStream(body))


def interrupted() -> Exchange:
    """An exchange that we broke off: what came of it is not known."""
    return Exchange(Interrupted(), started=perf_counter(), timings=Timings())
