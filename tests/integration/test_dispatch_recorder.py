"""The recorder: results share transactions, wait out outages, and do not spoil each other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from delivery.domain.errors import Unavailable
from delivery.pipeline import recorder as recorders
from delivery.pipeline.recorder import Recorder
from delivery.telemetry.metrics import instruments
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.results import RecordedAttempt


async def make_results(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int
) -> list[RecordedAttempt]:
    """Make successes for this many deliveries, in claims of a hundred."""
    await build.accept_events(ledger, tenant, count)
    taken = await build.claim_deliveries(ledger, [endpoint], take=count)
    return [
        build.make_success(work, c) for c in taken.claim_ids for work in await build.start_claim(ledger, c)
    ]


async def record_all(recorder: Recorder, results: list[RecordedAttempt]) -> None:
    async with asyncio.timeout(30):
        await asyncio.gather(*[recorder.record(build.make_attempt_result(result)) for result in results])


class Failing:
    """A ledger that fails some transactions, before they begin or after they are committed."""

    def __init__(self, ledger: Ledger, *, before: int = 0, after: int = 0) -> None:
        self._ledger = ledger
        self._before = before
        self._after = after
        self.tried = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        self.tried += 1
        if self.tried <= self._before:
            raise Unavailable("down")
        async with self._ledger.transaction() as tx:
            yield tx
        if self.tried <= self._before + self._after:
            raise Unavailable("the connection broke after the commit")


async def test_concurrent_results_share_a_transaction(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await make_results(ledger, tenant, endpoint, 300)
    await record_all(Recorder(ledger, lambda: 0.0), results)
    assert (await build.fetch_row(ledger, "select count(distinct xmin::text) from attempts"))[0] == 1
    assert await build.count_rows(ledger, "attempts") == 300
    assert await build.count_rows(ledger, "claims") == 0


async def test_a_transaction_is_bounded(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    count = recorders.MAX_BATCH_SIZE + 1
    results = await make_results(ledger, tenant, endpoint, count)
    await record_all(Recorder(ledger, lambda: 0.0), results)
    found = await build.fetch_rows(ledger, "select count(*) from attempts group by xmin::text order by 1")
    assert [row[0] for row in found] == [1, recorders.MAX_BATCH_SIZE]


async def test_an_outage_is_waited_out(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    results = await make_results(ledger, tenant, endpoint, 5)
    down = Failing(ledger, before=2)
    await record_all(Recorder(cast("Ledger", down), lambda: 0.0), results)
    assert down.tried == 3
    assert await build.count_rows(ledger, "schedule") == 0


async def test_lost_commit_acknowledgement_records_results_once(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await make_results(ledger, tenant, endpoint, 5)
    await record_all(Recorder(cast("Ledger", Failing(ledger, after=1)), lambda: 0.0), results[:3])
    assert await build.count_rows(ledger, "attempts") == 3
    assert (await build.fetch_row(ledger, "select remaining from claims"))[0] == 2
    await record_all(Recorder(ledger, lambda: 0.0), results[3:])
    assert await build.count_rows(ledger, "claims") == 0
    assert await build.count_rows(ledger, "schedule") == 0


async def test_unstorable_response_is_dropped_and_others_are_recorded(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    endpoint = await build.create_endpoint(own_ledger, tenant)
    results = await make_results(own_ledger, tenant, endpoint, 5)
    await build.execute(own_ledger, "alter table attempts add constraint odd check (response_body <> 'odd')")
    odd = replace(results[2], attempt=replace(results[2].attempt, response_body=b"odd"))
    await record_all(Recorder(own_ledger, lambda: 0.0), [*results[:2], odd, *results[3:]])
    found = await build.fetch_rows(
        own_ledger,
        "select response_body, response_truncated, count(*) from attempts group by 1, 2 order by 1",
    )
    assert [(bytes(row[0]), row[1], row[2]) for row in found] == [(b"", True, 1), (b"ok", False, 4)]
    assert await build.count_rows(own_ledger, "schedule") == 0


async def test_delivery_with_unstorable_result_is_postponed(
    own_ledger: Ledger,
) -> None:
    tenant = await build.create_tenant(own_ledger)
    endpoint = await build.create_endpoint(own_ledger, tenant)
    results = await make_results(own_ledger, tenant, endpoint, 3)
    await build.execute(own_ledger, "alter table attempts add constraint odd check (reason <> 'odd')")
    odd = replace(results[1], attempt=replace(results[1].attempt, reason="odd"))
    await record_all(Recorder(own_ledger, lambda: 0.0), [results[0], odd, results[2]])
    assert await build.count_rows(own_ledger, "attempts") == 2
    assert await build.count_rows(own_ledger, "claims") == 0
    [left] = await build.fetch_rows(
        own_ledger, "select delivery_id, claim_id, step, due_at > now() as later from schedule"
    )
    assert tuple(left) == (odd.attempt.delivery_id, None, 0, True)


async def test_results_of_cancelled_callers_are_recorded_before_drain_returns(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await make_results(ledger, tenant, endpoint, 3)
    recorder = Recorder(ledger, lambda: 0.0)
    telling = [asyncio.create_task(recorder.record(build.make_attempt_result(result))) for result in results]
    await asyncio.sleep(0)
    for each in telling:
        each.cancel()
    await asyncio.wait(telling)
    await recorder.drain(timedelta(seconds=30))
    assert await build.count_rows(ledger, "attempts") == 3
    assert await build.count_rows(ledger, "schedule") == 0


async def test_an_idle_recorder_drains_at_once(ledger: Ledger) -> None:
    await Recorder(ledger, lambda: 0.0).drain(timedelta(0))


async def test_a_group_with_the_largest_responses_is_recorded(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await make_results(ledger, tenant, endpoint, 100)
    large = [replace(r, attempt=replace(r.attempt, response_body=b"\xff" * 65_536)) for r in results]
    await record_all(Recorder(ledger, lambda: 0.0), large)
    assert (await build.fetch_row(ledger, "select sum(length(response_body)) from attempts"))[
        0
    ] == 100 * 65_536


async def test_result_after_rescue_counts_as_attempt_but_not_as_outcome(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 1)
    [lost] = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    late = [build.make_success(work, lost) for work in await build.start_claim(ledger, lost)]
    await build.expire_lease(ledger, lost)
    await build.rescue_lapsed(ledger)
    [repeated] = (await build.claim_deliveries(ledger, [endpoint])).claim_ids
    second = [build.make_success(work, repeated) for work in await build.start_claim(ledger, repeated)]
    before = read_counters()
    await record_all(Recorder(ledger, lambda: 0.0), late)
    await record_all(Recorder(ledger, lambda: 0.0), second)
    assert await build.count_rows(ledger, "attempts") == 2
    assert [now - then for now, then in zip(read_counters(), before, strict=True)] == [2, 1, 1]


def read_counters() -> tuple[float, ...]:
    """Read the counters of successful attempts, successful deliveries, and observed delivery times."""
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in (
            instruments.attempts_recorded,
            instruments.deliveries_ended,
            instruments.delivery_seconds,
        )
        for family in metric.collect()
        for sample in family.samples
    }
    return (
        samples["waybill_attempts_total", "delivered"],
        samples["waybill_deliveries_ended_total", "succeeded"],
        samples["waybill_delivery_seconds_count",],
    )
