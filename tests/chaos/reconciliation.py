"""The account at the end: what producers were answered, what the ledger holds, and what receivers got."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from delivery.model import Prefix, parse_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

    from tests.chaos.load import Producers
    from tests.chaos.receivers import Well

_EVENTS = "select id::text from events where tenant_id = %s"
_OWED = """
    select d.event_id::text as event, d.endpoint_id::text as endpoint, d.status, d.attempts,
           made.recorded, made.counted
    from deliveries d cross join lateral (
        select count(*) as recorded, count(distinct a.number) as counted
        from attempts a where a.delivery_id = d.id
    ) as made where d.tenant_id = %s
"""
_OPEN = """
    select (select count(*) from claims) + (select count(*) from schedule where claim_id is not null)
"""


@dataclass(slots=True)
class Account:
    """What was found; `faults` has a sentence for everything that must not be."""

    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    stuck: int = 0
    duplicates: int = 0
    explained: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def wrong(self, count: int, what: str) -> None:
        """Note a fault, if there is any of it."""
        if count:
            self.faults.append(f"{count:,} {what}")


def settle(
    sql: psycopg.Connection, tenant: str, producers: Producers, receivers: Mapping[str, Well]
) -> Account:
    """Compare all three sides for one tenant; `receivers` are by their endpoints' ids."""
    account = Account(accepted=len(producers.accepted))
    answered = {one.id: one.digest for one in producers.accepted.values()}
    owner = parse_id(Prefix.TENANT, tenant)
    in_ledger = Counter(f"{row[0]}" for row in sql.execute(_EVENTS, (owner,)))
    known = {str(parse_id(Prefix.EVENT, id_)): id_ for id_ in answered}
    account.lost += len(known.keys() - in_ledger.keys())
    account.wrong(len(known.keys() - in_ledger.keys()), "accepted events are not in the ledger")
    account.wrong(len(in_ledger.keys() - known.keys()), "events in the ledger were never answered 202")
    account.wrong(account.accepted - len(answered), "events were answered with the id of another")
    account.wrong(len(producers.changed_ids), "events had another id when they were posted again")
    account.wrong(producers.unanswered, "events were never accepted, though posted again and again")
    owed = _owed(sql, owner)
    _compare_owed(account, owed, known, receivers)
    for endpoint, well in receivers.items():
        _compare_receiver(account, answered, well)
        _explain(account, owed, endpoint, well, known)
    return account


def owes(sql: psycopg.Connection, tenant: str) -> bool:
    """Whether anything of this tenant's is still to be delivered, or to be recorded."""
    owner = parse_id(Prefix.TENANT, tenant)
    found = sql.execute("select exists (select from schedule where tenant_id = %s)", (owner,)).fetchone()
    return found is not None and bool(found[0])


def left_open(sql: psycopg.Connection) -> int:
    """How many claims are open."""
    found = sql.execute(_OPEN).fetchone()
    return 0 if found is None else int(found[0])


@dataclass(frozen=True, slots=True)
class _Owed:
    """One delivery: where it stands, its attempts as it counts them itself and as history does, and all.

    They happened all: one whose lease had lapsed when it was recorded has the number of the one that took its
    place, and moves nothing.
    """

    status: str
    attempts: int
    counted: int
    recorded: int


_ByPlace = Mapping[tuple[str, str], _Owed]


def _owed(sql: psycopg.Connection, owner: Any) -> _ByPlace:
    """Every delivery by event and endpoint; raises if there are two of one."""
    owed: dict[tuple[str, str], _Owed] = {}
    for event, endpoint, status, attempts, recorded, counted in sql.execute(_OWED, (owner,)):
        if (event, endpoint) in owed:
            raise AssertionError(f"Event {event} has two deliveries to endpoint {endpoint}.")
        owed[event, endpoint] = _Owed(status, attempts, counted, recorded)
    return owed


def _compare_owed(
    account: Account,
    owed: _ByPlace,
    known: Mapping[str, str],
    receivers: Mapping[str, Well],
) -> None:
    wanted = {(event, str(parse_id(Prefix.ENDPOINT, endpoint))) for event in known for endpoint in receivers}
    account.lost += len(wanted - owed.keys())
    account.wrong(len(wanted - owed.keys()), "deliveries of accepted events do not exist")
    account.wrong(len(owed.keys() - wanted), "deliveries exist that nobody asked for")
    statuses = Counter(one.status for one in owed.values())
    account.delivered = statuses["succeeded"]
    account.stuck = statuses["pending"] + statuses["in_flight"]
    account.wrong(account.stuck, "deliveries to receivers who are well had not ended")
    account.wrong(statuses["failed"] + statuses["cancelled"], "deliveries to receivers who are well failed")
    miscounted = sum(one.attempts != one.counted for one in owed.values())
    account.wrong(miscounted, "deliveries count other attempts than are recorded")


def _compare_receiver(account: Account, answered: Mapping[str, str], well: Well) -> None:
    missing = well.lacks(set(answered))
    account.lost += len(missing)
    account.wrong(len(missing), "events did not reach a receiver")
    account.wrong(len(well.times.keys() - answered.keys()), "events came to a receiver that nobody posted")
    account.wrong(len(well.forged), "signatures did not verify")
    account.wrong(len(well.changed), "bodies differed from one attempt to another")
    differing = sum(well.digests[id_] != digest for id_, digest in answered.items() if id_ in well.digests)
    account.wrong(differing, "bodies were not what had been posted")


def _explain(
    account: Account,
    owed: _ByPlace,
    endpoint: str,
    well: Well,
    known: Mapping[str, str],
) -> None:
    """Say of everything that came more than once why it did."""
    shown = {shown: event for event, shown in known.items()}
    where = str(parse_id(Prefix.ENDPOINT, endpoint))
    for id_, times in well.times.items():
        if times == 1 or id_ not in shown:
            continue
        recorded = owed[shown[id_], where].recorded if (shown[id_], where) in owed else 0
        account.duplicates += times - 1
        again = min(times, recorded) - 1
        account.explained[
            "sent again: the attempt before is recorded, as failed, as broken off, or too late to count"
        ] += max(0, again)
        account.explained["sent, and its process or ledger gone before that was recorded"] += times - max(
            1, min(times, recorded)
        )


def outcomes_of(sql: psycopg.Connection, tenant: str) -> Sequence[tuple[str, str, int]]:
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
