"""A deploy that rolls on: the release before this one goes on working, in its own processes, on our schema.

Where the checkout has no history (a shallow clone), there is nothing to run and these tests are skipped;
`tests/integration/test_migrations_backward_compatible.py` checks the same promise for every migration.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from delivery.ledger.db import schema
from tests.support.postgres import connect
from tests.support.previous_release import NoHistoryError, find_command, find_previous_commit, unpack_commit
from tests.support.scenario import assert_all_arrived, publish_events, subscribe, wait_for_success
from tests.support.stack import ROOT
from tests.support.webhook_partner import CannedResponse, Partner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.api import Api
    from tests.support.stack import Stack
    from tests.support.webhook_partner import ReceivedCall

KINDS = ("web", "relay", "worker")


@pytest.fixture
def before(stack: Stack, empty_database_url: str) -> Iterator[Path]:
    """A stack on an empty database, of which every process is of the release before, and where that is."""
    folder = stack.folder / "before"
    folder.mkdir()
    try:
        unpack_commit(find_previous_commit(), folder)
    except NoHistoryError as error:
        pytest.skip(f"this checkout has no history to take an older release from: {error}")
    stack.database_url = stack.environment["WAYBILL_DATABASE_URL"] = empty_database_url
    for kind in ("upgrade", *KINDS):
        stack.process_environment[kind] = {"PYTHONPATH": str(folder)}
        stack.process_command[kind] = find_command(folder)
    yield folder
    stack.stop()


def of_today(stack: Stack, *kinds: str) -> None:
    """From now on, these are of the release at hand."""
    for kind in kinds:
        stack.process_environment[kind] = {"PYTHONPATH": str(ROOT)}
        del stack.process_command[kind]


def revision(stack: Stack) -> str:
    with connect(stack.database_url) as connection:
        row = connection.execute("select version_num from alembic_version").fetchone()
    assert row is not None
    return str(row[0])


def now_and_then_unwell() -> Callable[[ReceivedCall], CannedResponse]:
    """Every fifth message is refused once, so that retries are made too, and no breaker opens."""
    seen: set[str] = set()

    def answer(call: ReceivedCall) -> CannedResponse:
        new = call.message_id not in seen
        seen.add(call.message_id)
        return CannedResponse(503 if new and len(seen) % 5 == 0 else 200)

    return answer


def test_previous_release_processes_run_the_previous_code(before: Path) -> None:
    where = subprocess.run(
        [sys.executable, "-P", "-c", "import delivery, workers; print(delivery.__file__, workers.__file__)"],
        env={"PYTHONPATH": str(before)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [Path(file).is_relative_to(before) for file in where] == [True, True]


def test_the_release_before_goes_on_working_on_the_new_schema_until_it_is_replaced(
    stack: Stack, operator: Api, before: Path
) -> None:
    assert before.is_dir()
    with Partner(now_and_then_unwell()) as partner:
        stack.run(*stack.get_command("upgrade"), "db", "upgrade", name="upgrade")
        stack.serve(*KINDS)
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 20)
        wait_for_success(tenant, 20)

        of_today(stack, "upgrade")
        stack.run(*stack.get_command("upgrade"), "db", "upgrade", name="upgrade")
        assert revision(stack) == schema.find_newest_revision()
        events += publish_events(tenant, 20, start=20)
        wait_for_success(tenant, 40)  # by web, relay and worker of the release before

        of_today(stack, "worker")
        stack.stop("worker")
        stack.serve("worker")
        events += publish_events(tenant, 20, start=40)
        wait_for_success(tenant, 60)

        of_today(stack, "relay", "web")
        stack.stop("relay", "web")
        stack.serve("web", "relay")
        events += publish_events(tenant, 20, start=60)
        wait_for_success(tenant, 80)
        assert_all_arrived(partner, events)
        assert stack.list_crashed() == []


def test_a_worker_of_the_release_before_serves_a_relay_of_this_one(
    stack: Stack, operator: Api, before: Path
) -> None:
    assert before.is_dir()
    of_today(stack, "upgrade", "web", "relay")
    with Partner(now_and_then_unwell()) as partner:
        stack.run(*stack.get_command("upgrade"), "db", "upgrade", name="upgrade")
        stack.serve(*KINDS)
        tenant = operator.create_tenant()
        subscribe(tenant, partner)
        events = publish_events(tenant, 40)
        wait_for_success(tenant, 40)
        assert_all_arrived(partner, events)
