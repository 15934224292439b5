"""Records as the ledger would give them, for tests to vary."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from delivery.domain.api_key import ApiKey
from delivery.domain.attempt import Attempt, Timings
from delivery.domain.delivery import Delivery, DeliveryStatus
from delivery.domain.endpoint import Endpoint, EndpointLimits, EndpointState, SealedSecret, Signature
from delivery.domain.ids import AttemptId, DeliveryId, EndpointId, EventId, KeyId, SecretId, TenantId, new_id
from delivery.domain.tenant import Tenant
from delivery.ledger.records.events import EventSummary
from delivery.services.endpoints.sealing import CreatedSecret

MADE = datetime(2026, 11, 22, 18, 0, 0, 123_000, tzinfo=UTC)

TENANT = Tenant(TenantId(new_id()), "Acme Books", MADE)
KEY = ApiKey(KeyId(new_id()), TENANT.id, "order service", "wbk_Zk3f9Q…", MADE, None)
ENDPOINT = Endpoint(
    id=EndpointId(new_id()),
    tenant_id=TENANT.id,
    url="https://shop.example/hooks",
    description="Orders to the warehouse",
    filter=("order.*",),
    state=EndpointState.ACTIVE,
    state_reason=None,
    state_actor="cli:ada",
    state_changed_at=MADE,
    header_names=("X-Token",),
    sealed_headers=b"sealed",
    signature=Signature.V1,
    schedule=(timedelta(0), timedelta(seconds=2.5)),
    timeout=timedelta(seconds=10),
    operational=False,
    limits=EndpointLimits(),
    version=1,
    created_at=MADE,
    updated_at=MADE,
)
SECRET = SealedSecret(
    SecretId(new_id()), ENDPOINT.id, TENANT.id, Signature.V1, b"sealed", "1f0c9a7be2d4", None, MADE, None
)
NEW_SECRET = CreatedSecret(SECRET, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
EVENT = EventSummary(EventId(new_id()), TENANT.id, "order.created", 2, MADE)
DELIVERY = Delivery(
    id=DeliveryId(new_id()),
    tenant_id=TENANT.id,
    event_id=EVENT.id,
    event_type="order.created",
    endpoint_id=ENDPOINT.id,
    matched_by="order.*",
    status=DeliveryStatus.PENDING,
    reason=None,
    attempts=1,
    created_at=MADE,
    due_at=MADE,
    finished_at=None,
)
ATTEMPT = Attempt(
    id=AttemptId(new_id()),
    delivery_id=DELIVERY.id,
    tenant_id=TENANT.id,
    endpoint_id=ENDPOINT.id,
    event_id=EVENT.id,
    number=1,
    claimed_at=MADE,
    started_at=MADE,
    timings=Timings(connect=timedelta(milliseconds=4), total=timedelta(milliseconds=9.5)),
    url=ENDPOINT.url,
    address="203.0.113.7",
    request_headers={"webhook-id": "evt_1", "X-Token": "***"},
    body_sha256=bytes(32),
    key_ids=("1f0c9a7be2d4",),
    status=503,
    response_headers=(("content-type", "text/plain"),),
    response_body=b"out of \x1b[31morder\xff",
    response_truncated=False,
    outcome="refused",
    detail="The endpoint answered 503 Service Unavailable.",
    decision="retry",
    reason="retryable_status",
    next_due_at=MADE + timedelta(seconds=5),
    worker="host:1",
)
