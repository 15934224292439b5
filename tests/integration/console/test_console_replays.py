"""Replay pages: preview, start, progress and cancellation."""

from __future__ import annotations

import re
from html import escape, unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from delivery.domain.accounts import Actor
from delivery.domain.delivery import DeliveryStatus
from delivery.domain.delivery_filter import DeliveryFilter
from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import Prefix, ReplayId, format_id, parse_id
from delivery.services.replays.runner import ReplayRunner
from delivery.services.replays.validation import NewReplay
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.bootstrap import Services
    from delivery.domain.ids import EndpointId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser

# Each test has an endpoint, so that accepted events have a delivery.
pytestmark = pytest.mark.usefixtures("endpoint")
HOSTILE = "<script>alert(1)</script>"
PENDING = DeliveryFilter(statuses=(DeliveryStatus.PENDING,))


async def begun(services: Services, tenant: TenantId, reason: str = "an outage") -> str:
    """A replay of all pending deliveries."""
    new = NewReplay(PENDING, reason)
    made = await services.replays.create(tenant, new, operator=False, actor=Actor("cli:ada", "10.0.0.7"))
    return format_id(Prefix.REPLAY, made.id)


async def step(ledger: Ledger, replay: str) -> None:
    await ReplayRunner(ledger, default_max_in_flight=build.HIGH_IN_FLIGHT).step(
        ReplayId(parse_id(Prefix.REPLAY, replay))
    )


def fields_of(page: str) -> dict[str, list[str]]:
    """The hidden fields of the page's form."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page):
        if name not in {"csrf", "tenant"}:
            found.setdefault(name, []).append(unescape(value))
    return found


async def test_preview_counts_the_deliveries_to_send(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    page = await partner.get_text("/replays/new", status="pending", weighed="1")
    assert "3 deliveries would be sent" in page
    assert "Deliveries are sent at lower priority than live traffic." in page


async def test_replay_page_loads_before_its_preview(partner: FormBrowser) -> None:
    page = await partner.get_text("/replays/new", status="failed")
    assert "Counting what it would send" in page
    assert 'hx-trigger="load"' in page


async def test_empty_preview_has_no_start_button(partner: FormBrowser) -> None:
    page = await partner.get_text("/replays/new", status="failed", weighed="1")
    assert "there is nothing to send" in page
    assert "Start the replay" not in page


async def test_replay_form_is_bounded_to_the_time_it_was_shown(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    page = await partner.get_text("/replays/new", status="pending", since="24h", weighed="1")
    fields = fields_of(page)
    assert fields["status"] == ["pending"]
    assert not fields["since"][0].endswith("h")
    assert "until" in fields


async def test_replay_starts_from_its_preview_form(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    shown = await partner.get_text("/replays/new", status="pending", weighed="1")
    sent = await partner.post("/replays", **fields_of(shown), reason="receiver is back", rate="50")
    assert sent.status_code == 303
    page = await partner.client.get(sent.headers["location"])
    assert "receiver is back" in page.text
    assert "Replay started." in page.text
    assert "at most 50 a second" in page.text


async def test_replay_without_reason_keeps_the_input(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    page = await partner.post("/replays", status="pending", reason=" ", rate="12.5")
    assert page.status_code == 422
    assert 'id="fault-reason"' in page.text
    assert 'value="12.5"' in page.text
    assert not await build.fetch_rows(ledger, "select 1 from replays")


async def test_invalid_rate_shows_an_error_at_the_field(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    for rate in ("fast", "0", "nan", "1e99"):
        page = await partner.post("/replays", status="pending", reason="an outage", rate=rate)
        assert page.status_code == 422
        assert 'id="fault-rate"' in page.text


async def test_replay_to_a_paused_endpoint_requires_the_hold_box(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    named = format_id(Prefix.ENDPOINT, endpoint)
    refused = await partner.post("/replays", endpoint=named, reason="an outage")
    assert refused.status_code == 409
    assert 'id="fault-hold"' in refused.text
    taken = await partner.post("/replays", endpoint=named, reason="an outage", hold="1")
    assert taken.status_code == 303


async def test_partner_cannot_replay_everything(partner: FormBrowser) -> None:
    assert "Only an admin can replay every delivery" in await partner.get_text("/replays/new", weighed="1")
    refused = await partner.post("/replays", reason="all of it", everything="1")
    assert refused.status_code == 403


async def test_admin_must_confirm_replaying_everything(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    path = f"/replays?tenant={format_id(Prefix.TENANT, tenant)}"
    refused = await staff.post(path, reason="all of it")
    assert refused.status_code == 422
    assert 'id="fault-everything"' in refused.text
    assert (await staff.post(path, reason="all of it", everything="1")).status_code == 303


async def test_staff_must_choose_the_tenant_of_a_replay(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_event(ledger, tenant)
    page = await staff.get_text("/replays/new", status="pending")
    assert "Which tenant's deliveries do you want to replay?" in page
    query = urlencode({"tenant": format_id(Prefix.TENANT, tenant), "status": "pending"})
    assert f"/console/replays/new?{escape(query)}" in page


async def test_endpoint_determines_the_tenant(
    staff: FormBrowser, tenant: TenantId, endpoint: EndpointId
) -> None:
    sent = await staff.get("/replays/new", endpoint=format_id(Prefix.ENDPOINT, endpoint))
    assert sent.status_code == 303
    assert format_id(Prefix.TENANT, tenant) in sent.headers["location"]


async def test_invalid_filter_shows_an_error(partner: FormBrowser) -> None:
    page = await partner.get("/replays/new", status="lost")
    assert page.status_code == 422
    assert "The selection is invalid" in page.text


async def test_replay_page_shows_progress(
    partner: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 4)
    replay = await begun(services, tenant)
    assert "Selecting deliveries" in await partner.get_text(f"/replays/{replay}")
    await step(ledger, replay)
    page = await partner.get_text(f"/replays/{replay}")
    assert "0 of 4" in page
    assert "4 queued" in page
    assert 'hx-trigger="every 1s"' in page


async def test_finished_replay_page_does_not_refresh(
    partner: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    await step(ledger, replay)
    page = await partner.get_text(f"/replays/{replay}")
    assert "every 1s" not in page
    assert "Nothing matched its selection" in page


async def test_replay_items_are_filtered_by_state(
    partner: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    (delivery,) = await build.list_delivery_ids(ledger, endpoint)
    replay = await begun(services, tenant)
    await step(ledger, replay)
    link = f"/console/deliveries/{format_id(Prefix.DELIVERY, delivery)}"
    assert link in await partner.get_text(f"/replays/{replay}", state="queued")
    assert link not in await partner.get_text(f"/replays/{replay}", state="failed")


async def test_replay_can_be_paused_and_resumed(
    partner: FormBrowser, services: Services, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    await partner.post(f"/replays/{replay}/pause", reason="too fast")
    assert "Paused: nothing is sent until it is resumed." in await partner.get_text(f"/replays/{replay}")
    await partner.post(f"/replays/{replay}/resume")
    assert 'class="badge running"' in await partner.get_text(f"/replays/{replay}")


async def test_replay_cancellation_is_confirmed_first(
    partner: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    await build.accept_events(ledger, tenant, 2)
    replay = await begun(services, tenant)
    await step(ledger, replay)
    asked = await partner.get_text(f"/replays/{replay}/cancel")
    assert "2 are queued or between attempts" in asked
    assert (await partner.post(f"/replays/{replay}/cancel")).status_code == 303
    await step(ledger, replay)
    assert 'class="badge cancelled"' in await partner.get_text(f"/replays/{replay}")


async def test_finished_replay_cannot_be_paused(
    partner: FormBrowser, services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    await step(ledger, replay)
    assert (await partner.post(f"/replays/{replay}/pause")).status_code == 409


async def test_list_refreshes_while_a_replay_runs(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    assert "No replays yet" in await staff.get_text("/replays")
    replay = await begun(services, tenant, HOSTILE)
    page = await staff.get_text("/replays")
    assert replay in page
    assert 'hx-trigger="every 2s"' in page
    assert replay not in await staff.get_text("/replays", state="paused")


async def test_replay_reason_is_escaped(staff: FormBrowser, services: Services, tenant: TenantId) -> None:
    replay = await begun(services, tenant, HOSTILE)
    for path in ("/replays", f"/replays/{replay}", f"/replays/{replay}/cancel"):
        page = await staff.get_text(path)
        assert HOSTILE not in page
        assert "&lt;script&gt;" in page


async def test_partner_sees_only_its_own_replays(
    sign_in_as: Callable[..., FormBrowser], services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    stranger = sign_in_as(tenant=await build.create_tenant(ledger))
    assert replay not in await stranger.get_text("/replays")
    for path in (f"/replays/{replay}", f"/replays/{replay}/cancel"):
        assert (await stranger.get(path)).status_code == 404
    for verb in ("pause", "resume", "cancel"):
        assert (await stranger.post(f"/replays/{replay}/{verb}")).status_code == 404


async def test_viewer_cannot_start_or_stop_replays(
    viewer: FormBrowser, services: Services, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    assert "Pause" not in await viewer.get_text(f"/replays/{replay}")
    for path in ("/replays/new", "/replays/recover", f"/replays/{replay}/cancel"):
        assert (await viewer.get(path)).status_code == 403
    for path in ("/replays", f"/replays/{replay}/pause", f"/replays/{replay}/cancel"):
        assert (await viewer.post(path)).status_code == 403


async def test_replay_form_without_csrf_token_is_rejected(
    partner: FormBrowser, services: Services, tenant: TenantId
) -> None:
    replay = await begun(services, tenant)
    for path in ("/replays", f"/replays/{replay}/pause", f"/replays/{replay}/cancel"):
        assert (await partner.post(path, csrf="of another")).status_code == 403


async def test_endpoint_is_recovered_since_a_time(
    partner: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_event(ledger, tenant)
    named = format_id(Prefix.ENDPOINT, endpoint)
    sent = await partner.get("/replays/recover", endpoint=named, kind="again", since="24h")
    page = await partner.client.get(sent.headers["location"] + "&weighed=1")
    assert "1 delivery would be sent" in page.text
    assert 'value="recovery since 24h"' in page.text


async def test_invalid_recovery_time_shows_an_error(partner: FormBrowser, endpoint: EndpointId) -> None:
    named = format_id(Prefix.ENDPOINT, endpoint)
    for since in ("", "then", "2100-01-01"):
        page = await partner.get("/replays/recover", endpoint=named, kind="again", since=since)
        assert page.status_code == 422
        assert 'id="fault-since"' in page.text


async def test_missing_events_are_sent(partner: FormBrowser, ledger: Ledger, tenant: TenantId) -> None:
    await build.accept_event(ledger, tenant)
    late = format_id(Prefix.ENDPOINT, await build.create_endpoint(ledger, tenant))
    sent = await partner.get("/replays/recover", endpoint=late, kind="missing", since="24h")
    shown = await partner.client.get(sent.headers["location"] + "&weighed=1")
    assert "1 event would be sent" in shown.text
    begins = await partner.post("/replays", **fields_of(shown.text), reason="it is new")
    page = await partner.client.get(begins.headers["location"])
    assert "Events missing at" in page.text


async def test_endpoint_of_another_tenant_cannot_be_recovered(
    sign_in_as: Callable[..., FormBrowser], ledger: Ledger, endpoint: EndpointId
) -> None:
    stranger = sign_in_as(tenant=await build.create_tenant(ledger))
    named = format_id(Prefix.ENDPOINT, endpoint)
    assert (await stranger.get("/replays/recover", endpoint=named)).status_code == 404
    assert (await stranger.get("/replays/new", endpoint=named, weighed="1")).status_code == 404
    assert (await stranger.post("/replays", endpoint=named, reason="mine?")).status_code == 404
