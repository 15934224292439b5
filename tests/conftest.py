"""What tests stand on: real servers, started once for the whole run and stopped with it, Ctrl-C included."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import make_url

from tests.support import postgres, rabbitmq
from tests.support.xdist_scheduling import FileScheduling, interrupt_once, stop_workers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdist.remote import Producer


def pytest_configure(config: pytest.Config) -> None:
    """Choose how hard hypothesis looks: the same examples every time and more of them in CI."""
    # A cancelled run tidies up as on Ctrl-C, also where Ctrl-C was ignored before us.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(
            number, interrupt_once if hasattr(config, "workerinput") else signal.default_int_handler
        )
    # xdist sets it: the command line would break lines that tests look for.
    os.environ.pop("COLUMNS", None)
    # No deadlines: a busy machine is not a bug.
    settings.register_profile("dev", deadline=None, max_examples=50)
    settings.register_profile("ci", deadline=None, max_examples=150, derandomize=True)
    settings.register_profile("fuzz", deadline=None, max_examples=3_000, database=None)
    # Whoever named one on the command line gets that one.
    named = config.getoption("--hypothesis-profile")
    settings.load_profile(named or ("ci" if os.environ.get("CI") else "dev"))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Have the other processes of a cancelled run tidy up before xdist ends them."""
    if exitstatus == pytest.ExitCode.INTERRUPTED and session.config.pluginmanager.hasplugin("dsession"):
        stop_workers()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    """Share tests out to processes, when there are several."""
    return FileScheduling(config, log)


@pytest.fixture(scope="session")
def database_server() -> Iterator[postgres.DatabaseServer]:
    """A PostgreSQL for the whole run, or this process of it: of WAYBILL_DATABASE_URL, or our own."""
    with postgres.run_database_server() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(database_server: postgres.DatabaseServer) -> Iterator[str]:
    """The name of a database that was migrated once, to be copied and never connected to."""
    with database_server.database() as url:
        postgres.migrate(url)
        yield make_url(url).database or ""


@pytest.fixture
def empty_database_url(database_server: postgres.DatabaseServer) -> Iterator[str]:
    """A database without any schema, for this test alone."""
    with database_server.database() as url:
        yield url


@pytest.fixture
def database_url(database_server: postgres.DatabaseServer, migrated_template: str) -> Iterator[str]:
    """A database with the newest schema and no rows, for this test alone."""
    with database_server.database(template=migrated_template) as url:
        yield url


@pytest.fixture(scope="session")
def private_rabbitmq() -> Iterator[rabbitmq.PrivateRabbitMQ]:
    """A node that tests may kill. Whoever does restarts it."""
    if not rabbitmq.is_installed() and os.environ.get("WAYBILL_AMQP_URL"):
        pytest.skip(
            "WAYBILL_AMQP_URL names a server that is not ours to kill, and no RabbitMQ is installed here."
        )
    with rabbitmq.PrivateRabbitMQ() as node:
        yield node


@pytest.fixture(scope="session")
def amqp_url(request: pytest.FixtureRequest) -> str:
    """A RabbitMQ for the whole run: of WAYBILL_AMQP_URL, or our own node."""
    given = os.environ.get("WAYBILL_AMQP_URL")
    if given:
        return given
    node: rabbitmq.PrivateRabbitMQ = request.getfixturevalue("private_rabbitmq")
    return node.url
