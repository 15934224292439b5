"""Verifies webhooks on the receiver's side: signature, and timestamp against the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from waybill_client._signing import DEFAULT_TOLERANCE
from waybill_client._signing import verify as verify_at
from waybill_client._signing.verify import parse_keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from waybill_client._signing import Verified


class Verifier:
    """Verifies webhooks with the secrets of one endpoint. Threads and tasks may share it."""

    def __init__(self, *secrets: str, tolerance: timedelta = DEFAULT_TOLERANCE) -> None:
        """`secrets`: `whsec_…` or `whpk_…`, two of them during a rotation. Raises MalformedSecret."""
        self._keys = parse_keys(secrets)
        self._tolerance = tolerance

    def verify(self, headers: Mapping[str, str | bytes], body: bytes) -> Verified:
        """Check a request and return its message id and time. Raises VerificationError.

        `body` is the bytes as received, before any parsing. Names of headers match in any case.
        """
        return verify_at(headers, body, self._keys, now=datetime.now(UTC), tolerance=self._tolerance)


def verify(headers: Mapping[str, str | bytes], body: bytes, *secrets: str) -> Verified:
    """Check one request, as `Verifier.verify` does. Raises VerificationError and MalformedSecret."""
    return Verifier(*secrets).verify(headers, body)
