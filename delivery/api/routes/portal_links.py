"""Portal links: what lets a partner see its own tenant at the console for a while."""

from datetime import timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Request
from pydantic import ConfigDict, Field

from delivery.api.callers import Linking, Uses
from delivery.api.routing import StrictRoute
from delivery.api.shapes import Given, Moment, Shown
from delivery.people import Link, PortalRole, Role
from delivery.people.addresses import LONGEST_NAME
from delivery.people.links import LASTS, LONGEST, SHORTEST

router = APIRouter(prefix="/v1/portal-links", tags=["portal"], route_class=StrictRoute)


class PortalLinkIn(Given):
    """A link to make."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "support", "label": "Joe of Acme"}]})

    role: Annotated[PortalRole, Field(strict=False)] = PortalRole.VIEWER
    label: Annotated[
        str | None,
        Field(min_length=1, max_length=LONGEST_NAME, description="Who it is for: the audit names them so."),
    ] = None
    expires_in_seconds: Annotated[
        int,
        Field(ge=SHORTEST.total_seconds(), le=LONGEST.total_seconds(), description="How long it works."),
    ] = int(LASTS.total_seconds())


class PortalLinkOut(Shown):
    """A link that was just made. It is told in this answer and never again."""

    url: str = Field(examples=["https://waybill.example/console/portal/wbl_…"])
    expires_at: Moment
    role: PortalRole

    @classmethod
    def of(cls, link: Link, *, base: str) -> Self:
        """Show a link, at the console of this address."""
        return cls(url=link.url(base), expires_at=link.kept.expires_at, role=PortalRole(link.kept.role))


@router.post("", status_code=201)
async def create_portal_link(
    uses: Uses, acting: Linking, request: Request, given: PortalLinkIn
) -> PortalLinkOut:
    """Make a link that lets whoever has it see this tenant at the console, without an account.

    It works until it ends, as often as it is opened. It ends at once when the key that made it is revoked.
    """
    link = await uses.people.make_link(
        acting.tenant_id,
        key_id=acting.key_id,
        role=Role(given.role),
        label=given.label,
        lasts=timedelta(seconds=given.expires_in_seconds),
        actor=acting.actor,
    )
    return PortalLinkOut.of(link, base=uses.settings.public_url or str(request.base_url))
