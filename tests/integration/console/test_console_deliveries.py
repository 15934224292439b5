"""Delivery pages: search, details, replay."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING

import pytest

from delivery.domain.endpoint import EndpointState
from delivery.domain.ids import EndpointId, Prefix, format_id
from tests.support import ledger_builders as build

if TYPE_CHECKING:
    from collections.abc import Callable

    from delivery.domain.ids import AttemptId, DeliveryId, TenantId
    from delivery.ledger.db.session import Ledger
    from tests.integration.console.conftest import FormBrowser

HOSTILE = '<script>alert("1")</script>'


BODY = b'{"note": "<script>alert(\\"1\\")</script>", "n": 12345678901234567890123}'


@pytest.fixture
async def delivery(ledger: Ledger, tenant: TenantId, endpoint: EndpointId) -> DeliveryId:
    """A delivery that is due."""
    await build.accept_event(ledger, tenant, "order.created", BODY)
    (made,) = await build.list_delivery_ids(ledger, endpoint)
    return made


async def attempted(ledger: Ledger, endpoint: EndpointId, *, body: bytes = b"") -> AttemptId:
    """The last attempt of a failed delivery, with this response."""
    claim_id, (work,) = await build.claim_and_start(ledger, endpoint)
    failed = build.make_failure(work, claim_id)
    attempt = replace(failed.attempt, response_body=body, response_headers=(("X-Evil", HOSTILE),))
    await build.record_results(ledger, replace(failed, attempt=attempt))
    return attempt.id


def to_text(delivery: DeliveryId) -> str:
    return format_id(Prefix.DELIVERY, delivery)


async def test_search_returns_what_the_url_selects(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, delivery: DeliveryId
) -> None:
    await build.accept_event(ledger, tenant, "user.left")
    page = await staff.get_text("/deliveries", type="order.*", status="pending")
    assert to_text(delivery) in page
    assert "user.left" not in page


async def test_form_shows_the_filters_of_the_url(staff: FormBrowser) -> None:
    page = await staff.get_text("/deliveries", type="order.*", status="failed", response="5xx", since="24h")
    for part in ('value="order.*"', 'value="failed" data-submits checked', 'value="5xx"', 'value="24h"'):
        assert part in page


async def test_invalid_filter_shows_an_error_and_no_results(staff: FormBrowser, delivery: DeliveryId) -> None:
    answer = await staff.get("/deliveries", type="a b", endpoint=HOSTILE)
    assert answer.status_code == 422
    assert to_text(delivery) not in answer.text
    assert HOSTILE not in answer.text
    assert 'aria-invalid="true"' in answer.text


async def test_tenant_only_filters_ask_for_a_tenant(staff: FormBrowser, tenant: TenantId) -> None:
    answer = await staff.get("/deliveries", idempotency_key="k")
    assert answer.status_code == 422
    assert "needs a tenant" in answer.text
    narrowed = await staff.get("/deliveries", idempotency_key="k", tenant=format_id(Prefix.TENANT, tenant))
    assert narrowed.status_code == 200


async def test_list_continues_on_the_next_page(
    staff: FormBrowser, ledger: Ledger, tenant: TenantId, endpoint: EndpointId
) -> None:
    await build.accept_events(ledger, tenant, 60)
    made = await build.list_delivery_ids(ledger, endpoint)
    first = await staff.get_text("/deliveries", endpoint=format_id(Prefix.ENDPOINT, endpoint))
    more = unescape(first.split('rel="next"')[0].rsplit('href="', 1)[1].split('"')[0])
    rest = (await staff.client.get(more)).text
    on_first = {one for one in made if f"/deliveries/{to_text(one)}" in first}
    on_second = {one for one in made if f"/deliveries/{to_text(one)}" in rest}
    assert (len(on_first), len(on_second)) == (50, 10)
    assert on_first | on_second == set(made)


async def test_count_shows_the_number_of_matches(staff: FormBrowser, delivery: DeliveryId) -> None:  # noqa: ARG001  is counted
    assert "<strong>1</strong> found" in await staff.get_text("/deliveries/count")


async def test_delivery_page_explains_its_status(staff: FormBrowser, delivery: DeliveryId) -> None:
    page = await staff.get_text(f"/deliveries/{to_text(delivery)}")
    assert "whose filter includes *" in page
    assert "12345678901234567890123" in page
    assert HOSTILE not in page


async def test_attempt_shows_request_and_response(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, delivery: DeliveryId
) -> None:
    attempt = await attempted(ledger, endpoint, body=HOSTILE.encode())
    page = await staff.get_text(f"/attempts/{format_id(Prefix.ATTEMPT, attempt)}")
    assert format_id(Prefix.DELIVERY, delivery) in page
    assert "X-Evil" in page
    assert "curl --request POST" in page
    assert HOSTILE not in page


async def test_attempt_hides_a_body_built_with_other_settings(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, delivery: DeliveryId
) -> None:
    attempt = await attempted(ledger, endpoint)
    await build.execute(ledger, "update attempts set body_sha256 = :hash", hash=b"\x01" * 32)
    page = await staff.get_text(f"/attempts/{format_id(Prefix.ATTEMPT, attempt)}")
    assert to_text(delivery) in page
    assert "The body was built with settings that have changed since" in page
    assert "12345678901234567890123" not in page
    assert "curl --request POST" not in page


async def test_event_body_can_be_downloaded_unchanged(
    staff: FormBrowser, ledger: Ledger, delivery: DeliveryId
) -> None:
    row = await build.fetch_row(
        ledger,
        "select e.id, e.body from deliveries d join events e on e.id = d.event_id where d.id = :id",
        id=delivery,
    )
    answer = await staff.get(f"/events/{format_id(Prefix.EVENT, row.id)}/body")
    assert answer.content == bytes(row.body)
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_event_page_lists_its_endpoints(
    staff: FormBrowser, ledger: Ledger, delivery: DeliveryId
) -> None:
    row = await build.fetch_row(ledger, "select event_id from deliveries where id = :id", id=delivery)
    page = await staff.get_text(f"/events/{format_id(Prefix.EVENT, row.event_id)}")
    assert f"/deliveries/{to_text(delivery)}" in page


async def test_replay_shows_who_requested_it(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, delivery: DeliveryId
) -> None:
    await attempted(ledger, endpoint)
    answer = await staff.post(f"/deliveries/{to_text(delivery)}/replay", reason="mended")
    assert answer.status_code == 303
    told = await build.fetch_row(
        ledger, "select actor, reason, address from journal where what = 'delivery.replayed'"
    )
    assert (told.actor, told.reason) == ("guest 0", "mended")
    page = await staff.get_text(f"/deliveries/{to_text(delivery)}")
    assert "Replayed by guest 0" in page
    assert 'hx-trigger="every 2s"' in page


async def test_refused_replay_says_why(
    staff: FormBrowser, ledger: Ledger, endpoint: EndpointId, delivery: DeliveryId
) -> None:
    await build.set_state(ledger, endpoint, EndpointState.PAUSED)
    answer = await staff.post(f"/deliveries/{to_text(delivery)}/replay")
    assert answer.status_code == 409
    assert "is paused" in answer.text


async def test_viewer_cannot_replay(viewer: FormBrowser, delivery: DeliveryId) -> None:
    assert "Replay this delivery" not in await viewer.get_text(f"/deliveries/{to_text(delivery)}")
    assert (await viewer.post(f"/deliveries/{to_text(delivery)}/replay")).status_code == 403


async def test_form_without_csrf_token_does_nothing(staff: FormBrowser, delivery: DeliveryId) -> None:
    answer = await staff.client.post(f"/console/deliveries/{to_text(delivery)}/replay", data={"csrf": "x"})
    assert answer.status_code == 403


async def test_partner_search_finds_only_own_objects(
    sign_in_as: Callable[..., FormBrowser], ledger: Ledger, delivery: DeliveryId
) -> None:
    other = await build.create_tenant(ledger)
    stranger = sign_in_as(tenant=other)
    row = await build.fetch_row(ledger, "select event_id from deliveries where id = :id", id=delivery)
    assert (await stranger.get(f"/deliveries/{to_text(delivery)}")).status_code == 404
    assert (await stranger.get(f"/events/{format_id(Prefix.EVENT, row.event_id)}")).status_code == 404
    assert (await stranger.post(f"/deliveries/{to_text(delivery)}/replay")).status_code == 404
    assert to_text(delivery) not in await stranger.get_text("/deliveries")


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("dlv_01kasw8qbefy09m6sc7n75yr3h", "/console/deliveries/dlv_01kasw8qbefy09m6sc7n75yr3h"),
        ("  evt_01kasw8qbefy09m6sc7n75yr3h ", "/console/events/evt_01kasw8qbefy09m6sc7n75yr3h"),
        ("usr_01kasw8qbefy09m6sc7n75yr3h", "/console/people/usr_01kasw8qbefy09m6sc7n75yr3h"),
        ("dlv_wrong", "/console/deliveries?idempotency_key=dlv_wrong"),
        ("order 7/é", "/console/deliveries?idempotency_key=order+7%2F%C3%A9"),
        ("", "/console/deliveries"),
    ],
)
async def test_search_box_redirects_to_the_match(staff: FormBrowser, asked: str, place: str) -> None:
    answer = await staff.get("/find", q=asked)
    assert (answer.status_code, answer.headers["location"]) == (303, place)
