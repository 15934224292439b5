"""Endpoints: where a tenant's events go, under which secrets, and whether anything goes there now."""

from delivery.endpoints.endpoints import MOST_LIVE_SECRETS, Endpoints
from delivery.endpoints.sealing import NewSecret
from delivery.endpoints.terms import EndpointChanges, EndpointTerms, NewEndpoint

__all__ = [
    "MOST_LIVE_SECRETS",
    "EndpointChanges",
    "EndpointTerms",
    "Endpoints",
    "NewEndpoint",
    "NewSecret",
]
