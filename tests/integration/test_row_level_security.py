"""Row-level security keeps tenants apart even if a query forgets its condition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from delivery.clock import clock
from delivery.domain.accounts import Actor
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.errors import Misconfigured, Unavailable
from delivery.domain.event_patterns import MATCH_ALL
from delivery.domain.ids import new_id
from delivery.domain.pagination import PageRequest
from delivery.ledger.db import readiness, schema
from delivery.ledger.db.row_level_security import ROW_POLICIES, UNREACHABLE_TABLES
from delivery.ledger.db.session import Ledger
from delivery.ledger.db.tables import metadata
from delivery.ledger.queue import eligibility
from delivery.ledger.records import attempts, deliveries, endpoints
from delivery.ledger.search import sequences, timeline
from delivery.services.deliveries import DeliveryService
from delivery.services.replays.service import ReplayService
from delivery.services.replays.validation import NewReplay
from tests.support import ledger_builders as build
from tests.support.postgres import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from sqlalchemy import URL

    from delivery.domain.ids import EndpointId, TenantId

ADA = Actor("ada")
# One row for the tenant in each table that the life of its deliveries leaves empty here.
_BESIDE = (
    "insert into api_keys values (:id, :tenant, 'a key', 'wbk_', cast(cast(:id as text) as bytea), now())",
    "insert into figures values (:tenant, 60, now(), '{}', '{}')",
    "insert into figures_progress values (1, now(), now(), now(), now()) on conflict do nothing",
    """
    insert into portal_links values
        (:id, :tenant, null, 'viewer', null, 'ada', cast(cast(:id as text) as bytea), now(), now())
    """,
    """
    insert into replay_items (replay_id, delivery_id, endpoint_id, event_id)
    select id, :id, :id, :id from replays where tenant_id = :tenant
    """,
)
_FAIL_ONE = """
    update deliveries set status = 'failed' where id in (
        select id from deliveries where tenant_id = :tenant and status = 'succeeded')
"""


@dataclass(frozen=True, slots=True)
class Had:
    """A tenant that has something in every table."""

    tenant: TenantId
    endpoint: EndpointId


async def having_all(ledger: Ledger) -> Had:
    """A tenant with a delivery that failed, one in flight and one that waits, and all the rest."""
    tenant = await build.create_tenant(ledger)
    endpoint = await build.create_endpoint(ledger, tenant)
    await build.accept_event(ledger, tenant)
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    await build.record_results(ledger, build.make_success(work, claim_id))
    await build.execute(ledger, _FAIL_ONE, tenant=tenant)
    await build.accept_event(ledger, tenant)
    await build.claim_and_start(ledger, endpoint)
    await build.accept_event(ledger, tenant)
    asked = NewReplay(DeliveryFilter(types=(MATCH_ALL,)), "so")
    await ReplayService(ledger, clock=clock, default_max_in_flight=9).create(
        tenant, asked, operator=True, actor=ADA
    )
    for statement in _BESIDE:
        await build.execute(ledger, statement, tenant=tenant, id=new_id())
    return Had(tenant, endpoint)


@pytest.fixture
async def ours(ledger: Ledger) -> Had:
    return await having_all(ledger)


@pytest.fixture
async def theirs(ledger: Ledger) -> Had:
    return await having_all(ledger)


async def found(ledger: Ledger, table: str, *, of: TenantId | None) -> set[str]:
    """Every row of a table, by a query that asks for no tenant."""
    async with ledger.transaction(tenant_id=of) as tx:
        query = text(f"select cast(t as text) from {table} t")  # noqa: S608  our own names
        return set((await tx.execute(query)).scalars())


# ---- every table
def test_every_table_has_row_level_security_or_no_grants() -> None:
    assert ROW_POLICIES.keys() | UNREACHABLE_TABLES == metadata.tables.keys()
    assert not ROW_POLICIES.keys() & UNREACHABLE_TABLES


def test_migrated_policies_match_the_ledger_definition(database_url: str) -> None:
    with connect(database_url) as connection:
        for table, wall in ROW_POLICIES.items():
            with connection.transaction(force_rollback=True):
                connection.execute(f"create policy wanted on {table} using ({wall.rows})")
                assert len(policies(connection, table)) == 1, table
            assert rights(connection, table) == wall.privileges, table
        for table in UNREACHABLE_TABLES:
            assert policies(connection, table) == set()
            assert rights(connection, table) == set()
        unwalled = connection.execute(
            "select relname from pg_class where relname = any (%s) and not relrowsecurity",
            ([*metadata.tables],),
        ).fetchall()
    assert unwalled == []


def policies(connection: psycopg.Connection, table: str) -> set[Any]:
    """The policies of a table, without their names."""
    return set(
        connection.execute(
            """
            select permissive, cast(roles as text), cmd, qual, with_check
            from pg_policies where tablename = %s
            """,
            (table,),
        ).fetchall()
    )


def rights(connection: psycopg.Connection, table: str) -> set[str]:
    """The privileges of the tenants' role on a table."""
    query = """
        select lower(privilege) from unnest(array['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE',
                                                  'REFERENCES', 'TRIGGER']) as privilege
        where has_table_privilege(current_user || '_tenant', %s, privilege)
    """
    return {name for (name,) in connection.execute(query, (table,)).fetchall()}


async def test_a_query_that_forgets_the_tenant_finds_only_its_rows(
    ledger: Ledger, ours: Had, theirs: Had
) -> None:
    for table in ROW_POLICIES:
        mine = await found(ledger, table, of=ours.tenant)
        other = await found(ledger, table, of=theirs.tenant)
        assert mine, table
        assert other, table
        assert mine | other == await found(ledger, table, of=None), table
        if table != "figures_progress":
            assert not mine & other, table


async def test_what_is_out_of_reach_is_refused(ledger: Ledger, ours: Had) -> None:
    for table in UNREACHABLE_TABLES:
        await refused(ledger, f"select from {table}", of=ours)


async def test_partitions_cannot_be_read_directly(ledger: Ledger, ours: Had) -> None:
    day = f"{clock():%Y%m%d}"
    for table in ("events", "deliveries", "attempts", "journal"):
        await refused(ledger, f"select from {table}_{day}", of=ours)


async def test_nothing_of_another_tenant_is_changed_or_taken_away(
    ledger: Ledger, ours: Had, theirs: Had
) -> None:
    before = {table: await found(ledger, table, of=theirs.tenant) for table in ROW_POLICIES}
    for table, wall in ROW_POLICIES.items():
        column = next(iter(metadata.tables[table].columns)).name
        async with ledger.transaction(tenant_id=ours.tenant) as tx:
            if "update" in wall.privileges:
                await tx.execute(text(f"update {table} set {column} = {column}"))  # noqa: S608  our own names
            if table in {"schedule", "failures"}:
                await tx.execute(text(f"delete from {table}"))  # noqa: S608  our own names
    assert {table: await found(ledger, table, of=theirs.tenant) for table in ROW_POLICIES} == before


async def test_nothing_is_written_for_another_tenant(ledger: Ledger, ours: Had, theirs: Had) -> None:
    for table, wall in ROW_POLICIES.items():
        if "insert" in wall.privileges:
            copy = f"insert into {table} select (jsonb_populate_record(null::{table}, :row)).*"
            row = f"select cast(to_jsonb(t) as text) from {table} t limit 1"  # noqa: S608  our own names
            async with ledger.transaction(tenant_id=theirs.tenant) as tx:
                (known,) = (await tx.execute(text(row))).one()
            await refused(ledger, copy.replace(":row", "cast(:row as jsonb)"), of=ours, row=known)


async def test_a_row_cannot_be_given_to_another_tenant(ledger: Ledger, ours: Had, theirs: Had) -> None:
    for table, wall in ROW_POLICIES.items():
        if "update" in wall.privileges and "tenant_id" in metadata.tables[table].columns:
            move = f"update {table} set tenant_id = :other"  # noqa: S608  our own names
            await refused(ledger, move, of=ours, other=theirs.tenant)


async def refused(ledger: Ledger, statement: str, *, of: Had, **values: object) -> None:
    """See that PostgreSQL itself refuses this to a tenant."""
    with pytest.raises(DBAPIError) as raised:
        async with ledger.transaction(tenant_id=of.tenant) as tx:
            await tx.execute(text(statement), values)
    assert isinstance(raised.value.orig, InsufficientPrivilege), statement


# ---- the ledger's own queries, given another tenant's ids
async def test_queries_given_another_tenants_ids_find_nothing(ledger: Ledger, ours: Had, theirs: Had) -> None:
    (delivery, *_) = await build.list_delivery_ids(ledger, theirs.endpoint)
    async with ledger.transaction(tenant_id=ours.tenant) as tx:
        assert await deliveries.read(tx, theirs.tenant, delivery) is None
        assert await endpoints.read(tx, theirs.tenant, theirs.endpoint) is None
        assert await endpoints.read_urls(tx, [theirs.endpoint]) == {}
        assert await eligibility.load_statuses(tx, [theirs.endpoint]) == {}
        assert (await attempts.read_page(tx, theirs.tenant, delivery, PageRequest(9))).items == ()
        assert (await endpoints.read_page(tx, None, PageRequest(9))).items[0].tenant_id == ours.tenant
        assert (await sequences.read_after(tx, theirs.endpoint, 0, limit=9)).items == ()
        assert await timeline.read_endpoints(tx, theirs.tenant, [theirs.endpoint]) == []
        assert not await endpoints.delete(tx, theirs.tenant, theirs.endpoint, at=clock())


async def test_a_use_case_still_does_its_work(ledger: Ledger, ours: Had) -> None:
    uses = DeliveryService(ledger, clock=clock, default_max_in_flight=9)
    page = await uses.list_deliveries(ours.tenant, DeliveryFilter(), PageRequest(9))
    assert len(page.items) == 3
    failed = page.items[-1]
    assert (await uses.replay(ours.tenant, failed.id, actor=ADA)).status == "pending"


# ---- a transaction is bound as long as it lasts, and no longer
async def test_the_next_transaction_on_a_connection_is_free_again(
    shared_url: str, ours: Had, theirs: Had
) -> None:
    async with build.open_ledger(shared_url, pool_size=1) as one:
        for of in (ours.tenant, None, theirs.tenant, None):
            assert len(await found(one, "tenants", of=of)) == (2 if of is None else 1)


async def test_without_a_tenant_the_role_sees_nothing(ledger: Ledger, ours: Had) -> None:
    async with ledger.transaction(tenant_id=ours.tenant) as tx:
        await tx.execute(text("set local waybill.tenant = ''"))
        assert (await tx.execute(text("select from tenants"))).all() == []


async def test_the_first_query_may_still_choose_its_isolation(ledger: Ledger, ours: Had) -> None:
    async with ledger.transaction(tenant_id=ours.tenant) as tx:
        await timeline.begin_snapshot(tx)


# ---- where the walls are missing
async def test_ledger_without_row_level_security_serves_no_tenant(
    own_ledger: Ledger, database_url: str
) -> None:
    with connect(database_url) as connection:
        connection.execute("alter table tenants disable row level security")
    with pytest.raises(Unavailable, match="waybill db upgrade"):
        await readiness.check_readiness(own_ledger, now=clock())
    with pytest.raises(Unavailable, match="waybill db upgrade"):
        async with own_ledger.transaction(tenant_id=new_id()):
            pass


@pytest.fixture
def new_owner(database_url: str) -> Iterator[str]:
    """An account that may log in and nothing else, and owns the ledger; the URL is the first account's."""
    name = f"owner_{new_id().hex}"
    with connect(database_url) as connection:
        connection.execute(f"create role {name} login")
        for table in metadata.tables:
            connection.execute(f"alter table {table} owner to {name}")
        yield name
        connection.execute(f"drop owned by {name}")
        connection.execute(f"drop role {name}")


async def test_a_role_that_is_missing_is_said_with_what_makes_it(own_ledger: Ledger, new_owner: str) -> None:
    with pytest.raises(Misconfigured, match=f'create role "{new_owner}_tenant" nologin'):
        await own_ledger.check_row_level_security()


@pytest.fixture
def poor_account(empty_database_url: str) -> Iterator[URL]:
    """An account that owns a database and may make no role, as on many managed servers."""
    name, database = f"poor_{new_id().hex}", make_url(empty_database_url).database
    with connect(empty_database_url) as connection:
        connection.execute(f"create role {name} login password 'poor'")
        connection.execute(f"alter database {database} owner to {name}")
        yield make_url(empty_database_url).set(username=name, password="poor")  # noqa: S106  gone in a moment
        connection.execute(f"alter database {database} owner to current_user")
        for role in (name, f"{name}_tenant"):
            connection.execute(f"drop owned by {role}")
            connection.execute(f"drop role {role}")


async def test_an_account_that_may_make_no_role_is_told_what_to_have_run(
    poor_account: URL, empty_database_url: str
) -> None:
    url, owner = poor_account.render_as_string(hide_password=False), poor_account.username
    with pytest.raises(SystemExit) as told:
        await asyncio.to_thread(schema.upgrade, url)
    wanted = [f'create role "{owner}_tenant" nologin;', f'grant "{owner}_tenant" to "{owner}";']
    assert [line.strip() for line in str(told.value).splitlines() if line.startswith("  ")] == wanted
    with connect(empty_database_url) as administrator:
        for statement in wanted:
            administrator.execute(statement.encode())
    await asyncio.to_thread(schema.upgrade, url)
    async with build.open_ledger(url) as ledger:
        ours, theirs = [await build.create_tenant(ledger) for _ in range(2)]
        await readiness.check_readiness(ledger, now=clock())
        assert len(await found(ledger, "tenants", of=ours)) == 1
        assert len(await found(ledger, "tenants", of=None)) == len([ours, theirs])


async def test_an_account_that_would_see_no_rows_is_refused(
    database_url: str,
) -> None:
    name = f"blind_{new_id().hex}"
    blind = make_url(database_url).set(username=name, password="blind")  # noqa: S106  gone in a moment
    with connect(database_url) as connection:
        connection.execute(f"create role {name} login password 'blind'")
        connection.execute(f"grant select, insert, update, delete on all tables in schema public to {name}")
        ledger = Ledger(blind.render_as_string(hide_password=False))
        with pytest.raises(Misconfigured, match="sees none of their rows"):
            await ledger.check_row_level_security()
        await ledger.close()
        connection.execute(f"drop owned by {name}")
        connection.execute(f"drop role {name}")
