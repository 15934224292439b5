"""The steady load: producers that post each event under an idempotency key until it is accepted."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

ACCEPTED = 202
THREADS = 6
_MAX_PAUSE_SECONDS = 2.0
# So often an event is posted once more though it was accepted, as by a producer who missed the answer.
_REPOST_PROBABILITY = 0.05


@dataclass(frozen=True, slots=True)
class AcceptedEvent:
    """An event that was answered 202: its id, the digest of its text, and when (monotonic)."""

    id: str
    digest: str
    at: float


@dataclass(slots=True)
class ProducerStats:
    """What producers were answered besides 202."""

    refused: dict[int, int] = field(default_factory=dict)
    unanswered: int = 0
    with_retry_after: int = 0


class Producers:
    """Threads that post, from `with` on until `stop`; afterwards everything they began is accepted."""

    def __init__(
        self, ports: Sequence[int], key: str, *, seed: int, per_second: float, type_: str = "order.created"
    ) -> None:
        """Nothing is posted yet."""
        self.accepted: dict[int, AcceptedEvent] = {}
        self.changed_ids: list[tuple[str, str]] = []
        self.stats = ProducerStats()
        self._ports = ports
        self._key = key
        self._type = type_
        self._seed = seed
        self._pause = THREADS / per_second
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._next = 0
        self._threads = [
            threading.Thread(target=self._post_until_stopped, args=(number,), daemon=True)
            for number in range(THREADS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Begin no more events; returns when all that were begun are accepted."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=120)

    @property
    def ids(self) -> set[str]:
        """The events that were accepted by now."""
        return {one.id for one in list(self.accepted.values())}

    @property
    def unaccepted_count(self) -> int:
        """How many were begun and not accepted."""
        return self._next - len(self.accepted)

    def _post_until_stopped(self, number: int) -> None:
        rng = Random(f"{self._seed} {number}")  # noqa: S311  the same choices for the same seed
        while not self._stopping.is_set():
            began = time.monotonic()
            self._post(rng)
            self._stopping.wait(max(0.0, self._pause - (time.monotonic() - began)))

    def _post(self, rng: Random) -> None:
        with self._lock:
            number = self._next
            self._next += 1
        text = f"{number} " + "x" * rng.randrange(600)
        body = json.dumps({"type": self._type, "data": {"number": number, "text": text}}).encode()
        port = rng.choice(self._ports)
        while (found := self._post_once(port, body, f"n{number}")) is None:
            port = rng.choice(self._ports)
        digest = hashlib.sha256(text.encode()).hexdigest()
        self.accepted[number] = AcceptedEvent(found, digest, time.monotonic())
        if rng.random() < _REPOST_PROBABILITY and (
            again := self._post_once(port, body, f"n{number}")
        ) not in {None, found}:
            self.changed_ids.append((found, str(again)))

    def _post_once(self, port: int, body: bytes, key: str) -> str | None:
        """The event's id; None, after a pause, if it was not accepted."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        headers = {
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Idempotency-Key": key,
        }
        try:
            connection.request("POST", "/v1/events", body, headers)
            answer = connection.getresponse()
            said = answer.read()
        except (OSError, http.client.HTTPException):
            self.stats.unanswered += 1
            time.sleep(0.2)
            return None
        finally:
            connection.close()
        if answer.status == ACCEPTED:
            return str(json.loads(said)["id"])
        self._record_refusal(answer.status, answer.headers.get("Retry-After"))
        return None

    def _record_refusal(self, status: int, wait: str | None) -> None:
        with self._lock:
            self.stats.refused[status] = self.stats.refused.get(status, 0) + 1
            self.stats.with_retry_after += wait is not None
        time.sleep(min(_MAX_PAUSE_SECONDS, float(wait or 0.2)))
