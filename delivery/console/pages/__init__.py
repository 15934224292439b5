"""The pages of the console, a module for each section."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.console.pages import deliveries, delivery, finding, overview, sign_in

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

ROUTES: list[BaseRoute] = [
    *deliveries.ROUTES,
    *delivery.ROUTES,
    *finding.ROUTES,
    *overview.ROUTES,
    *sign_in.ROUTES,
]
