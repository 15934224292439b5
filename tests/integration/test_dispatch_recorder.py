"""The group-committed record: results share transactions, wait out an outage, and none spoils the others."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from delivery.dispatch import recorder as recorders
from delivery.dispatch.recorder import Recorder
from delivery.errors import Unavailable
from delivery.metrics import catalogue
from tests.support import ledger as on

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.recording import Result
    from delivery.model import EndpointId, TenantId


async def results_for(ledger: Ledger, tenant: TenantId, endpoint: EndpointId, count: int) -> list[Result]:
    """Successes for this many deliveries, in claims of a hundred."""
    await on.accept_many(ledger, tenant, count)
    taken = await on.claim(ledger, [endpoint], take=count)
    return [on.success(work, c) for c in taken.claims for work in await on.start(ledger, c)]


async def all_recorded(recorder: Recorder, results: list[Result]) -> None:
    async with asyncio.timeout(30):
        await asyncio.gather(*[recorder.record(on.ended(result)) for result in results])


class Failing:
    """A ledger that fails some transactions: before they begin, or after they were committed."""

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


async def test_results_that_come_together_share_a_transaction(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await results_for(ledger, tenant, endpoint, 300)
    await all_recorded(Recorder(ledger, lambda: 0.0), results)
    assert (await on.row(ledger, "select count(distinct xmin::text) from attempts"))[0] == 1
    assert await on.count(ledger, "attempts") == 300
    assert await on.count(ledger, "claims") == 0


async def test_a_transaction_holds_no_more_than_a_group(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    count = recorders.MOST_AT_ONCE + 1
    results = await results_for(ledger, tenant, endpoint, count)
    await all_recorded(Recorder(ledger, lambda: 0.0), results)
    found = await on.rows(ledger, "select count(*) from attempts group by xmin::text order by 1")
    assert [row[0] for row in found] == [1, recorders.MOST_AT_ONCE]


async def test_an_outage_is_waited_out(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> None:
    results = await results_for(ledger, tenant, endpoint, 5)
    down = Failing(ledger, before=2)
    await all_recorded(Recorder(cast("Ledger", down), lambda: 0.0), results)
    assert down.tried == 3
    assert await on.count(ledger, "schedule") == 0


async def test_a_commit_that_was_not_heard_of_counts_once(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await results_for(ledger, tenant, endpoint, 5)
    await all_recorded(Recorder(cast("Ledger", Failing(ledger, after=1)), lambda: 0.0), results[:3])
    assert await on.count(ledger, "attempts") == 3
    assert (await on.row(ledger, "select remaining from claims"))[0] == 2
    await all_recorded(Recorder(ledger, lambda: 0.0), results[3:])
    assert await on.count(ledger, "claims") == 0
    assert await on.count(ledger, "schedule") == 0


async def test_an_answer_that_cannot_be_stored_is_left_out_and_spoils_no_other(own_ledger: Ledger) -> None:
    tenant = await on.new_tenant(own_ledger)
    endpoint = await on.new_endpoint(own_ledger, tenant)
    results = await results_for(own_ledger, tenant, endpoint, 5)
    await on.change(own_ledger, "alter table attempts add constraint odd check (response_body <> 'odd')")
    odd = replace(results[2], attempt=replace(results[2].attempt, response_body=b"odd"))
    await all_recorded(Recorder(own_ledger, lambda: 0.0), [*results[:2], odd, *results[3:]])
    found = await on.rows(
        own_ledger,
        "select response_body, response_truncated, count(*) from attempts group by 1, 2 order by 1",
    )
    assert [(bytes(row[0]), row[1], row[2]) for row in found] == [(b"", True, 1), (b"ok", False, 4)]
    assert await on.count(own_ledger, "schedule") == 0


async def test_a_delivery_whose_result_cannot_be_stored_at_all_is_put_off_and_not_sent_at_once_again(
    own_ledger: Ledger,
) -> None:
    tenant = await on.new_tenant(own_ledger)
    endpoint = await on.new_endpoint(own_ledger, tenant)
    results = await results_for(own_ledger, tenant, endpoint, 3)
    await on.change(own_ledger, "alter table attempts add constraint odd check (reason <> 'odd')")
    odd = replace(results[1], attempt=replace(results[1].attempt, reason="odd"))
    await all_recorded(Recorder(own_ledger, lambda: 0.0), [results[0], odd, results[2]])
    assert await on.count(own_ledger, "attempts") == 2
    assert await on.count(own_ledger, "claims") == 0
    [left] = await on.rows(
        own_ledger, "select delivery_id, claim_id, step, due_at > now() as later from schedule"
    )
    assert tuple(left) == (odd.attempt.delivery_id, None, 0, True)


async def test_results_of_those_who_went_away_are_recorded_before_it_settles(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await results_for(ledger, tenant, endpoint, 3)
    recorder = Recorder(ledger, lambda: 0.0)
    telling = [asyncio.create_task(recorder.record(on.ended(result))) for result in results]
    await asyncio.sleep(0)
    for each in telling:
        each.cancel()
    await asyncio.wait(telling)
    await recorder.settle(timedelta(seconds=30))
    assert await on.count(ledger, "attempts") == 3
    assert await on.count(ledger, "schedule") == 0


async def test_with_nothing_to_record_it_settles_at_once(ledger: Ledger) -> None:
    await Recorder(ledger, lambda: 0.0).settle(timedelta(0))


async def test_a_group_with_the_largest_answers_is_recorded(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    results = await results_for(ledger, tenant, endpoint, 100)
    large = [replace(r, attempt=replace(r.attempt, response_body=b"\xff" * 65_536)) for r in results]
    await all_recorded(Recorder(ledger, lambda: 0.0), large)
    assert (await on.row(ledger, "select sum(length(response_body)) from attempts"))[0] == 100 * 65_536


async def test_what_came_after_a_rescue_is_an_attempt_and_no_end_to_the_metrics(
    ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await on.accept_many(ledger, tenant, 1)
    [lost] = (await on.claim(ledger, [endpoint])).claims
    late = [on.success(work, lost) for work in await on.start(ledger, lost)]
    await on.lapse(ledger, lost)
    await on.rescue(ledger)
    [again] = (await on.claim(ledger, [endpoint])).claims
    second = [on.success(work, again) for work in await on.start(ledger, again)]
    before = counted()
    await all_recorded(Recorder(ledger, lambda: 0.0), late)
    await all_recorded(Recorder(ledger, lambda: 0.0), second)
    assert await on.count(ledger, "attempts") == 2
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [2, 1, 1]


def counted() -> tuple[float, ...]:
    """Attempts that succeeded, deliveries that did, and those whose time until then is known."""
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in (catalogue.attempts, catalogue.ended, catalogue.until_success)
        for family in metric.collect()
        for sample in family.samples
    }
    return (
        samples["waybill_attempts_total", "delivered"],
        samples["waybill_deliveries_ended_total", "succeeded"],
        samples["waybill_delivery_seconds_count",],
    )
