"""Text from tenants and receivers appears on every page and never runs as a script."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support import hostile_tenant
from tests.support.browser import PHONE, get_horizontal_overflow
from tests.support.console_pages import HOSTILE_PAGES, ConsolePage
from tests.support.console_users import ADMIN
from tests.support.console_visits import get_page_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.browser import PageErrors
    from tests.support.console_visits import ConsoleVisits
    from tests.support.showcase import Showcase

# As hostile as a name may be: it has no < and no >.
ODD_NAME = "\" onmouseover='alert(6)' {{7*7}} &lt;b&gt;"
# What no page of ours has below its top.
FOREIGN = "main :is(script, img, iframe, object, embed, style, link, base, meta, [onload], [onerror])"


def strangers_in(page: Page) -> int:
    """Number of elements injected by user text."""
    return page.locator(FOREIGN).count()


@pytest.mark.parametrize("place", HOSTILE_PAGES, ids=lambda place: place.name)
def test_tenant_supplied_scripts_are_shown_as_text(
    clean_tour: tuple[Page, PageErrors], showcase: Showcase, place: ConsolePage
) -> None:
    page, trouble = clean_tour
    page.goto(f"/console{place.path(showcase)}")
    place.prepare(page)
    assert place.expected_text in get_page_text(page)
    assert strangers_in(page) == 0
    assert get_horizontal_overflow(page) == 0
    page.set_viewport_size(PHONE)
    assert get_horizontal_overflow(page) == 0
    assert trouble.messages == []


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
def test_scripts_in_a_url_do_not_run(clean_tour: tuple[Page, PageErrors], path: str) -> None:
    page, trouble = clean_tour
    page.goto(f"/console{path.replace('{}', quote(hostile_tenant.IMAGE + hostile_tenant.SCRIPT, safe=''))}")
    assert strangers_in(page) == 0
    assert [line for line in trouble.messages if not line.startswith("answer: 4")] == []


def test_hostile_user_name_is_shown_as_text(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_as(ADMIN) as page:
        page.goto("/console/people/new")
        page.get_by_label("E-mail").fill("mallory@example.com")
        page.get_by_label("Name").fill(ODD_NAME)
        page.get_by_role("button", name="Create account").click()
        page.wait_for_load_state("load")
        for path in ("/people", "/audit"):
            page.goto(f"/console{path}")
            assert ODD_NAME in get_page_text(page)
            assert strangers_in(page) == 0
        page.goto("/console/people")
        page.get_by_role("link", name=ODD_NAME).click()
        page.get_by_role("heading", name=ODD_NAME).wait_for()
        assert strangers_in(page) == 0
