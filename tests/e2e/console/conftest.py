"""A browser for the tests of the console."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import running_browser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for a file's tests, and none after them: it would be in the way of other event loops."""
    with running_browser() as running:
        yield running
