"""The pages of the console, a module for each section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.console.pages import (
    account,
    api_keys,
    audit,
    deliveries,
    delivery,
    endpoint,
    endpoint_actions,
    endpoint_edit,
    endpoints,
    event_type,
    event_types,
    filter_test,
    overview,
    replay,
    replay_new,
    search,
    sign_in,
    tenants,
    users,
)

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

# Matched in this order: fixed paths come before paths with an id.
ROUTES: list[BaseRoute] = [
    *account.ROUTES,
    *audit.ROUTES,
    *deliveries.ROUTES,
    *delivery.ROUTES,
    *endpoint_edit.ROUTES,
    *endpoints.ROUTES,
    *endpoint.ROUTES,
    *endpoint_actions.ROUTES,
    *event_type.ROUTES,
    *filter_test.ROUTES,
    *search.ROUTES,
    *api_keys.ROUTES,
    *overview.ROUTES,
    *users.ROUTES,
    *replay_new.ROUTES,
    *replay.ROUTES,
    *sign_in.ROUTES,
    *tenants.ROUTES,
    *event_types.ROUTES,
]
