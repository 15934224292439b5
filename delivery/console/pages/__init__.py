"""The pages of the console, a module for each section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.console.pages import (
    account,
    audit,
    deliveries,
    delivery,
    endpoint,
    endpoint_acts,
    endpoint_edit,
    endpoints,
    event_type,
    filter_trial,
    finding,
    keys,
    overview,
    people,
    replay,
    replay_new,
    sign_in,
    tenants,
    types,
)

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

# Tried in this order: what has a name of its own stands before what has an id.
ROUTES: list[BaseRoute] = [
    *account.ROUTES,
    *audit.ROUTES,
    *deliveries.ROUTES,
    *delivery.ROUTES,
    *endpoint_edit.ROUTES,
    *endpoints.ROUTES,
    *endpoint.ROUTES,
    *endpoint_acts.ROUTES,
    *event_type.ROUTES,
    *filter_trial.ROUTES,
    *finding.ROUTES,
    *keys.ROUTES,
    *overview.ROUTES,
    *people.ROUTES,
    *replay_new.ROUTES,
    *replay.ROUTES,
    *sign_in.ROUTES,
    *tenants.ROUTES,
    *types.ROUTES,
]
