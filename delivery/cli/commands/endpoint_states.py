"""`waybill endpoint pause`, `resume`, `disable`, `enable`, `health`: whether anything goes there."""

from typing import Annotated

import typer

from delivery.bootstrap import clock
from delivery.cli import shapes
from delivery.cli.door import actor, ask
from delivery.cli.endpoint_health_screen import print_health, print_preview
from delivery.cli.endpoint_screen import print_endpoint
from delivery.cli.options import AsJson, Tenant, TheEndpoint, Why
from delivery.cli.screen import print_json
from delivery.model import Endpoint


def pause(tenant: Tenant, endpoint: TheEndpoint, reason: Why = None, json: AsJson = False) -> None:
    """Pause an endpoint. Its deliveries are still made, and held until it is resumed."""
    show_changed(ask(lambda uses: uses.endpoints.pause(tenant, endpoint, reason=reason, actor=actor())), json)


def resume(tenant: Tenant, endpoint: TheEndpoint, reason: Why = None, json: AsJson = False) -> None:
    """Resume a paused endpoint. What was held goes out, one at a time at first, then faster."""
    show_changed(
        ask(lambda uses: uses.endpoints.resume(tenant, endpoint, reason=reason, actor=actor())), json
    )


def disable(tenant: Tenant, endpoint: TheEndpoint, reason: Why = None, json: AsJson = False) -> None:
    """Disable an endpoint. Its deliveries are still made, and held until somebody enables it."""
    show_changed(
        ask(lambda uses: uses.endpoints.disable(tenant, endpoint, reason=reason, actor=actor())), json
    )


def enable(
    tenant: Tenant,
    endpoint: TheEndpoint,
    reason: Why = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Change nothing; tell what would go out.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Enable a disabled endpoint. What was held goes out, one at a time at first, then faster."""
    if not dry_run:
        show_changed(
            ask(lambda uses: uses.endpoints.enable(tenant, endpoint, reason=reason, actor=actor())), json
        )
        return
    preview = ask(lambda uses: uses.endpoints.preview_enable(tenant, endpoint, reason=reason))
    if json:
        print_json(shapes.enable_preview(preview))
        return
    print_preview(preview, now=clock())


def health(tenant: Tenant, endpoint: TheEndpoint, json: AsJson = False) -> None:
    """Show how an endpoint does. What holds it, what waits for it, and how its last attempts went."""
    one = ask(lambda uses: uses.endpoints.health(tenant, endpoint))
    if json:
        print_json(shapes.endpoint_health(one))
        return
    print_health(one, now=clock())


def show_changed(endpoint: Endpoint, json: bool) -> None:
    """Print an endpoint as it is now."""
    if json:
        print_json(shapes.endpoint(endpoint))
        return
    print_endpoint(endpoint, (), now=clock())
