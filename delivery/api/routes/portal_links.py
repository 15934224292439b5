"""Portal links: what lets a partner see its own tenant at the console for a while."""

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
