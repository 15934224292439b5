"""The use cases of endpoints: create, change, pause, rotate, delete. Each change is one short transaction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from delivery.endpoints import terms as checks
from delivery.endpoints.sealing import open_headers, seal_headers, seal_secret
from delivery.errors import Conflict, Invalid, NotFound
from delivery.ledger import deliveries, endpoint_secrets, endpoints, tenants
from delivery.model import Endpoint, EndpointId, EndpointState, Prefix, new_id, show_id

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime, timedelta

    from delivery.endpoints.sealing import NewSecret
    from delivery.endpoints.terms import EndpointChanges, EndpointTerms, NewEndpoint
    from delivery.ledger import Ledger, Transaction
    from delivery.model import SealedSecret, TenantId
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
        self, tenant_id: TenantId, new: NewEndpoint, *, actor: str
    ) -> tuple[Endpoint, NewSecret]:
        """Make an endpoint and its first secret. Raises Invalid, and NotFound for an unknown tenant."""
        endpoint = self._drafted(tenant_id, new)
        made = self._sealed(endpoint, new.secret)
        async with self._ledger.transaction() as tx:
            if not await tenants.endpoints_changed(tx, tenant_id):
                raise NotFound("tenant", show_id(Prefix.TENANT, tenant_id))
            await endpoints.insert(tx, endpoint, actor=actor)
            await endpoint_secrets.insert(tx, made.kept)
        _tell("endpoint.created", endpoint.id, actor)
        return endpoint, made

    async def read(self, tenant_id: TenantId, endpoint_id: EndpointId) -> Endpoint:
        """One endpoint; raises NotFound."""
        async with self._ledger.transaction() as tx:
            return await _read(tx, tenant_id, endpoint_id)

    async def page(self, tenant_id: TenantId, cut: Cut) -> Page[Endpoint]:
        """A tenant's endpoints, newest first."""
        async with self._ledger.transaction() as tx:
            return await endpoints.page(tx, tenant_id, cut)

    async def change(
        self, tenant_id: TenantId, endpoint_id: EndpointId, changes: EndpointChanges, *, actor: str
    ) -> Endpoint:
        """Change what is named and nothing else. Raises NotFound and Invalid."""
        checked = checks.checked_changes(changes, self._terms)
        async with self._ledger.transaction() as tx:
            endpoint = await _read(tx, tenant_id, endpoint_id, lock=True)
            if "headers" in changes:
                headers = checks.merged_headers(open_headers(self._box, endpoint), changes["headers"])
                checked |= seal_headers(self._box, tenant_id, endpoint_id, headers)
            changed = await self._write(tx, replace(endpoint, **checked))
        _tell("endpoint.changed", endpoint_id, actor, fields=sorted(changes))
        return changed

    async def pause(
        self, tenant_id: TenantId, endpoint_id: EndpointId, *, reason: str | None, actor: str
    ) -> Endpoint:
        """Hold the endpoint's deliveries: they are still owed, and wait. Raises NotFound."""
        return await self._set_state(
            tenant_id, endpoint_id, EndpointState.PAUSED, reason=checks.checked_reason(reason), actor=actor
        )

    async def resume(self, tenant_id: TenantId, endpoint_id: EndpointId, *, actor: str) -> Endpoint:
        """Let a paused or disabled endpoint's deliveries go out again. Raises NotFound."""
        return await self._set_state(tenant_id, endpoint_id, EndpointState.ACTIVE, reason=None, actor=actor)

    async def delete(self, tenant_id: TenantId, endpoint_id: EndpointId, *, actor: str) -> None:
        """Take an endpoint away; what it was still owed is cancelled. Raises NotFound."""
        async with self._ledger.transaction() as tx:
            if not await endpoints.delete(tx, tenant_id, endpoint_id, at=self._clock()):
                raise _no_endpoint(endpoint_id)
            await tenants.endpoints_changed(tx, tenant_id)
            await deliveries.wake(tx, tenant_id, endpoint_id)
        _tell("endpoint.deleted", endpoint_id, actor)

    async def secrets(self, tenant_id: TenantId, endpoint_id: EndpointId) -> list[SealedSecret]:
        """The secrets that sign now, newest first; raises NotFound."""
        async with self._ledger.transaction() as tx:
            await _read(tx, tenant_id, endpoint_id)
            return await endpoint_secrets.live(tx, tenant_id, endpoint_id, at=self._clock())

    async def rotate_secret(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        *,
        secret: str | None = None,
        overlap: timedelta | None = None,
        actor: str,
    ) -> NewSecret:
        """Make a new secret, given or fresh; the older ones go on signing beside it for the overlap.

        Raises NotFound, Invalid, and Conflict when too many secrets would be live at the same time.
        """
        until = self._clock() + checks.checked_overlap(overlap, self._terms)
        async with self._ledger.transaction() as tx:
            endpoint = await _read(tx, tenant_id, endpoint_id, lock=True)
            made = self._sealed(endpoint, secret)
            await endpoint_secrets.end(tx, tenant_id, endpoint_id, by=until)
            older = await endpoint_secrets.live(tx, tenant_id, endpoint_id, at=self._clock())
            _refuse_unless_room(made.kept, older)
            await endpoint_secrets.insert(tx, made.kept)
            await self._write(tx, endpoint)
        _tell("endpoint.secret_rotated", endpoint_id, actor, key_id=made.kept.key_id)
        return made

    async def _set_state(
        self,
        tenant_id: TenantId,
        endpoint_id: EndpointId,
        state: EndpointState,
        *,
        reason: str | None,
        actor: str,
    ) -> Endpoint:
        async with self._ledger.transaction() as tx:
            endpoint = await _read(tx, tenant_id, endpoint_id, lock=True)
            changed = replace(endpoint, state=state, state_reason=reason, state_changed_at=self._clock())
            changed = await self._write(tx, changed, state_actor=actor)
            if state is EndpointState.ACTIVE:
                await deliveries.wake(tx, tenant_id, endpoint_id)
        _tell("endpoint.state_changed", endpoint_id, actor, state=str(state))
        return changed

    async def _write(
        self, tx: Transaction, endpoint: Endpoint, *, state_actor: str | None = None
    ) -> Endpoint:
        """Write a locked endpoint; everybody who keeps a copy hears of it by the versions."""
        counted = replace(endpoint, version=endpoint.version + 1, updated_at=self._clock())
        await endpoints.write(tx, counted, state_actor=state_actor)
        await tenants.endpoints_changed(tx, endpoint.tenant_id)
        return counted

    def _drafted(self, tenant_id: TenantId, new: NewEndpoint) -> Endpoint:
        now = self._clock()
        endpoint_id = EndpointId(new_id())
        headers = checks.checked_headers(new.headers)
        return Endpoint(
            id=endpoint_id,
            tenant_id=tenant_id,
            url=checks.checked_url(new.url, self._terms),
            description=checks.checked_description(new.description),
            filter=checks.checked_filter(new.filter),
            state=EndpointState.ACTIVE,
            state_reason=None,
            state_changed_at=now,
            **seal_headers(self._box, tenant_id, endpoint_id, headers),
            signature=new.signature,
            schedule=checks.checked_schedule(new.schedule),
            timeout=checks.checked_timeout(new.timeout_seconds, self._terms),
            version=1,
            created_at=now,
            updated_at=now,
        )

    def _sealed(self, endpoint: Endpoint, given: str | None) -> NewSecret:
        secret = checks.secret_for(endpoint.signature, given, self._random_bytes)
        return seal_secret(self._box, endpoint, secret, now=self._clock())


async def _read(
    tx: Transaction, tenant_id: TenantId, endpoint_id: EndpointId, *, lock: bool = False
) -> Endpoint:
    endpoint = await endpoints.read(tx, tenant_id, endpoint_id, lock=lock)
    if endpoint is None:
        raise _no_endpoint(endpoint_id)
    return endpoint


def _no_endpoint(endpoint_id: EndpointId) -> NotFound:
    return NotFound("endpoint", show_id(Prefix.ENDPOINT, endpoint_id))


def _refuse_unless_room(made: SealedSecret, older: Sequence[SealedSecret]) -> None:
    if any(secret.key_id == made.key_id for secret in older):
        raise Invalid("secret", "is a live secret of this endpoint already")
    if len(older) >= MOST_LIVE_SECRETS:
        raise Conflict(
            f"{len(older)} secrets of this endpoint are still live. Wait until one has ended, or rotate with "
            "a shorter overlap_hours; 0 ends them at once."
        )


def _tell(happened: str, endpoint_id: EndpointId, actor: str, **facts: object) -> None:
    log.info(happened, endpoint_id=show_id(Prefix.ENDPOINT, endpoint_id), actor=actor, **facts)
