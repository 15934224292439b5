"""Intake on a real ledger: accepted events are owed exactly once, whatever runs concurrently."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.clock import clock
from delivery.domain.endpoint import EndpointState
from delivery.domain.errors import Conflict, NotFound, TooLarge, Unavailable
from delivery.domain.ids import EventId, Prefix, TenantId, new_id, parse_id
from delivery.ledger.db.session import Ledger
from delivery.pipeline.intake import Intake
from delivery.pipeline.intake_request import MAX_FANOUT, IntakeResult
from delivery.pipeline.parsing import NewEvent
from tests.support import ledger_builders as build
from tests.support.ledger_builders import EndpointSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.ledger.db.fast_path import Connection
    from delivery.ledger.db.session import Transaction


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ONE, OTHER = NewEvent("order.created", b'{"id":1}'), NewEvent("order.created", b'{"id":2}')


def event_id(accepted: IntakeResult) -> EventId:
    return EventId(parse_id(Prefix.EVENT, json.loads(accepted.response_body)["id"]))


async def accept_keyed(
    intake: Intake, tenant: TenantId, event: NewEvent = ONE, key: str = "key"
) -> IntakeResult:
    return await intake.accept_events(
        tenant, [event], single=True, idempotency_key=key, request_sha256=event.data
    )


async def find_endpoints(ledger: Ledger, event: EventId) -> set[UUID]:
    found = await build.fetch_rows(
        ledger, "select endpoint_id from deliveries where event_id = :id", id=event
    )
    return {row.endpoint_id for row in found}


# ---- fan-out
class ChangingLedger(Ledger):
    """A ledger on which a tenant's endpoints change before every write."""

    def __init__(self, ledger: Ledger, tenant: TenantId) -> None:
        super().__init__(ledger.url)
        self._ledger = ledger
        self._tenant = tenant

    @asynccontextmanager
    async def transaction(self, *, tenant_id: UUID | None = None) -> AsyncIterator[Transaction]:
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            yield tx

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Connection]:
        await build.create_endpoint(self._ledger, self._tenant)
        async with self._ledger.autocommit() as door:
            yield door


async def test_an_event_is_owed_once_to_each_matching_endpoint(ledger: Ledger, tenant: TenantId) -> None:
    everything = await build.create_endpoint(ledger, tenant)
    orders = await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("order.*",)))
    await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("user.*",)))
    await build.create_endpoint(ledger, await build.create_tenant(ledger))
    event = await build.accept_event(ledger, tenant, "order.created", b"[1, 2]")
    assert await find_endpoints(ledger, event) == {everything, orders}
    stored = await build.fetch_row(ledger, "select type, body, matched from events where id = :id", id=event)
    assert (stored.type, stored.matched) == ("order.created", 2)
    assert bytes(stored.body).endswith(b'"data":[1, 2]}')
    assert await build.count_rows(ledger, "schedule") == 2


async def test_event_and_deliveries_have_the_time_of_the_answer(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(2):
        await build.create_endpoint(ledger, tenant)
    accepted = await build.make_intake(ledger).accept_events(tenant, [ONE, OTHER], single=False)
    moments = await build.fetch_rows(
        ledger, "select created_at from events union all select created_at from deliveries"
    )
    (answered,) = {event["created_at"] for event in json.loads(accepted.response_body)["events"]}
    assert len(moments) == 6
    (stored,) = {row.created_at for row in moments}
    assert timedelta(0) <= stored - datetime.fromisoformat(answered) < timedelta(milliseconds=1)


async def test_paused_and_disabled_endpoints_are_owed(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await build.create_endpoint(ledger, tenant) for _ in range(2)]
    await build.set_state(ledger, endpoints[0], EndpointState.PAUSED)
    await build.set_state(ledger, endpoints[1], EndpointState.DISABLED)
    assert await find_endpoints(ledger, await build.accept_event(ledger, tenant)) == set(endpoints)


async def test_endpoint_changes_take_effect_on_the_next_event(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)

    async def accepted() -> set[UUID]:
        return await find_endpoints(ledger, event_id(await intake.accept_events(tenant, [ONE], single=True)))

    assert await accepted() == set()
    first = await build.create_endpoint(ledger, tenant)
    assert await accepted() == {first}
    second = await build.create_endpoint(ledger, tenant)
    assert await accepted() == {first, second}
    await build.delete_endpoint(ledger, tenant, first)
    assert await accepted() == {second}


@pytest.mark.parametrize("key", [None, "a key"])
async def test_endpoint_changes_between_events_apply_with_and_without_a_key(
    ledger: Ledger, tenant: TenantId, key: str | None
) -> None:
    intake = build.make_intake(ledger)
    await intake.accept_events(tenant, [ONE], single=True)
    endpoint = await build.create_endpoint(ledger, tenant)
    answer = await intake.accept_events(tenant, [ONE], single=True, idempotency_key=key)
    assert not answer.replayed
    assert await find_endpoints(ledger, event_id(answer)) == {endpoint}
    assert await build.count_rows(ledger, "events") == 2
    if key is not None:
        repeated = await intake.accept_events(tenant, [ONE], single=True, idempotency_key=key)
        assert repeated == answer._replace(replayed=True)


async def test_a_large_fan_out_is_planned_again_when_endpoints_change(
    ledger: Ledger, tenant: TenantId
) -> None:
    intake = build.make_intake(ledger)
    await build.create_endpoint(ledger, tenant)
    await intake.accept_events(tenant, [ONE], single=True)
    await build.create_endpoint(ledger, tenant)
    await intake.accept_events(tenant, [ONE] * 4_000, single=False)
    assert await build.count_rows(ledger, "deliveries") == await build.count_rows(ledger, "schedule") == 8_001


async def test_endpoint_change_conflict_affects_only_its_own_tenant_in_a_commit(
    ledger: Ledger, tenant: TenantId
) -> None:
    intake, other = build.make_intake(ledger), await build.create_tenant(ledger)
    for each in (tenant, other):
        await intake.accept_events(each, [ONE], single=True)
    endpoint = await build.create_endpoint(ledger, tenant)
    answers = await asyncio.gather(
        *[intake.accept_events(each, [ONE], single=True) for each in (other, tenant, other, tenant)]
    )
    found = [await find_endpoints(ledger, event_id(answer)) for answer in answers]
    assert found == [set(), {endpoint}, set(), {endpoint}]
    assert await build.count_rows(ledger, "events") == 6


async def test_intake_gives_up_after_repeated_endpoint_conflicts(ledger: Ledger, tenant: TenantId) -> None:
    """Nothing is written from outdated subscriptions, and no request waits for ever."""
    intake = build.make_intake(ChangingLedger(ledger, tenant))
    with pytest.raises(Unavailable, match="change too fast"):
        await intake.accept_events(tenant, [ONE], single=True)
    assert await build.count_rows(ledger, "events") == 0


async def test_an_event_for_one_endpoint_ignores_filters(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant)
    only = await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("user.left",)))
    accepted = await build.make_intake(ledger).accept_events(
        tenant, [ONE], single=True, only_endpoint_id=only
    )
    assert await find_endpoints(ledger, event_id(accepted)) == {only}


async def test_accepted_events_are_due_at_once_despite_clock_skew(ledger: Ledger, tenant: TenantId) -> None:
    endpoint = await build.create_endpoint(ledger, tenant)
    ahead = Intake(ledger, limits=build.LIMITS, clock=lambda: clock() + timedelta(hours=1))
    await ahead.accept_events(tenant, [ONE], single=True)
    assert (await build.claim_deliveries(ledger, [endpoint])).delivery_count == 1


async def test_an_unknown_tenant_is_not_found_and_nothing_is_stored(ledger: Ledger) -> None:
    nobody = TenantId(new_id())
    with pytest.raises(NotFound):
        await accept_keyed(build.make_intake(ledger), nobody)
    assert [await build.count_rows(ledger, t) for t in ("events", "deliveries", "idempotency_keys")] == [
        0,
        0,
        0,
    ]


async def test_a_batch_is_answered_event_by_event_and_is_one_transaction(
    ledger: Ledger, tenant: TenantId
) -> None:
    await build.create_endpoint(ledger, tenant, EndpointSpec(filter=("order.created",)))
    events = [ONE, NewEvent("user.left", b"1"), OTHER]
    accepted = await build.make_intake(ledger).accept_events(tenant, events, single=False)
    answers: list[dict[str, Any]] = json.loads(accepted.response_body)["events"]
    assert [(a["type"], a["deliveries"]) for a in answers] == [
        ("order.created", 1),
        ("user.left", 0),
        ("order.created", 1),
    ]
    stored = await build.fetch_rows(ledger, "select id from events order by id")
    assert [parse_id(Prefix.EVENT, a["id"]) for a in answers] == [row.id for row in stored]
    assert (await build.fetch_row(ledger, "select count(distinct xmin::text) from events"))[0] == 1


async def test_a_batch_is_stored_whole_or_not_at_all(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant)
    await build.execute(own_ledger, "alter table events add constraint odd check (type <> 'odd')")
    with pytest.raises(Exception, match="odd"):
        await build.make_intake(own_ledger).accept_events(tenant, [ONE, NewEvent("odd", b"1")], single=False)
    assert [await build.count_rows(own_ledger, t) for t in ("events", "deliveries", "schedule")] == [0, 0, 0]


async def test_oversized_fan_out_is_refused_and_its_idempotency_key_stays_free(
    ledger: Ledger, tenant: TenantId
) -> None:
    for _ in range(3):
        await build.create_endpoint(ledger, tenant)
    many = [ONE] * (MAX_FANOUT // 3 + 1)
    intake = build.make_intake(ledger)
    with pytest.raises(TooLarge, match="fan-out"):
        await intake.accept_events(tenant, many, single=False, idempotency_key="key")
    assert [await build.count_rows(ledger, t) for t in ("events", "schedule", "idempotency_keys")] == [
        0,
        0,
        0,
    ]
    assert not (await accept_keyed(intake, tenant)).replayed


async def test_a_large_fan_out_is_written_whole(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(3):
        await build.create_endpoint(ledger, tenant)
    await build.make_intake(ledger).accept_events(tenant, [ONE] * 4_000, single=False)
    assert (
        await build.count_rows(ledger, "deliveries") == await build.count_rows(ledger, "schedule") == 12_000
    )


# ---- sharing
async def test_concurrent_requests_share_commits(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant)
    intake = build.make_intake(ledger)
    answers = await asyncio.gather(*[intake.accept_events(tenant, [ONE], single=True) for _ in range(300)])
    assert len({event_id(answer) for answer in answers}) == 300
    assert await build.count_rows(ledger, "schedule") == 300
    commits = (await build.fetch_row(ledger, "select count(distinct xmin::text) from events"))[0]
    assert commits <= 4


async def test_unstorable_request_does_not_fail_its_commit_group(
    own_ledger: Ledger,
) -> None:
    tenant = await build.create_tenant(own_ledger)
    await build.execute(own_ledger, "alter table events add constraint odd check (type <> 'odd')")
    intake = build.make_intake(own_ledger)
    requested = [intake.accept_events(tenant, [ONE], single=True) for _ in range(20)]
    requested.insert(7, intake.accept_events(tenant, [NewEvent("odd", b"1")], single=True))
    requested.append(accept_keyed(intake, TenantId(new_id())))
    answers = await asyncio.gather(*requested, return_exceptions=True)
    assert sum(isinstance(answer, IntakeResult) for answer in answers) == 20
    assert "odd" in str(answers[7])
    assert isinstance(answers[-1], NotFound)
    assert await build.count_rows(own_ledger, "events") == 20


async def test_event_is_accepted_after_the_caller_disconnects(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    async with ledger.transaction() as tx:
        await build.lock_table(tx, "tenants")
        hung_up = asyncio.create_task(accept_keyed(intake, tenant))
        patient = asyncio.create_task(accept_keyed(intake, tenant, key="another"))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
        hung_up.cancel()
        await asyncio.wait([hung_up])
    await patient
    assert await build.count_rows(ledger, "events") == 2


# ---- idempotency
async def test_a_repeated_key_returns_the_same_event(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    first = await accept_keyed(intake, tenant)
    assert await accept_keyed(intake, tenant) == first._replace(replayed=True)
    assert not first.replayed
    assert await build.count_rows(ledger, "events") == 1


async def test_the_same_key_with_another_request_is_a_conflict(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    await accept_keyed(intake, tenant, ONE)
    with pytest.raises(Conflict):
        await accept_keyed(intake, tenant, OTHER)
    assert await build.count_rows(ledger, "events") == 1


async def test_keys_are_separate_for_each_tenant(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    answers = [
        await accept_keyed(intake, tenant),
        await accept_keyed(intake, await build.create_tenant(ledger)),
    ]
    assert not any(answer.replayed for answer in answers)
    assert await build.count_rows(ledger, "events") == 2


async def test_duplicates_in_one_commit_are_one_event(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    requested = [accept_keyed(intake, tenant) for _ in range(10)] + [accept_keyed(intake, tenant, OTHER)]
    answers = await asyncio.gather(*requested, return_exceptions=True)
    accepted = [answer for answer in answers if isinstance(answer, IntakeResult)]
    assert len({answer.response_body for answer in accepted}) == 1
    assert [answer.replayed for answer in accepted] == [False] + [True] * 9
    assert isinstance(answers[-1], Conflict)
    assert await build.count_rows(ledger, "events") == 1


async def test_duplicates_at_two_processes_are_one_event(ledger: Ledger, tenant: TenantId) -> None:
    await build.create_endpoint(ledger, tenant)
    processes = [build.make_intake(ledger) for _ in range(2)]
    keys = [f"key {number}" for number in range(20)]
    requested = [
        accept_keyed(process, tenant, key=key) for key in keys for process in processes for _ in range(2)
    ]
    answers = await asyncio.gather(*requested)
    assert len({answer.response_body for answer in answers}) == len(keys)
    assert sum(not answer.replayed for answer in answers) == len(keys)
    assert await build.count_rows(ledger, "events") == len(keys)
    assert await build.count_rows(ledger, "schedule") == len(keys)


async def test_duplicate_request_waits_for_the_first_and_returns_its_answer(
    ledger: Ledger, tenant: TenantId
) -> None:
    first, second = (build.make_intake(ledger) for _ in range(2))
    async with ledger.transaction() as tx:
        await build.lock_table(tx, "events")  # the first has stored its key, and is blocked
        item = asyncio.create_task(accept_keyed(first, tenant))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
        other = asyncio.create_task(accept_keyed(second, tenant))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
    assert (await other).response_body == (await item).response_body


async def test_an_expired_key_is_a_new_event(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    first = await accept_keyed(intake, tenant)
    await build.execute(ledger, "delete from idempotency_keys")
    repeated = await accept_keyed(intake, tenant, OTHER)
    assert not repeated.replayed
    assert event_id(repeated) != event_id(first)


async def test_events_with_and_without_keys_share_a_commit(ledger: Ledger, tenant: TenantId) -> None:
    intake = build.make_intake(ledger)
    await accept_keyed(intake, tenant, key="known")
    answers = await asyncio.gather(
        intake.accept_events(tenant, [ONE], single=True),
        accept_keyed(intake, tenant, key="known"),
        accept_keyed(intake, tenant, key="new"),
        intake.accept_events(tenant, [ONE, OTHER], single=False),
    )
    assert [answer.replayed for answer in answers] == [False, True, False, False]
    assert await build.count_rows(ledger, "events") == 5


# ---- outages
async def test_a_ledger_that_is_down_is_unavailable(unused_tcp_port: int) -> None:
    ledger = Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing")
    intake = build.make_intake(ledger)
    requested = [accept_keyed(intake, TenantId(new_id())) for _ in range(5)]
    answers = await asyncio.gather(*requested, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    await ledger.close()


async def test_broken_connection_rolls_back_and_the_next_request_succeeds(
    ledger: Ledger, tenant: TenantId
) -> None:
    await build.create_endpoint(ledger, tenant)
    intake = build.make_intake(ledger)
    async with ledger.transaction() as tx:
        await build.lock_table(tx, "deliveries")  # key and event are written, deliveries are not
        requested = asyncio.create_task(accept_keyed(intake, tenant))
        await build.wait_until(lambda: build.has_lock_waiter(ledger))
        await build.fetch_rows(
            ledger,
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
            """,
        )
        with pytest.raises(Unavailable):
            await requested
    tables = ("events", "deliveries", "schedule", "idempotency_keys")
    assert [await build.count_rows(ledger, table) for table in tables] == [0, 0, 0, 0]
    assert not (await accept_keyed(intake, tenant)).replayed
    assert [await build.count_rows(ledger, table) for table in tables] == [1, 1, 1, 1]


async def test_a_missing_partition_is_an_error_that_leaves_nothing(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    intake = build.make_intake(own_ledger)
    today = datetime.now(UTC).strftime("%Y%m%d")
    await build.execute(own_ledger, f"alter table events detach partition events_{today}")
    with pytest.raises(Exception, match="partition"):
        await accept_keyed(intake, tenant)
    assert await build.count_rows(own_ledger, "idempotency_keys") == 0


async def test_endpoints_of_a_tenant_are_owed_only_by_its_own_events(ledger: Ledger) -> None:
    tenants = [await build.create_tenant(ledger) for _ in range(5)]
    endpoints = {
        t: {await build.create_endpoint(ledger, t), await build.create_endpoint(ledger, t)} for t in tenants
    }
    intake = build.make_intake(ledger)
    answers = await asyncio.gather(
        *[intake.accept_events(t, [ONE], single=True) for t in tenants for _ in "123"]
    )
    for tenant, answer in zip([t for t in tenants for _ in "123"], answers, strict=True):
        assert await find_endpoints(ledger, event_id(answer)) == endpoints[tenant]
    wrong = await build.fetch_rows(
        ledger,
        """
        select 1 from schedule s join events ev on ev.id = s.event_id join endpoints e on e.id = s.endpoint_id
        where s.tenant_id <> ev.tenant_id or s.tenant_id <> e.tenant_id
        """,
    )
    assert wrong == []


# ------------------------------------------------------------------ channels and conditions
async def test_channels_and_condition_errors_are_stored_with_and_without_a_trace(
    own_ledger: Ledger,
) -> None:
    tenant = await build.create_tenant(own_ledger)
    await build.create_endpoint(own_ledger, tenant, build.EndpointSpec(condition="length(@) > `1`"))
    events = [NewEvent("a", b"1", ("eu", "us")), NewEvent("a", b'"long"'), NewEvent("a", b'""')]
    for traced in (False, True):
        intake = Intake(own_ledger, limits=build.LIMITS, clock=clock, keep_traces=traced)
        await intake.accept_events(tenant, events, single=False, traceparent=TRACE)
        stored = await build.fetch_rows(
            own_ledger,
            "select e.channels, e.traceparent, e.matched, d.condition_failed from events e "
            "left join deliveries d on d.event_id = e.id order by e.id desc limit 3",
        )
        trace = TRACE if traced else None
        failed = "length() takes string or array or object, not number."
        assert [tuple(row) for row in reversed(stored)] == [
            (["eu", "us"], trace, 1, failed),
            (None, trace, 1, None),
            (None, trace, 0, None),
        ]


async def test_evaluating_conditions_yields_to_other_tasks(own_ledger: Ledger) -> None:
    tenant = await build.create_tenant(own_ledger)
    many = " || ".join([f"@[?n == `{number}`]" for number in range(15)])
    await build.create_endpoint(own_ledger, tenant, build.EndpointSpec(condition=many))
    intake, turns = build.make_intake(own_ledger), 0
    some = [NewEvent("a", b"[%b]" % b",".join([b'{"n": 99}'] * 40))]
    await intake.accept_events(tenant, some, single=True)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    accepted = intake.accept_events(tenant, some * 200, single=False)
    answer = await accepted
    counting.cancel()
    assert answer.response_body.count(b'"deliveries":0') == 200
    assert turns > 20
