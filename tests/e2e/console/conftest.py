"""A browser for the tests of the console, and an engine with something to show."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.browser import DESKTOP, PATIENCE_MS, running_browser
from tests.support.showcase import SMALL, Showcase, showing
from tests.support.stack import Stack
from tests.support.staff import ADMIN
from tests.support.visits import Door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page, StorageState

    from tests.support.browser import Trouble
    from tests.support.postgres import DatabaseServer


@pytest.fixture(scope="session")
def shown(
    tmp_path_factory: pytest.TempPathFactory,
    database_server: DatabaseServer,
    migrated_template: str,
    amqp_url: str,
) -> Iterator[Showcase]:
    """A small showcase that all files share: each leaves alone what others look at."""
    folder = tmp_path_factory.mktemp("showcase")
    with ExitStack() as exits:
        url = exits.enter_context(database_server.database(template=migrated_template))
        stack = Stack(folder, url, amqp_url)
        stack.environment["WAYBILL_QUEUE_NAME"] = "test-showcase"
        exits.callback(stack.stop)
        yield exits.enter_context(showing(stack, SMALL))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a file's tests, and none after them: it would be in the way of other event loops."""
    expect.set_options(timeout=PATIENCE_MS)
    with running_browser() as running:
        yield running


@pytest.fixture(scope="session")
def sessions() -> dict[str, StorageState]:
    """Who has signed in, by e-mail."""
    return {}


@pytest.fixture(scope="module")
def door(browser: Browser, shown: Showcase, sessions: dict[str, StorageState]) -> Door:
    """Where anybody comes in whom a test needs."""
    return Door(browser, shown.url, sessions)


@pytest.fixture(scope="module")
def walk(door: Door) -> Iterator[tuple[Page, Trouble]]:
    """An admin who goes from page to page through all of a file."""
    with door.tour(ADMIN) as tour:
        yield tour


@pytest.fixture
def tour(walk: tuple[Page, Trouble]) -> tuple[Page, Trouble]:
    """The same, on a desktop, and nothing has gone wrong yet."""
    page, trouble = walk
    trouble.heard.clear()
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)
    return walk
