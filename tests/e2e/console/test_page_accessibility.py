"""Every console page in a real browser: no errors, no overflow, no accessibility issues."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import DESKTOP, PHONE, find_accessibility_issues, get_horizontal_overflow
from tests.support.console_pages import CONSOLE_PAGES, ConsolePage
from tests.support.console_users import ADMIN

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

    from tests.support.browser import PageErrors
    from tests.support.console_visits import ConsoleVisits
    from tests.support.showcase import Showcase

COLOURS = ("color-contrast", "link-in-text-block")
SMALL_DESKTOP: ViewportSize = {"width": 1100, "height": 800}


def too_wide(page: Page) -> dict[int, int]:
    """The overflow in pixels at usual window widths, where there is one."""
    wider = {}
    for size in (DESKTOP, SMALL_DESKTOP, PHONE):
        page.set_viewport_size(size)
        wider[size["width"]] = get_horizontal_overflow(page)
    return {width: by for width, by in wider.items() if by > 0}


def barriers(page: Page) -> str:
    """Accessibility issues in the light and the dark theme."""
    return "\n".join(
        [
            *find_accessibility_issues(page, scheme="light"),
            *find_accessibility_issues(page, scheme="dark", rules=COLOURS),
        ]
    )


@pytest.mark.parametrize("place", CONSOLE_PAGES, ids=lambda place: place.name)
def test_page_has_no_errors_overflow_or_accessibility_issues(
    clean_tour: tuple[Page, PageErrors], showcase: Showcase, place: ConsolePage
) -> None:
    page, trouble = clean_tour
    page.goto(f"/console{place.path(showcase)}")
    place.prepare(page)
    assert barriers(page) == ""
    assert too_wide(page) == {}
    assert [line for line in trouble.messages if "answer: 422 GET" not in line] == []


def test_sign_in_page_has_no_overflow_or_accessibility_issues(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_anonymously() as page:
        page.goto("/console")
        assert barriers(page) == ""
        assert too_wide(page) == {}


def test_phone_page_has_scrollable_tables_and_no_accessibility_issues(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN, phone=True) as page:
        page.goto("/console/deliveries")
        assert get_horizontal_overflow(page) == 0
        assert find_accessibility_issues(page) == []


def test_not_found_page_has_no_overflow_or_accessibility_issues(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN, allowed=("answer: 404",)) as page:
        page.goto("/console/deliveries/dlv_nothing")
        assert "Not found" in page.locator("main").inner_text()
        assert barriers(page) == ""
        assert too_wide(page) == {}
