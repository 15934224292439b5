"""May this endpoint be sent to now? SQL and Python give the same answer, whatever its rows hold."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import astuple, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.domain.endpoint import EndpointState
from delivery.domain.holds import EndpointStatus, find_hold
from delivery.domain.ids import EndpointId
from delivery.ledger.queue import eligibility, endpoint_health
from retries.breaker import BreakerState
from retries.health import Hold, compute_allowance
from tests.support import ledger_builders as build
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from delivery.ledger.db.session import Ledger

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
ENDPOINTS = 16  # rows of one example: each is an independent case
DEFAULT_IN_FLIGHT = 12

MOMENTS = st.sampled_from([-3_600.0, -1.0, -0.000_001, 0.0, 0.000_001, 1.0, 3_600.0]).map(
    lambda seconds: NOW + timedelta(seconds=seconds)
)
COUNTS = st.integers(1, DEFAULT_IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Rows:
    """The columns of one endpoint and of its health that decide whether it may be sent to."""

    state: str
    deleted: bool
    in_flight_max: int | None
    rate_limit: int | None
    has_health: bool
    breaker: str
    probe_at: datetime | None
    waits_until: datetime | None
    rate_next_at: datetime | None
    in_flight: int
    limit_now: int


@st.composite
def endpoint_rows(draw: st.DrawFn) -> Rows:
    """Any rows that the engine can write.

    Only a breaker that is not closed has a probe, and only a rate limit a next time.
    """
    breaker = draw(st.sampled_from(BreakerState))
    rate_limit = draw(st.none() | st.sampled_from([1, 7, 600]))
    return Rows(
        state=draw(st.sampled_from([EndpointState.ACTIVE, *EndpointState])),
        deleted=draw(st.integers(0, 9)) == 0,
        in_flight_max=draw(st.none() | COUNTS),
        rate_limit=rate_limit,
        has_health=draw(st.integers(0, 9)) != 0,
        breaker=breaker,
        probe_at=None if breaker is BreakerState.CLOSED else draw(MOMENTS),
        waits_until=draw(st.none() | MOMENTS),
        rate_next_at=None if rate_limit is None else draw(st.none() | MOMENTS),
        in_flight=draw(st.integers(0, DEFAULT_IN_FLIGHT + 1)),
        limit_now=draw(COUNTS),
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """The ledger's answers for the endpoints of one example."""

    may_claim: set[EndpointId]
    not_held: set[EndpointId]
    gates: set[EndpointId]
    maybe_held: dict[Hold, set[EndpointId]]
    statuses: dict[EndpointId, EndpointStatus]


def write_rows(connection: psycopg.Connection, ids: Sequence[EndpointId], rows: Sequence[Rows]) -> None:
    """Give each endpoint the columns of its example."""
    values = [(id_, *astuple(row)) for id_, row in zip(ids, rows, strict=True)]
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("delete from endpoint_health")
        cursor.execute("create temporary table drawn (like pg_temp.template including all) on commit drop")
        cursor.executemany(f"insert into drawn values ({', '.join(['%s'] * 12)})", values)  # noqa: S608  a constant
        cursor.execute(
            """
            update endpoints e
            set state = d.state, deleted_at = case when d.deleted then now() end,
                in_flight_max = d.in_flight_max, rate_limit = d.rate_limit,
                rate_per_seconds = case when d.rate_limit is not null then 60 end
            from drawn d where d.id = e.id
            """
        )
        cursor.execute(
            """
            insert into endpoint_health (endpoint_id, breaker, breaker_since, window_since, probe_at,
                                         waits_until, rate_next_at, in_flight, limit_now, limit_ramping)
            select id, breaker, now(), now(), probe_at, waits_until, rate_next_at, in_flight, limit_now, false
            from drawn where has_health
            """
        )


async def ask(ledger: Ledger, ids: Sequence[EndpointId]) -> Answers:
    """Ask the ledger as of NOW."""
    async with ledger.transaction() as tx:
        gates, busy = await endpoint_health.lock_gates(tx, ids)
        statuses = await eligibility.load_statuses(tx, ids)
        maybe = {
            hold: set(await eligibility.find_maybe_held(tx, None, [hold], limit=ENDPOINTS)) for hold in Hold
        }
    return Answers(
        may_claim=await select_ids(ledger, eligibility.MAY_CLAIM),
        not_held=await select_ids(ledger, eligibility.NOT_HELD),
        gates=gates.keys() | busy,
        maybe_held=maybe,
        statuses={id_: replace(status, now=NOW) for id_, status in statuses.items()},
    )


async def select_ids(ledger: Ledger, condition: str) -> set[EndpointId]:
    """The endpoints that a condition is true of at NOW, to the microsecond."""
    at_now = condition.replace("clock_timestamp()", "cast(:now as timestamptz)")
    query = f"select e.id from endpoints e left join endpoint_health h on h.endpoint_id = e.id where {at_now}"  # noqa: S608  our own words
    return {EndpointId(row.id) for row in await build.fetch_rows(ledger, query, now=NOW)}


def may_claim(status: EndpointStatus | None) -> bool:
    """Whether Python lets at least one delivery go, where nothing is in flight."""
    if status is None or status.state is not EndpointState.ACTIVE or status.health is None:
        return False
    allowance = compute_allowance(
        status.health,
        in_flight=0,
        max_in_flight=status.max_in_flight or DEFAULT_IN_FLIGHT,
        rate=status.rate,
        next_at=status.next_at,
        now=NOW,
    )
    return allowance.count > 0


def holds_of(answers: Answers) -> dict[EndpointId, Any]:
    """What holds each endpoint according to Python; None: nothing."""
    return {
        id_: find_hold(status, default_in_flight=DEFAULT_IN_FLIGHT)
        for id_, status in answers.statuses.items()
    }


def test_sql_and_python_agree_on_whether_an_endpoint_may_be_sent_to(database_url: str) -> None:
    with asyncio.Runner() as runner, connect(database_url) as connection:
        exits = AsyncExitStack()
        ledger = runner.run(exits.enter_async_context(build.open_ledger(database_url, pool_size=2)))
        tenant = runner.run(build.create_tenant(ledger))
        ids = [runner.run(build.create_endpoint(ledger, tenant)) for _ in range(ENDPOINTS)]
        connection.execute(
            "create temporary table template (id uuid, state text, deleted bool, in_flight_max int,"
            " rate_limit int, has_health bool, breaker text, probe_at timestamptz, waits_until timestamptz,"
            " rate_next_at timestamptz, in_flight int, limit_now int)"
        )

        @settings(
            max_examples=150,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        )
        @given(st.lists(endpoint_rows(), min_size=ENDPOINTS, max_size=ENDPOINTS))
        def check(rows: list[Rows]) -> None:
            write_rows(connection, ids, rows)
            answers = runner.run(ask(ledger, ids))
            holds = holds_of(answers)
            assert answers.may_claim == {id_ for id_ in ids if may_claim(answers.statuses.get(id_))}
            assert answers.not_held == {id_ for id_, hold in holds.items() if hold is None}
            for id_, hold in holds.items():
                assert hold is None or id_ in answers.maybe_held[hold.by]
            assert answers.gates == {
                id_ for id_, status in answers.statuses.items() if status.state is EndpointState.ACTIVE
            }

        try:
            check()
        finally:
            runner.run(exits.aclose())
