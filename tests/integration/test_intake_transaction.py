"""The accept transaction on a real ledger: what is answered is owed, once, whoever asks at the same time."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from delivery.accept import Accepted, Accepter, NewEvent
from delivery.accept.accepter import MOST_DELIVERIES
from delivery.bootstrap import clock
from delivery.errors import Conflict, NotFound, TooLarge, Unavailable
from delivery.ledger import Ledger
from delivery.model import EndpointState, EventId, Prefix, TenantId, new_id, parse_id
from tests.support import ledger as on
from tests.support.ledger import Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from delivery.ledger import Transaction
    from delivery.ledger.direct import Connection


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ONE, OTHER = NewEvent("order.created", b'{"id":1}'), NewEvent("order.created", b'{"id":2}')


def event_id(accepted: Accepted) -> EventId:
    return EventId(parse_id(Prefix.EVENT, json.loads(accepted.answer)["id"]))


async def keyed(accepter: Accepter, tenant: TenantId, event: NewEvent = ONE, key: str = "key") -> Accepted:
    return await accepter.accept(tenant, [event], single=True, idempotency_key=key, request_sha256=event.data)


async def owed(ledger: Ledger, event: EventId) -> set[UUID]:
    found = await on.rows(ledger, "select endpoint_id from deliveries where event_id = :id", id=event)
    return {row.endpoint_id for row in found}


# ---- fan-out
class Restless(Ledger):
    """A ledger on which a tenant's endpoints change whenever somebody is about to write."""

    def __init__(self, ledger: Ledger, tenant: TenantId) -> None:
        super().__init__(ledger.url)
        self._ledger = ledger
        self._tenant = tenant

    @asynccontextmanager
    async def transaction(self, *, of: UUID | None = None) -> AsyncIterator[Transaction]:
        async with self._ledger.transaction(of=of) as tx:
            yield tx

    @asynccontextmanager
    async def at_once(self) -> AsyncIterator[Connection]:
        await on.new_endpoint(self._ledger, self._tenant)
        async with self._ledger.at_once() as door:
            yield door


async def test_an_accepted_event_is_owed_once_to_each_endpoint_that_matches(
    ledger: Ledger, tenant: TenantId
) -> None:
    everything = await on.new_endpoint(ledger, tenant)
    orders = await on.new_endpoint(ledger, tenant, Wanted(filter=("order.*",)))
    await on.new_endpoint(ledger, tenant, Wanted(filter=("user.*",)))
    await on.new_endpoint(ledger, await on.new_tenant(ledger))
    event = await on.accept(ledger, tenant, "order.created", b"[1, 2]")
    assert await owed(ledger, event) == {everything, orders}
    kept = await on.row(ledger, "select type, body, matched from events where id = :id", id=event)
    assert (kept.type, kept.matched) == ("order.created", 2)
    assert bytes(kept.body).endswith(b'"data":[1, 2]}')
    assert await on.count(ledger, "schedule") == 2


async def test_an_event_and_all_that_is_owed_for_it_have_the_moment_that_was_answered(
    ledger: Ledger, tenant: TenantId
) -> None:
    for _ in range(2):
        await on.new_endpoint(ledger, tenant)
    accepted = await on.accepter(ledger).accept(tenant, [ONE, OTHER], single=False)
    moments = await on.rows(
        ledger, "select created_at from events union all select created_at from deliveries"
    )
    (answered,) = {event["created_at"] for event in json.loads(accepted.answer)["events"]}
    assert len(moments) == 6
    (kept,) = {row.created_at for row in moments}
    assert timedelta(0) <= kept - datetime.fromisoformat(answered) < timedelta(milliseconds=1)


async def test_paused_and_disabled_endpoints_are_owed_too(ledger: Ledger, tenant: TenantId) -> None:
    endpoints = [await on.new_endpoint(ledger, tenant) for _ in range(2)]
    await on.set_state(ledger, endpoints[0], EndpointState.PAUSED)
    await on.set_state(ledger, endpoints[1], EndpointState.DISABLED)
    assert await owed(ledger, await on.accept(ledger, tenant)) == set(endpoints)


async def test_endpoints_that_come_change_and_go_are_heard_of_at_once(
    ledger: Ledger, tenant: TenantId
) -> None:
    accepter = on.accepter(ledger)

    async def accepted() -> set[UUID]:
        return await owed(ledger, event_id(await accepter.accept(tenant, [ONE], single=True)))

    assert await accepted() == set()
    first = await on.new_endpoint(ledger, tenant)
    assert await accepted() == {first}
    second = await on.new_endpoint(ledger, tenant)
    assert await accepted() == {first, second}
    await on.delete_endpoint(ledger, tenant, first)
    assert await accepted() == {second}


@pytest.mark.parametrize("key", [None, "a key"])
async def test_endpoints_that_change_between_two_events_are_heard_of_with_and_without_a_key(
    ledger: Ledger, tenant: TenantId, key: str | None
) -> None:
    accepter = on.accepter(ledger)
    await accepter.accept(tenant, [ONE], single=True)
    endpoint = await on.new_endpoint(ledger, tenant)
    answer = await accepter.accept(tenant, [ONE], single=True, idempotency_key=key)
    assert not answer.replayed
    assert await owed(ledger, event_id(answer)) == {endpoint}
    assert await on.count(ledger, "events") == 2
    if key is not None:
        again = await accepter.accept(tenant, [ONE], single=True, idempotency_key=key)
        assert again == answer._replace(replayed=True)


async def test_a_fan_out_of_many_statements_is_drafted_anew_when_endpoints_change(
    ledger: Ledger, tenant: TenantId
) -> None:
    accepter = on.accepter(ledger)
    await on.new_endpoint(ledger, tenant)
    await accepter.accept(tenant, [ONE], single=True)
    await on.new_endpoint(ledger, tenant)
    await accepter.accept(tenant, [ONE] * 4_000, single=False)
    assert await on.count(ledger, "deliveries") == await on.count(ledger, "schedule") == 8_001


async def test_a_tenant_whose_endpoints_changed_does_not_spoil_those_who_share_its_commit(
    ledger: Ledger, tenant: TenantId
) -> None:
    accepter, other = on.accepter(ledger), await on.new_tenant(ledger)
    for each in (tenant, other):
        await accepter.accept(each, [ONE], single=True)
    endpoint = await on.new_endpoint(ledger, tenant)
    answers = await asyncio.gather(
        *[accepter.accept(each, [ONE], single=True) for each in (other, tenant, other, tenant)]
    )
    found = [await owed(ledger, event_id(answer)) for answer in answers]
    assert found == [set(), {endpoint}, set(), {endpoint}]
    assert await on.count(ledger, "events") == 6


async def test_endpoints_that_never_stop_changing_are_told_of(ledger: Ledger, tenant: TenantId) -> None:
    """Nothing is written from what is no longer so, and nobody waits for ever."""
    accepter = on.accepter(Restless(ledger, tenant))
    with pytest.raises(Unavailable, match="change too fast"):
        await accepter.accept(tenant, [ONE], single=True)
    assert await on.count(ledger, "events") == 0


async def test_an_event_for_one_endpoint_asks_no_filter(ledger: Ledger, tenant: TenantId) -> None:
    await on.new_endpoint(ledger, tenant)
    only = await on.new_endpoint(ledger, tenant, Wanted(filter=("user.left",)))
    accepted = await on.accepter(ledger).accept(tenant, [ONE], single=True, only_endpoint=only)
    assert await owed(ledger, event_id(accepted)) == {only}


async def test_what_is_accepted_is_due_at_once_even_by_an_accepter_whose_clock_is_ahead(
    ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await on.new_endpoint(ledger, tenant)
    ahead = Accepter(ledger, limits=on.LIMITS, clock=lambda: clock() + timedelta(hours=1))
    await ahead.accept(tenant, [ONE], single=True)
    assert (await on.claim(ledger, [endpoint])).size == 1


async def test_an_unknown_tenant_is_not_found_and_nothing_is_stored(ledger: Ledger) -> None:
    nobody = TenantId(new_id())
    with pytest.raises(NotFound):
        await keyed(on.accepter(ledger), nobody)
    assert [await on.count(ledger, t) for t in ("events", "deliveries", "idempotency_keys")] == [0, 0, 0]


async def test_a_batch_is_answered_event_by_event_and_is_one_transaction(
    ledger: Ledger, tenant: TenantId
) -> None:
    await on.new_endpoint(ledger, tenant, Wanted(filter=("order.created",)))
    events = [ONE, NewEvent("user.left", b"1"), OTHER]
    accepted = await on.accepter(ledger).accept(tenant, events, single=False)
    answers: list[dict[str, Any]] = json.loads(accepted.answer)["events"]
    assert [(a["type"], a["deliveries"]) for a in answers] == [
        ("order.created", 1),
        ("user.left", 0),
        ("order.created", 1),
    ]
    kept = await on.rows(ledger, "select id from events order by id")
    assert [parse_id(Prefix.EVENT, a["id"]) for a in answers] == [row.id for row in kept]
    assert (await on.row(ledger, "select count(distinct xmin::text) from events"))[0] == 1


async def test_a_batch_that_cannot_be_stored_whole_is_not_stored_at_all(own_ledger: Ledger) -> None:
    tenant = await on.new_tenant(own_ledger)
    await on.new_endpoint(own_ledger, tenant)
    await on.change(own_ledger, "alter table events add constraint odd check (type <> 'odd')")
    with pytest.raises(Exception, match="odd"):
        await on.accepter(own_ledger).accept(tenant, [ONE, NewEvent("odd", b"1")], single=False)
    assert [await on.count(own_ledger, t) for t in ("events", "deliveries", "schedule")] == [0, 0, 0]


async def test_a_fan_out_beyond_measure_is_refused_and_its_key_is_not_taken(
    ledger: Ledger, tenant: TenantId
) -> None:
    for _ in range(3):
        await on.new_endpoint(ledger, tenant)
    many = [ONE] * (MOST_DELIVERIES // 3 + 1)
    accepter = on.accepter(ledger)
    with pytest.raises(TooLarge, match="fan-out"):
        await accepter.accept(tenant, many, single=False, idempotency_key="key")
    assert [await on.count(ledger, t) for t in ("events", "schedule", "idempotency_keys")] == [0, 0, 0]
    assert not (await keyed(accepter, tenant)).replayed


async def test_a_large_fan_out_is_written_whole(ledger: Ledger, tenant: TenantId) -> None:
    for _ in range(3):
        await on.new_endpoint(ledger, tenant)
    await on.accepter(ledger).accept(tenant, [ONE] * 4_000, single=False)
    assert await on.count(ledger, "deliveries") == await on.count(ledger, "schedule") == 12_000


# ---- sharing
async def test_many_requests_at_the_same_time_share_a_few_commits(ledger: Ledger, tenant: TenantId) -> None:
    await on.new_endpoint(ledger, tenant)
    accepter = on.accepter(ledger)
    answers = await asyncio.gather(*[accepter.accept(tenant, [ONE], single=True) for _ in range(300)])
    assert len({event_id(answer) for answer in answers}) == 300
    assert await on.count(ledger, "schedule") == 300
    commits = (await on.row(ledger, "select count(distinct xmin::text) from events"))[0]
    assert commits <= 4


async def test_one_request_that_cannot_be_stored_does_not_spoil_the_others_of_its_group(
    own_ledger: Ledger,
) -> None:
    tenant = await on.new_tenant(own_ledger)
    await on.change(own_ledger, "alter table events add constraint odd check (type <> 'odd')")
    accepter = on.accepter(own_ledger)
    asked = [accepter.accept(tenant, [ONE], single=True) for _ in range(20)]
    asked.insert(7, accepter.accept(tenant, [NewEvent("odd", b"1")], single=True))
    asked.append(keyed(accepter, TenantId(new_id())))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(answer, Accepted) for answer in answers) == 20
    assert "odd" in str(answers[7])
    assert isinstance(answers[-1], NotFound)
    assert await on.count(own_ledger, "events") == 20


async def test_the_event_of_a_caller_who_hung_up_is_accepted_all_the_same(
    ledger: Ledger, tenant: TenantId
) -> None:
    accepter = on.accepter(ledger)
    async with ledger.transaction() as tx:
        await on.locked(tx, "tenants")
        hung_up = asyncio.create_task(keyed(accepter, tenant))
        patient = asyncio.create_task(keyed(accepter, tenant, key="another"))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
        hung_up.cancel()
        await asyncio.wait([hung_up])
    await patient
    assert await on.count(ledger, "events") == 2


# ---- idempotency
async def test_the_same_key_and_request_answers_the_same_event(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    first = await keyed(accepter, tenant)
    assert await keyed(accepter, tenant) == first._replace(replayed=True)
    assert not first.replayed
    assert await on.count(ledger, "events") == 1


async def test_the_same_key_with_another_request_is_a_conflict(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    await keyed(accepter, tenant, ONE)
    with pytest.raises(Conflict):
        await keyed(accepter, tenant, OTHER)
    assert await on.count(ledger, "events") == 1


async def test_a_key_is_its_tenants_alone(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    answers = [await keyed(accepter, tenant), await keyed(accepter, await on.new_tenant(ledger))]
    assert not any(answer.replayed for answer in answers)
    assert await on.count(ledger, "events") == 2


async def test_doubles_that_share_a_commit_are_one_event(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    asked = [keyed(accepter, tenant) for _ in range(10)] + [keyed(accepter, tenant, OTHER)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    accepted = [answer for answer in answers if isinstance(answer, Accepted)]
    assert len({answer.answer for answer in accepted}) == 1
    assert [answer.replayed for answer in accepted] == [False] + [True] * 9
    assert isinstance(answers[-1], Conflict)
    assert await on.count(ledger, "events") == 1


async def test_concurrent_doubles_at_two_processes_are_one_event(ledger: Ledger, tenant: TenantId) -> None:
    await on.new_endpoint(ledger, tenant)
    processes = [on.accepter(ledger) for _ in range(2)]
    keys = [f"key {number}" for number in range(20)]
    asked = [keyed(process, tenant, key=key) for key in keys for process in processes for _ in range(2)]
    answers = await asyncio.gather(*asked)
    assert len({answer.answer for answer in answers}) == len(keys)
    assert sum(not answer.replayed for answer in answers) == len(keys)
    assert await on.count(ledger, "events") == len(keys)
    assert await on.count(ledger, "schedule") == len(keys)


async def test_a_double_waits_for_the_first_one_s_commit_and_then_answers_as_it_did(
    ledger: Ledger, tenant: TenantId
) -> None:
    first, second = (on.accepter(ledger) for _ in range(2))
    async with ledger.transaction() as tx:
        await on.locked(tx, "events")  # the first has its key, and cannot go on
        one = asyncio.create_task(keyed(first, tenant))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
        other = asyncio.create_task(keyed(second, tenant))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
    assert (await other).answer == (await one).answer


async def test_a_key_that_was_forgotten_stands_for_a_new_event(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    first = await keyed(accepter, tenant)
    await on.change(ledger, "delete from idempotency_keys")
    again = await keyed(accepter, tenant, OTHER)
    assert not again.replayed
    assert event_id(again) != event_id(first)


async def test_events_with_and_without_keys_share_a_commit(ledger: Ledger, tenant: TenantId) -> None:
    accepter = on.accepter(ledger)
    await keyed(accepter, tenant, key="known")
    answers = await asyncio.gather(
        accepter.accept(tenant, [ONE], single=True),
        keyed(accepter, tenant, key="known"),
        keyed(accepter, tenant, key="new"),
        accepter.accept(tenant, [ONE, OTHER], single=False),
    )
    assert [answer.replayed for answer in answers] == [False, True, False, False]
    assert await on.count(ledger, "events") == 5


# ---- outages
async def test_a_ledger_that_is_down_is_unavailable(unused_tcp_port: int) -> None:
    ledger = Ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/nothing")
    accepter = on.accepter(ledger)
    asked = [keyed(accepter, TenantId(new_id())) for _ in range(5)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert {type(answer) for answer in answers} == {Unavailable}
    await ledger.close()


async def test_a_connection_that_breaks_half_way_leaves_nothing_and_the_next_request_is_served(
    ledger: Ledger, tenant: TenantId
) -> None:
    await on.new_endpoint(ledger, tenant)
    accepter = on.accepter(ledger)
    async with ledger.transaction() as tx:
        await on.locked(tx, "deliveries")  # key and event are written, and what is owed is not
        asked = asyncio.create_task(keyed(accepter, tenant))
        await on.until(lambda: on.somebody_waits_for_a_lock(ledger))
        await on.rows(
            ledger,
            """
            select pg_terminate_backend(pid) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
            """,
        )
        with pytest.raises(Unavailable):
            await asked
    tables = ("events", "deliveries", "schedule", "idempotency_keys")
    assert [await on.count(ledger, table) for table in tables] == [0, 0, 0, 0]
    assert not (await keyed(accepter, tenant)).replayed
    assert [await on.count(ledger, table) for table in tables] == [1, 1, 1, 1]


async def test_a_missing_partition_is_told_and_leaves_nothing(own_ledger: Ledger) -> None:
    tenant = await on.new_tenant(own_ledger)
    accepter = on.accepter(own_ledger)
    today = datetime.now(UTC).strftime("%Y%m%d")
    await on.change(own_ledger, f"alter table events detach partition events_{today}")
    with pytest.raises(Exception, match="partition"):
        await keyed(accepter, tenant)
    assert await on.count(own_ledger, "idempotency_keys") == 0


async def test_endpoints_of_a_tenant_are_owed_only_by_its_own_events(ledger: Ledger) -> None:
    tenants = [await on.new_tenant(ledger) for _ in range(5)]
    endpoints = {t: {await on.new_endpoint(ledger, t), await on.new_endpoint(ledger, t)} for t in tenants}
    accepter = on.accepter(ledger)
    answers = await asyncio.gather(*[accepter.accept(t, [ONE], single=True) for t in tenants for _ in "123"])
    for tenant, answer in zip([t for t in tenants for _ in "123"], answers, strict=True):
        assert await owed(ledger, event_id(answer)) == endpoints[tenant]
    wrong = await on.rows(
        ledger,
        """
        select 1 from schedule s join events ev on ev.id = s.event_id join endpoints e on e.id = s.endpoint_id
        where s.tenant_id <> ev.tenant_id or s.tenant_id <> e.tenant_id
        """,
    )
    assert wrong == []


# ------------------------------------------------------------------ channels and conditions
async def test_channels_and_failed_conditions_are_kept_beside_a_trace_and_without_one(
    own_ledger: Ledger,
) -> None:
    tenant = await on.new_tenant(own_ledger)
    await on.new_endpoint(own_ledger, tenant, on.Wanted(condition="length(@) > `1`"))
    events = [NewEvent("a", b"1", ("eu", "us")), NewEvent("a", b'"long"'), NewEvent("a", b'""')]
    for traced in (False, True):
        accepter = Accepter(own_ledger, limits=on.LIMITS, clock=clock, traced=traced)
        await accepter.accept(tenant, events, single=False, traceparent=TRACE)
        kept = await on.rows(
            own_ledger,
            "select e.channels, e.traceparent, e.matched, d.condition_failed from events e "
            "left join deliveries d on d.event_id = e.id order by e.id desc limit 3",
        )
        trace = TRACE if traced else None
        failed = "length() takes string or array or object, and was given number."
        assert [tuple(row) for row in reversed(kept)] == [
            (["eu", "us"], trace, 1, failed),
            (None, trace, 1, None),
            (None, trace, 0, None),
        ]


async def test_while_conditions_are_asked_others_have_their_turn(own_ledger: Ledger) -> None:
    tenant = await on.new_tenant(own_ledger)
    many = " || ".join([f"@[?n == `{number}`]" for number in range(15)])
    await on.new_endpoint(own_ledger, tenant, on.Wanted(condition=many))
    accepter, turns = on.accepter(own_ledger), 0
    some = [NewEvent("a", b"[%b]" % b",".join([b'{"n": 99}'] * 40))]
    await accepter.accept(tenant, some, single=True)

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    accepted = accepter.accept(tenant, some * 200, single=False)
    answer = await accepted
    counting.cancel()
    assert answer.answer.count(b'"deliveries":0') == 200
    assert turns > 20
