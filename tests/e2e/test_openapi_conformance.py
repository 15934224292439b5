"""The API keeps to its own OpenAPI document, whatever it is asked."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest

from delivery.domain.ids import Prefix, format_id, new_id, parse_id
from tests.integration.api.test_api_deliveries import attempt
from tests.support import postgres
from tests.support.api import Api
from tests.support.openapi_conformance import ExerciseEffort, SampleTenant, exercise_api
from tests.support.stack import OPERATOR_KEY
from tests.unit.test_security_guide import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from tests.support.stack import Stack

BOUNDED = ExerciseEffort(coverage_cases=16, random_cases=5)
LONG = ExerciseEffort(coverage_cases=None, random_cases=300, is_deterministic=False)
NOBODY = SampleTenant("", {"tenant_id": ""})


def document_of(api: Api) -> dict[str, Any]:
    with urlopen(f"{api.url}/openapi.json") as answer:
        return dict(json.load(answer))


def one_of_everything(operator: Api, sql: psycopg.Connection) -> SampleTenant:
    """A new tenant with something for each id that a path or a body may have, and a key with a limit."""
    tenant_id = operator.post("/v1/tenants", {"name": "Acme"})["id"]
    key = operator.post(f"/v1/tenants/{tenant_id}/keys", {"name": "test", "requests_per_second": 1_000})
    tenant = Api(operator.url, key["key"])
    event_type = f"order.created_{new_id().hex}"
    operator.put(f"/v1/event-types/{event_type}", {"examples": [1]})
    endpoint = tenant.post("/v1/endpoints", {"url": "https://shop.example/in"})
    event = [tenant.post("/v1/events", {"type": "order.created", "data": number}) for number in range(3)][-1]
    delivery = tenant.get(f"/v1/deliveries?event={event['id']}")["items"][0]
    replay = tenant.post("/v1/replays", {"selection": {"status": ["failed"]}, "reason": "so"})
    return SampleTenant(
        tenant.key,
        {
            "tenant_id": tenant_id,
            "key_id": key["id"],
            "endpoint_id": endpoint["id"],
            "event_id": event["id"],
            "delivery_id": delivery["id"],
            "attempt_id": attempt(sql, delivery["id"]),
            "replay_id": replay["id"],
            "message_id": refused_message(sql, tenant_id),
            "event_type": event_type,
        },
    )


def refused_message(sql: psycopg.Connection, tenant_id: str) -> str:
    """A message that was refused, and would be accepted now."""
    id_ = new_id()
    sql.execute(
        "insert into refused_messages (id, tenant_id, body, size, reason, fingerprint, first_at, last_at)"
        " values (%s, %s, %s, 21, 'so', %s, now(), now())",
        [id_, parse_id(Prefix.TENANT, tenant_id), b'{"type":"a","data":1}', id_.bytes],
    )
    return format_id(Prefix.MESSAGE, id_)


def test_no_answer_is_outside_the_document_and_each_operation_is_carried_out(
    stack: Stack, operator: Api, request: pytest.FixtureRequest
):
    long = request.config.getoption("--hypothesis-profile") == "fuzz"
    stack.serve("web")
    document = document_of(operator)
    with postgres.connect(stack.database_url) as sql:
        found = exercise_api(
            operator.url,
            document,
            LONG if long else BOUNDED,
            operator_key=OPERATOR_KEY,
            make_tenant=lambda: one_of_everything(operator, sql),
        )
    for name, answers in found.answers.items():
        print(f"{name}: {dict(sorted(answers.items()))}")  # noqa: T201  shown when the test fails, or with -s
    print(f"{len(found.answers)} operations, {found.request_count} answers")  # noqa: T201  same
    assert not found.violations, "\n".join(found.violations[:20])
    # An answer that broke off when its head was out already has no status to tell.
    assert "request.failed" not in stack.read_log("web")
    assert found.list_never_succeeded() == set()
    assert len(found.answers) == sum(len(operations) for operations in document["paths"].values())
    assert found.request_count >= counted("valid and invalid requests")


def _other_status(operation: dict[str, Any], _schema: dict[str, Any]) -> None:
    operation["responses"]["201"] = operation["responses"].pop("200")


def _other_media_type(operation: dict[str, Any], _schema: dict[str, Any]) -> None:
    content = operation["responses"]["200"]["content"]
    content["text/csv"] = content.pop("application/json")


def _other_type(_operation: dict[str, Any], schema: dict[str, Any]) -> None:
    schema["properties"]["status"] = {"type": "integer"}


def _one_member_less(_operation: dict[str, Any], schema: dict[str, Any]) -> None:
    del schema["properties"]["status"]


def _one_header_more(operation: dict[str, Any], _schema: dict[str, Any]) -> None:
    operation["responses"]["200"]["headers"]["X-None"] = {"required": True, "schema": {"type": "string"}}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (_other_status, "Received: 200"),
        (_other_media_type, "Received: application/json"),
        (_other_type, '"ok" is not of type "integer"'),
        (_one_member_less, 'False schema does not allow "ok"'),
        (_one_header_more, "`X-None`"),
    ],
)
def test_an_answer_outside_the_document_is_found(
    engine: Api, change: Callable[[dict[str, Any], dict[str, Any]], None], fault: str
):
    document = copy.deepcopy(document_of(engine))
    document["paths"] = {"/healthz": document["paths"]["/healthz"]}
    change(document["paths"]["/healthz"]["get"], document["components"]["schemas"]["HealthOut"])
    found = exercise_api(engine.url, document, BOUNDED, operator_key=OPERATOR_KEY, make_tenant=lambda: NOBODY)
    assert found.violations
    assert all(fault in one for one in found.violations), found.violations
