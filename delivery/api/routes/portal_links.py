"""Portal links: temporary access for partners to their own tenant in the console."""

from datetime import timedelta

from fastapi import APIRouter, Request

from delivery.api.http.auth import RequiresPortalScopes, ServicesDep
from delivery.api.http.strict import StrictRoute
from delivery.domain.accounts import Role
from delivery.schemas.portal_links import PortalLinkIn, PortalLinkOut

router = APIRouter(prefix="/v1/portal-links", tags=["portal"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_portal_link(
    services: ServicesDep, caller: RequiresPortalScopes, request: Request, body: PortalLinkIn
) -> PortalLinkOut:
    """Create a link that shows this tenant in the console to anyone who has it, without an account.

    It can be opened any number of times until it expires, or until the key that created it is revoked.
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
