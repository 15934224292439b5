"""The use cases of endpoints: create, change, pause, rotate, delete. Each is one short transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from delivery.domain.endpoint import Endpoint, EndpointLimits, EndpointState
from delivery.domain.errors import Conflict, Invalid
from delivery.domain.ids import EndpointId, Prefix, build_min_id, format_id, new_id, not_found
from delivery.domain.validation import check_description, check_overlap, check_reason
from delivery.ledger.queue import endpoint_health, enqueue
from delivery.ledger.records import endpoint_secrets, endpoints, tenants
from delivery.ledger.stats import endpoint_stats, live
from delivery.log import get_logger
from delivery.pipeline import system_events
from delivery.pipeline.parsing import NewEvent
from delivery.services.endpoints import authentication, filter_test, identity, store
from delivery.services.endpoints import health as views
from delivery.services.endpoints import validation as checks
from delivery.services.endpoints.changes import describe_change
from delivery.services.endpoints.limits import LIMIT_FIELDS, validate_limits
from delivery.services.endpoints.queries import EndpointQueries
from delivery.services.endpoints.sealing import open_headers, seal_headers, seal_secret
from delivery.services.endpoints.states import StateTransition, apply_transition, check_transition
from retries.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from delivery.domain.accounts import Actor
    from delivery.domain.endpoint import SealedSecret
    from delivery.domain.ids import EventId, TenantId
    from delivery.domain.secret_box import SecretBox
    from delivery.ledger.db.session import Ledger, Transaction
    from delivery.ledger.queue.endpoint_health import EndpointHealthRow
    from delivery.ledger.records.journal import JournalEntry
    from delivery.services.endpoints.filter_test import FilterTrial
    from delivery.services.endpoints.health import EnablePreview, EndpointHealth, EndpointSummary
    from delivery.services.endpoints.sealing import CreatedSecret
    from delivery.services.endpoints.validation import EndpointChanges, EndpointConfig, NewEndpoint

log = get_logger()

# Every valid secret signs every delivery; a rotation needs two.
MAX_LIVE_SECRETS = 5


class EndpointService(EndpointQueries):
    """Manages the endpoints of tenants."""

    def __init__(
        self,
        ledger: Ledger,
        box: SecretBox,
        config: EndpointConfig,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """`box` encrypts secrets, header values and credentials for the ledger."""
        super().__init__(ledger, clock=clock)
        self._box = box
        self._config = config
        self._random_bytes = random_bytes

    async def create(
        self, tenant_id: TenantId, new: NewEndpoint, *, actor: Actor
    ) -> tuple[Endpoint, CreatedSecret]:
        """Create an endpoint and its first secret. Raises Invalid, and NotFound for an unknown tenant."""
        endpoint = self._draft_endpoint(tenant_id, new, actor=actor)
        created = self._create_secret(endpoint, new.secret)
        now = endpoint.created_at
        fresh = Health.fresh(
            now, max_in_flight=endpoint.limits.in_flight or self._config.health.max_in_flight
        )
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            if not await tenants.bump_endpoints_version(tx, tenant_id):
                raise not_found(Prefix.TENANT, tenant_id)
            await endpoints.insert(tx, endpoint)
            await endpoint_health.insert(tx, endpoint.id, fresh, now=now)
            await endpoint_secrets.insert(tx, created.secret)
            entry = await store.append_entry(tx, endpoint, "endpoint.created", actor=actor, at=now)
        _log_entry(entry)
        return endpoint, created

    async def summarize_endpoints(
        self, tenant_id: TenantId | None, listed: Sequence[Endpoint]
    ) -> dict[EndpointId, EndpointSummary]:
        """Summarize the health of these endpoints in two queries for all of them."""
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            healths = await endpoint_health.read_many(tx, [endpoint.id for endpoint in listed])
            due = await live.count_due(
                tx, [endpoint.id for endpoint in listed], limit_per_endpoint=views.MAX_DUE_COUNTED
            )
        now = self._clock()
        return {
            endpoint.id: views.build_summary(
                endpoint, healths.get(endpoint.id), due.get(endpoint.id, 0), self._config.health, now=now
            )
            for endpoint in listed
        }

    async def read_health(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, limit: int | None = None
    ) -> EndpointHealth:
        """Read an endpoint's health and backlog, counted up to `limit`; raises NotFound."""
        since = build_min_id(self._clock() - views.RECENT_WINDOW)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            endpoint = await store.read(tx, tenant_id, endpoint_id)
            health = await endpoint_health.read(tx, endpoint_id)
            backlog = await endpoint_stats.read_backlog(tx, endpoint_id, limit_per_lane=limit)
            recent = await endpoint_stats.read_recent_attempts(
                tx, tenant_id, endpoint_id, since=since, limit=views.MAX_SAMPLED
            )
        return views.build_health(endpoint, health, backlog, recent, self._config.health)

    async def change(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        changes: EndpointChanges,
        *,
        reason: str | None = None,
        actor: Actor,
    ) -> Endpoint:
        """Change an endpoint. Raises NotFound and Invalid."""
        reason = check_reason(reason)
        checked = checks.validate_changes(changes, self._config)
        limits = validate_limits(changes, self._config.health.breaker)
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            before, _ = await store.read_locked(tx, tenant_id, endpoint_id)
            after = replace(before, **checked, limits=replace(before.limits, **limits))
            checks.refuse_operational_channels(after)
            after = self._with_secrets(after, changes)
            if after == before:
                return before
            after = await store.write(tx, after, now=now)
            await _wake_on_limit_change(tx, before, after)
            entry = await store.append_entry(
                tx,
                after,
                "endpoint.changed",
                actor=actor,
                at=now,
                reason=reason,
                details=describe_change(before, after),
            )
        _log_entry(entry)
        return after

    async def try_filter(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        event_or_id: NewEvent | EventId,
        *,
        overrides: EndpointChanges,
    ) -> FilterTrial:
        """Test whether a new or past event would match an endpoint if it were posted now.

        `overrides` may have a filter, channels and a condition to test instead. Nothing is written.
        Raises NotFound and Invalid.
        """
        valid_overrides = checks.validate_changes(overrides, self._config)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            endpoint = replace(await store.read(tx, tenant_id, endpoint_id), **valid_overrides)
            checks.refuse_operational_channels(endpoint)
            event = (
                event_or_id
                if isinstance(event_or_id, NewEvent)
                else await filter_test.load_past_event(tx, tenant_id, event_or_id)
            )
        return filter_test.evaluate_filter(endpoint, event)

    async def pause(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Pause an endpoint: its deliveries are held, and stay owed.

        Raises NotFound, and Conflict for a disabled one.
        """
        return await self._change_state(
            tenant_id, endpoint_id, StateTransition.PAUSE, reason=reason, actor=actor
        )

    async def resume(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Resume a paused endpoint, with a ramp of its in-flight limit.

        Raises NotFound, and Conflict for a disabled one.
        """
        return await self._change_state(
            tenant_id, endpoint_id, StateTransition.RESUME, reason=reason, actor=actor
        )

    async def disable(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Disable an endpoint: its deliveries are held, and a system event is published. Raises NotFound."""
        return await self._change_state(
            tenant_id, endpoint_id, StateTransition.DISABLE, reason=reason, actor=actor
        )

    async def enable(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Enable a disabled endpoint, with a ramp of its in-flight limit, and publish a system event.

        Raises NotFound, and Conflict for a paused one.
        """
        return await self._change_state(
            tenant_id, endpoint_id, StateTransition.ENABLE, reason=reason, actor=actor
        )

    async def preview_enable(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        *,
        reason: str | None = None,
        limit: int | None = None,
    ) -> EnablePreview:
        """Preview what enabling would release, counted up to `limit`. Raises what `enable` raises."""
        check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            endpoint = await store.read(tx, tenant_id, endpoint_id)
            check_transition(endpoint, StateTransition.ENABLE)
            health = await endpoint_health.read(tx, endpoint_id)
            backlog = await endpoint_stats.read_backlog(tx, endpoint_id, limit_per_lane=limit)
        return views.build_enable_preview(endpoint, health, backlog, self._config.health)

    async def delete(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """Delete an endpoint; its pending deliveries are cancelled. Raises NotFound."""
        reason = check_reason(reason)
        now = self._clock()
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            endpoint = await store.read(tx, tenant_id, endpoint_id, lock=True)
            await endpoints.delete(tx, tenant_id, endpoint_id, at=now)
            await tenants.bump_endpoints_version(tx, tenant_id)
            await enqueue.notify_due(tx, {(tenant_id, endpoint_id)})
            entry = await store.append_entry(
                tx, endpoint, "endpoint.deleted", actor=actor, at=now, reason=reason
            )
        _log_entry(entry)

    async def rotate_secret(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        *,
        secret: str | None = None,
        overlap: timedelta | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> CreatedSecret:
        """Add a new secret, provided or generated; the older ones also sign until the overlap ends.

        Raises NotFound, Invalid, and Conflict when too many secrets would be live at the same time.
        """
        reason = check_reason(reason)
        now = self._clock()
        until = now + check_overlap(overlap, default=self._config.overlap)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            endpoint = await store.read(tx, tenant_id, endpoint_id, lock=True)
            made = self._create_secret(endpoint, secret)
            await endpoint_secrets.expire(tx, tenant_id, endpoint_id, until=until)
            older = await endpoint_secrets.read_active(tx, tenant_id, endpoint_id, now=self._clock())
            _refuse_too_many_secrets(made.secret, older)
            await endpoint_secrets.insert(tx, made.secret)
            await store.write(tx, endpoint, now=now)
            details = {"key_id": made.secret.key_id}
            entry = await store.append_entry(
                tx, endpoint, "endpoint.secret_rotated", actor=actor, at=now, reason=reason, details=details
            )
        _log_entry(entry)
        return made

    async def _change_state(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        move: StateTransition,
        *,
        reason: str | None,
        actor: Actor,
    ) -> Endpoint:
        reason = check_reason(reason)
        async with self._ledger.transaction(tenant_id=tenant_id) as tx:
            before, health = await store.read_locked(tx, tenant_id, endpoint_id)
            now = self._clock()
            after = apply_transition(before, move, reason=reason, actor=actor.name, now=now)
            if after is None:
                return before
            after = await store.write(tx, after, now=now)
            if after.state is EndpointState.ACTIVE:
                await _release_held(tx, after, health, now=now)
            repeated = {"again": True} if after.state is before.state else {}
            entry = await store.append_entry(
                tx, after, str(move), actor=actor, at=now, reason=reason, details=repeated
            )
            if not repeated and not after.operational:
                await system_events.publish_system_events(tx, [entry], now=now)
        _log_entry(entry)
        return after

    def _with_secrets(self, endpoint: Endpoint, changes: EndpointChanges) -> Endpoint:
        if "headers" in changes:
            endpoint = self._with_headers(endpoint, changes["headers"])
        if "auth" in changes:
            validated = authentication.validate_auth(changes["auth"], self._config)
            endpoint = authentication.with_auth(self._box, endpoint, validated)
        named = "auth" if "auth" in changes else "headers"
        authentication.refuse_two_authorizations(endpoint, field_name=named)
        return self._with_identity(endpoint, changes)

    def _with_identity(self, endpoint: Endpoint, changes: EndpointChanges) -> Endpoint:
        named = "url"
        if "client_certificate" in changes:
            named = "client_certificate"
            validated = identity.validate_identity(changes["client_certificate"], now=self._clock())
            endpoint = identity.with_identity(self._box, endpoint, validated)
        identity.refuse_without_tls(endpoint, field_name=named)
        return endpoint

    def _with_headers(self, endpoint: Endpoint, changes: dict[str, str | None]) -> Endpoint:
        headers = open_headers(self._box, endpoint)
        merged = checks.merge_headers(headers, changes)
        if merged == headers:
            return endpoint
        return replace(endpoint, **seal_headers(self._box, endpoint.tenant_id, endpoint.id, merged))

    def _draft_endpoint(self, tenant_id: TenantId, new: NewEndpoint, *, actor: Actor) -> Endpoint:
        now = self._clock()
        endpoint_id = EndpointId(new_id())
        headers = checks.validate_headers(new.headers)
        limits = validate_limits(
            {name: getattr(new, name) for name in LIMIT_FIELDS}, self._config.health.breaker
        )
        auth = authentication.validate_auth(new.auth, self._config)
        certificate = identity.validate_identity(new.client_certificate, now=now)
        endpoint = Endpoint(
            id=endpoint_id,
            tenant_id=tenant_id,
            url=checks.validate_url(new.url, self._config),
            description=check_description(new.description, max_length=checks.MAX_DESCRIPTION_LENGTH),
            filter=checks.validate_filter(new.filter),
            state=EndpointState.ACTIVE,
            state_reason=None,
            state_actor=actor.name,
            state_changed_at=now,
            **seal_headers(self._box, tenant_id, endpoint_id, headers),
            signature=new.signature,
            schedule=checks.validate_schedule(new.schedule),
            timeout=checks.validate_timeout(new.timeout_seconds, self._config),
            operational=new.operational,
            format=new.format,
            payload=new.payload,
            limits=EndpointLimits(**limits),
            version=1,
            created_at=now,
            updated_at=now,
            channels=checks.validate_channels(new.channels),
            condition=checks.validate_condition(new.condition),
        )
        checks.refuse_operational_channels(endpoint)
        endpoint = authentication.with_auth(self._box, endpoint, auth)
        authentication.refuse_two_authorizations(endpoint, field_name="auth")
        endpoint = identity.with_identity(self._box, endpoint, certificate)
        identity.refuse_without_tls(endpoint, field_name="client_certificate")
        return endpoint

    def _create_secret(self, endpoint: Endpoint, provided: str | None) -> CreatedSecret:
        secret = checks.parse_or_generate_secret(endpoint.signature, provided, self._random_bytes)
        return seal_secret(self._box, endpoint, secret, now=self._clock())


async def _release_held(
    tx: Transaction, endpoint: Endpoint, record: EndpointHealthRow | None, *, now: datetime
) -> None:
    """Reset the health, so that held deliveries drain through the ramp, and wake the relay."""
    if record is not None:
        await endpoint_health.write(tx, {endpoint.id: record.health.reset_after_enabling(now)}, released={})
    await enqueue.notify_due(tx, {(endpoint.tenant_id, endpoint.id)})


async def _wake_on_limit_change(tx: Transaction, before: Endpoint, after: Endpoint) -> None:
    """Wake the relay when new limits may release deliveries."""
    if before.limits == after.limits:
        return
    if before.limits.rate != after.limits.rate:
        await endpoint_health.reset_rate_limit(tx, after.id)
    await enqueue.notify_due(tx, {(after.tenant_id, after.id)})


def _refuse_too_many_secrets(new_secret: SealedSecret, older: Sequence[SealedSecret]) -> None:
    if any(secret.key_id == new_secret.key_id for secret in older):
        raise Invalid("secret", "is a live secret of this endpoint already")
    if len(older) >= MAX_LIVE_SECRETS:
        raise Conflict(
            f"{len(older)} secrets of this endpoint are still live. Wait until one has ended, or rotate with "
            "a shorter overlap_hours; 0 ends them at once."
        )


def _log_entry(entry: JournalEntry) -> None:
    public_id = None if entry.endpoint_id is None else format_id(Prefix.ENDPOINT, entry.endpoint_id)
    log.info(entry.action, endpoint_id=public_id, actor=entry.actor, **entry.details)
