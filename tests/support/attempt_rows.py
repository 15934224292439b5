"""Attempts of any moment, written straight into the ledger, and a clock to look back at them from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from delivery.clock import clock
from delivery.domain.ids import EndpointId, build_min_id, new_id
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger

# Partitions reach from yesterday to four days ahead: from here, two days back at least, also when the day
# ends while the tests run.
NOON = datetime.combine(clock().date() + timedelta(days=2), time(12), tzinfo=clock().tzinfo)
_WRITE = """
    insert into attempts (id, delivery_id, tenant_id, endpoint_id, event_id, number, started_at, total_us,
        url, request_headers, body_sha256, key_ids, response_headers, response_body, response_truncated,
        outcome, detail, decision, reason, worker)
    select each.id, each.id, each.tenant_id, each.endpoint_id, each.id, 1, clock_timestamp(), each.total_us,
           '', '{}', '', '', '[]', '', false, each.outcome, '', '', '', ''
    from unnest(cast(:ids as uuid[]), cast(:tenants as uuid[]), cast(:endpoints as uuid[]),
                cast(:outcomes as text[]), cast(:totals as int[]))
         as each (id, tenant_id, endpoint_id, outcome, total_us)
"""
# An endpoint that no test asks for.
ANY_ENDPOINT = EndpointId(UUID(int=1))


class SettableClock:
    """A clock that goes where a test wants it."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True, slots=True)
class AttemptSpec:
    """One attempt: when, whose, and what came of it."""

    at: datetime
    tenant_id: TenantId
    outcome: str = "delivered"
    duration: timedelta | None = timedelta(milliseconds=20)
    endpoint_id: EndpointId = ANY_ENDPOINT


def make_id_at(moment: datetime) -> UUID:
    """An id that was made at this moment, unlike any other."""
    return UUID(int=build_min_id(moment).int | (new_id().int & ((1 << 80) - 1)))


async def write_attempts(ledger: Ledger, attempts: Sequence[AttemptSpec]) -> None:
    """Record these attempts now, whenever they were made."""
    await build.execute(
        ledger,
        _WRITE,
        ids=[make_id_at(one.at) for one in attempts],
        tenants=[one.tenant_id for one in attempts],
        endpoints=[one.endpoint_id for one in attempts],
        outcomes=[one.outcome for one in attempts],
        totals=[
            None if one.duration is None else one.duration // timedelta(microseconds=1) for one in attempts
        ],
    )
