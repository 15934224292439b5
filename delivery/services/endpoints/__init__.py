"""Endpoints: where a tenant's events go, under which secrets and limits, and how they do."""

from delivery.endpoints.endpoints import MOST_LIVE_SECRETS, Endpoints
from delivery.endpoints.health import EnablePreview, EndpointHealth, Glance
from delivery.endpoints.limits import shown_limits
from delivery.endpoints.sealing import NewSecret
from delivery.endpoints.terms import EndpointChanges, EndpointTerms, LimitsAsked, NewEndpoint
from delivery.endpoints.trying import Part, Trial
from delivery.ledger.endpoint_figures import Owed, Recent

__all__ = [
    "MOST_LIVE_SECRETS",
    "EnablePreview",
    "EndpointChanges",
    "EndpointHealth",
    "EndpointTerms",
    "Endpoints",
    "Glance",
    "LimitsAsked",
    "NewEndpoint",
    "NewSecret",
    "Owed",
    "Part",
    "Recent",
    "Trial",
    "shown_limits",
]
