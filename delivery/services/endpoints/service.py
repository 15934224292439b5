"""The use cases of endpoints: create, change, pause, rotate, delete. Each change is one short transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from delivery import operational
from delivery.accept import NewEvent
from delivery.checks import checked_reason
from delivery.endpoints import authentication, identity, keeping, trying
from delivery.endpoints import health as views
from delivery.endpoints import terms as checks
from delivery.endpoints.changes import told
from delivery.endpoints.limits import LIMITS, checked_limits
from delivery.endpoints.sealing import open_headers, seal_headers, seal_secret
from delivery.endpoints.states import Move, check_move, moved
from delivery.errors import Conflict, Invalid, NotFound
from delivery.ledger import accepting, endpoint_figures, endpoint_secrets, endpoints, health, present, tenants
from delivery.model import (
    Endpoint,
    EndpointId,
    EndpointLimits,
    EndpointState,
    Prefix,
    id_floor,
    new_id,
    show_id,
)
from retries.health import Health

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from delivery.endpoints.health import EnablePreview, EndpointHealth, Glance
    from delivery.endpoints.sealing import NewSecret
    from delivery.endpoints.terms import EndpointChanges, EndpointTerms, NewEndpoint
    from delivery.endpoints.trying import Trial
    from delivery.ledger import Ledger, Transaction
    from delivery.ledger.health import Standing
    from delivery.ledger.journal import Entry
    from delivery.model import Actor, EventId, SealedSecret, TenantId
    from delivery.paging import Cut, Page
    from delivery.secrets import SecretBox

log = structlog.get_logger()

# Each signs every delivery; a receiver that needs more than this is not rotating, it is collecting.
MOST_LIVE_SECRETS = 5


class Endpoints:
    """What a tenant does with its endpoints."""

    def __init__(
        self,
        ledger: Ledger,
        box: SecretBox,
        terms: EndpointTerms,
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """The box seals what must not be readable in the ledger."""
        self._ledger = ledger
        self._box = box
        self._terms = terms
        self._clock = clock
        self._random_bytes = random_bytes

    async def create(
        self, tenant_id: TenantId, new: NewEndpoint, *, actor: Actor
    ) -> tuple[Endpoint, NewSecret]:
        """Make an endpoint and its first secret. Raises Invalid, and NotFound for an unknown tenant."""
        endpoint = self._drafted(tenant_id, new, actor=actor)
        made = self._sealed(endpoint, new.secret)
        now = endpoint.created_at
        fresh = Health.fresh(now, most=endpoint.limits.in_flight or self._terms.health.in_flight)
        async with self._ledger.transaction(of=tenant_id) as tx:
            if not await tenants.endpoints_changed(tx, tenant_id):
                raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
            await endpoints.insert(tx, endpoint)
            await health.insert(tx, endpoint.id, fresh, now=now)
            await endpoint_secrets.insert(tx, made.kept)
            entry = await keeping.note(tx, endpoint, "endpoint.created", actor=actor, at=now)
        _log(entry)
        return endpoint, made

    async def read(self, tenant_id: TenantId, endpoint_id: EndpointId) -> Endpoint:
        """One endpoint; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await keeping.read(tx, tenant_id, endpoint_id)

    async def page(
        self,
        tenant_id: TenantId | None,
        cut: Cut,
        *,
        states: Sequence[EndpointState] = (),
        troubled: bool = False,
        words: str = "",
    ) -> Page[Endpoint]:
        """A tenant's endpoints, newest first, or all tenants' where none is named.

        `states` and `troubled` narrow it: to those that stand so, to those that are not simply well; `words`
        to those that have them in their URL or description.
        """
        async with self._ledger.transaction(of=tenant_id) as tx:
            return await endpoints.page(tx, tenant_id, cut, states=states, troubled=troubled, words=words)

    async def glances(self, tenant_id: TenantId | None, some: Sequence[Endpoint]) -> dict[EndpointId, Glance]:
        """How these endpoints do, of a tenant or of several, in a few queries for all of them."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            known = await health.read_some(tx, [one.id for one in some])
            due = await present.due(tx, [one.id for one in some], most_each=views.MOST_DUE)
        now = self._clock()
        return {
            one.id: views.glance(one, known.get(one.id), due.get(one.id, 0), self._terms.health, now=now)
            for one in some
        }

    async def health(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, most: int | None = None
    ) -> EndpointHealth:
        """How an endpoint does, and what waits for it, counted up to `most`; raises NotFound."""
        since = id_floor(self._clock() - views.RECENT)
        async with self._ledger.transaction(of=tenant_id) as tx:
            endpoint = await keeping.read(tx, tenant_id, endpoint_id)
            standing = await health.read(tx, endpoint_id)
            backlog = await endpoint_figures.backlog(tx, endpoint_id, most=most)
            recent = await endpoint_figures.recent(
                tx, tenant_id, endpoint_id, since=since, most=views.MOST_SAMPLED
            )
        return views.assemble(endpoint, standing, backlog, recent, self._terms.health)

    async def change(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        changes: EndpointChanges,
        *,
        reason: str | None = None,
        actor: Actor,
    ) -> Endpoint:
        """Change what is named and nothing else. Raises NotFound and Invalid."""
        reason = checked_reason(reason)
        checked = checks.checked_changes(changes, self._terms)
        limits = checked_limits(changes, self._terms.health.breaker)
        now = self._clock()
        async with self._ledger.transaction(of=tenant_id) as tx:
            before, _ = await keeping.locked(tx, tenant_id, endpoint_id)
            after = replace(before, **checked, limits=replace(before.limits, **limits))
            checks.refuse_channels_of_operational(after)
            after = self._with_secrets(after, changes)
            if after == before:
                return before
            after = await keeping.write(tx, after, now=now)
            await _follow_limits(tx, before, after)
            entry = await keeping.note(
                tx, after, "endpoint.changed", actor=actor, at=now, reason=reason, details=told(before, after)
            )
        _log(entry)
        return after

    async def try_filter(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        about: NewEvent | EventId,
        *,
        instead: EndpointChanges,
    ) -> Trial:
        """Whether an event, or a past one, would be owed to an endpoint if it were posted now.

        `instead` may name a filter, channels and a condition to try instead of its own. Nothing is written.
        Raises NotFound and Invalid.
        """
        wanted = checks.checked_changes(instead, self._terms)
        async with self._ledger.transaction(of=tenant_id) as tx:
            endpoint = replace(await keeping.read(tx, tenant_id, endpoint_id), **wanted)
            checks.refuse_channels_of_operational(endpoint)
            event = about if isinstance(about, NewEvent) else await trying.past_event(tx, tenant_id, about)
        return trying.trial(endpoint, event)

    async def pause(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Hold an active endpoint's deliveries: they are still owed, and wait.

        Raises NotFound, and Conflict for a disabled one.
        """
        return await self._move(tenant_id, endpoint_id, Move.PAUSE, reason=reason, actor=actor)

    async def resume(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Let a paused endpoint's deliveries go out again, slowly at first.

        Raises NotFound, and Conflict for a disabled one.
        """
        return await self._move(tenant_id, endpoint_id, Move.RESUME, reason=reason, actor=actor)

    async def disable(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Hold an endpoint's deliveries until somebody enables it, and tell its tenant. Raises NotFound."""
        return await self._move(tenant_id, endpoint_id, Move.DISABLE, reason=reason, actor=actor)

    async def enable(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> Endpoint:
        """Let a disabled endpoint's deliveries go out again, slowly at first, and tell its tenant.

        Raises NotFound, and Conflict for a paused one.
        """
        return await self._move(tenant_id, endpoint_id, Move.ENABLE, reason=reason, actor=actor)

    async def preview_enable(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        *,
        reason: str | None = None,
        most: int | None = None,
    ) -> EnablePreview:
        """Tell what enabling would let go, counted up to `most`. Raises what enabling would."""
        checked_reason(reason)
        async with self._ledger.transaction(of=tenant_id) as tx:
            endpoint = await keeping.read(tx, tenant_id, endpoint_id)
            check_move(endpoint, Move.ENABLE)
            standing = await health.read(tx, endpoint_id)
            backlog = await endpoint_figures.backlog(tx, endpoint_id, most=most)
        return views.preview(endpoint, standing, backlog, self._terms.health)

    async def delete(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None = None, actor: Actor
    ) -> None:
        """Take an endpoint away; what it was still owed is cancelled. Raises NotFound."""
        reason = checked_reason(reason)
        now = self._clock()
        async with self._ledger.transaction(of=tenant_id) as tx:
            endpoint = await keeping.read(tx, tenant_id, endpoint_id, lock=True)
            await endpoints.delete(tx, tenant_id, endpoint_id, at=now)
            await tenants.endpoints_changed(tx, tenant_id)
            await accepting.wake(tx, {(tenant_id, endpoint_id)})
            entry = await keeping.note(tx, endpoint, "endpoint.deleted", actor=actor, at=now, reason=reason)
        _log(entry)

    async def secrets(self, tenant_id: TenantId, endpoint_id: EndpointId) -> list[SealedSecret]:
        """The secrets that sign now, newest first; raises NotFound."""
        async with self._ledger.transaction(of=tenant_id) as tx:
            await keeping.read(tx, tenant_id, endpoint_id)
            return await endpoint_secrets.live(tx, tenant_id, endpoint_id, at=self._clock())

    async def rotate_secret(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        *,
        secret: str | None = None,
        overlap: timedelta | None = None,
        reason: str | None = None,
        actor: Actor,
    ) -> NewSecret:
        """Make a new secret, given or fresh; the older ones go on signing beside it for the overlap.

        Raises NotFound, Invalid, and Conflict when too many secrets would be live at the same time.
        """
        reason = checked_reason(reason)
        now = self._clock()
        until = now + checks.checked_overlap(overlap, self._terms)
        async with self._ledger.transaction(of=tenant_id) as tx:
            endpoint = await keeping.read(tx, tenant_id, endpoint_id, lock=True)
            made = self._sealed(endpoint, secret)
            await endpoint_secrets.end(tx, tenant_id, endpoint_id, by=until)
            older = await endpoint_secrets.live(tx, tenant_id, endpoint_id, at=self._clock())
            _refuse_unless_room(made.kept, older)
            await endpoint_secrets.insert(tx, made.kept)
            await keeping.write(tx, endpoint, now=now)
            details = {"key_id": made.kept.key_id}
            entry = await keeping.note(
                tx, endpoint, "endpoint.secret_rotated", actor=actor, at=now, reason=reason, details=details
            )
        _log(entry)
        return made

    async def _move(
        self, tenant_id: TenantId, endpoint_id: EndpointId, move: Move, *, reason: str | None, actor: Actor
    ) -> Endpoint:
        reason = checked_reason(reason)
        async with self._ledger.transaction(of=tenant_id) as tx:
            before, standing = await keeping.locked(tx, tenant_id, endpoint_id)
            now = self._clock()
            after = moved(before, move, reason=reason, actor=actor.name, now=now)
            if after is None:
                return before
            after = await keeping.write(tx, after, now=now)
            if after.state is EndpointState.ACTIVE:
                await _let_go(tx, after, standing, now=now)
            again = {"again": True} if after.state is before.state else {}
            entry = await keeping.note(
                tx, after, str(move), actor=actor, at=now, reason=reason, details=again
            )
            if not again and not after.operational:
                await operational.tell(tx, [entry], now=now)
        _log(entry)
        return after

    def _with_secrets(self, endpoint: Endpoint, changes: EndpointChanges) -> Endpoint:
        if "headers" in changes:
            endpoint = self._with_headers(endpoint, changes["headers"])
        if "auth" in changes:
            asked = authentication.checked_auth(changes["auth"], self._terms)
            endpoint = authentication.with_auth(self._box, endpoint, asked)
        named = "auth" if "auth" in changes else "headers"
        authentication.refuse_two_authorizations(endpoint, named=named)
        return self._with_identity(endpoint, changes)

    def _with_identity(self, endpoint: Endpoint, changes: EndpointChanges) -> Endpoint:
        named = "url"
        if "client_certificate" in changes:
            named = "client_certificate"
            asked = identity.checked_identity(changes["client_certificate"], now=self._clock())
            endpoint = identity.with_identity(self._box, endpoint, asked)
        identity.refuse_without_tls(endpoint, named=named)
        return endpoint

    def _with_headers(self, endpoint: Endpoint, changes: dict[str, str | None]) -> Endpoint:
        headers = open_headers(self._box, endpoint)
        merged = checks.merged_headers(headers, changes)
        if merged == headers:
            return endpoint
        return replace(endpoint, **seal_headers(self._box, endpoint.tenant_id, endpoint.id, merged))

    def _drafted(self, tenant_id: TenantId, new: NewEndpoint, *, actor: Actor) -> Endpoint:
        now = self._clock()
        endpoint_id = EndpointId(new_id())
        headers = checks.checked_headers(new.headers)
        limits = checked_limits({name: getattr(new, name) for name in LIMITS}, self._terms.health.breaker)
        auth = authentication.checked_auth(new.auth, self._terms)
        shown = identity.checked_identity(new.client_certificate, now=now)
        endpoint = Endpoint(
            id=endpoint_id,
            tenant_id=tenant_id,
            url=checks.checked_url(new.url, self._terms),
            description=checks.checked_description(new.description),
            filter=checks.checked_filter(new.filter),
            state=EndpointState.ACTIVE,
            state_reason=None,
            state_actor=actor.name,
            state_changed_at=now,
            **seal_headers(self._box, tenant_id, endpoint_id, headers),
            signature=new.signature,
            schedule=checks.checked_schedule(new.schedule),
            timeout=checks.checked_timeout(new.timeout_seconds, self._terms),
            operational=new.operational,
            format=new.format,
            payload=new.payload,
            limits=EndpointLimits(**limits),
            version=1,
            created_at=now,
            updated_at=now,
            channels=checks.checked_channels(new.channels),
            condition=checks.checked_condition(new.condition),
        )
        checks.refuse_channels_of_operational(endpoint)
        endpoint = authentication.with_auth(self._box, endpoint, auth)
        authentication.refuse_two_authorizations(endpoint, named="auth")
        endpoint = identity.with_identity(self._box, endpoint, shown)
        identity.refuse_without_tls(endpoint, named="client_certificate")
        return endpoint

    def _sealed(self, endpoint: Endpoint, given: str | None) -> NewSecret:
        secret = checks.secret_for(endpoint.signature, given, self._random_bytes)
        return seal_secret(self._box, endpoint, secret, now=self._clock())


async def _let_go(tx: Transaction, endpoint: Endpoint, standing: Standing | None, *, now: datetime) -> None:
    """Forget the health of before, so that what was held drains through the ramp, and have the relay look."""
    if standing is not None:
        await health.write(tx, {endpoint.id: standing.health.returned(now)}, released={})
    await accepting.wake(tx, {(endpoint.tenant_id, endpoint.id)})


async def _follow_limits(tx: Transaction, before: Endpoint, after: Endpoint) -> None:
    """Have the relay look at what new limits may let go."""
    if before.limits == after.limits:
        return
    if before.limits.rate != after.limits.rate:
        await health.forget_pace(tx, after.id)
    await accepting.wake(tx, {(after.tenant_id, after.id)})


def _refuse_unless_room(made: SealedSecret, older: Sequence[SealedSecret]) -> None:
    if any(secret.key_id == made.key_id for secret in older):
        raise Invalid("secret", "is a live secret of this endpoint already")
    if len(older) >= MOST_LIVE_SECRETS:
        raise Conflict(
            f"{len(older)} secrets of this endpoint are still live. Wait until one has ended, or rotate with "
            "a shorter overlap_hours; 0 ends them at once."
        )


def _log(entry: Entry) -> None:
    shown = None if entry.endpoint_id is None else show_id(Prefix.ENDPOINT, entry.endpoint_id)
    log.info(entry.what, endpoint_id=shown, actor=entry.actor, **entry.details)
