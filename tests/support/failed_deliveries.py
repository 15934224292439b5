"""Thousands of failed deliveries, inserted: sending them would take minutes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.domain.ids import Prefix, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

# As they are when all failed, a minute ago.
_INSERT_FAILED = """
    with made as (
        select cast(day || '8' || rest as uuid) as id, cast(day || '9' || rest as uuid) as event_id,
               (%(endpoints)s::uuid[])[1 + n %% %(spread)s] as endpoint_id,
               convert_to('{"type":"order.created","data":{"n":' || n || '}}', 'UTF8') as body
        from generate_series(1, %(many)s) as n
        cross join lateral (
            select lpad(to_hex(cast(extract(epoch from now()) * 1000 as bigint) - 60000 + n), 12, '0')
                   || '7000' as day, lpad(to_hex(n), 15, '0') as rest
        ) as parts
    ), happened as (
        insert into events (id, tenant_id, type, body, body_sha256, matched, created_at)
        select event_id, %(tenant)s, 'order.created', body, sha256(body), 1, now() from made
    ), listed as (
        insert into failures (delivery_id, tenant_id, endpoint_id)
        select id, %(tenant)s, endpoint_id from made
    )
    insert into deliveries (id, tenant_id, event_id, endpoint_id, event_type, matched_by, status, reason,
                            attempts, created_at, finished_at, outcome, http_status)
    select id, %(tenant)s, event_id, endpoint_id, 'order.created', '*', 'failed', 'exhausted', 10, now(),
           now(), 'refused', 503
    from made
"""


def add_failed_deliveries(sql: psycopg.Connection, endpoints: Sequence[str], count: int) -> None:
    """Insert this many failed deliveries per endpoint of one tenant, each of its own event."""
    ids = [parse_id(Prefix.ENDPOINT, one) for one in endpoints]
    owner = sql.execute("select tenant_id from endpoints where id = %s", [ids[0]]).fetchone()
    if owner is None:
        raise LookupError(endpoints[0])
    sql.execute(_INSERT_FAILED, {"endpoints": ids, "spread": len(ids), "many": count, "tenant": owner[0]})
    sql.commit()
