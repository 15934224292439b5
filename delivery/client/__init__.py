"""Deprecated: `waybill_client` under its old name, for one release."""

from __future__ import annotations

import warnings
from datetime import timedelta

try:
    import waybill_client
    from waybill_client import (
        Accepted,
        AsyncClient,
        Client,
        ClientError,
        Conflict,
        Event,
        GaveUp,
        Invalid,
        NotAllowed,
        NotAuthenticated,
        NotFound,
        NotUnderstood,
        Problem,
        Refused,
        TooLarge,
        Unsendable,
    )
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"delivery.client is the package waybill_client now: pip install waybill-client ({error})",
        name=error.name,
    ) from None

__all__ = [
    "Accepted",
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "Event",
    "GaveUp",
    "Invalid",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "NotUnderstood",
    "Problem",
    "Refused",
    "Retries",
    "TooLarge",
    "Unsendable",
]

warnings.warn("delivery.client is now waybill_client", DeprecationWarning, stacklevel=2)


def Retries(  # noqa: N802  it was a class
    most: int = 10,
    first: timedelta = timedelta(milliseconds=200),
    longest: timedelta = timedelta(seconds=10),
    patience: timedelta = timedelta(seconds=60),
) -> waybill_client.Retries:
    """Make `waybill_client.Retries` by its old field names."""
    return waybill_client.Retries(most, first, longest, patience)
