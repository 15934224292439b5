"""Timelines of the engine's own actions on a real database: attempts, breakers, waits, ends."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.attempt import Timings
from delivery.domain.endpoint import EndpointState
from delivery.ledger.queue import expiry
from delivery.ledger.queue import results as recording
from delivery.ledger.queue.results import DeliveryFinished, DeliveryRescheduled, RecordedAttempt
from delivery.pipeline.health_update import FinishedAttempt, apply_results
from delivery.services.deliveries import DeliveryService
from delivery.services.timeline.entries import TimelineEntryKind
from delivery.services.timeline.service import MAX_ATTEMPTS, TimelineService
from retries.breaker import BreakerConfig
from retries.health import HealthConfig, HealthSample, Signal
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from delivery.domain.ids import DeliveryId, EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from delivery.services.timeline.delivery_entries import DeliveryTimeline

# Opens with the second failure in a row.
TERMS = HealthConfig(BreakerConfig(consecutive=2), max_in_flight=build.HIGH_IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Scene:
    """A tenant with one endpoint, and the engine's actions on it."""

    ledger: Ledger
    tenant: TenantId
    endpoint: EndpointId

    async def accept(self) -> DeliveryId:
        """Create one more delivery, the endpoint's newest."""
        await build.accept_event(self.ledger, self.tenant)
        return (await build.list_delivery_ids(self.ledger, self.endpoint))[-1]

    async def fail(self, *, wait: timedelta | None = None) -> None:
        """Attempt everything that is due, with a refusal; it is due again at once."""
        claim_id, works = await build.claim_and_start(self.ledger, self.endpoint)
        await self._record([_refused(build.make_retry(work, claim_id), wait=wait) for work in works])

    async def gone(self) -> None:
        """Attempt everything that is due, with a permanent refusal."""
        claim_id, works = await build.claim_and_start(self.ledger, self.endpoint)
        failures = [build.make_failure(work, claim_id, is_gone=True) for work in works]
        await self._record([_refused(failure, disable="gone") for failure in failures])

    async def succeed(self) -> None:
        """Attempt everything that is due, with success."""
        claim_id, works = await build.claim_and_start(self.ledger, self.endpoint)
        await self._record([_ended(build.make_success(work, claim_id), Signal.GOOD) for work in works])

    async def _record(self, group: list[FinishedAttempt]) -> None:
        async with self.ledger.transaction() as tx:
            recorded = await recording.record_attempts(tx, [item.result for item in group])
            await apply_results(tx, group, recorded, rng=lambda: 0.0)

    async def probe_now(self) -> None:
        """End the breaker's cool-down."""
        await build.execute(self.ledger, "update endpoint_health set probe_at = clock_timestamp()")

    async def trace(self, delivery_id: DeliveryId) -> DeliveryTimeline:
        """The timeline of a delivery."""
        traces = TimelineService(self.ledger, max_attempts=10, default_max_in_flight=build.HIGH_IN_FLIGHT)
        return await traces.load_delivery_timeline(self.tenant, delivery_id)

    async def list_kinds(self, delivery_id: DeliveryId) -> list[TimelineEntryKind]:
        """The kinds of a delivery's steps, without the first ones."""
        return [step.kind for step in (await self.trace(delivery_id)).steps[2:]]


def _ended(result: RecordedAttempt, signal: Signal, *, wait: timedelta | None = None) -> FinishedAttempt:
    """A result of an attempt without duration, and its effect on the endpoint's health."""
    attempt = replace(result.attempt, timings=Timings(total=timedelta(0)))
    now, follows = clock(), result.next_state
    if isinstance(follows, DeliveryFinished):
        follows = replace(follows, finished_at=now)
    ended = replace(result, attempt=attempt, next_state=follows)
    return FinishedAttempt(
        ended, HealthSample(signal, attempt.started_at, now, requested_wait=wait), TERMS, operational=False
    )


def _refused(
    result: RecordedAttempt, *, wait: timedelta | None = None, disable: str | None = None
) -> FinishedAttempt:
    reason = disable or "retryable_status"
    due = result.next_state.due_at if isinstance(result.next_state, DeliveryRescheduled) else None
    attempt = replace(result.attempt, reason=reason, next_due_at=due)
    return replace(_ended(replace(result, attempt=attempt), Signal.BAD, wait=wait), disable_reason=disable)


@pytest.fixture
def scene(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> Scene:
    return Scene(ledger, tenant, endpoint)


OF_ONE = [
    TimelineEntryKind.CLAIMED,
    TimelineEntryKind.ATTEMPTED,
    TimelineEntryKind.FAILED,
    TimelineEntryKind.DECIDED,
]


async def test_a_delivery_that_went_well_at_once(scene: Scene):
    delivery = await scene.accept()
    await scene.succeed()
    result = await scene.trace(delivery)
    assert [step.kind for step in result.steps] == [
        TimelineEntryKind.ACCEPTED,
        TimelineEntryKind.MATCHED,
        TimelineEntryKind.CLAIMED,
        TimelineEntryKind.ATTEMPTED,
        TimelineEntryKind.SUCCEEDED,
        TimelineEntryKind.DECIDED,
        TimelineEntryKind.FINISHED,
    ]
    assert result.summary.startswith("Succeeded on attempt 1 at ")
    (claimed,) = [step for step in result.steps if step.kind is TimelineEntryKind.CLAIMED]
    assert claimed.details["due_at"] == result.delivery.created_at


async def test_a_delivery_whose_endpoint_trips_its_breaker_is_held_by_it(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    await scene.fail()
    assert await scene.list_kinds(delivery) == [*OF_ONE, *OF_ONE, TimelineEntryKind.BREAKER_OPENED]
    result = await scene.trace(delivery)
    assert result.summary.startswith("Held: the endpoint's circuit breaker has been open since ")
    assert "; the next probe is sent at " in result.summary
    assert result.steps[-1].details["probe_at"] is not None


async def test_a_probe_and_what_it_brought_about_are_told(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.fail()
    await scene.probe_now()
    await scene.succeed()
    result = await scene.list_kinds(delivery)
    assert result[8:] == [
        TimelineEntryKind.BREAKER_OPENED,
        *OF_ONE,
        TimelineEntryKind.BREAKER_STAYED_OPEN,
        TimelineEntryKind.CLAIMED,
        TimelineEntryKind.ATTEMPTED,
        TimelineEntryKind.SUCCEEDED,
        TimelineEntryKind.DECIDED,
        TimelineEntryKind.BREAKER_CLOSED,
        TimelineEntryKind.FINISHED,
    ]


async def test_a_breaker_that_was_open_before_the_delivery_was_made_is_told_first(scene: Scene):
    await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.fail()
    delivery = await scene.accept()
    result = await scene.trace(delivery)
    assert [step.kind for step in result.steps] == [
        TimelineEntryKind.BREAKER_OPENED,
        TimelineEntryKind.ACCEPTED,
        TimelineEntryKind.MATCHED,
    ]


async def test_breaker_closed_before_the_delivery_is_omitted(scene: Scene):
    await scene.accept()
    await scene.fail()
    await scene.fail()
    await scene.probe_now()
    await scene.succeed()
    assert await scene.list_kinds(await scene.accept()) == []


async def test_an_endpoint_that_asked_to_be_left_alone_is_told_before_and_after(scene: Scene):
    first = await scene.accept()
    await scene.fail(wait=timedelta(hours=1))
    second = await scene.accept()
    assert await scene.list_kinds(first) == [*OF_ONE, TimelineEntryKind.WAITING]
    result = await scene.trace(second)
    assert [step.kind for step in result.steps] == [
        TimelineEntryKind.WAITING,
        TimelineEntryKind.ACCEPTED,
        TimelineEntryKind.MATCHED,
    ]
    assert result.summary.startswith("Held: the endpoint asked to wait until ")


async def test_an_endpoint_that_is_gone_is_disabled_by_the_attempt_that_found_it_so(scene: Scene):
    delivery = await scene.accept()
    await scene.gone()
    assert await scene.list_kinds(delivery) == [
        *OF_ONE,
        TimelineEntryKind.DISABLED,
        TimelineEntryKind.FINISHED,
    ]
    result = await scene.trace(delivery)
    assert result.steps[-2].details["actor"] == "waybill"
    assert result.summary.startswith("Failed on attempt 1 at ")


async def test_a_replay_is_told_with_all_that_came_before(scene: Scene):
    delivery = await scene.accept()
    await scene.succeed()
    deliveries = DeliveryService(scene.ledger, clock=clock, default_max_in_flight=build.HIGH_IN_FLIGHT)
    await deliveries.replay(scene.tenant, delivery, actor=Actor("cli:ada"))
    result = await scene.trace(delivery)
    assert result.steps[-1].kind is TimelineEntryKind.REPLAYED
    assert result.steps[-1].sentence == "Replayed by cli:ada; it was succeeded."
    assert " for attempt 2 of 11:" in result.summary
    await scene.succeed()
    repeated = await scene.trace(delivery)
    claimed = [step for step in repeated.steps if step.kind is TimelineEntryKind.CLAIMED]
    assert [step.details["number"] for step in claimed] == [1, 2]
    assert claimed[1].details["due_at"] == result.steps[-1].at
    assert repeated.summary.startswith("Succeeded on attempt 2 at ")


async def test_a_delivery_that_was_owed_for_too_long_has_expired(scene: Scene):
    delivery = await scene.accept()
    await scene.fail()
    async with scene.ledger.transaction() as tx:
        await expiry.expire_deliveries(tx, older_than=timedelta(0), now=clock() + timedelta(seconds=1))
    result = await scene.trace(delivery)
    assert result.steps[-1].kind is TimelineEntryKind.FINISHED
    assert result.summary.startswith("Expired at ")
    assert " after 1 attempt: " in result.summary


async def test_a_delivery_of_a_deleted_endpoint_was_cancelled(scene: Scene):
    delivery = await scene.accept()
    await build.delete_endpoint(scene.ledger, scene.tenant, scene.endpoint)
    assert (await scene.trace(delivery)).summary.startswith("The endpoint was deleted")
    async with scene.ledger.transaction() as tx:
        await expiry.cancel_for_deleted_endpoints(tx, [scene.endpoint])
    result = await scene.trace(delivery)
    assert result.steps[-1].details == {"status": "cancelled", "reason": "endpoint_deleted"}
    assert result.summary.startswith("Cancelled at ")


async def test_a_delivery_in_the_queue_and_with_a_worker_is_told_so(scene: Scene):
    delivery = await scene.accept()
    taken = await build.claim_deliveries(scene.ledger, [scene.endpoint])
    assert "it is in the queue" in (await scene.trace(delivery)).summary
    await build.start_claim(scene.ledger, *taken.claim_ids)
    assert "the worker worker 1 has it, for attempt 1 of 10." in (await scene.trace(delivery)).summary
    assert await scene.list_kinds(delivery) == [TimelineEntryKind.CLAIMED]


async def test_a_state_that_was_set_before_there_was_a_journal_is_told(scene: Scene):
    await build.set_state(scene.ledger, scene.endpoint, EndpointState.PAUSED)
    delivery = await scene.accept()
    result = await scene.trace(delivery)
    assert [step.kind for step in result.steps] == [
        TimelineEntryKind.PAUSED,
        TimelineEntryKind.ACCEPTED,
        TimelineEntryKind.MATCHED,
    ]


async def test_timeline_shows_only_the_newest_attempts(scene: Scene):
    delivery = await scene.accept()
    claim_id, (work,) = await build.claim_and_start(scene.ledger, scene.endpoint)
    results = [
        replace(
            build.make_retry(work, claim_id),
            attempt=replace(build.make_attempt(work, status=503), number=number),
        )
        for number in range(1, MAX_ATTEMPTS + 6)
    ]
    await build.record_results(scene.ledger, results[-1])
    async with scene.ledger.transaction() as tx:
        await recording.record_attempts(tx, results[:-1])
    result = await scene.trace(delivery)
    assert sum(step.kind is TimelineEntryKind.ATTEMPTED for step in result.steps) == MAX_ATTEMPTS
    assert result.left_out == ("Only the newest 100 attempts are shown.",)


async def test_a_trace_changes_nothing(scene: Scene):
    delivery = await scene.accept()
    before = await build.read_delivery_state(scene.ledger, delivery)
    assert (await scene.trace(delivery)).steps == (await scene.trace(delivery)).steps
    assert await build.read_delivery_state(scene.ledger, delivery) == before
