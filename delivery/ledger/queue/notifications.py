"""LISTEN: the relay hears of due deliveries at once; polling is the fallback."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg

from delivery.domain.delivery import Priority
from delivery.domain.errors import Unavailable
from delivery.domain.ids import EndpointId, TenantId
from delivery.ledger.db.session import DUE_CHANNEL
from delivery.ledger.queue.enqueue import REPLAY_PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger.db.session import Ledger

_UUID_BYTES = 16
_MAX_CACHED = 10_000


class NotificationListener:
    """A connection that waits for notifications of due deliveries."""

    def __init__(self, connection: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
        """Wrap a connection that already listens."""
        self._connection = connection

    @classmethod
    async def open(cls, ledger: Ledger) -> NotificationListener:
        """Connect and listen; raises Unavailable."""
        try:
            connection = await psycopg.AsyncConnection.connect(
                ledger.url.replace("+psycopg", "", 1),
                autocommit=True,
                connect_timeout=5,
                application_name="waybill listener",
                keepalives_idle=10,
            )
        except psycopg.Error as error:
            why = str(error).partition("\n")[0]
            raise Unavailable(f"The ledger does not answer: {why}") from error
        try:
            await connection.execute(f"listen {DUE_CHANNEL}")
        except BaseException as error:  # also on cancellation: nothing else would close it
            await connection.close()
            if isinstance(error, psycopg.Error):
                raise Unavailable(f"The ledger does not answer: {error}") from error
            raise
        return cls(connection)

    async def receive_notifications(self) -> AsyncIterator[tuple[Priority, set[tuple[TenantId, EndpointId]]]]:
        """Yield each notification: priority and endpoints; no endpoints: scan for them."""
        try:
            async for notice in self._connection.notifies():
                payload = notice.payload.removeprefix(REPLAY_PREFIX)
                lane = Priority.LIVE if payload == notice.payload else Priority.REPLAY
                yield lane, decode_due_payload(payload)
        except psycopg.Error as error:
            raise Unavailable(f"The ledger does not answer: {error}") from error

    async def close(self) -> None:
        """Stop listening."""
        await self._connection.close()


def decode_due_payload(payload: str) -> set[tuple[TenantId, EndpointId]]:
    """Parse the payload that `enqueue` writes; anything else gives an empty set."""
    try:
        return {_decode_endpoint(part) for part in payload.split(",") if part}
    except ValueError:
        return set()


# Busy endpoints are named repeatedly.
@lru_cache(maxsize=_MAX_CACHED)
def _decode_endpoint(name: str) -> tuple[TenantId, EndpointId]:
    pair = base64.b64decode(name, validate=True)
    return TenantId(UUID(bytes=pair[:_UUID_BYTES])), EndpointId(UUID(bytes=pair[_UUID_BYTES:]))
