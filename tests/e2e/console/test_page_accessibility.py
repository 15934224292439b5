"""Every page of the console, in a real browser: sound, as narrow as its window, and barred to nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.browser import DESKTOP, PHONE, axe, overflow
from tests.support.places import PLACES, Place
from tests.support.staff import ADMIN

if TYPE_CHECKING:
    from playwright.sync_api import Page, ViewportSize

    from tests.support.browser import Trouble
    from tests.support.showcase import Showcase
    from tests.support.visits import Door

COLOURS = ("color-contrast", "link-in-text-block")
SMALL_DESKTOP: ViewportSize = {"width": 1100, "height": 800}


def too_wide(page: Page) -> dict[int, int]:
    """By how much the page is wider than windows of usual widths, where it is."""
    wider = {}
    for size in (DESKTOP, SMALL_DESKTOP, PHONE):
        page.set_viewport_size(size)
        wider[size["width"]] = overflow(page)
    return {width: by for width, by in wider.items() if by > 0}


def barriers(page: Page) -> str:
    """What keeps people out, in light colours and in dark ones."""
    return "\n".join([*axe(page, scheme="light"), *axe(page, scheme="dark", rules=COLOURS)])


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_a_page_is_sound_fits_its_window_and_has_no_barriers(
    tour: tuple[Page, Trouble], shown: Showcase, place: Place
) -> None:
    page, trouble = tour
    page.goto(f"/console{place.path(shown)}")
    place.act(page)
    assert barriers(page) == ""
    assert too_wide(page) == {}
    assert [line for line in trouble.heard if "answer: 422 GET" not in line] == []


def test_so_is_the_door(door: Door) -> None:
    with door.stranger() as page:
        page.goto("/console")
        assert barriers(page) == ""
        assert too_wide(page) == {}


def test_so_is_a_phones_page_whose_tables_can_be_scrolled(door: Door) -> None:
    with door.colleague(ADMIN, phone=True) as page:
        page.goto("/console/deliveries")
        assert overflow(page) == 0
        assert axe(page) == []


def test_so_is_what_is_not_there(door: Door) -> None:
    with door.colleague(ADMIN, allowed=("answer: 404",)) as page:
        page.goto("/console/deliveries/dlv_nothing")
        assert "There is no such thing" in page.locator("main").inner_text()
        assert barriers(page) == ""
        assert too_wide(page) == {}
