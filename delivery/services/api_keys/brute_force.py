"""Whoever tries one wrong key after another has to wait. In memory, in each process by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from delivery.domain.client_network import get_client_network
from delivery.domain.errors import TooManyTries
from delivery.domain.token_bucket import ZERO, BucketRate, TokenBucket

if TYPE_CHECKING:
    from datetime import datetime

# So many wrong keys at once from one network, and so many a second after that.
FAILURE_RATE: Final = BucketRate(per_second=2, burst=60)
MAX_NETWORKS: Final = 10_000
MAX_TRUSTED_CLIENTS: Final = 20_000


class BruteForceGuard:
    """What wrong keys came from where, and who has shown a right one there.

    Wrong ones are counted once they are known to be wrong: a thousand at the same moment are a thousand, for
    which the network then owes. Whoever has used a right key from a network goes on using it, so nobody
    behind the same proxy is locked out by somebody else's guesses. Both memories are bounded: what is oldest
    goes first.
    """

    def __init__(self) -> None:
        """Nobody has guessed yet."""
        self._buckets: dict[str, TokenBucket] = {}
        self._trusted_clients: dict[tuple[str, bytes], None] = {}

    def refuse_if_blocked(self, address: str | None, key_sha256: bytes, *, now: datetime) -> None:
        """Raise TooManyTries, before a key is looked at, where there were too many wrong ones."""
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
        bucket = self._buckets.pop(network, None) or TokenBucket.create_full(FAILURE_RATE, now=now)
        if len(self._buckets) >= MAX_NETWORKS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[network] = bucket.refill(FAILURE_RATE, now=now).take_one(min_tokens=-FAILURE_RATE.burst)

    def record_success(self, address: str | None, key_sha256: bytes) -> None:
        """Remember that a right key came from there."""
        user = (get_client_network(address or ""), key_sha256)
        if user not in self._trusted_clients and len(self._trusted_clients) >= MAX_TRUSTED_CLIENTS:
            del self._trusted_clients[next(iter(self._trusted_clients))]
        self._trusted_clients[user] = None
