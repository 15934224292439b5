"""Tenants' keys: made, listed, rotated, ended. All of it needs the operator's key."""

from datetime import timedelta
from typing import Annotated, Any, Self

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from delivery.api.callers import AsOperator, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import (
    AskedMoment,
    AskedPage,
    Given,
    KeyInPath,
    Moment,
    Next,
    Reason,
    Shown,
    TenantInPath,
    example,
)
from delivery.keys import LONGEST_NAME, MOST_REQUESTS, MadeKey, NewKey
from delivery.model import ApiKey, Prefix, show_id
from delivery.scopes import OF_TENANTS, Scope, in_order

router = APIRouter(prefix="/v1/tenants/{tenant_id}/keys", tags=["tenants"], route_class=StrictRoute)

_TEN_YEARS = 3650 * 24 * 3600
_EXAMPLE: Any = {"name": "order service", "scopes": ["publish"], "expires_in_seconds": 7_776_000}


class KeyIn(Given):
    """A key to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str = Field(min_length=1, max_length=LONGEST_NAME)
    scopes: list[Annotated[Scope, Field(strict=False)]] = Field(
        list(OF_TENANTS),
        min_length=1,
        max_length=len(Scope),
        description="What it may do: `publish`, `manage`, `read`, `replay`. Not given: all four.",
    )
    expires_at: Annotated[AskedMoment, Field(strict=False)] | None = Field(
        None, description="Until when it works. Null: it does not expire."
    )
    expires_in_seconds: int | None = Field(
        None, ge=60, le=_TEN_YEARS, description="The same, as a time from now; not both."
    )
    requests_per_second: int | None = Field(
        None,
        ge=1,
        le=MOST_REQUESTS,
        description="How often it may ask, in each `web` process. Null: as often as the operator says.",
    )

    def asked(self) -> NewKey:
        """As the use case takes it."""
        lasts = self.expires_in_seconds
        return NewKey(
            name=self.name,
            scopes=self.scopes,
            expires_at=self.expires_at,
            lasts=None if lasts is None else timedelta(seconds=lasts),
            requests_per_second=self.requests_per_second,
        )


class KeyRotationIn(Given):
    """How a key is rotated."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"overlap_hours": 24}]})

    overlap_hours: float | None = Field(
        None, ge=0, le=720, description="How long the old key goes on. Null: the operator's default."
    )
    reason: str | None = Field(None, description="Why, for people.")


class KeyOut(Shown):
    """A key, without the key itself."""

    id: str = Field(examples=[example(Prefix.KEY)])
    name: str = Field(examples=["order service"])
    hint: str = Field(description="How the key begins.", examples=["wbk_Zk3f9Q…"])
    scopes: list[Scope] = Field(description="What it may do.", examples=[["publish"]])
    requests_per_second: int | None = Field(
        description="How often it may ask, in each `web` process. Null: as often as the operator says."
    )
    created_at: Moment
    expires_at: Moment | None = Field(description="Null: it does not expire.")
    revoked_at: Moment | None
    last_used_at: Moment | None = Field(description="True to a minute or so. Null: it was never used.")
    replaced_by: str | None = Field(
        description="The key that took its place when it was rotated.", examples=[example(Prefix.KEY)]
    )

    @classmethod
    def of(cls, key: ApiKey, /, **more: str) -> Self:
        """Show a key."""
        return cls(
            id=show_id(Prefix.KEY, key.id),
            name=key.name,
            hint=key.hint,
            scopes=in_order(key.scopes),
            requests_per_second=key.requests_per_second,
            created_at=key.created_at,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            replaced_by=None if key.replaced_by is None else show_id(Prefix.KEY, key.replaced_by),
            **more,
        )


class NewKeyOut(KeyOut):
    """A key that was just made. Keep `key`: it is told this once, and only its hash is stored."""

    key: str = Field(examples=["wbk_Zk3f9QmX0c1V7r2tYb8uHn4sLp6wEa5dKj3gRx9oTfI"])

    @classmethod
    def made(cls, made: MadeKey) -> Self:
        """Show a key that was just made, with the key itself."""
        return cls.of(made.kept, key=made.text)


class KeyList(Shown):
    """Keys, newest first, ended ones too."""

    items: list[KeyOut]
    next: Next


@router.post("", status_code=201)
async def create_key(uses: Uses, actor: AsOperator, tenant_id: TenantInPath, given: KeyIn) -> NewKeyOut:
    """Make a key for a tenant. The key is told in this answer and never again."""
    return NewKeyOut.made(await uses.keys.create(tenant_id, given.asked(), actor=actor))


@router.get("")
async def list_keys(uses: Uses, _actor: AsOperator, tenant_id: TenantInPath, asked: AskedPage) -> KeyList:
    """List a tenant's keys, newest first, revoked and expired ones too."""
    scope = ("keys", tenant_id)
    page = await uses.keys.page(tenant_id, asked.cut(*scope))
    return KeyList(items=[KeyOut.of(key) for key in page.items], next=asked.next(page.last, *scope))


@router.post("/{key_id}/rotate", status_code=201)
async def rotate_key(
    uses: Uses,
    actor: AsOperator,
    tenant_id: TenantInPath,
    key_id: KeyInPath,
    given: KeyRotationIn | None = None,
) -> NewKeyOut:
    """Make a key with the same name, scopes and lifetime. The old one goes on for a while, then expires."""
    asked = given or KeyRotationIn()
    hours = asked.overlap_hours
    made = await uses.keys.rotate(
        tenant_id,
        key_id,
        overlap=None if hours is None else timedelta(hours=hours),
        reason=asked.reason,
        actor=actor,
    )
    return NewKeyOut.made(made)


@router.delete("/{key_id}", status_code=204)
async def revoke_key(
    uses: Uses, actor: AsOperator, tenant_id: TenantInPath, key_id: KeyInPath, reason: Reason = None
) -> None:
    """Revoke a key. Every process refuses it within five seconds."""
    await uses.keys.revoke(tenant_id, key_id, reason=reason, actor=actor)
