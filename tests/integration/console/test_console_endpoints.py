"""Endpoint pages: health, actions and permissions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from delivery.domain.endpoint import EndpointLimits, EndpointState
from delivery.domain.formats import PayloadFormat, PayloadKind
from delivery.domain.ids import EndpointId, Prefix, format_id, parse_id
from delivery.domain.pagination import PageRequest
from delivery.services.endpoints.service import MAX_LIVE_SECRETS
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.bootstrap import Services
    from delivery.domain.ids import TenantId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser

SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
NEW = {"url": "https://shop.example/hooks", "filter": "order.*", "signature": "v1"}
ACTS = ("/pause", "/resume", "/enable", "/disable", "/delete", "/edit", "/rotate")
PAGES = ("", "/filter-test", *ACTS)
OPERATED = ("/pause", "/resume", "/enable", "/test")
ADMINISTERED = ("/disable", "/delete", "/edit")


def at(endpoint_id: EndpointId) -> str:
    return f"/endpoints/{format_id(Prefix.ENDPOINT, endpoint_id)}"


async def state_of(ledger: Ledger, endpoint_id: EndpointId) -> str:
    return str(
        (await build.fetch_row(ledger, "select state from endpoints where id = :id", id=endpoint_id))[0]
    )


async def journal_of(ledger: Ledger, endpoint_id: EndpointId) -> list[tuple[str, str, str | None]]:
    found = await build.fetch_rows(
        ledger, "select what, actor, reason from journal where endpoint_id = :id order by id", id=endpoint_id
    )
    return [(row.what, row.actor, row.reason) for row in found]


# ------------------------------------------------------------------ the list
async def test_list_shows_endpoints_with_their_state(partner: FormBrowser, endpoint: EndpointId) -> None:
    page = await partner.get_text("/endpoints")
    assert format_id(Prefix.ENDPOINT, endpoint) in page
    assert '<span class="badge ok">healthy</span>' in page


async def test_staff_see_endpoints_of_every_tenant(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId
) -> None:
    other = await build.create_endpoint(ledger, await build.create_tenant(ledger))
    page = await staff.get_text("/endpoints")
    assert format_id(Prefix.ENDPOINT, endpoint) in page
    assert format_id(Prefix.ENDPOINT, other) in page


async def test_partner_sees_only_its_own_endpoints(partner: FormBrowser, ledger: Ledger) -> None:
    other = await build.create_endpoint(ledger, await build.create_tenant(ledger))
    assert format_id(Prefix.ENDPOINT, other) not in await partner.get_text("/endpoints")


@pytest.mark.parametrize("query", [{"state": "paused"}, {"trouble": "1"}])
async def test_list_can_be_filtered_by_state(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, query: dict[str, str]
) -> None:
    well, paused = await build.create_endpoint(ledger, tenant), await build.create_endpoint(ledger, tenant)
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    page = await staff.get_text("/endpoints", **query)
    assert format_id(Prefix.ENDPOINT, paused) in page
    assert format_id(Prefix.ENDPOINT, well) not in page


async def test_open_breaker_makes_an_endpoint_unhealthy(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId
) -> None:
    await build.execute(
        ledger, "update endpoint_health set breaker = 'open' where endpoint_id = :id", id=endpoint
    )
    page = await staff.get_text("/endpoints", trouble="1")
    assert format_id(Prefix.ENDPOINT, endpoint) in page
    assert "breaker open" in page


async def test_list_can_be_searched_by_part_of_the_url(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    shop = await build.create_endpoint(ledger, tenant, build.EndpointSpec(url="https://Shop.example/100%"))
    other = await build.create_endpoint(ledger, tenant)
    page = await staff.get_text("/endpoints", q="shop.example/100%")
    assert format_id(Prefix.ENDPOINT, shop) in page
    assert format_id(Prefix.ENDPOINT, other) not in page


async def test_delivery_list_continues_on_the_next_page(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    oldest = await build.create_endpoint(ledger, tenant)
    for _ in range(50):
        await build.create_endpoint(ledger, tenant)
    first = await staff.get_text("/endpoints")
    assert format_id(Prefix.ENDPOINT, oldest) not in first
    (behind,) = re.findall(r"behind=(ep_\w+)", first)
    assert format_id(Prefix.ENDPOINT, oldest) in await staff.get_text("/endpoints", behind=behind)


async def test_list_counts_held_deliveries(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    assert re.search(r'held_by=paused">3</a>', await staff.get_text("/endpoints"))


async def test_endpoint_search_continues_on_the_next_page(
    services: Services, ledger: Ledger, tenant: TenantId
) -> None:
    paused = await build.create_endpoint(ledger, tenant)
    await build.set_state(ledger, paused, EndpointState.PAUSED)
    newer = await build.create_endpoint(ledger, tenant)
    behind = PageRequest.from_cursor(50, newer, oldest_first=False)
    page = await services.endpoints.list_endpoints(None, behind, states=[EndpointState.PAUSED])
    assert ([one.id for one in page.items], page.next_cursor) == ([paused], None)


async def test_waiting_deliveries_are_counted_up_to_a_limit(
    services: Services, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    health = await services.endpoints.read_health(tenant, endpoint, limit=2)
    assert (health.waiting, health.bounded) == (2, True)


async def test_count_below_the_limit_is_exact(
    services: Services, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    health = await services.endpoints.read_health(tenant, endpoint, limit=4)
    assert (health.waiting, health.bounded) == (3, False)


# ------------------------------------------------------------------ who may
@pytest.mark.parametrize("page", PAGES)
async def test_admin_can_open_every_endpoint_page(
    staff: FormBrowser, endpoint: EndpointId, page: str
) -> None:
    answer = await staff.get(f"{at(endpoint)}{page}")
    assert answer.status_code == (409 if page in {"/resume", "/enable"} else 200)


@pytest.mark.parametrize("span", ["hour", "day", "week"])
async def test_page_loads_for_every_time_range(staff: FormBrowser, endpoint: EndpointId, span: str) -> None:
    assert (await staff.get(at(endpoint), span=span)).status_code == 200


@pytest.mark.parametrize("page", ACTS)
async def test_viewer_cannot_open_action_pages(viewer: FormBrowser, endpoint: EndpointId, page: str) -> None:
    assert (await viewer.get(f"{at(endpoint)}{page}")).status_code == 403


@pytest.mark.parametrize("page", [*OPERATED, *ADMINISTERED, "/rotate"])
async def test_viewer_cannot_post_endpoint_actions(
    viewer: FormBrowser, ledger: Ledger, endpoint: EndpointId, page: str
) -> None:
    assert (await viewer.post(f"{at(endpoint)}{page}")).status_code == 403
    assert not await journal_of(ledger, endpoint)


@pytest.mark.parametrize("page", ADMINISTERED)
async def test_support_cannot_administer(partner: FormBrowser, endpoint: EndpointId, page: str) -> None:
    assert (await partner.get(f"{at(endpoint)}{page}")).status_code == 403
    assert (await partner.post(f"{at(endpoint)}{page}")).status_code == 403


async def test_support_cannot_create_endpoints(partner: FormBrowser) -> None:
    assert (await partner.get("/endpoints/new")).status_code == 403
    assert (await partner.post("/endpoints/new", **NEW)).status_code == 403


async def test_viewer_sees_no_endpoint_actions(viewer: FormBrowser, endpoint: EndpointId) -> None:
    page = await viewer.get_text(at(endpoint))
    assert not [move for move in ACTS if f"{at(endpoint)}{move}" in page]


@pytest.mark.parametrize("page", ["", "/pause", "/resume", "/enable", "/rotate", "/filter-test"])
async def test_another_tenants_endpoint_is_not_found(
    sign_in_as: Callable[..., FormBrowser], ledger: Ledger, tenant: TenantId, page: str
) -> None:
    other = await build.create_endpoint(ledger, await build.create_tenant(ledger))
    assert (await sign_in_as(tenant=tenant).get(f"{at(other)}{page}")).status_code == 404


@pytest.mark.parametrize("page", [*OPERATED, *ADMINISTERED, "/rotate"])
async def test_action_on_another_tenants_endpoint_is_refused(
    sign_in_as: Callable[..., FormBrowser], ledger: Ledger, tenant: TenantId, page: str
) -> None:
    other = await build.create_endpoint(ledger, await build.create_tenant(ledger))
    answer = await sign_in_as(tenant=tenant).post(f"{at(other)}{page}", **NEW)
    assert answer.status_code == 404
    assert await state_of(ledger, other) == "active"


@pytest.mark.parametrize("page", [*OPERATED, *ADMINISTERED, "/rotate"])
async def test_form_without_csrf_token_is_refused(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, page: str
) -> None:
    assert (await staff.post(f"{at(endpoint)}{page}", csrf="")).status_code == 403
    assert not await journal_of(ledger, endpoint)


# ------------------------------------------------------------------ moves
async def test_pause_records_its_reason(partner: FormBrowser, ledger: Ledger, endpoint: EndpointId) -> None:
    answer = await partner.post(f"{at(endpoint)}/pause", reason="they move house")
    assert answer.status_code == 303
    assert await state_of(ledger, endpoint) == "paused"
    assert ("endpoint.paused", "guest 0", "they move house") in await journal_of(ledger, endpoint)


@pytest.mark.parametrize(
    ("before", "move", "after"),
    [("paused", "resume", "active"), ("disabled", "enable", "active"), ("active", "disable", "disabled")],
)
async def test_action_changes_the_state(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, before: str, move: str, after: str
) -> None:
    await build.set_state(ledger, endpoint, EndpointState(before))
    assert (await staff.post(f"{at(endpoint)}/{move}")).status_code == 303
    assert await state_of(ledger, endpoint) == after


async def test_deletion_redirects_to_the_list(staff: FormBrowser, endpoint: EndpointId) -> None:
    answer = await staff.post(f"{at(endpoint)}/delete")
    assert answer.headers["location"] == "/console/endpoints"
    assert (await staff.get(at(endpoint))).status_code == 404


async def test_pause_page_counts_waiting_deliveries(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    assert "<strong>3</strong> that are waiting now" in await staff.get_text(f"{at(endpoint)}/pause")


async def test_delete_page_counts_cancelled_deliveries(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 3)
    assert "The <strong>3</strong> unfinished deliveries to it" in await staff.get_text(
        f"{at(endpoint)}/delete"
    )


async def test_enable_page_previews_released_deliveries_and_rate(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    endpoint = await build.create_endpoint(
        ledger, tenant, build.EndpointSpec(limits=EndpointLimits(in_flight=20))
    )
    await build.accept_events(ledger, tenant, 3)
    await build.set_state(ledger, endpoint, EndpointState.DISABLED)
    page = await staff.get_text(f"{at(endpoint)}/enable")
    assert "<strong>3</strong> deliveries will be sent: 1 at a time at first" in page
    assert "up to 20" in page


async def test_pause_of_disabled_endpoint_offers_other_actions(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId
) -> None:
    await build.set_state(ledger, endpoint, EndpointState.DISABLED)
    answer = await staff.post(f"{at(endpoint)}/pause")
    assert answer.status_code == 409
    assert f"/console{at(endpoint)}/enable" in answer.text


async def test_long_reason_shows_an_error_at_the_field(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId
) -> None:
    answer = await staff.post(f"{at(endpoint)}/pause", reason="x" * 501)
    assert answer.status_code == 422
    assert 'id="fault-reason"' in answer.text
    assert await state_of(ledger, endpoint) == "active"


async def test_test_event_redirects_to_its_delivery(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId
) -> None:
    answer = await staff.post(f"{at(endpoint)}/test")
    (delivery_id,) = await build.list_delivery_ids(ledger, endpoint)
    assert answer.headers["location"] == f"/console/deliveries/{format_id(Prefix.DELIVERY, delivery_id)}"


# ------------------------------------------------------------------ new and changed
async def test_staff_must_choose_a_tenant_before_creating_an_endpoint(staff: FormBrowser) -> None:
    assert "Choose a tenant" in await staff.get_text("/endpoints/new")


async def test_new_endpoint_secret_is_shown_once(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    answer = await staff.post(
        f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}", **NEW, description=SCRIPT
    )
    assert answer.status_code == 200
    (secret,) = re.findall(r"<pre[^>]*>(whsec_[\w+/=]+)</pre>", answer.text)
    made = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", answer.text)[0]))
    assert answer.headers["cache-control"] == "no-store"
    assert secret not in str(answer.headers)
    assert secret not in await staff.get_text(at(made))
    assert (await services.endpoints.read(tenant, made)).filter == ("order.*",)


async def test_new_endpoint_belongs_to_the_narrowed_tenant(staff: FormBrowser, tenant: TenantId) -> None:
    shown = format_id(Prefix.TENANT, tenant)
    assert f'action="/console/endpoints/new?tenant={shown}"' in await staff.get_text(
        "/endpoints/new", tenant=shown
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("url", "ftp://shop.example"),
        ("filter", "order.**"),
        ("headers", "no colon"),
        ("timeout_seconds", "9999"),
        ("in_flight_max", "many"),
        ("rate_seconds", "5"),
        ("schedule", "0, soon"),
        ("signature", "v9"),
        ("format", "xml"),
        ("payload", "thick"),
    ],
)
async def test_invalid_field_shows_an_error_and_keeps_the_other_input(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, field: str, value: str
) -> None:
    path = f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}"
    answer = await staff.post(path, **(NEW | {"description": "typed by hand", field: value}))
    assert answer.status_code == 422
    assert 'class="wrong"' in answer.text
    assert "typed by hand" in answer.text
    assert await build.count_rows(ledger, "endpoints") == 0


async def test_form_offers_payload_formats_and_keeps_the_choice(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    made = await staff.post(
        f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}",
        **NEW,
        format="cloudevents_binary",
        payload="thin",
    )
    endpoint = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", made.text)[0]))
    assert "cloudevents_binary, thin" in await staff.get_text(at(endpoint))
    form = await staff.get_text(f"{at(endpoint)}/edit")
    assert '<option value="cloudevents_binary" selected>' in form
    assert '<option value="thin" selected>' in form
    # A page from before there was a choice sends neither.
    assert (await staff.post(f"{at(endpoint)}/edit", **NEW)).status_code == 303
    after = await services.endpoints.read(tenant, endpoint)
    assert (after.format, after.payload) == (PayloadFormat.CLOUDEVENTS_BINARY, PayloadKind.THIN)
    await staff.post(f"{at(endpoint)}/edit", **NEW, format="standard", payload="full")
    back = await services.endpoints.read(tenant, endpoint)
    assert (back.format, back.payload) == (PayloadFormat.STANDARD, PayloadKind.FULL)


async def test_change_keeps_settings_missing_from_the_form(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    made = await staff.post(
        f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}",
        **NEW,
        headers="X-Token: s3cret\nX-Old: 1",
    )
    endpoint = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", made.text)[0]))
    changed = await staff.post(
        f"{at(endpoint)}/edit", **NEW, schedule="0, 5 s, 2 h", headers="X-Old:", reason="slower"
    )
    assert changed.status_code == 303
    after = await services.endpoints.read(tenant, endpoint)
    assert after.header_names == ("X-Token",)
    assert [delay.total_seconds() for delay in after.schedule or ()] == [0, 5, 7200]


async def test_header_values_appear_on_no_page(staff: FormBrowser, tenant: TenantId) -> None:
    made = await staff.post(
        f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}", **NEW, headers="X-Token: s3cret"
    )
    endpoint = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", made.text)[0]))
    pages = [await staff.get_text(at(endpoint)), await staff.get_text(f"{at(endpoint)}/edit")]
    assert all("X-Token" in page and "s3cret" not in page for page in pages)


# ------------------------------------------------------------------ secrets
async def test_rotated_secret_is_shown_once_and_both_sign(staff: FormBrowser, tenant: TenantId) -> None:
    made = await staff.post(f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}", **NEW)
    endpoint = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", made.text)[0]))
    answer = await staff.post(f"{at(endpoint)}/rotate", overlap_hours="48")
    assert re.search(r"<pre[^>]*>whsec_[\w+/=]+</pre>", answer.text)
    assert answer.headers["cache-control"] == "no-store"
    assert (await staff.get_text(at(endpoint))).count("whsec_••••••") == 2


@pytest.mark.parametrize("hours", ["soon", "-1", "721"])
async def test_invalid_overlap_shows_an_error_at_the_field(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, hours: str
) -> None:
    answer = await staff.post(f"{at(endpoint)}/rotate", overlap_hours=hours)
    assert answer.status_code == 422
    assert 'id="fault-overlap_hours"' in answer.text
    assert await build.count_rows(ledger, "endpoint_secrets") == 1


async def test_too_many_secrets_show_an_error_at_the_overlap(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId
) -> None:
    made = await staff.post(f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}", **NEW)
    endpoint = EndpointId(parse_id(Prefix.ENDPOINT, re.findall(r"ep_\w+", made.text)[0]))
    for _ in range(MAX_LIVE_SECRETS - 1):
        await staff.post(f"{at(endpoint)}/rotate", overlap_hours="48")
    answer = await staff.post(f"{at(endpoint)}/rotate", overlap_hours="48", reason="typed by hand")
    assert answer.status_code == 422
    assert 'id="fault-overlap_hours"' in answer.text
    assert "typed by hand" in answer.text
    assert await build.count_rows(ledger, "endpoint_secrets") == MAX_LIVE_SECRETS


# ------------------------------------------------------------------ hostile text
@pytest.mark.parametrize("page", ["/endpoints", "one", "edit", "pause"])
async def test_endpoint_text_is_escaped(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, page: str
) -> None:
    await build.execute(
        ledger,
        "update endpoints set description = :it, url = 'https://a.example/' || :it, filter = array[:it], "
        "state_reason = :it, state = 'disabled', header_names = array[:it] where id = :id",
        it=SCRIPT,
        id=endpoint,
    )
    path = page if page.startswith("/") else at(endpoint) + {"one": "", "edit": "/edit"}.get(page, "/enable")
    shown = await staff.get_text(path)
    assert SCRIPT not in shown
    assert ESCAPED in shown


# ------------------------------------------------------------------ channels and conditions
CONDITION = "total > `100` && currency == '<b>'"


async def test_channels_and_condition_can_be_set_and_removed(
    staff: FormBrowser, services: Services, tenant: TenantId
) -> None:
    path = f"/endpoints/new?tenant={format_id(Prefix.TENANT, tenant)}"
    await staff.post(path, **NEW, channels="eu\nus", condition=CONDITION)
    (made,) = (await services.endpoints.list_endpoints(tenant, PageRequest())).items
    assert (made.channels, made.condition) == (("eu", "us"), CONDITION)
    page = await staff.get_text(at(made.id))
    assert "<code>eu</code>, <code>us</code>" in page
    assert "total &gt; `100` &amp;&amp; currency == &#39;&lt;b&gt;&#39;" in page
    await staff.post(f"{at(made.id)}/edit", **NEW)
    changed = await services.endpoints.read(tenant, made.id)
    assert (changed.channels, changed.condition) == ((), None)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"channels": "eu\nno,spaces!"}, "Line 3: A channel is 1 to 128 letters"),
        ({"condition": "total >"}, "This is not JMESPath: Incomplete expression."),
    ],
)
async def test_invalid_subscription_shows_an_error_at_the_field(
    staff: FormBrowser, endpoint: EndpointId, typed: dict[str, str], said: str
) -> None:
    page = await staff.post(f"{at(endpoint)}/edit", **NEW, **typed)
    assert page.status_code == 422
    assert said in page.text


async def test_viewer_can_test_a_filter(viewer: FormBrowser, ledger: Ledger, tenant: TenantId) -> None:
    wanted = build.EndpointSpec(filter=("order.*",), condition="total > `100`")
    endpoint = await build.create_endpoint(ledger, tenant, wanted)
    path, asked = f"{at(endpoint)}/filter-test", {"filter": "order.*", "condition": "total > `100`"}
    assert "total &gt; `100`" in await viewer.get_text(path)
    typed = {"type": "order.created", "data": '{"total": 120}'}
    page = await viewer.post(path, **typed, **asked)
    assert "It would be delivered to the endpoint." in page.text
    page = await viewer.post(path, **typed, **asked | {"condition": "total > `200`", "channels": "eu"})
    assert "It would not be delivered to the endpoint. It is limited to eu; the event has none." in page.text
    assert "It does not hold for the event&#39;s data: total &gt; `200`" in page.text
    event = await build.accept_event(ledger, tenant, data=b'{"total": "<b>"}')
    page = await viewer.post(path, event_id=format_id(Prefix.EVENT, event), **asked)
    assert "although its condition cannot be evaluated" in page.text


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"type": "order created", "data": "1"}, "An event type is made of letters"),
        ({"type": "order.created", "data": "{"}, "It is not JSON"),
        ({"type": "order.created", "data": '1,"type":"x"'}, "It is not JSON"),
        ({"type": "order.created", "data": "1", "on": "a! b"}, "A channel is 1 to 128"),
        ({"type": "order.created", "data": "1", "condition": "a >"}, "This is not JMESPath"),
        ({"event_id": "evt_1"}, "is not an event id"),
        ({"event_id": "evt_01kasw8qbefy09m6sc7n75yr3h"}, "This tenant has no such event."),
    ],
)
async def test_invalid_filter_test_shows_an_error_at_the_field(
    viewer: FormBrowser, endpoint: EndpointId, typed: dict[str, str], said: str
) -> None:
    page = await viewer.post(f"{at(endpoint)}/filter-test", **typed)
    assert page.status_code == 422
    assert said in page.text
