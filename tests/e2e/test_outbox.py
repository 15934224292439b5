"""The outbox on a real PostgreSQL, its forwarder as a process, and the real `web` at the other end."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, Integer, MetaData, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session

from tests.support.scenario import TIMEOUT_SECONDS
from tests.support.stack import WAYBILL, Stack, wait_until
from tests.support.tcp_proxy import ConnectionCut, NetworkConditions, TcpProxy, share_listeners
from waybill_client import Client, Event
from waybill_client.outbox import Outbox
from waybill_client.outbox.errors import OutboxMisconfigured, OutboxUnavailable
from waybill_client.outbox.forwarder import Forwarder
from waybill_client.outbox.store import OutboxStore, open_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

    from tests.support.api import Api

LEASE = timedelta(seconds=60)


class Base(DeclarativeBase):
    """An application's own tables."""


class Order(Base):
    __tablename__ = "orders"
    id = Column(Integer, primary_key=True)


outbox = Outbox(Base.metadata)


@pytest.fixture
def shop(empty_database_url: str) -> Iterator[Engine]:
    """The application's database."""
    engine = create_engine(empty_database_url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def rows(shop: Engine) -> Iterator[OutboxStore]:
    engine = open_database(url_of(shop))
    yield OutboxStore(engine)
    engine.dispose()


@pytest.fixture
def processes(tmp_path: Path, database_url: str) -> Iterator[Stack]:
    """Forwarders, by name."""
    stack = Stack(tmp_path, database_url, "amqp://nowhere")
    stack.environment["WAYBILL_LOG_LEVEL"] = "info"
    yield stack
    stack.stop()
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}\n{log.read_text()[-2000:]}")  # noqa: T201  shown when the test has failed


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def forward(
    processes: Stack, name: str, database: str, tenant: Api, *, url: str = "", lease: str = "1"
) -> None:
    processes.process_environment[name] = {
        "WAYBILL_OUTBOX_DATABASE": database,
        "WAYBILL_KEY": tenant.key,
        "WAYBILL_URL": url or tenant.url,
    }
    processes.start(name, str(WAYBILL), "outbox", "forward", "--lease-seconds", lease)


def write(engine: Engine, *events: Event, stream: str | None = None) -> None:
    with Session(engine) as session, session.begin():
        for event in events:
            outbox.enqueue(session, event, stream=stream)


def data_of(tenant: Api) -> list[Any]:
    """The data of every event that the tenant has, oldest first."""
    listed = tenant.list_all("/v1/events?order=oldest")
    return [tenant.get(f"/v1/events/{event['id']}")["body"]["data"] for event in listed]


@contextmanager
def in_process(
    rows: OutboxStore, tenant: Api, transport: httpx.BaseTransport | None = None
) -> Iterator[Forwarder]:
    with Client(tenant.url, tenant.key, transport=transport) as client:
        yield Forwarder(rows, client, lease=LEASE, sleep=lambda pause: time.sleep(pause.total_seconds()))


def test_outbox_sends_committed_rows_and_no_rolled_back_ones(
    shop: Engine, rows: OutboxStore, engine: Api
) -> None:
    tenant = engine.create_tenant()
    with Session(shop) as session:
        session.add(Order(id=1))
        outbox.enqueue(session, Event("order.created", {"order": 1}))
        session.flush()
        session.rollback()
    with Session(shop) as session, session.begin():
        session.add(Order(id=2))
        outbox.enqueue(session, Event("order.created", {"order": 2}))
        outbox.enqueue(session, Event("order.paid", b'{"order": 2.0}'))
    with shop.begin() as connection:
        connection.execute(outbox.statement(Event("order.shipped", "Zoë")))
    with in_process(rows, tenant) as forwarder:
        assert forwarder.forward_batch() == timedelta(0)
    assert data_of(tenant) == [{"order": 2}, {"order": 2.0}, "Zoë"]
    assert rows.read_status().waiting == rows.read_status().in_flight == 0


async def test_async_sessions_write_in_their_transaction_too(
    shop: Engine, rows: OutboxStore, engine: Api
) -> None:
    tenant = engine.create_tenant()
    async_shop = create_async_engine(url_of(shop))
    async with AsyncSession(async_shop) as session:
        outbox.enqueue(session, Event("order.created", 1))
        await session.flush()
        await session.rollback()
        outbox.enqueue(session, Event("order.created", 2))
        await session.commit()
    await async_shop.dispose()
    with in_process(rows, tenant) as forwarder:
        forwarder.forward_batch()
    assert data_of(tenant) == [2]


def test_channels_go_along(shop: Engine, rows: OutboxStore, engine: Api) -> None:
    tenant = engine.create_tenant()
    write(shop, Event("order.created", 1, ["eu", "us"]), Event("order.created", 2))
    with shop.begin() as connection:
        connection.execute(outbox.statement(Event("order.created", 3, ("asia",))))
    with in_process(rows, tenant) as forwarder:
        forwarder.forward_batch()
    listed = tenant.list_all("/v1/events?order=oldest")
    assert [event["channels"] for event in listed] == [["eu", "us"], [], ["asia"]]


def test_a_table_of_an_earlier_release_goes_on_as_long_as_no_channels_are_used(
    shop: Engine, rows: OutboxStore, engine: Api
) -> None:
    tenant = engine.create_tenant()
    with shop.begin() as connection:
        connection.execute(text("alter table waybill_outbox drop column channels"))
    write(shop, Event("order.created", 1))
    with in_process(rows, tenant) as forwarder:
        assert forwarder.forward_batch() == timedelta(0)
        with pytest.raises(ProgrammingError, match="channels"):
            write(shop, Event("order.created", 2, ["eu"]))
        with shop.begin() as connection:
            connection.execute(text("alter table waybill_outbox add column channels text[]"))
        write(shop, Event("order.created", 2, ["eu"]))
        forwarder.forward_batch()
    listed = tenant.list_all("/v1/events?order=oldest")
    assert [event["channels"] for event in listed] == [[], ["eu"]]


def test_the_printed_sql_makes_what_the_metadata_says(shop: Engine, processes: Stack) -> None:
    metadata = MetaData()
    Outbox(metadata)
    with shop.begin() as connection:
        connection.execute(text("drop table waybill_outbox; drop table orders"))
        connection.execute(text(processes.run(str(WAYBILL), "outbox", "sql")))
    with shop.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_a_forwarder_killed_between_the_answer_and_the_delete_makes_one_event(
    shop: Engine, rows: OutboxStore, engine: Api, processes: Stack
) -> None:
    tenant = engine.create_tenant()
    write(shop, *[Event("order.created", n) for n in range(10)])
    killed = threading.Event()

    def kill_before_the_delete(sent: bytes) -> None:
        if b"DELETE FROM waybill_outbox" in sent and not killed.is_set():
            processes.kill("forward")
            killed.set()
            raise ConnectionCut

    where = make_url(url_of(shop))
    with TcpProxy(
        str(where.host), int(where.port or 0), share_listeners(on_client_bytes=kill_before_the_delete)
    ) as proxy:
        through = where.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        forward(processes, "forward", through, tenant)
        wait_until(killed.is_set, "the forwarder to be killed", seconds=TIMEOUT_SECONDS)
    assert data_of(tenant) == list(range(10))
    assert rows.read_status().in_flight == 10
    forward(processes, "forward", url_of(shop), tenant)
    wait_until(lambda: rows.read_status().in_flight == 0, "the outbox to be empty", seconds=TIMEOUT_SECONDS)
    assert data_of(tenant) == list(range(10))


def test_two_forwarders_at_once_keep_the_order_of_streams_whatever_is_killed(
    shop: Engine, rows: OutboxStore, engine: Api, processes: Stack
) -> None:
    """Rows come in all the while, some are refused, and one forwarder is killed twice on the way."""
    tenant = engine.create_tenant()
    for name in ("one", "two"):
        forward(processes, name, url_of(shop), tenant)
    for step in range(60):
        with Session(shop) as session, session.begin():
            for stream in range(20):
                outbox.enqueue(session, Event("order.moved", [stream, step]), stream=f"order {stream}")
            if step % 20 == 7:
                outbox.enqueue(session, Event("no type at all", [0, step]), stream="order 0")
        if step in {20, 40}:
            processes.kill("two")
            forward(processes, "two", url_of(shop), tenant)
    wait_until(
        lambda: rows.read_status().waiting + rows.read_status().in_flight == 0,
        "all of it",
        seconds=TIMEOUT_SECONDS,
    )
    came: dict[int, list[int]] = defaultdict(list)
    for stream, step in data_of(tenant):
        came[stream].append(step)
    assert dict(came) == {stream: list(range(60)) for stream in range(20)}
    refused = rows.list_refused(limit=100)
    assert [one.type for one in refused] == ["no type at all"] * 3
    assert all("type" in one.reason for one in refused)


def test_no_event_overtakes_another_of_its_stream_that_is_on_its_way(shop: Engine, rows: OutboxStore) -> None:
    write(shop, Event("a", 1), stream="order 1")
    write(shop, Event("a", 2))
    first = rows.claim_batch(lease=LEASE)
    write(shop, Event("a", 3), stream="order 1")
    write(shop, Event("a", 4), stream="order 2")
    second = rows.claim_batch(lease=LEASE)
    assert first is not None
    assert second is not None
    assert [row.data for row in first.rows] == ["1", "2"]
    assert [row.data for row in second.rows] == ["4"]
    assert rows.claim_batch(lease=LEASE) is None
    rows.delete_sent(first)
    third = rows.claim_batch(lease=LEASE)
    assert third is not None
    assert [row.data for row in third.rows] == ["3"]


def test_rows_have_the_order_in_which_one_session_wrote_them(shop: Engine, rows: OutboxStore) -> None:
    """SQLAlchemy writes a thousand rows in one statement."""
    write(shop, *[Event("a", n) for n in range(2_500)], stream="order 1")
    came: list[int] = []
    while batch := rows.claim_batch(lease=LEASE):
        came += [int(row.data) for row in batch.rows]
        rows.delete_sent(batch)
    assert came == list(range(2_500))


def test_a_batch_is_bounded_in_rows_and_bytes(shop: Engine, rows: OutboxStore) -> None:
    write(shop, *[Event("a", "x" * 3_000_000) for _ in range(3)], *[Event("a", n) for n in range(5)])
    first, second = rows.claim_batch(lease=LEASE), rows.claim_batch(lease=LEASE, limit=3)
    assert first is not None
    assert second is not None
    assert [len(row.data) for row in first.rows] == [3_000_002] * 2
    assert [row.id for row in second.rows] == [3, 4, 5]


def test_refused_events_are_set_aside_with_the_reason_sent_again_and_discarded(
    shop: Engine, rows: OutboxStore, engine: Api, processes: Stack
) -> None:
    tenant = engine.create_tenant()
    write(shop, *[Event("order.created" if n % 7 else "not a type", n) for n in range(20)])
    with in_process(rows, tenant) as forwarder:
        while rows.read_status().waiting + rows.read_status().in_flight:
            forwarder.forward_batch()
        assert data_of(tenant) == [n for n in range(20) if n % 7]
        refused = rows.list_refused(limit=10)
        assert [one.id for one in refused] == [1, 8, 15]
        processes.environment["WAYBILL_OUTBOX_DATABASE"] = url_of(shop)
        listed = processes.run(str(WAYBILL), "outbox", "list")
        assert listed.count("type: An event type is made of letters") == 3
        # The refused events are fixed or discarded.
        with shop.begin() as connection:
            connection.execute(text("update waybill_outbox set type = 'order.created' where id = 8"))
        assert processes.run(str(WAYBILL), "outbox", "retry", "8") == "1 will be sent again.\n"
        assert processes.run(str(WAYBILL), "outbox", "discard", "1", "8") == "1 are deleted.\n"
        forwarder.forward_batch()
    assert data_of(tenant)[-1] == 7
    assert [one.id for one in rows.list_refused(limit=10)] == [15]


def test_an_event_that_is_too_large_is_found_among_others(
    shop: Engine, rows: OutboxStore, engine: Api
) -> None:
    """The answer tells of a size and names none: halves are tried until it stands alone."""
    tenant = engine.create_tenant()
    write(shop, *[Event("order.created", "x" * 300_000 if n == 5 else n) for n in range(9)])
    with in_process(rows, tenant) as forwarder:
        while rows.read_status().waiting + rows.read_status().in_flight:
            forwarder.forward_batch()
    assert data_of(tenant) == [0, 1, 2, 3, 4, 6, 7, 8]
    (refused,) = rows.list_refused(limit=2)
    assert refused.id == 6
    assert "262,144" in refused.reason


def test_a_database_without_an_outbox_says_so(empty_database_url: str) -> None:
    engine = open_database(empty_database_url)
    with pytest.raises(OutboxMisconfigured, match=r"No outbox shop\.waybill_outbox in this database"):
        OutboxStore(engine, "shop.waybill_outbox").read_status()
    engine.dispose()


def test_a_key_that_is_refused_condemns_no_event(shop: Engine, rows: OutboxStore, engine: Api) -> None:
    tenant = engine.create_tenant()
    write(shop, Event("order.created", 1))
    with in_process(rows, type(engine)(engine.url, "wbk_wrong")) as forwarder:
        assert forwarder.forward_batch() > timedelta(0)
    assert rows.read_status().in_flight == 1
    with in_process(rows, tenant) as forwarder:
        forwarder.forward_batch()
    assert data_of(tenant) == [1]
    assert rows.list_refused(limit=1) == []


def test_the_operators_key_condemns_no_event(shop: Engine, rows: OutboxStore, engine: Api) -> None:
    write(shop, Event("order.created", 1), Event("order.created", 2))
    with in_process(rows, engine) as forwarder:
        for _ in range(3):
            assert forwarder.forward_batch() > timedelta(0)
    assert rows.read_status().in_flight == 2
    assert rows.list_refused(limit=1) == []


def test_a_row_that_is_no_json_is_set_aside_and_is_never_two_events(
    shop: Engine, rows: OutboxStore, engine: Api
) -> None:
    tenant = engine.create_tenant()
    write(shop, *[Event("order.created", n) for n in range(3)])
    with pytest.raises(ValueError, match="must be JSON"):
        write(shop, Event("order.created", b'1},{"type":"order.paid","data":2'))
    with shop.begin() as connection:
        broken = """update waybill_outbox set data = '1},{"type":"order.paid","data":2' where id = 2"""
        connection.execute(text(broken.replace(":", "\\:")))
    with in_process(rows, tenant) as forwarder:
        while rows.read_status().waiting + rows.read_status().in_flight:
            forwarder.forward_batch()
    assert data_of(tenant) == [0, 2]
    (refused,) = rows.list_refused(limit=2)
    assert "must be JSON" in refused.reason


def test_outbox_claim_lock_wait_is_bounded(shop: Engine, rows: OutboxStore) -> None:
    write(shop, Event("a", 1))
    with shop.begin() as connection:
        connection.execute(text("select pg_advisory_xact_lock(hashtext('waybill_outbox'))"))
        with pytest.raises(OutboxUnavailable, match="lock timeout"):
            rows.claim_batch(lease=LEASE)
    assert rows.claim_batch(lease=LEASE) is not None


def test_forwarder_stops_while_its_database_is_down(shop: Engine, rows: OutboxStore) -> None:
    where = make_url(url_of(shop))
    write(shop, Event("a", 1))
    with TcpProxy(str(where.host), int(where.port or 0)) as proxy:
        through = where.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        away = open_database(through)

        def interrupt(_request: httpx.Request) -> httpx.Response:
            proxy.conditions = NetworkConditions(is_refusing=True)
            proxy.reset_connections()
            raise KeyboardInterrupt

        with Client("http://nowhere.example", "k", transport=httpx.MockTransport(interrupt)) as client:
            forwarder = Forwarder(OutboxStore(away), client, lease=LEASE, sleep=lambda _pause: None)
            with pytest.raises(KeyboardInterrupt):
                forwarder.run()
        away.dispose()
    assert rows.read_status().in_flight == 1


def test_no_transaction_is_open_while_events_are_sent(shop: Engine, rows: OutboxStore) -> None:
    states: list[str] = []

    def look(request: httpx.Request) -> httpx.Response:
        with shop.connect() as connection:
            found = connection.execute(
                text(
                    "select state from pg_stat_activity "
                    "where application_name = 'waybill outbox' and datname = current_database()"
                )
            )
            states.extend(found.scalars())
        event = {"id": "evt_1", "type": "a", "created_at": "2026-11-26T12:00:00Z", "deliveries": 0}
        return httpx.Response(202, json={"events": [event] * request.content.count(b'"type"')})

    write(shop, Event("a", 1), Event("a", 2))
    with Client("http://nowhere.example", "k", transport=httpx.MockTransport(look)) as client:
        Forwarder(rows, client, lease=LEASE, sleep=lambda _pause: None).forward_batch()
    assert states == ["idle"]
    assert rows.read_status().in_flight == 0


def test_stopping_forwarder_releases_its_batch_unchanged(shop: Engine, rows: OutboxStore) -> None:
    keys: list[str] = []

    def interrupt(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        raise KeyboardInterrupt

    write(shop, Event("a", 1))
    with Client("http://nowhere.example", "k", transport=httpx.MockTransport(interrupt)) as client:
        forwarder = Forwarder(rows, client, lease=LEASE, sleep=lambda _pause: None)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                forwarder.forward_batch()
    assert len(keys) == 2
    assert len(set(keys)) == 1


def test_a_forwarder_outlives_its_database_and_ends_when_it_is_told(
    shop: Engine, rows: OutboxStore, engine: Api, processes: Stack
) -> None:
    tenant = engine.create_tenant()
    where = make_url(url_of(shop))
    with TcpProxy(str(where.host), int(where.port or 0)) as proxy:
        through = where.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        forward(processes, "forward", through, tenant)
        write(shop, Event("order.created", 1))
        wait_until(lambda: data_of(tenant) == [1], "the first event", seconds=TIMEOUT_SECONDS)
        proxy.conditions = NetworkConditions(is_refusing=True)
        proxy.reset_connections()
        wait_until(
            lambda: "outbox.postponed" in processes.read_log("forward"), "the outage", seconds=TIMEOUT_SECONDS
        )
        write(shop, Event("order.created", 2))
        proxy.conditions = NetworkConditions()
        wait_until(lambda: data_of(tenant) == [1, 2], "the second event", seconds=TIMEOUT_SECONDS)
        processes.stop("forward")
    assert "outbox.stopped" in processes.read_log("forward")
    assert rows.read_status().waiting + rows.read_status().in_flight == 0
