"""Rollup: attempts counted by minute and hour, per tenant and for all tenants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from sqlalchemy import text

from delivery.domain.histogram import SLOT_BOUNDS_US
from delivery.domain.ids import build_min_id, extract_id_time
from delivery.ledger.db.bounded_scan import disable_sort
from retries.outcome import INTERNAL_OUTCOMES

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Row

    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Transaction

# The owner of the counts of all tenants together.
ALL_TENANTS: Final = UUID(int=0)
MINUTE_SECONDS: Final = 60
HOUR_SECONDS: Final = 3_600

# An attempt is counted by the start time in its id: so every range of ids is counted in its
# own steps only, whichever ranges were counted before. Both columns come from one aggregate with
# grouping sets: joining two would compare every row with every other.
_ROLLUP_TEMPLATE = """
    counted as materialized (
        select width_bucket(id, cast(:firsts as uuid[])) as place, tenant_id, outcome,
               case when outcome <> all (cast(:ours as text[]))
                    then width_bucket(total_us, cast(:bounds as int[])) end as slot,
               count(*) as n
        from {source} group by 1, 2, 3, 4
    ), sums as (
        select place, coalesce(tenant_id, cast(:everybody as uuid)) as tenant_id, outcome, slot, sum(n) as n
        from counted
        group by grouping sets (
            (place, tenant_id, outcome), (place, outcome), (place, tenant_id, slot), (place, slot)
        )
    ), rolled as (
        select cast(:since as timestamptz) + (place - 1) * cast(:step as interval) as at, tenant_id,
               jsonb_object_agg(outcome, n) filter (where outcome is not null) as outcomes,
               coalesce(jsonb_object_agg(slot, n) filter (where slot is not null), '{{}}') as latencies
        from sums group by place, tenant_id
    )
"""
_ATTEMPTS_IN_RANGE = "(select * from attempts where id >= :first and id < :end) as attempts"
_ATTEMPTS_SINCE = "(select * from attempts where id >= :first order by id limit :most) as attempts"
_ATTEMPTS_OF_ENDPOINT = """(
    select * from attempts where endpoint_id = :endpoint and tenant_id = :tenant and id >= :first
    order by id desc limit :most
) as attempts"""

_CLEAR = text("delete from figures where width = :width and at >= :since and at < :until")
_ROLL_UP = text(f"""
    with {_ROLLUP_TEMPLATE.format(source=_ATTEMPTS_IN_RANGE)}
    insert into figures (width, at, tenant_id, outcomes, latencies)
    select :width, at, tenant_id, outcomes, latencies from rolled
""")  # noqa: S608  our own words
_SUM_HOUR = text("""
    with sums as (
        select tenant_id, kind, key, sum(cast(value as bigint)) as n
        from figures cross join lateral (
            select 'outcome' as kind, * from jsonb_each_text(outcomes)
            union all
            select 'slot', * from jsonb_each_text(latencies)
        ) as each
        where width = 60 and at >= :since and at < :until
        group by 1, 2, 3
    )
    insert into figures (width, at, tenant_id, outcomes, latencies)
    select 3600, :since, tenant_id, jsonb_object_agg(key, n) filter (where kind = 'outcome'),
           coalesce(jsonb_object_agg(key, n) filter (where kind = 'slot'), '{}')
    from sums group by tenant_id
""")
_DELETE_OLD = text("""
    delete from figures where ctid = any (array(
        select ctid from figures where width = :width and at < :before limit :most
    ))
""")
_READ = text("""
    select at, cast(outcomes as text), cast(latencies as text) from figures
    where tenant_id = :tenant and width = :width and at >= :since and at < :until
""")
_UNROLLED = text(f"""
    with {_ROLLUP_TEMPLATE.format(source=_ATTEMPTS_SINCE)}
    select at, tenant_id, outcomes, latencies from rolled where tenant_id in (:tenant, :everybody)
""")  # noqa: S608  our own words
_BY_ENDPOINT = text(f"""
    with {_ROLLUP_TEMPLATE.format(source=_ATTEMPTS_OF_ENDPOINT)}
    select at, outcomes, latencies from rolled where tenant_id = :everybody
""")  # noqa: S608  our own words
# A page reads a thousand rows and more.
_decode_outcomes = msgspec.json.Decoder(dict[str, int]).decode
_decode_latencies = msgspec.json.Decoder(dict[int, int]).decode
_PROGRESS = text("select * from figures_progress")
_INSERT_PROGRESS = text("""
    insert into figures_progress (seen_until, settled_until, summed_until, back_to)
    values (:at, :at, :at, :at) on conflict do nothing
""")
_LOCK_PROGRESS = text("select * from figures_progress for update skip locked")
_OLDEST_ATTEMPT = text("select id from attempts order by id limit 1")
_UPDATE_PROGRESS = text("""
    update figures_progress
    set seen_until = :seen_until, settled_until = :settled_until, summed_until = :summed_until,
        back_to = :back_to
""")


@dataclass(frozen=True, slots=True)
class RollupProgress:
    """The rollup's progress.

    Counted from `back_to` on: minutes until `seen_until`, for the second time until `settled_until`; hours
    until `summed_until`.
    """

    seen_until: datetime
    settled_until: datetime
    summed_until: datetime
    back_to: datetime


@dataclass(frozen=True, slots=True)
class StatsRange:
    """A range of time and its steps."""

    since: datetime
    until: datetime
    step: timedelta


@dataclass(frozen=True, slots=True)
class StatsRow:
    """One row of counts; `latencies` by slot."""

    at: datetime
    outcomes: dict[str, int]
    latencies: dict[int, int]


# ------------------------------------------------------------------ counting
async def read_progress(tx: Transaction) -> RollupProgress | None:
    """Read the rollup's progress; None: not started."""
    return _progress_from_row((await tx.execute(_PROGRESS)).one_or_none())


async def lock_progress(tx: Transaction, *, start_at: datetime) -> RollupProgress | None:
    """Lock the progress until the transaction ends; None: another process is counting."""
    await tx.execute(_INSERT_PROGRESS, {"at": start_at})
    return _progress_from_row((await tx.execute(_LOCK_PROGRESS)).one_or_none())


async def write_progress(tx: Transaction, progress: RollupProgress) -> None:
    """Write the progress."""
    await tx.execute(
        _UPDATE_PROGRESS,
        {
            "seen_until": progress.seen_until,
            "settled_until": progress.settled_until,
            "summed_until": progress.summed_until,
            "back_to": progress.back_to,
        },
    )


async def find_oldest_attempt_time(tx: Transaction) -> datetime | None:
    """The start time of the oldest stored attempt."""
    id_ = (await tx.execute(_OLDEST_ATTEMPT)).scalar_one_or_none()
    return None if id_ is None else extract_id_time(id_)


async def roll_up(tx: Transaction, since: datetime, until: datetime, *, width: int) -> None:
    """Recount the attempts of a range of time, in steps of `width` seconds."""
    await clear(tx, since, until, width=width)
    bounds = {"first": build_min_id(since), "end": build_min_id(until), "width": width}
    await tx.execute(_ROLL_UP, {**_bind_rollup(width, since, until), **bounds})


async def sum_hour(tx: Transaction, since: datetime, until: datetime) -> None:
    """Add up the minutes of an hour."""
    await clear(tx, since, until, width=HOUR_SECONDS)
    await tx.execute(_SUM_HOUR, {"since": since, "until": until})


async def clear(tx: Transaction, since: datetime, until: datetime, *, width: int) -> None:
    """Delete the counts of a range of time."""
    await tx.execute(_CLEAR, {"width": width, "since": since, "until": until})


async def delete_old(tx: Transaction, *, width: int, before: datetime, limit: int) -> int:
    """Delete older counts; returns how many."""
    return (await tx.execute(_DELETE_OLD, {"width": width, "before": before, "most": limit})).rowcount


# ------------------------------------------------------------------ reading
async def read(
    tx: Transaction, tenant_id: TenantId | None, since: datetime, until: datetime, *, width: int
) -> list[StatsRow]:
    """Read the counts of a tenant, or of all together."""
    values = {"tenant": tenant_id or ALL_TENANTS, "width": width, "since": since, "until": until}
    rows = await tx.execute(_READ, values)
    return [
        StatsRow(row.at, _decode_outcomes(row.outcomes), _decode_latencies(row.latencies)) for row in rows
    ]


async def read_unrolled(
    tx: Transaction, tenant_id: TenantId | None, since: datetime, until: datetime, *, limit: int
) -> list[StatsRow] | None:
    """Count the attempts since then by minute; None: there are more than `most`."""
    values = {"first": build_min_id(since), "most": limit + 1, "tenant": tenant_id or ALL_TENANTS}
    rows = (await tx.execute(_UNROLLED, {**_bind_rollup(MINUTE_SECONDS, since, until), **values})).all()
    if sum(sum(row.outcomes.values()) for row in rows if row.tenant_id == ALL_TENANTS) > limit:
        return None
    wanted = tenant_id or ALL_TENANTS
    return [_stats_from_row(row) for row in rows if row.tenant_id == wanted]


async def read_by_endpoint(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, stats_range: StatsRange, *, limit: int
) -> list[StatsRow]:
    """Count the newest `most` attempts of an endpoint in this range, in its steps."""
    values = {
        "first": build_min_id(stats_range.since),
        "most": limit,
        "tenant": tenant_id,
        "endpoint": endpoint_id,
    }
    await disable_sort(tx)
    counting = _bind_rollup(int(stats_range.step.total_seconds()), stats_range.since, stats_range.until)
    return [_stats_from_row(row) for row in await tx.execute(_BY_ENDPOINT, {**counting, **values})]


def _bind_rollup(width: int, since: datetime, until: datetime) -> dict[str, object]:
    step = timedelta(seconds=width)
    steps = math.ceil((until - since) / step)
    return {
        "firsts": [build_min_id(since + step * place) for place in range(steps)],
        "since": since,
        "step": step,
        "bounds": list(SLOT_BOUNDS_US),
        "ours": list(INTERNAL_OUTCOMES),
        "everybody": ALL_TENANTS,
    }


def _stats_from_row(row: Row[*tuple[Any, ...]]) -> StatsRow:
    return StatsRow(row.at, row.outcomes, {int(slot): count for slot, count in row.latencies.items()})


def _progress_from_row(row: Row[*tuple[Any, ...]] | None) -> RollupProgress | None:
    if row is None:
        return None
    return RollupProgress(row.seen_until, row.settled_until, row.summed_until, row.back_to)
