"""Fixtures: a browser and an engine filled with showcase data."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import DESKTOP, TIMEOUT_MS, launch_browser
from tests.support.console_users import ADMIN
from tests.support.console_visits import ConsoleVisits
from tests.support.showcase import SMALL_SHOWCASE, Showcase, run_showcase
from tests.support.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, StorageState

    from tests.support.browser import PageErrors
    from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="session")
def showcase(
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    migrated_template: str,
    amqp_url: str,
) -> Iterator[Showcase]:
    """A small showcase shared by all files, which must not change what other files check."""
    folder = tmp_path_factory.mktemp("showcase")
    with ExitStack() as exits:
        url = exits.enter_context(database_server.database(template=migrated_template))
        stack = Stack(folder, url, amqp_url)
        stack.environment["WAYBILL_QUEUE_NAME"] = "test-showcase"
        exits.callback(stack.stop)
        yield exits.enter_context(run_showcase(stack, SMALL_SHOWCASE))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of one file, closed before other tests run event loops."""
    expect.set_options(timeout=TIMEOUT_MS)
    with launch_browser() as running:
        yield running


@pytest.fixture(scope="session")
def sessions() -> dict[str, StorageState]:
    """Stored sessions by e-mail."""
    return {}


@pytest.fixture(scope="module")
def console_visits(browser: Browser, showcase: Showcase, sessions: dict[str, StorageState]) -> ConsoleVisits:
    """Visits as any user that a test needs."""
    return ConsoleVisits(browser, showcase.url, sessions)


@pytest.fixture(scope="module")
def admin_tour(console_visits: ConsoleVisits) -> Iterator[tuple[Page, PageErrors]]:
    """An admin's page, shared by the tests of a file."""
    with console_visits.tour_as(ADMIN) as tour:
        yield tour


@pytest.fixture
def clean_tour(admin_tour: tuple[Page, PageErrors]) -> tuple[Page, PageErrors]:
    """The admin's page at desktop size, with its recorded errors cleared."""
    page, trouble = admin_tour
    trouble.messages.clear()
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)
    return admin_tour
