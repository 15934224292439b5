"""Clients that guess API keys have to wait. In memory, per process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.domain.client_network import get_client_network
from delivery.domain.errors import TooManyTries
from delivery.domain.single_flight import BoundedDict
from delivery.domain.token_bucket import ZERO, BucketRate, TokenBucket

if TYPE_CHECKING:
    from datetime import datetime

# Wrong keys that one network may send.
FAILURE_RATE: Final = BucketRate(per_second=2, burst=60)
MAX_NETWORKS: Final = 10_000
MAX_TRUSTED_CLIENTS: Final = 20_000


class BruteForceGuard:
    """Counts wrong keys by client network, and remembers valid keys used from there.

    A wrong key is counted once it is known to be wrong, so concurrent guesses all count, and the network then
    owes tokens. A valid key that was used from a network goes on working there: guesses behind the same
    proxy do not lock it out.
    """

    def __init__(self) -> None:
        self._buckets: BoundedDict[str, TokenBucket] = BoundedDict(MAX_NETWORKS)
        self._trusted_clients: BoundedDict[tuple[str, bytes], None] = BoundedDict(MAX_TRUSTED_CLIENTS)

    def refuse_if_blocked(self, address: str | None, key_sha256: bytes, *, now: datetime) -> None:
        """Raise TooManyTries, before the key is looked up, after too many wrong keys from its network."""
        if not self._buckets:
            return
        network = get_client_network(address or "")
        bucket = self._buckets.get(network)
        if bucket is None or (network, key_sha256) in self._trusted_clients:
            return
        wait = bucket.refill(FAILURE_RATE, now=now).compute_wait(FAILURE_RATE)
        if wait > ZERO:
            raise TooManyTries(wait)

    def record_failure(self, address: str | None, *, now: datetime) -> None:
        """Count a wrong key."""
        network = get_client_network(address or "")
        bucket = self._buckets.get(network) or TokenBucket.create_full(FAILURE_RATE, now=now)
        self._buckets[network] = bucket.refill(FAILURE_RATE, now=now).take_one(min_tokens=-FAILURE_RATE.burst)

    def record_success(self, address: str | None, key_sha256: bytes) -> None:
        """Remember that a valid key came from this network."""
        self._trusted_clients[get_client_network(address or ""), key_sha256] = None
