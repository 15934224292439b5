"""Portal links: what lets a partner see its own tenant at the console for a while."""

from datetime import timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from delivery.api.http.auth import RequiresPortalScopes, ServicesDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.accounts import PortalRole, Role
from delivery.schemas.base import RequestModel, ResponseModel, TimestampOut
from delivery.services.accounts.email_addresses import MAX_NAME_LENGTH
from delivery.services.accounts.portal_links import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    MIN_LIFETIME,
    CreatedPortalLink,
)

router = APIRouter(prefix="/v1/portal-links", tags=["portal"], route_class=StrictRoute)


class PortalLinkIn(RequestModel):
    """A link to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "support", "label": "Joe of Acme"}]})

    role: Annotated[PortalRole, Field(strict=False)] = PortalRole.VIEWER
    label: Annotated[
        str | None,
        Field(
            min_length=1, max_length=MAX_NAME_LENGTH, description="Who it is for: the audit names them so."
        ),
    ] = None
    expires_in_seconds: Annotated[
        int,
        Field(
            ge=MIN_LIFETIME.total_seconds(), le=MAX_LIFETIME.total_seconds(), description="How long it works."
        ),
    ] = int(DEFAULT_LIFETIME.total_seconds())


class PortalLinkOut(ResponseModel):
    """A link that was just made. It is told in this answer and never again."""

    url: str = Field(examples=["https://waybill.example/console/portal/wbl_…"])
    expires_at: TimestampOut
    role: PortalRole

    @classmethod
    def from_record(cls, link: CreatedPortalLink, *, base_url: str) -> Self:
        """Show a link, at the console of this address."""
        return cls(
            url=link.build_url(base_url), expires_at=link.link.expires_at, role=PortalRole(link.link.role)
        )


@router.post("", status_code=201)
async def create_portal_link(
    services: ServicesDep, caller: RequiresPortalScopes, request: Request, body: PortalLinkIn
) -> PortalLinkOut:
    """Make a link that lets whoever has it see this tenant at the console, without an account.

    It works until it ends, as often as it is opened. It ends at once when the key that made it is revoked.
    """
    link = await services.accounts.create_link(
        caller.tenant_id,
        key_id=caller.key_id,
        role=Role(body.role),
        label=body.label,
        lifetime=timedelta(seconds=body.expires_in_seconds),
        actor=caller.actor,
    )
    return PortalLinkOut.from_record(link, base_url=services.settings.public_url or str(request.base_url))
