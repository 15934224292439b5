"""Workflows of an operator in a real browser: find failures, read why, replay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Error, Page, expect

from tests.support.console_users import ADMIN, SUPPORT
from tests.support.showcase import TIMEOUT_SECONDS, create_endpoint, create_tenant
from tests.support.stack import wait_until
from tests.support.webhook_partner import CannedResponse

if TYPE_CHECKING:
    from tests.support.console_visits import ConsoleVisits
    from tests.support.showcase import Showcase
    from tests.support.webhook_partner import ReceivedCall

LABELS, MANY = "meridian/labels", 500
IS_RENEWED = "window.isOld = true"


def refuses(_call: ReceivedCall, _times: int, _delay: float) -> CannedResponse:
    """A receiver whose database is full."""
    return CannedResponse(500, 0, (), b"disk full")


@pytest.fixture(scope="module")
def labels(showcase: Showcase) -> Showcase:
    """Five hundred failed deliveries of a separate tenant, whose receiver works again."""
    showcase.receivers.set_behaviour(f"/{LABELS}", refuses)
    create_tenant(showcase, "meridian", "Meridian Parcels")
    never = {"consecutive_failures": 100_000, "minimum_requests": 100_000}
    asked = {
        "url": showcase.get_receiver_url(LABELS),
        "filter": ["label.*"],
        "schedule": [0],
        "breaker": never,
    }
    create_endpoint(showcase, LABELS, asked)
    api = showcase.get_api(LABELS)
    for first in range(0, MANY, 100):
        some = [{"type": "label.printed", "data": {"number": first + one}} for one in range(100)]
        api.post("/v1/events/batch", {"events": some})
    wait_until(
        lambda: showcase.count_deliveries(LABELS, status="failed") == MANY,
        f"{MANY} failures",
        seconds=TIMEOUT_SECONDS,
    )
    showcase.receivers.repair(f"/{LABELS}")
    return showcase


def look_for(page: Page, shown: Showcase, endpoint: str, status: str) -> None:
    """Search deliveries of an endpoint by status."""
    page.goto("/console/deliveries")
    page.get_by_label("Endpoint", exact=True).fill(shown.endpoints[endpoint])
    page.get_by_role("checkbox", name=status).check()
    expect(page.locator("table a.row").first).to_be_visible()
    expect(page).to_have_url(re.compile(f"endpoint={shown.endpoints[endpoint]}.*|status={status}"))


def begin(page: Page, reason: str, rate: str) -> str:
    """Start a replay of the search results; returns the replay's id."""
    page.get_by_role("link", name="Replay these results").click()
    expect(page.get_by_role("heading", name=f"{MANY} deliveries would be sent")).to_be_visible()
    page.get_by_label("Reason").fill(reason)
    page.get_by_label("Deliveries per second").fill(rate)
    page.get_by_role("button", name="Start the replay").click()
    page.wait_for_url("**/replays/rpl_*")
    return page.url.rpartition("/")[2].partition("?")[0]


def progress(shown: Showcase, replay: str) -> Any:
    """A replay's counts by state."""
    return shown.get_api(LABELS).get(f"/v1/replays/{replay}")["progress"]


# ------------------------------------------------------------------ the way in
def test_sign_in_redirects_to_the_requested_page(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_anonymously(allowed=("answer: 401",)) as page:
        page.goto("/console/deliveries?status=failed")
        page.get_by_label("E-mail").fill(SUPPORT.email)
        page.get_by_label("Password").fill("not this one, I think")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert")).to_contain_text("Wrong e-mail address or password")
        page.get_by_label("Password").fill(SUPPORT.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/console/deliveries?status=failed")
        expect(page.get_by_role("checkbox", name="failed")).to_be_checked()


def test_signed_out_user_cannot_open_pages(console_visits: ConsoleVisits) -> None:
    with console_visits.visit_anonymously() as page:
        page.goto("/console/sign-in")
        page.get_by_label("E-mail").fill(SUPPORT.email)
        page.get_by_label("Password").fill(SUPPORT.password)
        page.get_by_role("button", name="Sign in").click()
        page.locator("details.menu summary").click()
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in")
        page.goto("/console/audit")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


# ------------------------------------------------------------------ one delivery
def test_operator_finds_and_replays_a_failed_delivery(
    console_visits: ConsoleVisits, showcase: Showcase
) -> None:
    with console_visits.visit_as(SUPPORT) as page:
        look_for(page, showcase, "bramble/clicks", "failed")
        page.locator("table a.row").first.click()
        expect(page.locator("#why")).to_contain_text("The last attempt of the schedule failed")
        page.locator("details.attempt summary").click()
        expect(page.locator("details.attempt")).to_contain_text(
            "The attempt timed out before the endpoint began"
        )

        showcase.receivers.repair("/bramble/clicks")
        page.evaluate(IS_RENEWED)
        page.get_by_label("Reason").fill("they have more machines now")
        page.get_by_role("button", name="Replay this delivery").click()
        expect(page.locator("h1 .badge")).to_have_text("succeeded")
        assert page.evaluate("window.isOld") is True
        expect(page.locator("#trace ~ ol")).to_contain_text("they have more machines now")


# ------------------------------------------------------------------ hundreds of them
def test_search_is_replayed_paused_and_resumed(console_visits: ConsoleVisits, labels: Showcase) -> None:
    with console_visits.visit_as(SUPPORT) as page:
        look_for(page, labels, LABELS, "failed")
        id_ = begin(page, "their disk is larger now", "60")
        expect(page.locator("#live .legend")).to_contain_text("succeeded")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("h1 .badge")).to_have_text("paused")
        wait_until(
            lambda: progress(labels, id_)["queued"] == 0, "nothing on its way", seconds=TIMEOUT_SECONDS
        )
        stopped_at = progress(labels, id_)["succeeded"]
        assert 0 < stopped_at < MANY

        # Live traffic goes on meanwhile: a paused replay had its chance, and did not take it.
        labels.get_api(LABELS).post("/v1/events", {"type": "label.voided", "data": {}})
        wait_until(
            lambda: labels.count_deliveries(LABELS, type="label.voided", status="succeeded") == 1,
            "live traffic",
            seconds=TIMEOUT_SECONDS,
        )
        assert progress(labels, id_)["succeeded"] == stopped_at

        page.get_by_role("button", name="Resume").click()
        page.evaluate(IS_RENEWED)
        expect(page.locator("h1 .badge")).to_have_text("finished", timeout=TIMEOUT_SECONDS * 1_000)
        assert page.evaluate("window.isOld") is True
        expect(page.get_by_role("heading", name=f"{MANY} of {MANY} deliveries done")).to_be_visible()
        assert labels.count_deliveries(LABELS, status="failed") == 0


def test_replay_is_cancelled(console_visits: ConsoleVisits, labels: Showcase) -> None:
    with console_visits.visit_as(SUPPORT) as page:
        page.goto(f"/console/deliveries?endpoint={labels.endpoints[LABELS]}&type=label.printed")
        begin(page, "just to see", "2")
        expect(page.locator("#live .legend")).to_be_visible()  # its first deliveries have been found
        page.get_by_role("link", name="Cancel").click()
        page.get_by_label("Reason").fill("seen")
        page.get_by_role("button", name="Cancel the replay").click()
        expect(page.locator("h1 .badge")).to_have_text("cancelled")
        expect(page.locator("#live .legend")).to_contain_text("cancelled")


# ------------------------------------------------------------------ endpoints
def test_new_secret_is_shown_once(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    path = f"/console/endpoints/{showcase.endpoints['bramble/opens']}"
    with console_visits.visit_as(ADMIN, allowed=("ERR_CACHE_MISS",)) as page:
        page.goto(path)
        page.get_by_role("link", name="Rotate").click()
        page.get_by_role("button", name="Create a new secret").click()
        secret = page.locator("#secret").inner_text()
        assert secret.startswith("whsec_")
        page.get_by_role("link", name="Go to the endpoint").click()
        expect(page.locator("#secrets")).to_be_visible()
        assert secret not in page.content()
        with pytest.raises(Error, match="ERR_CACHE_MISS"):
            page.go_back()
        expect(page.locator("body")).not_to_contain_text(secret)
        page.goto(f"{path}/rotate")
        expect(page.locator("body")).not_to_contain_text(secret)


def test_test_event_is_delivered(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    with console_visits.visit_as(SUPPORT) as page:
        page.goto(f"/console/endpoints/{showcase.endpoints['bramble/opens']}")
        page.get_by_role("button", name="Send a test event").click()
        page.wait_for_url("**/deliveries/dlv_*")
        expect(page.locator("h1 .badge")).to_have_text("succeeded")
        named = page.locator("#facts a code").first.inner_text().rpartition("…")[2]
        arrived = [call for call in showcase.partner.calls if call.message_id.endswith(named)]
        assert [call.path for call in arrived] == ["/bramble/opens"]


def test_endpoint_can_be_paused_and_resumed(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    with console_visits.visit_as(SUPPORT) as page:
        page.goto(f"/console/endpoints/{showcase.endpoints['northwind/storefront']}")
        page.get_by_role("link", name="Pause").click()
        page.get_by_label("Reason").fill("their shop moves")
        page.get_by_role("button", name="Pause").click()
        expect(page.locator("h1 .badge")).to_have_text("paused")
        expect(page.locator(".why")).to_contain_text("their shop moves")
        page.get_by_role("link", name="Resume").click()
        page.get_by_role("button", name="Resume").click()
        expect(page.locator("h1 .badge")).to_have_text("active")


def test_overview_refreshes_automatically(console_visits: ConsoleVisits, showcase: Showcase) -> None:
    path = f"/v1/endpoints/{showcase.endpoints['lumen/consents']}"
    with console_visits.visit_as(SUPPORT) as page:
        page.clock.install()
        page.goto("/console")
        expect(page.locator("#live")).not_to_contain_text("lumen/consents")
        showcase.get_api("lumen").post(f"{path}/pause", {"reason": "for a moment"})
        page.clock.fast_forward(11_000)
        expect(page.locator("#live")).to_contain_text("lumen/consents")
        showcase.get_api("lumen").post(f"{path}/resume", {"reason": "it was one"})
