"""Portal links."""

from typing import Annotated, Self

from pydantic import ConfigDict, Field

from delivery.domain.accounts import PortalRole
from delivery.schemas.base import RequestModel, ResponseModel, TimestampOut
from delivery.services.accounts.email_addresses import MAX_DISPLAY_NAME_LENGTH
from delivery.services.accounts.portal_links import (
    DEFAULT_LIFETIME,
    MAX_LIFETIME,
    MIN_LIFETIME,
    CreatedPortalLink,
)


class PortalLinkIn(RequestModel):
    """A portal link to create."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "support", "label": "Joe of Acme"}]})

    role: Annotated[PortalRole, Field(strict=False)] = PortalRole.VIEWER
    label: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=MAX_DISPLAY_NAME_LENGTH,
            description="The name of its user in the audit log.",
        ),
    ] = None
    expires_in_seconds: Annotated[
        int,
        Field(
            ge=MIN_LIFETIME.total_seconds(),
            le=MAX_LIFETIME.total_seconds(),
            description="Lifetime in seconds.",
        ),
    ] = int(DEFAULT_LIFETIME.total_seconds())


class PortalLinkOut(ResponseModel):
    """A portal link that was just created. It is shown only once."""

    url: str = Field(examples=["https://waybill.example/console/portal/wbl_…"])
    expires_at: TimestampOut
    role: PortalRole

    @classmethod
    def from_record(cls, link: CreatedPortalLink, *, base_url: str) -> Self:
        """Show a link to the console at this base URL."""
        return cls.from_url(link, link.build_url(base_url))

    @classmethod
    def from_url(cls, link: CreatedPortalLink, url: str) -> Self:
        """Show a link with this URL."""
        return cls(url=url, expires_at=link.link.expires_at, role=PortalRole(link.link.role))
