"""Channels and conditions: setting them, matching by them, and testing them beforehand."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.api.app import create_app
from delivery.bootstrap import Services
from delivery.domain.ids import Prefix, parse_id
from delivery.ledger.db.session import Ledger
from tests.integration.api.conftest import make_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import psycopg

    from delivery.config import Settings
    from tests.integration.api.conftest import TenantClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

LARGE, SMALL, ODD = {"total": 500}, {"total": 5}, {"total": "much"}
ABOVE_100 = "total > `100`"


async def send(tenant: TenantClient, data: Any = 1, **more: Any) -> dict[str, Any]:
    sent = await tenant.client.post("/v1/events", json={"type": "order.created", "data": data, **more})
    assert sent.status_code == 202, sent.text
    return dict(sent.json())


async def read_event_fates(tenant: TenantClient, event: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The verdicts of an event's timeline, by endpoint."""
    read = await tenant.client.get(f"/v1/events/{event['id']}/trace")
    return {fate["endpoint_id"]: fate for fate in read.json()["endpoints"]}


async def tried(tenant: TenantClient, endpoint: dict[str, Any], **body: Any) -> dict[str, Any]:
    answer = await tenant.post(f"/v1/endpoints/{endpoint['id']}/filter/test", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refused(tenant: TenantClient, path: str, body: object, *, status: int = 422) -> dict[str, str]:
    answer = await tenant.post(path, body)
    assert answer.status_code == status, answer.text
    (error,) = answer.json()["errors"]
    return dict(error)


@asynccontextmanager
async def beside(settings_: Settings, tenant: TenantClient) -> AsyncIterator[httpx.AsyncClient]:
    """The tenant's client at another web process, with its own caches."""
    assert settings_.database_url is not None
    wired = Services(settings_, Ledger(settings_.database_url.text, pool_size=2))
    try:
        async with make_client(create_app(wired), tenant.key) as client:
            yield client
    finally:
        await wired.close()


# ------------------------------------------------------------------ setting them
async def test_channels_and_condition_can_be_set_changed_and_removed(tenant: TenantClient):
    plain = await tenant.create_endpoint()
    assert (plain["channels"], plain["condition"]) == ([], None)
    created = await tenant.create_endpoint(channels=["eu", "us", "eu"], condition=f" {ABOVE_100} ")
    assert (created["channels"], created["condition"]) == (["eu", "us"], ABOVE_100)
    path = f"/v1/endpoints/{created['id']}"
    changed = await tenant.client.patch(path, json={"channels": ["asia"]})
    assert (changed.json()["channels"], changed.json()["condition"]) == (["asia"], ABOVE_100)
    cleared = await tenant.client.patch(path, json={"channels": [], "condition": None})
    assert (cleared.json()["channels"], cleared.json()["condition"]) == ([], None)
    read = (await tenant.client.get(path)).json()
    assert (read["channels"], read["condition"]) == ([], None)


@pytest.mark.parametrize(
    ("wrong", "field", "why"),
    [
        ({"condition": "total >"}, "condition", "This is not JMESPath: Incomplete expression."),
        ({"condition": "a" * 401}, "condition", "must have 0 to 400 characters, not 401"),
        ({"condition": "sort(items)"}, "condition", "A condition may use contains, ends_with, "),
        ({"condition": "'\0'"}, "condition", "must not contain a NUL character"),
        ({"condition": "'\ud800'"}, "condition", "must not contain half of a surrogate pair"),
        ({"channels": ["eu", "no spaces"]}, "channels.1", "A channel is 1 to 128 letters, "),
        ({"channels": [""]}, "channels.0", "A channel is 1 to 128 letters, "),
        ({"channels": ["a,b"]}, "channels.0", "A channel is 1 to 128 letters, "),
        ({"channels": ["x" * 129]}, "channels.0", "A channel is 1 to 128 letters, "),
        ({"channels": [f"c{n}" for n in range(101)]}, "channels", "must be at most 100, not 101"),
        ({"channels": ["eu"], "operational": True}, "channels", "is for tenants' events"),
    ],
)
async def test_invalid_channels_and_conditions_are_refused_with_their_field(
    tenant: TenantClient, wrong: dict[str, Any], field: str, why: str
):
    error = await refused(tenant, "/v1/endpoints", {"url": "https://shop.example/in", **wrong})
    assert error["field"] == field
    assert error["why"].startswith(why)


async def test_an_operational_endpoint_may_have_a_condition_and_never_channels(tenant: TenantClient):
    created = await tenant.create_endpoint(operational=True, condition="actor == 'nobody'")
    answer = await tenant.client.patch(f"/v1/endpoints/{created['id']}", json={"channels": ["eu"]})
    assert answer.status_code == 422
    other = await tenant.create_endpoint()
    assert (await tenant.client.post(f"/v1/endpoints/{other['id']}/disable")).status_code == 200
    assert await tenant.list_deliveries() == []


@pytest.mark.parametrize(
    ("channels", "field"),
    [
        (["a b"], "channels.0"),
        ([f"c{n}" for n in range(11)], "channels"),
        ("eu", "channels"),
        ([1], "channels[0]"),
        (["é"], "channels.0"),
    ],
)
async def test_wrong_channels_of_an_event_are_named(tenant: TenantClient, channels: object, field: str):
    event = {"type": "order.created", "data": 1, "channels": channels}
    assert (await refused(tenant, "/v1/events", event))["field"] == field
    batch = {"events": [{"type": "order.created", "data": 1}, event]}
    assert (await refused(tenant, "/v1/events/batch", batch))["field"] == f"events.1.{field}"


# ------------------------------------------------------------------ what is owed
async def test_channels_decide_between_endpoints_and_receivers_do_not_see_them(tenant: TenantClient):
    every, eu, both = [
        (await tenant.create_endpoint(channels=named))["id"] for named in ([], ["eu"], ["eu", "us"])
    ]
    on_us = await send(tenant, channels=["us", "us"])
    on_none, on_null = await send(tenant), await send(tenant, channels=None)
    assert [event["deliveries"] for event in (on_us, on_none, on_null)] == [2, 1, 1]
    fates = await read_event_fates(tenant, on_us)
    assert {id_: fate["verdict"] for id_, fate in fates.items()} == {
        every: "matched",
        both: "matched",
        eu: "other_channels",
    }
    assert fates[eu]["sentence"] == "It is limited to the channels eu; the event is on us."
    body = (await tenant.client.get(f"/v1/events/{on_us['id']}")).json()
    assert body["channels"] == ["us"]
    assert body["body"].keys() == {"type", "timestamp", "data"}
    listed = (await tenant.client.get("/v1/events")).json()["items"]
    assert [event["channels"] for event in listed] == [[], [], ["us"]]


async def test_a_condition_selects_by_the_events_data(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(condition=ABOVE_100)
    large, small = await send(tenant, LARGE), await send(tenant, SMALL)
    assert (large["deliveries"], small["deliveries"]) == (1, 0)
    fate = (await read_event_fates(tenant, small))[endpoint["id"]]
    assert fate["verdict"] == "condition_not_met"
    assert fate["sentence"] == f"Its condition does not hold for the event: {ABOVE_100}"
    assert fate["condition"] == ABOVE_100


async def test_an_event_is_delivered_if_its_condition_fails(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(condition=ABOVE_100)
    odd = await send(tenant, ODD)
    assert odd["deliveries"] == 1
    fate = (await read_event_fates(tenant, odd))[endpoint["id"]]
    assert fate["verdict"] == "matched"
    assert fate["condition_failed"] == "It compares values of different types, such as text and a number."
    trace = (await tenant.client.get(f"/v1/deliveries/{fate['delivery_id']}/trace")).json()
    (matched,) = [step for step in trace["steps"] if step["what"] == "delivery.matched"]
    assert "its condition could not be evaluated (It compares values" in matched["sentence"]
    assert matched["details"]["condition_failed"] == fate["condition_failed"]


async def test_each_event_of_a_batch_is_matched_separately(tenant: TenantClient):
    await tenant.create_endpoint(channels=["eu"], condition=ABOVE_100)
    events = [
        {"type": "order.created", "data": data, "channels": channels}
        for data, channels in [(LARGE, ["eu"]), (SMALL, ["eu"]), (LARGE, ["us"]), (ODD, ["eu", "us"])]
    ]
    sent = await tenant.client.post("/v1/events/batch", json={"events": events})
    assert [event["deliveries"] for event in sent.json()["events"]] == [1, 0, 0, 1]


async def test_the_same_key_with_other_channels_is_a_conflict(tenant: TenantClient):
    headers = {"Idempotency-Key": "k1"}
    body = {"type": "order.created", "data": 1, "channels": ["eu"]}
    first = await tenant.client.post("/v1/events", json=body, headers=headers)
    assert (await tenant.client.post("/v1/events", json=body, headers=headers)).text == first.text
    other = await tenant.client.post("/v1/events", json=body | {"channels": ["us"]}, headers=headers)
    assert other.status_code == 409


async def test_a_change_applies_at_once_in_other_processes(tenant: TenantClient, settings: Settings):
    endpoint = await tenant.create_endpoint()
    path = f"/v1/endpoints/{endpoint['id']}"
    async with beside(settings, tenant) as client:

        async def owed(data: object) -> int:
            sent = await client.post("/v1/events", json={"type": "order.created", "data": data})
            return int(sent.json()["deliveries"])

        assert await owed(SMALL) == 1
        await tenant.client.patch(path, json={"condition": ABOVE_100})
        assert [await owed(SMALL), await owed(LARGE)] == [0, 1]
        await tenant.client.patch(path, json={"condition": "total < `100`"})
        assert [await owed(SMALL), await owed(LARGE)] == [1, 0]
        await tenant.client.patch(path, json={"channels": ["eu"], "condition": None})
        assert await owed(SMALL) == 0


async def test_test_events_and_replays_ignore_the_filter(tenant: TenantClient):
    endpoint = await tenant.create_endpoint()
    await send(tenant, SMALL)
    (delivery,) = await tenant.list_deliveries()
    path = f"/v1/endpoints/{endpoint['id']}"
    await tenant.client.patch(path, json={"channels": ["eu"], "condition": ABOVE_100})
    test = await tenant.client.post(f"{path}/test")
    assert test.json()["deliveries"] == 1
    replayed = await tenant.client.post(f"/v1/deliveries/{delivery['id']}/replay")
    assert replayed.status_code == 200, replayed.text


async def test_a_condition_that_is_no_longer_valid_passes_events(
    tenant: TenantClient, sql: psycopg.Connection
):
    endpoint = await tenant.create_endpoint(condition=ABOVE_100)
    id_ = parse_id(Prefix.ENDPOINT, endpoint["id"])
    sql.execute("update endpoints set condition = 'sum(items)', version = version + 1 where id = %s", [id_])
    sql.execute(
        "update tenants set endpoints_version = endpoints_version + 1 where id = %s",
        [parse_id(Prefix.TENANT, tenant.id)],
    )
    fate = (await read_event_fates(tenant, await send(tenant)))[endpoint["id"]]
    assert "not sum." in fate["condition_failed"]


# ------------------------------------------------------------------ as it was then
async def test_timeline_uses_the_filter_at_the_time_of_the_event(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(channels=["eu"])
    event = await send(tenant, LARGE, channels=["us"])
    path = f"/v1/endpoints/{endpoint['id']}"
    await tenant.client.patch(path, json={"channels": ["us"], "condition": ABOVE_100})
    fate = (await read_event_fates(tenant, event))[endpoint["id"]]
    assert fate["sentence"] == "It was then limited to the channels eu; the event is on us."
    assert (fate["channels"], fate["condition"]) == (["eu"], None)
    journal = (await tenant.client.get("/v1/audit", params={"what": "endpoint.changed"})).json()
    details = journal["items"][0]["details"]
    assert details["channels"] == {"was": ["eu"], "is": ["us"]}
    assert details["condition"] == {"was": None, "is": ABOVE_100}


async def test_a_condition_is_not_evaluated_for_an_erased_event(
    tenant: TenantClient, sql: psycopg.Connection
):
    endpoint = await tenant.create_endpoint(condition=ABOVE_100)
    event = await send(tenant, SMALL)
    id_ = parse_id(Prefix.EVENT, event["id"])
    sql.execute("update events set body = null, erased_at = now() where id = %s", [id_])
    fate = (await read_event_fates(tenant, event))[endpoint["id"]]
    assert fate["verdict"] == "condition_not_met"
    assert "no longer stored" in fate["sentence"]
    path = f"/v1/endpoints/{endpoint['id']}/filter/test"
    assert (await refused(tenant, path, {"event_id": event["id"]}))["field"] == "event_id"
    assert (await tried(tenant, endpoint, event_id=event["id"], condition=None))["delivered"]


# ------------------------------------------------------------------ what was never owed
async def test_recovery_of_missing_events_uses_channels_and_condition(tenant: TenantClient):
    wanted = await send(tenant, LARGE, channels=["eu"])
    unanswered = await send(tenant, ODD, channels=["eu", "us"])
    for data, channels in ((SMALL, ["eu"]), (LARGE, ["us"]), (LARGE, None)):
        await send(tenant, data, channels=channels)
    endpoint = await tenant.create_endpoint(channels=["eu"], condition=ABOVE_100)
    missing = {"missing": {"endpoint": endpoint["id"], "since": "2026-01-01T00:00:00Z"}, "reason": "late"}
    previewed = await tenant.client.post("/v1/replays", json=missing | {"dry_run": True})
    assert previewed.status_code == 200, previewed.text
    preview = previewed.json()
    assert [event["id"] for event in preview["events"]] == [wanted["id"], unanswered["id"]]
    assert (preview["count"], preview["exact"]) == (2, True)
    created = await tenant.client.post("/v1/replays", json=missing)
    assert created.json()["missing"]["channels"] == ["eu"]
    assert created.json()["missing"]["condition"] == ABOVE_100


# ------------------------------------------------------------------ trying it out
async def test_a_filter_test_has_a_result_for_each_part(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(filter=["order.*"], channels=["eu"], condition=ABOVE_100)
    event = {"type": "order.created", "data": LARGE, "channels": ["us", "eu"]}
    assert await tried(tenant, endpoint, event=event) == {
        "delivered": True,
        "sentence": "It would be delivered to the endpoint.",
        "type": {"passes": True, "why": "Its filter includes order.*.", "pattern": "order.*"},
        "channels": {"passes": True, "why": "Both have eu."},
        "condition": {
            "passes": True,
            "why": f"It holds for the event's data: {ABOVE_100}",
            "failed": None,
        },
    }
    other = await tried(tenant, endpoint, event={"type": "user.left", "data": SMALL})
    assert [other[part]["passes"] for part in ("type", "channels", "condition")] == [False] * 3
    assert other["sentence"].endswith("Its filter includes order.*, but not user.left.")
    failed = await tried(tenant, endpoint, event=event | {"data": ODD})
    assert failed["delivered"]
    assert (
        failed["sentence"]
        == "It would be delivered to the endpoint, although its condition cannot be evaluated."
    )
    assert failed["condition"]["failed"].startswith("It compares values of different types")
    assert await tenant.list_deliveries() == []
    assert (await tenant.client.get("/v1/events")).json()["items"] == []


async def test_filter_trial_accepts_other_filters_and_past_events(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(filter=["user.left"], condition=ABOVE_100)
    event = await send(tenant, SMALL, channels=["eu"])
    past = {"event_id": event["id"]}
    assert not (await tried(tenant, endpoint, **past))["delivered"]
    instead = {"filter": ["order.*"], "channels": ["eu"], "condition": "total < `100`"}
    assert (await tried(tenant, endpoint, **past, **instead))["delivered"]
    assert (await tried(tenant, endpoint, **past, filter=["*"], condition=None))["delivered"]
    read = (await tenant.client.get(f"/v1/endpoints/{endpoint['id']}")).json()
    assert (read["filter"], read["condition"]) == (["user.left"], ABOVE_100)


async def test_an_operational_endpoint_gets_no_events_of_tenants(tenant: TenantClient):
    endpoint = await tenant.create_endpoint(operational=True)
    found = await tried(tenant, endpoint, event={"type": "order.created", "data": 1})
    assert not found["delivered"]
    assert "operational" in found["sentence"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "event"),
        ({"event": {"type": "a", "data": 1}, "event_id": "evt_01kasw8qbefy09m6sc7n75yr3h"}, "event"),
        ({"event_id": "no"}, "event_id"),
        ({"event": {"type": "a b", "data": 1}}, "event.type"),
        ({"event": {"type": "a", "data": 1, "channels": ["a b"]}}, "event.channels.0"),
        ({"event": {"type": "a"}}, "event.data"),
        ({"event": None}, "event"),
        ({"event": {"type": "a", "data": 1}, "condition": "a >"}, "condition"),
        ({"event": {"type": "a", "data": 1}, "filter": []}, "filter"),
        ({"event": {"type": "a", "data": 1}, "channels": ["a b"]}, "channels.0"),
        ({"event": {"type": "a", "data": 1}, "odd": 1}, "odd"),
        ([], "body"),
    ],
)
async def test_an_invalid_filter_test_is_refused_with_its_field(
    tenant: TenantClient, body: object, field: str
):
    endpoint = await tenant.create_endpoint()
    assert (await refused(tenant, f"/v1/endpoints/{endpoint['id']}/filter/test", body))["field"] == field


async def test_an_unknown_event_or_endpoint_is_not_found(tenant: TenantClient):
    endpoint = await tenant.create_endpoint()
    unknown = "01kasw8qbefy09m6sc7n75yr3h"
    path = f"/v1/endpoints/{endpoint['id']}/filter/test"
    assert (await tenant.post(path, {"event_id": f"evt_{unknown}"})).status_code == 404
    nowhere = f"/v1/endpoints/ep_{unknown}/filter/test"
    assert (await tenant.post(nowhere, {"event": {"type": "a", "data": 1}})).status_code == 404


CHANNELS = st.lists(st.sampled_from(["eu", "us", "asia"]), max_size=3)
CONDITIONS = st.sampled_from(
    [None, ABOVE_100, "starts_with(total, 'm')", "tags[?@ == 'x']", "!total", "contains(tags, 'x')"]
)
DATA: st.SearchStrategy[Any] = st.sampled_from(
    [LARGE, SMALL, ODD, {"tags": ["x"]}, {"tags": "x"}, None, [], "", 0, {"total": []}]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.fixed_dictionaries(
        {
            "filter": st.lists(st.sampled_from(["*", "order.*", "user.left"]), min_size=1, max_size=2),
            "channels": CHANNELS,
            "condition": CONDITIONS,
        }
    ),
    events=st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["order.created", "user.left"]), "data": DATA, "channels": CHANNELS}
        ),
        min_size=1,
        max_size=4,
    ),
)
async def test_filter_trial_agrees_with_intake(
    tenant: TenantClient, wanted: dict[str, Any], events: list[dict[str, Any]]
):
    """Before it is set, after it is set, and for the past event."""
    endpoint = await tenant.create_endpoint(filter=["nothing.at_all"])
    path = f"/v1/endpoints/{endpoint['id']}"
    before = [await tried(tenant, endpoint, event=event, **wanted) for event in events]
    assert (await tenant.client.patch(path, json=wanted)).status_code == 200
    sent = await tenant.client.post("/v1/events/batch", json={"events": events})
    for event, message in zip(sent.json()["events"], before, strict=True):
        fate = (await read_event_fates(tenant, event))[endpoint["id"]]
        assert (fate["delivery_id"] is not None) == message["delivered"]
        assert fate["condition_failed"] == (message["condition"]["failed"] if message["delivered"] else None)
        assert await tried(tenant, endpoint, event_id=event["id"]) == message
    await tenant.client.delete(path)
