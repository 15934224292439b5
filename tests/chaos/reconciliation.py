"""The account at the end: what producers were answered, what the ledger holds, and what receivers got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from delivery.domain.ids import Prefix, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tests.chaos.producers import Producers
    from tests.chaos.receivers import ReliableReceiver

_EVENTS = "select id::text from events where tenant_id = %s"
_SELECT_DELIVERIES = """
    select d.event_id::text as event, d.endpoint_id::text as endpoint, d.status, d.attempts,
           made.recorded, made.counted
    from deliveries d cross join lateral (
        select count(*) as recorded, count(distinct a.number) as counted
        from attempts a where a.delivery_id = d.id
    ) as made where d.tenant_id = %s
"""
_COUNT_OPEN_CLAIMS = """
    select (select count(*) from claims) + (select count(*) from schedule where claim_id is not null)
"""


@dataclass(slots=True)
class Reconciliation:
    """The result; `errors` has a sentence for everything that is wrong."""

    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    stuck: int = 0
    duplicates: int = 0
    duplicate_reasons: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    def add_error(self, count: int, what: str) -> None:
        """Note a fault, if there is any of it."""
        if count:
            self.errors.append(f"{count:,} {what}")


def reconcile(
    sql: psycopg.Connection, tenant: str, producers: Producers, receivers: Mapping[str, ReliableReceiver]
) -> Reconciliation:
    """Compare all three sides for one tenant; `receivers` are by their endpoints' ids."""
    account = Reconciliation(accepted=len(producers.accepted))
    answered = {one.id: one.digest for one in producers.accepted.values()}
    owner = parse_id(Prefix.TENANT, tenant)
    in_ledger = Counter(f"{row[0]}" for row in sql.execute(_EVENTS, (owner,)))
    known = {str(parse_id(Prefix.EVENT, id_)): id_ for id_ in answered}
    account.lost += len(known.keys() - in_ledger.keys())
    account.add_error(len(known.keys() - in_ledger.keys()), "accepted events are not in the ledger")
    account.add_error(len(in_ledger.keys() - known.keys()), "events in the ledger were never answered 202")
    account.add_error(account.accepted - len(answered), "events were answered with the id of another")
    account.add_error(len(producers.changed_ids), "events had another id when they were posted again")
    account.add_error(producers.unaccepted_count, "events were never accepted, though posted again and again")
    owed = _load_deliveries(sql, owner)
    _compare_deliveries(account, owed, known, receivers)
    for endpoint, well in receivers.items():
        _compare_receiver(account, answered, well)
        _explain_duplicates(account, owed, endpoint, well, known)
    return account


def has_pending_deliveries(sql: psycopg.Connection, tenant: str) -> bool:
    """Whether anything of this tenant's is still to be delivered, or to be recorded."""
    owner = parse_id(Prefix.TENANT, tenant)
    found = sql.execute("select exists (select from schedule where tenant_id = %s)", (owner,)).fetchone()
    return found is not None and bool(found[0])


def count_open_claims(sql: psycopg.Connection) -> int:
    """How many claims are open."""
    found = sql.execute(_COUNT_OPEN_CLAIMS).fetchone()
    return 0 if found is None else int(found[0])


@dataclass(frozen=True, slots=True)
class _DeliveryRow:
    """One delivery: where it stands, its attempts as it counts them itself and as history does, and all.

    They happened all: one whose lease had lapsed when it was recorded has the number of the one that took its
    place, and moves nothing.
    """

    status: str
    attempts: int
    counted: int
    recorded: int


_RowsByTarget = Mapping[tuple[str, str], _DeliveryRow]


def _load_deliveries(sql: psycopg.Connection, owner: Any) -> _RowsByTarget:
    """Every delivery by event and endpoint; raises if there are two of one."""
    owed: dict[tuple[str, str], _DeliveryRow] = {}
    for event, endpoint, status, attempts, recorded, counted in sql.execute(_SELECT_DELIVERIES, (owner,)):
        if (event, endpoint) in owed:
            raise AssertionError(f"Event {event} has two deliveries to endpoint {endpoint}.")
        owed[event, endpoint] = _DeliveryRow(status, attempts, counted, recorded)
    return owed


def _compare_deliveries(
    account: Reconciliation,
    owed: _RowsByTarget,
    known: Mapping[str, str],
    receivers: Mapping[str, ReliableReceiver],
) -> None:
    wanted = {(event, str(parse_id(Prefix.ENDPOINT, endpoint))) for event in known for endpoint in receivers}
    account.lost += len(wanted - owed.keys())
    account.add_error(len(wanted - owed.keys()), "deliveries of accepted events do not exist")
    account.add_error(len(owed.keys() - wanted), "deliveries exist that nobody asked for")
    statuses = Counter(one.status for one in owed.values())
    account.delivered = statuses["succeeded"]
    account.stuck = statuses["pending"] + statuses["in_flight"]
    account.add_error(account.stuck, "deliveries to receivers who are well had not ended")
    account.add_error(
        statuses["failed"] + statuses["cancelled"], "deliveries to receivers who are well failed"
    )
    miscounted = sum(one.attempts != one.counted for one in owed.values())
    account.add_error(miscounted, "deliveries count other attempts than are recorded")


def _compare_receiver(account: Reconciliation, answered: Mapping[str, str], well: ReliableReceiver) -> None:
    missing = well.find_missing(set(answered))
    account.lost += len(missing)
    account.add_error(len(missing), "events did not reach a receiver")
    account.add_error(
        len(well.counts.keys() - answered.keys()), "events came to a receiver that nobody posted"
    )
    account.add_error(len(well.unverified), "signatures did not verify")
    account.add_error(len(well.changed_bodies), "bodies differed from one attempt to another")
    differing = sum(well.digests[id_] != digest for id_, digest in answered.items() if id_ in well.digests)
    account.add_error(differing, "bodies were not what had been posted")


def _explain_duplicates(
    account: Reconciliation,
    owed: _RowsByTarget,
    endpoint: str,
    well: ReliableReceiver,
    known: Mapping[str, str],
) -> None:
    """Say of everything that came more than once why it did."""
    shown = {shown: event for event, shown in known.items()}
    where = str(parse_id(Prefix.ENDPOINT, endpoint))
    for id_, times in well.counts.items():
        if times == 1 or id_ not in shown:
            continue
        recorded = owed[shown[id_], where].recorded if (shown[id_], where) in owed else 0
        account.duplicates += times - 1
        again = min(times, recorded) - 1
        account.duplicate_reasons[
            "sent again: the attempt before is recorded, as failed, as broken off, or too late to count"
        ] += max(0, again)
        account.duplicate_reasons["sent, and its process or ledger gone before that was recorded"] += (
            times - max(1, min(times, recorded))
        )


def count_outcomes(sql: psycopg.Connection, tenant: str) -> Sequence[tuple[str, str, int]]:
    """Of a tenant's deliveries: where they went, what came of the last attempt, and how many."""
    return sql.execute(
        """
        select e.description, d.status || coalesce(', ' || last.outcome, ''), count(*)
        from deliveries d join endpoints e on e.id = d.endpoint_id
        left join lateral (
            select outcome from attempts a where a.delivery_id = d.id order by number desc limit 1
        ) last on true
        where d.tenant_id = %s group by 1, 2 order by 1, 3 desc
        """,
        (parse_id(Prefix.TENANT, tenant),),
    ).fetchall()
