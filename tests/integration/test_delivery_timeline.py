"""Traces of what the engine itself did: attempts, breakers, waits, ends. On the real ledger."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.bootstrap import clock
from delivery.deliveries import Deliveries
from delivery.dispatch.judging import Ended, judge_all
from delivery.ledger import recording, upkeep
from delivery.ledger.recording import Again, Final, Result
from delivery.model import Actor, EndpointState, Timings
from delivery.tracing import Traces, What
from delivery.tracing.traces import MOST_ATTEMPTS
from retries.breaker import BreakerTerms
from retries.health import HealthTerms, Sign
from retries.policy import Signal
from tests.support import ledger as on

if TYPE_CHECKING:
    from delivery.ledger import Ledger
    from delivery.model import DeliveryId, EndpointId, TenantId
    from delivery.tracing import DeliveryTrace

# Opens with the second failure in a row.
TERMS = HealthTerms(BreakerTerms(consecutive=2), in_flight=on.PLENTY)


@dataclass(frozen=True, slots=True)
class Scene:
    """A tenant with one endpoint, and what the engine does to it."""

    ledger: Ledger
    tenant: TenantId
    endpoint: EndpointId

    async def accept(self) -> DeliveryId:
        """Have one more delivery, the newest of the endpoint's."""
        await on.accept(self.ledger, self.tenant)
        return (await on.delivery_ids(self.ledger, self.endpoint))[-1]

    async def fail(self, *, wait: timedelta | None = None) -> None:
        """Have everything that is due attempted and refused; it is due again at once."""
        claim_id, works = await on.claim_and_start(self.ledger, self.endpoint)
        await self._record([_refused(on.again(work, claim_id), wait=wait) for work in works])

    async def gone(self) -> None:
        """Have everything that is due attempted, and refused for good."""
        claim_id, works = await on.claim_and_start(self.ledger, self.endpoint)
        failures = [on.failure(work, claim_id, gone=True) for work in works]
        await self._record([_refused(one, disable="gone") for one in failures])

    async def succeed(self) -> None:
        """Have everything that is due taken."""
        claim_id, works = await on.claim_and_start(self.ledger, self.endpoint)
        await self._record([_ended(on.success(work, claim_id), Signal.GOOD) for work in works])

    async def _record(self, group: list[Ended]) -> None:
        async with self.ledger.transaction() as tx:
            recorded = await recording.record(tx, [one.result for one in group])
            await judge_all(tx, group, recorded, dice=lambda: 0.0)

    async def probe_now(self) -> None:
        """Let the cool-down of the breaker be over."""
        await on.change(self.ledger, "update endpoint_health set probe_at = clock_timestamp()")

    async def trace(self, delivery_id: DeliveryId) -> DeliveryTrace:
        """What is told of a delivery."""
        traces = Traces(self.ledger, attempts=10, in_flight=on.PLENTY)
        return await traces.of_delivery(self.tenant, delivery_id)

    async def whats(self, delivery_id: DeliveryId) -> list[What]:
        """What happened to a delivery, without how it began."""
        return [step.what for step in (await self.trace(delivery_id)).steps[2:]]


def _ended(result: Result, signal: Signal, *, wait: timedelta | None = None) -> Ended:
    """A result whose attempt took no time, and what it tells of its endpoint."""
    attempt = replace(result.attempt, timings=Timings(total=timedelta(0)))
    now, follows = clock(), result.follows
    if isinstance(follows, Final):
        follows = replace(follows, at=now)
    ended = replace(result, attempt=attempt, follows=follows)
    return Ended(ended, Sign(signal, attempt.started_at, now, wait=wait), TERMS, operational=False)


def _refused(result: Result, *, wait: timedelta | None = None, disable: str | None = None) -> Ended:
    reason = disable or "retryable_status"
    due = result.follows.due_at if isinstance(result.follows, Again) else None
    attempt = replace(result.attempt, reason=reason, next_due_at=due)
    return replace(_ended(replace(result, attempt=attempt), Signal.BAD, wait=wait), disable=disable)


@pytest.fixture
def scene(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> Scene:
    return Scene(ledger, tenant, endpoint)


OF_ONE = [What.CLAIMED, What.ATTEMPTED, What.FAILED, What.DECIDED]


async def test_a_delivery_that_went_well_at_once(scene: Scene):
    delivery = await scene.accept()
    await scene.succeed()
    told = await scene.trace(delivery)
    assert [step.what for step in told.steps] == [
        What.ACCEPTED,
        What.MATCHED,
        What.CLAIMED,
        What.ATTEMPTED,
        What.SUCCEEDED,
        What.DECIDED,
        What.FINISHED,
    ]
    assert told.standing.startswith("Succeeded on attempt 1 at ")
    (claimed,) = [step for step in told.steps if step.what is What.CLAIMED]
    assert claimed.details["due_at"] == told.delivery.created_at


async def test_a_delivery_whose_endpoint_trips_its_breaker_is_held_by_it(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    await scene.fail()
    assert await scene.whats(delivery) == [*OF_ONE, *OF_ONE, What.BREAKER_OPENED]
    told = await scene.trace(delivery)
    assert told.standing.startswith("Held: the endpoint's circuit breaker has been open since ")
    assert "; the next probe goes out at " in told.standing
    assert told.steps[-1].details["probe_at"] is not None


async def test_a_probe_and_what_it_brought_about_are_told(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.fail()
    await scene.probe_now()
    await scene.succeed()
    told = await scene.whats(delivery)
    assert told[8:] == [
        What.BREAKER_OPENED,
        *OF_ONE,
        What.BREAKER_STAYED_OPEN,
        What.CLAIMED,
        What.ATTEMPTED,
        What.SUCCEEDED,
        What.DECIDED,
        What.BREAKER_CLOSED,
        What.FINISHED,
    ]


async def test_a_breaker_that_was_open_before_the_delivery_was_made_is_told_first(scene: Scene):
    await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.fail()
    delivery = await scene.accept()
    told = await scene.trace(delivery)
    assert [step.what for step in told.steps] == [What.BREAKER_OPENED, What.ACCEPTED, What.MATCHED]


async def test_a_breaker_that_was_closed_again_is_not_told(scene: Scene):
    await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.succeed()
    assert await scene.whats(await scene.accept()) == []


async def test_an_endpoint_that_asked_to_be_left_alone_is_told_before_and_after(scene: Scene):
    first = await scene.accept()
    await scene.fail(wait=timedelta(hours=1))
    second = await scene.accept()
    assert await scene.whats(first) == [*OF_ONE, What.WAITING]
    told = await scene.trace(second)
    assert [step.what for step in told.steps] == [What.WAITING, What.ACCEPTED, What.MATCHED]
    assert told.standing.startswith("Held: the endpoint asked to be left alone until ")


async def test_an_endpoint_that_is_gone_is_disabled_by_the_attempt_that_found_it_so(scene: Scene):
    delivery = await scene.accept()
    await scene.gone()
    assert await scene.whats(delivery) == [*OF_ONE, What.DISABLED, What.FINISHED]
    told = await scene.trace(delivery)
    assert told.steps[-2].details["actor"] == "waybill"
    assert told.standing.startswith("Failed on attempt 1 at ")


async def test_a_replay_is_told_with_all_that_came_before(scene: Scene):
    delivery = await scene.accept()
    await scene.succeed()
    deliveries = Deliveries(scene.ledger, clock=clock, in_flight=on.PLENTY)
    await deliveries.replay(scene.tenant, delivery, actor=Actor("cli:ada"))
    told = await scene.trace(delivery)
    assert told.steps[-1].what is What.REPLAYED
    assert told.steps[-1].sentence == "Replayed by cli:ada; it was succeeded."
    assert " for attempt 2 of 11:" in told.standing
    await scene.succeed()
    again = await scene.trace(delivery)
    claimed = [step for step in again.steps if step.what is What.CLAIMED]
    assert [step.details["number"] for step in claimed] == [1, 2]
    assert claimed[1].details["due_at"] == told.steps[-1].at
    assert again.standing.startswith("Succeeded on attempt 2 at ")


async def test_a_delivery_that_was_owed_for_too_long_has_expired(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    async with scene.ledger.transaction() as tx:
        await upkeep.expire(tx, older_than=timedelta(0), now=clock() + timedelta(seconds=1))
    told = await scene.trace(delivery)
    assert told.steps[-1].what is What.FINISHED
    assert told.standing.startswith("Expired at ")
    assert " after 1 attempt: " in told.standing


async def test_a_delivery_of_a_deleted_endpoint_was_cancelled(scene: Scene):
    delivery = await scene.accept()
    await on.delete_endpoint(scene.ledger, scene.tenant, scene.endpoint)
    assert (await scene.trace(delivery)).standing.startswith("The endpoint was deleted")
    async with scene.ledger.transaction() as tx:
        await upkeep.cancel_of_deleted(tx, [scene.endpoint])
    told = await scene.trace(delivery)
    assert told.steps[-1].details == {"status": "cancelled", "reason": "endpoint_deleted"}
    assert told.standing.startswith("Cancelled at ")


async def test_a_delivery_in_the_queue_and_with_a_worker_is_told_so(scene: Scene):
    delivery = await scene.accept()
    taken = await on.claim(scene.ledger, [scene.endpoint])
    assert "it is in the queue" in (await scene.trace(delivery)).standing
    await on.start(scene.ledger, *taken.claims)
    assert "the worker worker 1 has it, for attempt 1 of 10." in (await scene.trace(delivery)).standing
    assert await scene.whats(delivery) == [What.CLAIMED]


async def test_a_state_that_was_set_before_there_was_a_journal_is_told(scene: Scene):
    await on.set_state(scene.ledger, scene.endpoint, EndpointState.PAUSED)
    delivery = await scene.accept()
    told = await scene.trace(delivery)
    assert [step.what for step in told.steps] == [What.PAUSED, What.ACCEPTED, What.MATCHED]


async def test_of_very_many_attempts_the_newest_are_told(scene: Scene):
    delivery = await scene.accept()
    claim_id, (work,) = await on.claim_and_start(scene.ledger, scene.endpoint)
    results = [
        replace(on.again(work, claim_id), attempt=replace(on.attempt_at(work, status=503), number=number))
        for number in range(1, MOST_ATTEMPTS + 6)
    ]
    await on.record(scene.ledger, results[-1])
    async with scene.ledger.transaction() as tx:
        await recording.record(tx, results[:-1])
    told = await scene.trace(delivery)
    assert sum(step.what is What.ATTEMPTED for step in told.steps) == MOST_ATTEMPTS
    assert told.left_out == ("Only the newest 100 attempts are told of.",)


async def test_a_trace_changes_nothing(scene: Scene):
    delivery = await scene.accept()
    before = await on.standing(scene.ledger, delivery)
    assert (await scene.trace(delivery)).steps == (await scene.trace(delivery)).steps
    assert await on.standing(scene.ledger, delivery) == before
