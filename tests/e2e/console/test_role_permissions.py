"""Permissions of each role in a real browser."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.support.api import Api
from tests.support.browser import visit_page
from tests.support.console_pages import (
    make_attempt_path,
    make_delivery_path,
    make_event_path,
    make_key_confirmation_path,
    make_replay_path,
    make_tenant_path,
)
from tests.support.console_users import SUPPORT, VIEWER
from tests.support.console_visits import submit_form
from tests.support.showcase import TIMEOUT_SECONDS
from tests.support.showcase_tenants import LUMEN, NORTHWIND
from tests.support.stack import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from playwright.sync_api import Page

    from tests.support.console_visits import ConsoleVisits
    from tests.support.showcase import Showcase

    Visits = Callable[..., AbstractContextManager[Page]]


# ------------------------------------------------------------------ colleagues
def test_viewer_has_no_replay_button_and_is_refused(
    console_visits: ConsoleVisits, showcase: Showcase
) -> None:
    path = make_delivery_path("hostile/refusing")(showcase)
    with console_visits.visit_as(VIEWER) as page:
        page.goto(f"/console{path}")
        expect(page.get_by_role("button", name="Replay")).to_have_count(0)
        assert submit_form(page, f"{path}/replay", reason="because") == 403


@pytest.mark.parametrize("path", ["/people", "/people/new", "/tenants/new", "/endpoints/new"])
def test_viewer_cannot_open_admin_pages(console_visits: ConsoleVisits, path: str) -> None:
    with console_visits.visit_as(VIEWER, allowed=("answer: 403",)) as page:
        answer = page.goto(f"/console{path}")
        assert answer is not None
        assert answer.status == 403
        expect(page.get_by_role("link", name="Users")).to_have_count(0)


def test_viewer_has_no_buttons_on_an_endpoint(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    with console_visits.visit_as(VIEWER) as page:
        page.goto(f"/console/endpoints/{showcase.endpoints['lumen/crm']}")
        expect(page.locator("main button:not(.copy)")).to_have_count(0)


def test_support_can_replay_but_not_rotate_secrets(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    path = f"/endpoints/{showcase.endpoints['lumen/crm']}"
    with console_visits.visit_as(SUPPORT) as page:
        page.goto(f"/console{make_delivery_path('hostile/refusing')(showcase)}")
        expect(page.get_by_role("button", name="Replay")).to_have_count(1)
        page.goto(f"/console{path}")
        expect(page.get_by_role("link", name="Rotate")).to_have_count(0)
        assert submit_form(page, f"{path}/rotate", overlap_hours="1") == 403


# ------------------------------------------------------------------ partners
def link_of(shown: Showcase, owner: str) -> tuple[str, str]:
    """A portal link for this tenant, and the path of the API key that created it."""
    path = f"/v1/tenants/{shown.tenants[owner].id}/keys"
    key = shown.operator.post(path, {"name": "for links"})
    link = Api(shown.url, key["key"]).post("/v1/portal-links", {"role": "support", "label": "Jane"})
    return str(link["url"]), f"{path}/{key['id']}"


def come_in(page: Page, url: str) -> None:
    """Open a portal link."""
    page.goto(url)
    page.get_by_role("button", name="Open").click()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.fixture(scope="module")
def partner(console_visits: ConsoleVisits, showcase: Showcase) -> Visits:
    """Visits of a partner who opened Bramble's portal link."""
    url, _ = link_of(showcase, "bramble")
    with console_visits.visit_anonymously() as page:
        come_in(page, url)
        session = page.context.storage_state()
    return partial(visit_page, console_visits.browser, console_visits.url, session=session)


PAGES = ("", "/deliveries", "/replays", "/endpoints", "/types", "/audit")


def names_of_others(shown: Showcase) -> tuple[str, ...]:
    """Texts that appear only in data of tenants other than Bramble."""
    ids = [owner.id for name, owner in shown.tenants.items() if name != "bramble"]
    return (NORTHWIND.name, LUMEN.name, "/northwind/", "/lumen/", "/hostile/", *ids)


@pytest.mark.parametrize("query", ["", "?tenant={}"], ids=["as it is", "with another's tenant asked for"])
def test_partner_sees_no_data_of_other_tenants(partner: Visits, showcase: Showcase, query: str) -> None:
    other = showcase.tenants["northwind"].id
    with partner() as page:
        for path in (*PAGES, "/tenants"):
            page.goto(f"/console{path}{query.format(other)}")
            content = page.content().replace(f"tenant={other}", "")
            assert [name for name in names_of_others(showcase) if name in content] == []


@pytest.mark.parametrize(
    "place",
    [
        make_delivery_path("northwind/billing"),
        make_attempt_path("northwind/billing"),
        make_event_path("northwind/billing"),
        make_replay_path("northwind/billing"),
        make_tenant_path("northwind"),
        make_key_confirmation_path("northwind", "revoke"),
        lambda shown: f"/endpoints/{shown.endpoints['northwind/billing']}",
        lambda shown: f"/find?q={shown.get_delivery_id('northwind/billing')}",
    ],
    ids=["delivery", "attempt", "event", "replay", "tenant", "key", "endpoint", "found"],
)
def test_partner_gets_404_for_other_tenants_objects(
    partner: Visits, showcase: Showcase, place: Callable[[Showcase], str]
) -> None:
    with partner(allowed=("answer: 403", "answer: 404")) as page:
        answer = page.goto(f"/console{place(showcase)}")
        assert answer is not None
        assert answer.status in {403, 404}


def test_partner_cannot_search_by_another_tenants_key(partner: Visits) -> None:
    with partner() as page:
        page.goto("/console/find?q=northwind-2026-0")
        expect(page.get_by_text("No deliveries match these filters")).to_be_visible()


def test_revoking_the_key_ends_the_partner_session(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    url, key = link_of(showcase, "bramble")
    with console_visits.visit_anonymously() as page:
        come_in(page, url)
        showcase.operator.delete(f"{key}?reason=it+leaked")

        def is_out() -> bool:
            page.goto("/console/deliveries")
            return "/console/sign-in" in page.url

        wait_until(is_out, "the link to have ended", seconds=TIMEOUT_SECONDS)
