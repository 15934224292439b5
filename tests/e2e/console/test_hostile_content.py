"""What tenants and receivers write is read on every page, and never runs: a script that is heard fails."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support import hostile
from tests.support.browser import PHONE, overflow
from tests.support.places import HOSTILE, Place
from tests.support.staff import ADMIN
from tests.support.visits import words_of

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.browser import Trouble
    from tests.support.showcase import Showcase
    from tests.support.visits import Door

# As hostile as a name may be: it has no < and no >.
ODD_NAME = "\" onmouseover='alert(6)' {{7*7}} &lt;b&gt;"
# What no page of ours has below its top.
FOREIGN = "main :is(script, img, iframe, object, embed, style, link, base, meta, [onload], [onerror])"


def strangers_in(page: Page) -> int:
    """How many elements came in with somebody's words."""
    return page.locator(FOREIGN).count()


@pytest.mark.parametrize("place", HOSTILE, ids=lambda place: place.name)
def test_scripts_of_others_are_shown_letter_by_letter(
    tour: tuple[Page, Trouble], shown: Showcase, place: Place
) -> None:
    page, trouble = tour
    page.goto(f"/console{place.path(shown)}")
    place.act(page)
    assert place.says in words_of(page)
    assert strangers_in(page) == 0
    assert overflow(page) == 0
    page.set_viewport_size(PHONE)
    assert overflow(page) == 0
    assert trouble.heard == []


@pytest.mark.parametrize(
    "path",
    [
        "/deliveries?type={}",
        "/deliveries?idempotency_key={}",
        "/deliveries?payload={}&since={}",
        "/find?q={}",
        "/endpoints?q={}",
        "/tenants?name={}",
        "/audit?actor={}&what={}",
        "/replays/new?endpoint={}",
        "/deliveries/{}",
        "/overview?span={}",
    ],
)
def test_nothing_runs_that_an_address_brings(tour: tuple[Page, Trouble], path: str) -> None:
    page, trouble = tour
    page.goto(f"/console{path.replace('{}', quote(hostile.IMAGE + hostile.SCRIPT, safe=''))}")
    assert strangers_in(page) == 0
    assert [line for line in trouble.heard if not line.startswith("answer: 4")] == []


def test_so_is_a_colleague_of_an_odd_name(door: Door) -> None:
    with door.colleague(ADMIN) as page:
        page.goto("/console/people/new")
        page.get_by_label("E-mail").fill("mallory@example.com")
        page.get_by_label("Name").fill(ODD_NAME)
        page.get_by_role("button", name="Make the account").click()
        page.wait_for_load_state("load")
        for path in ("/people", "/audit"):
            page.goto(f"/console{path}")
            assert ODD_NAME in words_of(page)
            assert strangers_in(page) == 0
        page.goto("/console/people")
        page.get_by_role("link", name=ODD_NAME).click()
        page.get_by_role("heading", name=ODD_NAME).wait_for()
        assert strangers_in(page) == 0
